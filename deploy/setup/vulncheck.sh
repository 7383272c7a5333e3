#!/bin/sh
# Checks the code and the modules that it calls against the database of known
# vulnerabilities in Go modules. There are no exceptions: a vulnerable module is
# updated or replaced, or the vulnerable function is no longer called.
#
#   GO=go vulncheck.sh            uses https://vuln.go.dev
#   GO=go vulncheck.sh URL        uses a copy of it: https://... or file:///...
#
# It exits with 3 if it finds vulnerabilities. If the database is unreachable, it
# prints that nothing was checked and exits with 0: an outage is no fault of the code.
set -u
tool=golang.org/x/vuln/cmd/govulncheck@v1.9.0
db=${1:-https://vuln.go.dev}
go=${GO:-go}
out=$(mktemp)
trap 'rm -f "$out"' EXIT

# govulncheck contacts the database before it reads the code.
"$go" run "$tool" -db "$db" -test ./... >"$out" 2>&1
code=$?
# go run always exits with 1 and prints the program's exit code.
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
