#!/bin/sh
# Prints the go command for building: the one on PATH if it is Go 1.21 or later, which
# can download the toolchain that go.mod names; otherwise the toolchain that setup.sh
# has downloaded.
oldest=1.21
fetched="${XDG_CACHE_HOME:-$HOME/.cache}/easyfind/go"
version=$(go env GOVERSION 2>/dev/null | sed 's/^go//')
if [ -n "$version" ] && [ "$(printf '%s\n%s\n' "$oldest" "$version" | sort -V | head -n 1)" = "$oldest" ]; then
  echo go
elif [ -x "$fetched/bin/go" ]; then
  echo "$fetched/bin/go"
else
  exit 1
fi
