#!/bin/sh
# Called with "remove" by dpkg and with 0 by rpm when the package goes for good;
# on an upgrade the service runs on, and postinstall.sh restarts it.
set -e
case "$1" in remove | 0) ;; *) exit 0 ;; esac
[ -d /run/systemd/system ] || exit 0
systemctl disable --now easyfind-rendezvous.service
