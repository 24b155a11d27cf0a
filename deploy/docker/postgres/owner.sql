-- The image creates the database before any role exists, hence in the superuser's name.
SELECT format('ALTER DATABASE %I OWNER TO ledger_owner', current_database()) \gexec
