#!/bin/sh
# Checks the code, and the modules that it calls, against the database of known
# flaws in Go modules. There is no list of exceptions: what is found is updated,
# replaced or called no more.
#
#   GO=go vulncheck.sh            against https://vuln.go.dev
#   GO=go vulncheck.sh URL        against a copy of it: https://... or file:///...
#
# The exit code tells of findings only: 3 if there are any, 0 also where the database
# cannot be reached, which is then said plainly, for it says nothing of the code.
set -u
tool=golang.org/x/vuln/cmd/govulncheck@v1.9.0
db=${1:-https://vuln.go.dev}
go=${GO:-go}
out=$(mktemp)
trap 'rm -f "$out"' EXIT

# That the database cannot be reached is known before the code has been read.
"$go" run "$tool" -db "$db" -test ./... >"$out" 2>&1
code=$?
# go run says 1 for whatever code, and writes the code behind.
[ $code = 1 ] && code=$(sed -n 's/^exit status \([0-9]*\)$/\1/p' "$out" | tail -n 1)
case ${code:-1} in
0)
  cat "$out"
  exit 0
  ;;
3)
  grep -v '^exit status' "$out"
  exit 3
  ;;
esac
if grep -q 'fetching vulnerabilities\|no such host\|connection refused\|i/o timeout' "$out"; then
  sed 's/^/vulncheck: /' "$out" >&2
  echo "vulncheck: NOTHING WAS CHECKED: the database at $db cannot be reached from here" >&2
  exit 0
fi
cat "$out" >&2
exit "${code:-1}"
