#!/bin/sh
# Builds both programs without cgo and packages each as .deb and .rpm in
# bin/packages/, for every given architecture (default: amd64). Run it at the top
# of the source tree:
#
#   deploy/packages/package.sh VERSION [ARCH...]
#
# NFPM is the packaging command. Without it, Go downloads and runs nfpm.
set -eu
cd "$(dirname "$0")/../.."
VERSION=${1:?version, such as 0.1.0}
export VERSION
shift
[ $# -gt 0 ] || set -- amd64
go=$(deploy/setup/go.sh)
nfpm=${NFPM:-$go run github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2}

mkdir -p bin/packages
for ARCH in "$@"; do
  export ARCH
  BIN=bin/linux-$ARCH
  export BIN
  CGO_ENABLED=0 GOOS=linux GOARCH=$ARCH $go build -trimpath -ldflags "-s -w -X main.version=$VERSION" \
    -o "$BIN/" ./agent/cmd/easyfind ./rendezvous/cmd/easyfind-rendezvous
  for program in agent rendezvous; do
    for format in deb rpm; do
      $nfpm package -f "deploy/packages/$program.yaml" -p "$format" -t bin/packages
    done
  done
done
