-- name: bytes_by_table
-- Each table of the ledger with its indexes; partitions count as the table they belong to.
SELECT coalesce(p.relname, c.relname), sum(pg_total_relation_size(c.oid))::bigint
FROM pg_class AS c
LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid
LEFT JOIN pg_class AS p ON p.oid = i.inhparent
WHERE c.relnamespace = 'ledger'::regnamespace AND c.relkind IN ('r', 'm')
GROUP BY 1

-- name: wal_position
SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint

-- name: checkpoint
CHECKPOINT

-- name: end_wal_file
SELECT pg_switch_wal()
FROM (SELECT pg_logical_emit_message(false, 'benchmark', 'so that the file is not empty')) AS m
