#!/bin/sh
# Creates or upgrades Temporal's two databases; running it again changes nothing.
set -eu

SQL_PASSWORD=$(cat /run/secrets/temporal_database_password)
export SQL_PASSWORD

install_schema() {
    temporal-sql-tool --database "$1" create-database
    temporal-sql-tool --database "$1" setup-schema --version 0.0
    temporal-sql-tool --database "$1" update-schema --schema-name "postgresql/v12/$2"
}

install_schema temporal temporal
install_schema temporal_visibility visibility
