#!/bin/bash
# Replaces the entrypoint of the official Postgres image. It implements the part
# that docker-compose.yml uses.
set -euo pipefail
PATH=/usr/lib/postgresql/15/bin:$PATH
data=/var/lib/postgresql/data
if [ ! -s "$data/PG_VERSION" ]; then
  # shellcheck disable=SC2086 # a list of arguments
  initdb -D "$data" -U "$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" -E UTF8 --locale=C $POSTGRES_INITDB_ARGS
  pg_ctl -D "$data" -w -o "-c listen_addresses=" start
  PGPASSWORD=$(cat "$POSTGRES_PASSWORD_FILE") createdb -h /run/postgresql -U "$POSTGRES_USER" "$POSTGRES_DB" || true
  pg_ctl -D "$data" -w stop
fi
exec "$@" -D "$data"
