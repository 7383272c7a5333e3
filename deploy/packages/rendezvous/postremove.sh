#!/bin/sh
# Only dpkg has "purge". It also deletes the database, the certificate and the join link.
set -e
[ "$1" != purge ] || rm -rf /var/lib/easyfind-rendezvous /var/lib/private/easyfind-rendezvous
[ ! -d /run/systemd/system ] || systemctl daemon-reload
