#!/bin/sh
# Runs every test of the module that this machine permits, with the race
# detector and in random order.
#
#   GO=go test.sh RERUNS
#
# RERUNS is how often a failed test of whole machines (deploy/e2e) is run again;
# 0 is never. Each test that was run again is printed under the heading FLAKY.
# Any other failed test ends the run: it depends on nothing outside its process.
set -eu
reruns=${1:-0}
go=${GO:-go}
gotestsum=gotest.tools/gotestsum@v1.13.0
report=$(mktemp)
trap 'rm -f "$report"' EXIT

# The tests of whole machines take the longest and mostly wait, so they start first.
"$go" run "$gotestsum" --format pkgname --format-hide-empty-pkg --hide-summary skipped \
  --rerun-fails="$reruns" --rerun-fails-run-root-test --rerun-fails-abort-on-data-race --rerun-fails-max-failures 3 \
  --rerun-fails-report "$report" --packages "./deploy/e2e ./..." \
  -- -race -shuffle=on -timeout 60m && code=0 || code=$?

if [ -s "$report" ]; then
  echo
  echo "FLAKY"
  cat "$report"
  if grep -v '/deploy/e2e\.' "$report" >/dev/null; then
    echo "test: only tests of whole machines may be run again; the others above must pass at once" >&2
    exit 1
  fi
fi
exit "$code"
