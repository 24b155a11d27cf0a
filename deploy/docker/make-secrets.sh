#!/bin/sh
# Makes the passwords that docker-compose.yml mounts into its containers: one file each in the
# folder given. What exists is kept, because the databases were created with it.
#
# The folder is closed to everybody else; the files in it are not, because each container reads
# its own as another user and Compose cannot change the owner of a mounted file.
set -eu

[ "$#" -eq 1 ] || { echo "usage: make-secrets.sh FOLDER" >&2; exit 2; }
folder=$1

random_hex() {
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

# Readers find a secret whole or not at all: it is written beside its name and then renamed.
keep_or_write() {
    [ -s "$folder/$1" ] && return
    cat > "$folder/$1.new"
    chmod 0444 "$folder/$1.new"
    mv "$folder/$1.new" "$folder/$1"
}

mkdir -p "$folder"
chmod 0700 "$folder"

for name in postgres_password ledger_owner_password ledger_posting_password \
    temporal_database_password; do
    random_hex | keep_or_write "$name"
done

# libpq's password files: host:port:database:role:password. The serving processes never get the
# password of the owner.
for role in owner posting; do
    printf '*:*:*:ledger_%s:%s\n' "$role" "$(cat "$folder/ledger_${role}_password")" |
        keep_or_write "pgpass_$role"
done
