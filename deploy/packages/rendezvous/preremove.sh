#!/bin/sh
# dpkg passes "remove" and rpm passes 0 when the package is removed. On an upgrade
# the service keeps running, and postinstall.sh restarts it.
set -e
case "$1" in remove | 0) ;; *) exit 0 ;; esac
[ -d /run/systemd/system ] || exit 0
systemctl disable --now easyfind-rendezvous.service
