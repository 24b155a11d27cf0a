-- Named queries about what accounts have, had and went through. Like all reads they serve only
-- accounts of ranges that are owned, fenced ones included.

-- name: balance
-- All four figures and the position they belong to, in one snapshot over all buckets.
SELECT a.account_no, a.currency, sum(b.ledger), sum(b.held),
       CASE WHEN a.has_floor
            THEN sum(b.ledger) - sum(b.held) + a.overdraft_limit - a.minimum_balance END,
       (SELECT coalesce(sum(i.amount), 0) FROM ledger.suspense_item AS i
        WHERE i.debtor = a.account_no AND i.settled_at IS NULL),
       CASE WHEN a.bucket_count = 1 THEN max(b.seq)::text
            ELSE string_agg(b.bucket || ':' || b.seq, ',' ORDER BY b.bucket) END,
       ledger.now()
FROM ledger.account AS a
JOIN ledger.owned_range AS r
    ON a.account_no >= r.lo AND a.account_no < r.hi AND r.state IN ('OWNED', 'FENCED')
JOIN ledger.balance AS b ON b.account_no = a.account_no
WHERE a.account_no = %s::bigint
GROUP BY a.account_no

-- name: balance_as_of
SELECT f.is_future, f.existed, f.account_no, f.currency, f.ledger, f.held, f.available,
       f.in_transit, f.seq
FROM ledger.balance_as_of_v1(%s::bigint, %s::timestamptz, %s::date) AS f

-- name: entries_start
-- Where a page of entries begins: of each bucket the last entry before it, which is the one the
-- cursor names or the last one before the first date, whichever is later. A bucket that was made
-- after the cursor has no place in it.
SELECT a.currency, b.bucket::integer, c.seq, e.business_date, e.seq, e.ledger_after
FROM ledger.account AS a
JOIN ledger.owned_range AS r
    ON a.account_no >= r.lo AND a.account_no < r.hi AND r.state IN ('OWNED', 'FENCED')
JOIN ledger.balance AS b ON b.account_no = a.account_no
LEFT JOIN unnest(%(buckets)s::smallint[], %(dates)s::date[], %(seqs)s::bigint[])
    AS c (bucket, business_date, seq)
    ON c.bucket = b.bucket AND c.business_date >= %(from_date)s::date
LEFT JOIN LATERAL (
    SELECT l.business_date, l.seq, l.ledger_after
    FROM ledger.entry AS l
    WHERE l.account_no = a.account_no AND l.bucket = b.bucket
        AND l.business_date <= coalesce(c.business_date, %(from_date)s::date - 1)
        AND (l.business_date, l.seq) <= (
            coalesce(c.business_date, %(from_date)s::date - 1),
            coalesce(c.seq, 9223372036854775807)
        )
    ORDER BY l.business_date DESC, l.seq DESC
    LIMIT 1
) AS e ON true
WHERE a.account_no = %(account_no)s::bigint
ORDER BY b.bucket

-- name: entries_bounds
-- Where a statement begins and ends: of each bucket the last entry before its first business date
-- and the last one before its end, all in one snapshot. Without dates it covers the month so far.
SELECT a.currency, a.has_floor, ledger.headroom_as_of_v1(a.account_no, NULL, p.to_date - 1),
       s.business_date, p.from_date, p.to_date, b.bucket::integer,
       o.business_date, o.seq, o.ledger_after,
       c.business_date, c.seq, c.ledger_after, c.held_after
FROM ledger.account AS a
JOIN ledger.owned_range AS r
    ON a.account_no >= r.lo AND a.account_no < r.hi AND r.state IN ('OWNED', 'FENCED')
JOIN ledger.balance AS b ON b.account_no = a.account_no
CROSS JOIN ledger.shard_state AS s
CROSS JOIN LATERAL (
    SELECT coalesce(%(to_date)s::date, s.business_date + 1) AS to_date,
           coalesce(%(from_date)s::date, date_trunc(
               'month', coalesce(%(to_date)s::date - 1, s.business_date)::timestamp
           )::date) AS from_date
) AS p
LEFT JOIN LATERAL (
    SELECT l.business_date, l.seq, l.ledger_after
    FROM ledger.entry AS l
    WHERE l.account_no = a.account_no AND l.bucket = b.bucket AND l.business_date < p.from_date
    ORDER BY l.business_date DESC, l.seq DESC
    LIMIT 1
) AS o ON true
LEFT JOIN LATERAL (
    SELECT l.business_date, l.seq, l.ledger_after, l.held_after
    FROM ledger.entry AS l
    WHERE l.account_no = a.account_no AND l.bucket = b.bucket AND l.business_date < p.to_date
    ORDER BY l.business_date DESC, l.seq DESC
    LIMIT 1
) AS c ON true
WHERE a.account_no = %(account_no)s::bigint
ORDER BY b.bucket

-- name: entries
-- What follows a position, oldest first: of each bucket so many entries after its place, merged
-- by the time of posting. A delivery shows the reference its debtor gave.
SELECT e.seq, e.bucket::integer, e.transfer_id, coalesce(t.end_to_end_id, e.reference), e.amount,
       e.held_delta, e.ledger_after, e.held_after, e.counterparty, e.business_date, e.value_date,
       e.posted_at, n.content
FROM (
    SELECT l.*
    FROM unnest(
        %(buckets)s::smallint[], %(dates)s::date[], %(seqs)s::bigint[], %(last_seqs)s::bigint[]
    ) AS p (bucket, business_date, seq, last_seq)
    JOIN ledger.owned_range AS r ON %(account_no)s::bigint >= r.lo
        AND %(account_no)s::bigint < r.hi AND r.state IN ('OWNED', 'FENCED')
    CROSS JOIN LATERAL (
        SELECT b.* FROM ledger.entry AS b
        WHERE b.account_no = %(account_no)s::bigint AND b.bucket = p.bucket
            AND b.business_date >= p.business_date AND b.business_date < %(to_date)s::date
            AND (b.business_date, b.seq) > (p.business_date, p.seq)
            AND b.seq <= coalesce(p.last_seq, 9223372036854775807)
        ORDER BY b.business_date, b.seq
        LIMIT %(bucket_rows)s::integer
    ) AS l
    ORDER BY l.posted_at, l.bucket, l.seq
    LIMIT %(row_limit)s::integer
) AS e
LEFT JOIN ledger.transfer AS t
    ON e.origin = 'delivery' AND t.account_no = e.home AND t.origin = e.origin
    AND t.reference = e.reference
LEFT JOIN ledger.narrative AS n
    ON n.account_no = e.home AND n.origin = e.origin AND n.reference = e.reference
ORDER BY e.posted_at, e.bucket, e.seq
