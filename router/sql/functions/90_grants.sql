-- What a serving process may do here: read all, remember homes and references, count up the
-- numbers of a range. It cannot change an owner, a home or a reference, and deletes nothing.
DO $$
BEGIN
    IF to_regrole('ledger_posting') IS NULL THEN
        CREATE ROLE ledger_posting NOLOGIN;
    END IF;
END
$$;

GRANT USAGE ON SCHEMA directory TO ledger_posting;
GRANT SELECT ON ALL TABLES IN SCHEMA directory TO ledger_posting;
GRANT INSERT ON directory.customer_home, directory.account_reference TO ledger_posting;
GRANT UPDATE (next_account_no) ON directory.account_range TO ledger_posting;
