-- One transfer's story as this shard can tell it. Read by name; nothing here is on a hot path,
-- and nothing is indexed for it.

-- name: trace_details
-- What a command says of itself beyond its terms.
SELECT t.channel, t.actor, t.correlation_id, t.trace_id
FROM ledger.transfer AS t
WHERE t.account_no = %s::bigint AND t.origin = %s::text::ledger.origin AND t.reference = %s::text

-- name: trace_events
-- How the state of a transfer has changed since it was booked.
SELECT e.n, e.happened_at, e.business_date, e.money_state::text, e.cause
FROM ledger.transfer_event AS e
WHERE e.account_no = %s::bigint AND e.origin = %s::text::ledger.origin AND e.reference = %s::text
ORDER BY e.n

-- name: trace_entries
-- The entries that one command has on an account served here. All entries of a command have the
-- time that stands in its own row. Within a bucket neither business_date nor posted_at runs
-- backwards and seq has no gaps, so the key is bisected: where that time begins in each bucket of
-- that date, and where it ends. LIMIT and OFFSET keep each probe a probe of the key: the planner
-- would rather join what it takes for a small day.
WITH RECURSIVE bound AS (
    SELECT b.account_no, b.bucket, p.is_end, p.posted_at, f.seq AS low, l.seq + 1 AS high
    FROM ledger.balance AS b
    JOIN ledger.owned_range AS r
        ON b.account_no >= r.lo AND b.account_no < r.hi AND r.state IN ('OWNED', 'FENCED')
    CROSS JOIN LATERAL (
        SELECT e.seq FROM ledger.entry AS e
        WHERE e.account_no = b.account_no AND e.bucket = b.bucket
            AND e.business_date = %(business_date)s::date
        ORDER BY e.seq LIMIT 1
    ) AS f
    CROSS JOIN LATERAL (
        SELECT e.seq FROM ledger.entry AS e
        WHERE e.account_no = b.account_no AND e.bucket = b.bucket
            AND e.business_date = %(business_date)s::date
        ORDER BY e.seq DESC LIMIT 1
    ) AS l
    CROSS JOIN (
        VALUES (false, %(posted_at)s::timestamptz),
               (true, %(posted_at)s::timestamptz + interval '1 microsecond')
    ) AS p (is_end, posted_at)
    WHERE b.account_no = %(account_no)s::bigint
    UNION ALL
    SELECT b.account_no, b.bucket, b.is_end, b.posted_at,
           CASE WHEN m.posted_at < b.posted_at THEN m.seq + 1 ELSE b.low END,
           CASE WHEN m.posted_at < b.posted_at THEN b.high ELSE m.seq END
    FROM bound AS b
    CROSS JOIN LATERAL (
        SELECT e.seq, e.posted_at FROM ledger.entry AS e
        WHERE e.account_no = b.account_no AND e.bucket = b.bucket
            AND e.business_date = %(business_date)s::date AND e.seq = (b.low + b.high) / 2
        LIMIT 1
    ) AS m
    WHERE b.low < b.high
), place AS (
    SELECT b.account_no, b.bucket, min(b.low) FILTER (WHERE NOT b.is_end) AS first_seq,
           min(b.low) FILTER (WHERE b.is_end) AS end_seq
    FROM bound AS b
    WHERE b.low = b.high
    GROUP BY b.account_no, b.bucket
)
SELECT e.account_no, e.bucket::integer, e.seq, e.amount, e.held_delta, e.ledger_after,
       e.counterparty, e.business_date, e.value_date, e.posted_at, e.booked_on::integer
FROM place AS p
CROSS JOIN LATERAL (
    SELECT l.* FROM ledger.entry AS l
    WHERE l.account_no = p.account_no AND l.bucket = p.bucket
        AND l.business_date = %(business_date)s::date
        AND l.seq >= p.first_seq AND l.seq < p.end_seq
    OFFSET 0
) AS e
WHERE e.home = %(home)s::bigint AND e.origin = %(origin)s::text::ledger.origin
    AND e.reference = %(reference)s::text
ORDER BY e.bucket, e.seq

-- name: trace_settlement
-- The voucher that moved a closed item's amount, with others, from suspense to clearing. No column
-- names it: it was written by the transaction that closed the item and has not been changed since,
-- nor has the item. A transaction's number comes round again, so the references are bounded to
-- those that were born when the item was closed. Nothing is found where a logical copy of the
-- database has lost the numbers.
SELECT v.account_no, v.reference, v.creditor, v.amount, v.business_date, v.posted_at
FROM ledger.suspense_item AS i
JOIN ledger.transfer AS v ON v.xmin = i.xmin
WHERE i.item_id = %(item_id)s::uuid AND i.settled_at IS NOT NULL
    AND v.account_no = %(suspense)s::bigint AND v.origin = 'system'
    AND v.reference >= %(first_reference)s::text AND v.reference <= %(last_reference)s::text
    AND v.creditor = %(clearing)s::bigint
