#!/bin/sh
# libpq ignores a password file that others may read, and a mounted secret has the mode it has on
# the host: the ledger gets a copy of its own, in memory.
set -eu

if [ -n "${PGPASSFILE:-}" ] && [ -r /run/secrets/pgpass ]; then
    umask 077
    cat /run/secrets/pgpass > "$PGPASSFILE"
fi
exec ledger "$@"
