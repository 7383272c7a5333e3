#!/bin/sh
# "purge" is dpkg's alone: only then do this machine's key and its pairings go too.
set -e
[ "$1" != purge ] || rm -rf /var/lib/easyfind
[ ! -d /run/systemd/system ] || systemctl daemon-reload
