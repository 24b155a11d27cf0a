-- The two roles of the ledger on one server. Run as superuser; running it again changes nothing.
--
--   ledger_owner    owns the database and everything in it; runs the migrations. REPLICATION lets
--                   it copy ranges to another shard.
--   ledger_posting  serves. Owns nothing. Its time limits end a command before its caller gives
--                   up, so that no lock outlives the interest in it.
--
-- Reads the SCRAM verifiers from embedded.owner_verifier and embedded.posting_verifier: the
-- server never sees a password in clear.
DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['ledger_owner', 'ledger_posting'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I', role_name);
        END IF;
    END LOOP;
    EXECUTE format(
        'ALTER ROLE ledger_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE '
        'REPLICATION PASSWORD %L',
        current_setting('embedded.owner_verifier'));
    EXECUTE format(
        'ALTER ROLE ledger_posting LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE '
        'NOREPLICATION PASSWORD %L',
        current_setting('embedded.posting_verifier'));
END
$$;

ALTER ROLE ledger_posting SET statement_timeout = '15s';
ALTER ROLE ledger_posting SET lock_timeout = '10s';
ALTER ROLE ledger_posting SET idle_in_transaction_session_timeout = '15s';
