#!/bin/sh
# Installs the packages that EasyFind needs on Debian or Ubuntu, as root or with
# sudo. On other systems it prints what to install. Installed packages are skipped.
#
#   setup.sh build    packages for building and for the demo
#   setup.sh test     in addition, packages for every test that this machine permits
#   setup.sh compose  in addition, packages for testing docker-compose.yml
set -eu
want=${1:-build}
here=$(dirname "$0")
toolchain=go1.26.8 # downloaded if the installed Go is too old to do that by itself
cache="${XDG_CACHE_HOME:-$HOME/.cache}/easyfind"

build="make git ca-certificates golang-go"
# The race detector and the libusb backend need cgo (gcc, libusb). The tests of the
# Postgres store start a temporary cluster (postgresql). The other packages are for
# guests with real USB stacks and for NATs in network namespaces.
tests="gcc libc6-dev libusb-1.0-0-dev pkg-config postgresql iproute2 nftables kmod xz-utils e2fsprogs fdisk
  qemu-system-x86 busybox-static usbip usbutils"
# Other projects' servers and programs that the tests run against.
peers="coturn pgbouncer nginx-light libnginx-mod-stream haproxy caddy chromium"

compose="docker.io docker-compose debootstrap iptables"

has_go() { "$here/go.sh" >/dev/null; }

# fetch_go downloads a newer Go with a Go older than 1.21, such as the one of Debian
# 12. The toolchain is a Go module, which go checks against the checksum database.
fetch_go() {
  echo "setup: fetching $toolchain"
  module="golang.org/toolchain@v0.0.1-$toolchain.$(go env GOOS)-$(go env GOARCH)"
  mkdir -p "$cache/modules"
  (cd "$cache" && GO111MODULE=on GOFLAGS=-modcacherw GOMODCACHE="$cache/modules" go mod download "$module")
  chmod -R u+x "$cache/modules/$module/bin" "$cache/modules/$module/pkg/tool"
  ln -sfn "$cache/modules/$module" "$cache/go"
}

# quiet_services keeps the packages for tests from starting services on this machine,
# now (invoke-rc.d(8)) and at the next boot.
quiet_services() {
  policy=/usr/sbin/policy-rc.d
  [ -e $policy ] && policy= && return
  printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null
  $sudo chmod 755 $policy
  trap 'unquiet_services' EXIT
}

unquiet_services() {
  [ -z "$policy" ] || $sudo rm -f "$policy"
  trap - EXIT
  command -v systemctl >/dev/null 2>&1 || return 0
  for p in $missing; do
    case $p in
      coturn|pgbouncer|haproxy|caddy) $sudo systemctl disable -q "$p" 2>/dev/null || true ;;
      nginx-light) $sudo systemctl disable -q nginx 2>/dev/null || true ;;
    esac
  done
}

wanted() {
  for p in $1; do
    case $p in
      golang-go) has_go && continue ;;
      make|git|gcc) command -v "$p" >/dev/null 2>&1 && continue ;;
    esac
    dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || printf '%s ' "$p"
  done
}

list=$build
[ "$want" = test ] && list="$build $tests $peers"
[ "$want" = compose ] && list="$build $tests $peers $compose"

if ! command -v apt-get >/dev/null 2>&1; then
  echo "setup: this is neither Debian nor Ubuntu; please install the equivalents of these packages:" >&2
  echo "  $list" | tr '\n' ' ' >&2
  echo >&2
  has_go || { echo "setup: Go 1.21 or later is needed: https://go.dev/dl" >&2; exit 1; }
  exit 0
fi

missing=$(wanted "$list")
sudo=
if [ "$(id -u)" != 0 ] && [ -n "$missing" ]; then
  command -v sudo >/dev/null 2>&1 || { echo "setup: run as root, or install sudo; missing: $missing" >&2; exit 1; }
  sudo=sudo
fi
# The tests download the kernel of the guests, which needs the package lists too.
lists=$(find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' 2>/dev/null | head -n 1)
if [ -n "$missing" ] || { [ "$want" = test ] && [ -z "$lists" ] && [ "$(id -u)" = 0 ]; }; then
  $sudo apt-get -q update >/dev/null
fi
if [ -n "$missing" ]; then
  for p in $peers; do # Ubuntu, for example, has no package chromium
    if [ "${missing#*"$p "}" != "$missing" ] && ! apt-cache show "$p" >/dev/null 2>&1; then
      echo "setup: this system has no package $p: tests that need it are skipped"
      missing=$(printf '%s' "$missing" | sed "s/\(^\| \)$p /\1/")
    fi
  done
  echo "setup: installing $missing"
  quiet_services
  # shellcheck disable=SC2086 # a list of packages
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends $missing >/dev/null
  unquiet_services
fi
has_go || fetch_go
has_go || {
  echo "setup: found no Go 1.21 or later; install it from https://go.dev/dl and put it on PATH" >&2
  exit 1
}
