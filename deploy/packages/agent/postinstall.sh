#!/bin/sh
# Does not start the service on the first install, because it needs settings
# first. Then: systemctl enable --now easyfind
set -e
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
systemctl restart systemd-sysctl.service
systemctl try-restart easyfind.service
