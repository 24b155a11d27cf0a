#!/bin/sh
# Runs once, when a server of docker-compose.yml creates its database: the same roles and
# privileges as in the embedded stack, with passwords from secret files.
set -eu

psql --no-psqlrc --quiet --no-password --set=ON_ERROR_STOP=1 \
    --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" \
    --file=/etc/ledger/postgres/passwords.sql \
    --file=/etc/ledger/sql/roles.sql \
    --file=/etc/ledger/postgres/owner.sql \
    --file=/etc/ledger/sql/privileges.sql
