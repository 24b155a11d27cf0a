-- Hands the passwords to roles.sql: read from files and not taken from arguments, which `ps`
-- would show, and kept out of the server's log however it is set.
\set owner `cat /run/secrets/ledger_owner_password`
\set posting `cat /run/secrets/ledger_posting_password`
SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = panic;
SELECT set_config('embedded.owner_verifier', :'owner', false) AS owner_password,
       set_config('embedded.posting_verifier', :'posting', false) AS posting_password \gset
