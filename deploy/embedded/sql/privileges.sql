-- Who may enter the database this runs in. Run as superuser; running it again changes nothing.
DO $$
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO ledger_posting', current_database());
END
$$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
