#!/bin/sh
# Runs every Fuzz function of the module for the given time, two at a time.
#
#   GO=go fuzz.sh 20s
#
# Go's fuzzer sometimes reports "context deadline exceeded" at the end of the time,
# without a failing input. Such a target runs once more. A failing
# input always fails the run; go writes it to testdata/fuzz.
set -eu
time=${1:-20s}
grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r file; do
  sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p' "$file" | while read -r name; do
    echo "$(dirname "$file") $name"
  done
done | sort -u | xargs -P 2 -L 1 sh -c '
  fuzz() { ${GO:-go} test -run "^$" -fuzz "^$2\$" -fuzztime '"$time"' -parallel 1 "$1" 2>&1; }
  says() { printf "%s\n" "$out" | grep -qE "$1"; }
  spurious() { says "^ *context deadline exceeded$" && ! says "Failing input|panic|hung or terminated"; }
  out=$(fuzz "$1" "$2") ||
    { spurious && echo "again $1 $2: the fuzzer took the end of the time for a failure" && out=$(fuzz "$1" "$2"); } ||
    { printf "%s\n" "$out"; echo "FAIL $1 $2"; exit 255; }
  echo "ok   $1 $2: $(printf "%s\n" "$out" | grep -E "^fuzz: elapsed" | tail -n 1 | sed "s/.*execs/execs/")"
' sh
