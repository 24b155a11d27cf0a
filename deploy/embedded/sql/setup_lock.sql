-- Waits until no other session sets up this database: when a starter is killed, its session goes
-- on until the statement it runs has ended. The lock ends with this session.
SELECT pg_advisory_lock(hashtextextended('sharded-ledger set-up', 0));
