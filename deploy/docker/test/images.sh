#!/bin/sh
# Builds stand-ins for the base images of docker-compose.yml and the Dockerfile
# from local files: a Debian tree made by debootstrap, and this machine's Go with
# the modules that it has downloaded. Nothing is pulled.
#
#   images.sh DIRECTORY GO_IMAGE
#
# DIRECTORY keeps the trees for the next run. GO_IMAGE names the image with Go.
set -eu
keep=$1
go_image=$2
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../../.." && pwd)
mkdir -p "$keep"

if [ ! -e "$keep/base/.complete" ]; then
  rm -rf "$keep/base"
  debootstrap --variant=minbase --include=ca-certificates,postgresql-15,haproxy bookworm "$keep/base" \
    >"$keep/debootstrap.log"
  touch "$keep/base/.complete"
fi
install -m 0755 "$here/postgres.sh" "$keep/base/usr/local/bin/postgres.sh"
mkdir -p "$keep/base/usr/local/etc/haproxy"
user=$(awk -F: '$1 == "postgres" { print $3 ":" $4 }' "$keep/base/etc/passwd")
mkdir -p "$keep/base/var/lib/postgresql/data" "$keep/base/run/postgresql"
chown "$user" "$keep/base/var/lib/postgresql/data" "$keep/base/run/postgresql"
chmod 3777 "$keep/base/run/postgresql"

# Only the modules that this project needs, as a module proxy of files.
proxy=file://$(go env GOMODCACHE)/cache/download
(cd "$top" && GOFLAGS=-modcacherw GOMODCACHE=$keep/modules GOPROXY=$proxy GONOSUMDB=* go mod download)

tar -C "$keep/base" -c . |
  docker import -c 'ENTRYPOINT ["/usr/local/bin/postgres.sh"]' -c 'CMD ["postgres"]' - easyfind-test/postgres
tar -C "$keep/base" -c --exclude=./usr/lib/postgresql . | docker import -c 'USER haproxy' \
  -c 'CMD ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]' - easyfind-test/haproxy
root=$(go env GOROOT)
tar -c --transform "s,^$(basename "$root")/,usr/local/go/,S" --transform 's,^download/,modules/,S' \
  -C "$keep/base" . -C "$(dirname "$root")" "$(basename "$root")" -C "$keep/modules/cache" download |
  docker import -c 'ENV PATH=/usr/local/go/bin:/usr/bin:/bin' -c 'ENV GOPROXY=file:///modules' -c 'ENV GONOSUMDB=*' \
    -c 'ENV GOFLAGS=-buildvcs=false' -c 'ENV GOTOOLCHAIN=local' - "$go_image"
