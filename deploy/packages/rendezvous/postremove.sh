#!/bin/sh
# "purge" is dpkg's alone: only then do the database, the certificate and the join link go too.
set -e
[ "$1" != purge ] || rm -rf /var/lib/easyfind-rendezvous /var/lib/private/easyfind-rendezvous
[ ! -d /run/systemd/system ] || systemctl daemon-reload
