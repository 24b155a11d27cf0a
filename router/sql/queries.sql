-- Queries of the directory, by name.

-- name: all_ranges
-- The whole range map; a bank has some dozens of ranges.
SELECT lo, hi, range_id, shard, epoch, takes_new_customers
FROM directory.account_range
ORDER BY lo;

-- name: remember_homes
-- The first decision stays. Sorted, so that two bulk openings never wait for each other in a ring.
INSERT INTO directory.customer_home (customer, range_id)
SELECT w.customer, w.range_id
FROM unnest(%(customers)s::text[], %(range_ids)s::integer[]) AS w (customer, range_id)
ORDER BY w.customer
ON CONFLICT (customer) DO NOTHING;

-- name: homes_of
-- Read after remember_homes, which has waited for whoever decided at the same time.
SELECT customer, range_id
FROM directory.customer_home
WHERE customer = ANY (%(customers)s::text[]);

-- name: lock_counters
-- One reservation at a time per range. Ascending, for the same reason as above.
SELECT range_id
FROM directory.account_range
WHERE range_id = ANY (%(range_ids)s::integer[])
ORDER BY range_id
FOR UPDATE;

-- name: known_references
-- Read after lock_counters: the same reference cannot be given a number in between.
SELECT r.customer, r.reference, r.account_no, r.request_hash
FROM unnest(%(customers)s::text[], %(references)s::text[]) AS w (customer, reference)
JOIN directory.account_reference AS r USING (customer, reference);

-- name: taken_numbers
-- Which of the numbers asked for by name are given away already.
SELECT account_no
FROM directory.account_reference
WHERE account_no = ANY (%(account_nos)s::bigint[]);

-- name: free_numbers
-- The next numbers of each range. Numbers ahead of the counter that were asked for by name are
-- passed over, so the series is longer than the count by as many as there are of them.
SELECT w.range_id, free.account_no
FROM unnest(%(range_ids)s::integer[], %(counts)s::integer[]) AS w (range_id, wanted)
JOIN directory.account_range AS r USING (range_id)
CROSS JOIN LATERAL (
    SELECT n.account_no
    FROM generate_series(
        r.next_account_no,
        least(r.hi - 1, r.next_account_no + w.wanted - 1 + (
            SELECT count(*)
            FROM directory.account_reference AS ahead
            WHERE ahead.account_no >= r.next_account_no AND ahead.account_no < r.hi
        ))
    ) AS n (account_no)
    WHERE NOT EXISTS (
        SELECT FROM directory.account_reference AS taken WHERE taken.account_no = n.account_no
    )
    ORDER BY n.account_no
    LIMIT w.wanted
) AS free
ORDER BY w.range_id, free.account_no;

-- name: move_counters
-- Counters go up only.
UPDATE directory.account_range AS r
SET next_account_no = greatest(r.next_account_no, w.next_account_no)
FROM unnest(%(range_ids)s::integer[], %(next_account_nos)s::bigint[])
    AS w (range_id, next_account_no)
WHERE r.range_id = w.range_id;

-- name: remember_references
-- Kept for ever: an opening that is repeated after years gets the same number.
INSERT INTO directory.account_reference (customer, reference, account_no, request_hash)
SELECT w.customer, w.reference, w.account_no, w.request_hash
FROM unnest(
    %(customers)s::text[], %(references)s::text[], %(account_nos)s::bigint[], %(hashes)s::bytea[]
) AS w (customer, reference, account_no, request_hash)
ORDER BY w.customer, w.reference
ON CONFLICT (customer, reference) DO NOTHING;

-- name: closing_days
-- Days on which the bank is closed, besides weekends.
SELECT day FROM directory.closing_day WHERE day > %(after)s;

-- name: add_shards
-- Shards are added, never renamed.
INSERT INTO directory.shard (shard)
SELECT unnest(%(shards)s::smallint[])
ON CONFLICT (shard) DO NOTHING;

-- name: add_ranges
-- The ranges a new shard begins with. A range that has moved since keeps its present owner.
INSERT INTO directory.account_range (range_id, lo, hi, shard, next_account_no)
SELECT w.range_id, w.lo, w.hi, w.shard, w.lo
FROM unnest(
    %(range_ids)s::integer[], %(los)s::bigint[], %(his)s::bigint[], %(shards)s::smallint[]
) AS w (range_id, lo, hi, shard)
ON CONFLICT (range_id) DO NOTHING;

-- name: add_closing_days
-- A bank may edit its calendar afterwards; days it has named itself stay.
INSERT INTO directory.closing_day (day, name)
SELECT w.day, w.name
FROM unnest(%(days)s::date[], %(names)s::text[]) AS w (day, name)
ON CONFLICT (day) DO NOTHING;
