-- The statement that creates the database, or no row when it exists. PostgreSQL does not allow
-- CREATE DATABASE inside a function or block, so the caller executes what this returns.
SELECT format('CREATE DATABASE %%I OWNER ledger_owner', %(database)s::text)
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = %(database)s::text);
