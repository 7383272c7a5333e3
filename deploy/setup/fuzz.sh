#!/bin/sh
# Fuzzes every Fuzz function of the module for the time given, two at once.
# Go's fuzzer sometimes takes the end of that time for a failure and says
# "context deadline exceeded" with no input that fails: such a one goes again,
# once. An input that fails is written down and never excused.
set -eu
time=${1:-20s}
grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r file; do
  sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p' "$file" | while read -r name; do
    echo "$(dirname "$file") $name"
  done
done | sort -u | xargs -P 2 -L 1 sh -c '
  fuzz() { ${GO:-go} test -run "^$" -fuzz "^$2\$" -fuzztime '"$time"' -parallel 1 "$1" 2>&1; }
  spurious() { printf "%s\n" "$out" | grep -q "^ *context deadline exceeded$" && ! printf "%s\n" "$out" | grep -qE "Failing input|panic|hung or terminated"; }
  out=$(fuzz "$1" "$2") ||
    { spurious && echo "again $1 $2: its end was taken for a failure" && out=$(fuzz "$1" "$2"); } ||
    { printf "%s\n" "$out"; echo "FAIL $1 $2"; exit 255; }
  echo "ok   $1 $2: $(printf "%s\n" "$out" | grep -E "^fuzz: elapsed" | tail -n 1 | sed "s/.*execs/execs/")"
' sh
