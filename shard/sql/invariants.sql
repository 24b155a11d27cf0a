-- What must hold on one shard at every instant. Each query returns
-- one text per violation, and nothing when all is well. All of them run in one snapshot. A
-- shard's books are its system accounts plus the accounts it owns.

-- name: lift_time_limit
-- A check reads every entry; the posting role's time limit is not meant for it.
SET LOCAL statement_timeout = 0

-- name: books_sum_to_zero
SELECT 'the books in ' || a.currency || ' sum to ' || sum(b.ledger)
FROM ledger.own_account AS a
JOIN ledger.balance AS b ON b.account_no = a.account_no
GROUP BY a.currency
HAVING sum(b.ledger) <> 0

-- name: suspense_is_sum_of_open_items
SELECT 'suspense in ' || s.currency || ' holds ' || s.ledger || ', its open items ' || s.open
FROM (
    SELECT a.currency, sum(b.ledger) AS ledger,
           (SELECT coalesce(sum(i.amount), 0) FROM ledger.suspense_item AS i
            WHERE i.currency = a.currency AND i.state IN ('parked', 'needs_repair')) AS open
    FROM ledger.own_account AS a
    JOIN ledger.balance AS b ON b.account_no = a.account_no
    WHERE a.kind = 'suspense'
    GROUP BY a.currency
) AS s
WHERE s.ledger <> s.open

-- name: balance_is_sum_of_entries
SELECT 'account ' || b.account_no || ' bucket ' || b.bucket || ' holds ' || b.ledger
       || ' and holds back ' || b.held || ', its ' || e.count || ' entries sum to ' || e.total
       || ' and end at ' || e.last_after || ' and ' || e.last_held || ', seq ' || b.seq
FROM ledger.balance AS b
JOIN ledger.own_account AS a ON a.account_no = b.account_no
LEFT JOIN LATERAL (
    SELECT count(*) AS count, coalesce(sum(x.amount), 0) AS total,
           coalesce((array_agg(x.ledger_after ORDER BY x.seq DESC))[1], 0) AS last_after,
           coalesce((array_agg(x.held_after ORDER BY x.seq DESC))[1], 0) AS last_held,
           coalesce(min(x.seq), 1) AS first_seq, coalesce(max(x.seq), 0) AS last_seq
    FROM ledger.entry AS x WHERE x.account_no = b.account_no AND x.bucket = b.bucket
) AS e ON true
WHERE b.ledger <> e.total OR b.ledger <> e.last_after OR b.held <> e.last_held
    OR e.count <> b.seq
    OR e.first_seq <> 1 OR e.last_seq <> b.seq

-- name: figures_follow_each_other
SELECT 'account ' || x.account_no || ' bucket ' || x.bucket || ' entry ' || x.seq
       || ' does not follow from the one before it'
FROM (
    SELECT e.account_no, e.bucket, e.seq, e.posted_at, e.business_date,
           e.ledger_after - e.amount AS before, e.held_after - e.held_delta AS held_before,
           lag(e.ledger_after, 1, 0) OVER w AS previous,
           lag(e.held_after, 1, 0) OVER w AS held_previous,
           lag(e.posted_at) OVER w AS previous_time,
           lag(e.business_date) OVER w AS previous_date
    FROM ledger.entry AS e
    JOIN ledger.own_account AS a ON a.account_no = e.account_no
    WINDOW w AS (PARTITION BY e.account_no, e.bucket ORDER BY e.seq)
) AS x
WHERE x.before <> x.previous OR x.held_before <> x.held_previous
    OR x.posted_at < x.previous_time
    OR x.business_date < x.previous_date

-- name: held_is_sum_of_open_holds
SELECT 'account ' || b.account_no || ' holds back ' || sum(b.held) || ', its open holds '
       || coalesce((
           SELECT sum(h.amount - h.captured) FROM ledger.hold AS h
           WHERE h.account_no = b.account_no AND h.state = 'pending'
       ), 0)
FROM ledger.balance AS b
JOIN ledger.own_account AS a ON a.account_no = b.account_no
GROUP BY b.account_no
HAVING sum(b.held) <> coalesce((
    SELECT sum(h.amount - h.captured) FROM ledger.hold AS h
    WHERE h.account_no = b.account_no AND h.state = 'pending'
), 0)

-- name: nothing_below_its_floor
-- An account may start below a balance that must remain; then nothing is taken until it is there.
SELECT 'account ' || a.account_no || ' has ' || sum(b.ledger - b.held)
       || ' available and a floor of ' || a.minimum_balance - a.overdraft_limit
FROM ledger.own_account AS a
JOIN ledger.balance AS b ON b.account_no = a.account_no
WHERE a.has_floor
    AND NOT EXISTS (
        SELECT FROM ledger.entry AS e
        JOIN ledger.transfer AS t
            ON t.account_no = e.home AND t.origin = e.origin AND t.reference = e.reference
        WHERE e.account_no = a.account_no AND t.kind = 'forced'
    )
GROUP BY a.account_no, a.overdraft_limit, a.minimum_balance
HAVING sum(b.ledger - b.held) < a.minimum_balance - a.overdraft_limit
    AND EXISTS (
        SELECT FROM ledger.entry AS e
        WHERE e.account_no = a.account_no AND e.amount < e.held_delta
    )

-- name: no_entry_below_its_floor
-- Whatever forced bookings did to the account before: an ordinary debit left its bucket with
-- something to spare, by the limit of that moment.
SELECT 'account ' || e.account_no || ' bucket ' || e.bucket || ' entry ' || e.seq || ' leaves '
       || e.ledger_after - e.held_after || ' available'
FROM ledger.entry AS e
JOIN ledger.own_account AS a ON a.account_no = e.account_no
WHERE a.has_floor AND e.amount < e.held_delta
    AND e.ledger_after - e.held_after + CASE WHEN e.bucket = 0 THEN e.limit_after ELSE 0 END < 0
    AND NOT EXISTS (
        SELECT FROM ledger.transfer AS t
        WHERE t.account_no = e.home AND t.origin = e.origin AND t.reference = e.reference
            AND t.kind = 'forced'
    )

-- name: only_bucket_zero_is_overdrawn
-- The overdraft belongs to bucket 0; a lane must not spend what stands in another one's bucket.
SELECT 'account ' || a.account_no || ' bucket ' || b.bucket || ' has '
       || b.ledger - b.held || ' available'
FROM ledger.own_account AS a
JOIN ledger.balance AS b ON b.account_no = a.account_no
WHERE a.has_floor AND b.bucket > 0 AND b.ledger < b.held
    AND NOT EXISTS (
        SELECT FROM ledger.entry AS e
        JOIN ledger.transfer AS t
            ON t.account_no = e.home AND t.origin = e.origin AND t.reference = e.reference
        WHERE e.account_no = a.account_no AND t.kind = 'forced'
    )

-- name: transfers_sum_to_zero
-- All entries of a command that were booked here, archive included.
SELECT 'transfer ' || e.home || '/' || e.origin || '/' || e.reference || ' sums to '
       || sum(e.amount)
FROM ledger.entry AS e
JOIN ledger.shard_state AS s ON s.shard = e.booked_on
GROUP BY e.home, e.origin, e.reference
HAVING sum(e.amount) <> 0

-- name: entries_have_their_command
-- Every entry booked here by a command of an own account has its row, and it is POSTED.
SELECT 'entries of ' || e.home || '/' || e.origin || '/' || e.reference || ' have no posted command'
FROM (
    SELECT DISTINCT x.home, x.origin, x.reference FROM ledger.entry AS x
    JOIN ledger.own_account AS a ON a.account_no = x.home
) AS e
LEFT JOIN ledger.transfer AS t
    ON t.account_no = e.home AND t.origin = e.origin AND t.reference = e.reference
WHERE t.account_no IS NULL OR t.outcome <> 'POSTED'

-- name: commands_have_their_entries
SELECT 'transfer ' || t.account_no || '/' || t.origin || '/' || t.reference || ' is '
       || t.outcome || ' and has ' || count(e.account_no) || ' entries'
FROM ledger.transfer AS t
JOIN ledger.own_account AS a ON a.account_no = t.account_no
LEFT JOIN ledger.entry AS e
    ON e.account_no = t.account_no AND e.business_date = t.business_date
    AND e.home = t.account_no AND e.origin = t.origin AND e.reference = t.reference
GROUP BY t.account_no, t.origin, t.reference
HAVING (t.outcome = 'POSTED') <> (count(e.account_no) > 0)

-- name: items_agree_with_transfers
SELECT 'transfer ' || t.account_no || '/' || t.origin || '/' || t.reference || ' is '
       || t.money_state || ', its items say otherwise'
FROM ledger.suspense_item AS i
JOIN ledger.own_account AS a ON a.account_no = i.debtor
JOIN ledger.transfer AS t
    ON t.account_no = i.debtor AND t.origin = i.origin AND t.reference = i.reference
GROUP BY t.account_no, t.origin, t.reference
HAVING t.money_state <> (CASE
    WHEN bool_or(i.state = 'needs_repair') THEN 'needs_repair'
    WHEN bool_or(i.state = 'parked') THEN 'in_transit'
    WHEN bool_and(i.state = 'delivered') THEN 'delivered'
    WHEN bool_and(i.state = 'returned') THEN 'returned'
    ELSE 'partially_returned' END)::ledger.money_state
    OR bool_or(i.transfer_id <> t.id)

-- name: items_are_open_until_settled
SELECT 'item ' || i.item_id || ' is ' || i.state || ', settled at ' || coalesce(
           i.settled_at::text, 'no time'
       )
FROM ledger.suspense_item AS i
WHERE (i.settled_at IS NULL) <> (i.state IN ('parked', 'needs_repair'))

-- name: parked_amounts_have_items
-- What a command put into suspense is what its items carry.
SELECT 'transfer ' || e.home || '/' || e.origin || '/' || e.reference || ' parked '
       || sum(e.amount) || ', its items carry ' || coalesce((
           SELECT sum(i.amount) FROM ledger.suspense_item AS i
           WHERE (i.transfer_id, i.debtor, i.origin, i.reference)
               = (e.transfer_id, e.home, e.origin, e.reference)
       ), 0)
FROM ledger.entry AS e
JOIN ledger.own_account AS a ON a.account_no = e.account_no AND a.kind = 'suspense'
WHERE e.origin <> 'system'
GROUP BY e.home, e.origin, e.reference, e.transfer_id
HAVING sum(e.amount) <> coalesce((
    SELECT sum(i.amount) FROM ledger.suspense_item AS i
    WHERE (i.transfer_id, i.debtor, i.origin, i.reference)
        = (e.transfer_id, e.home, e.origin, e.reference)
), 0)

-- name: clearing_balances
-- Per peer and currency; zero at rest together with the peer's own account against this shard.
SELECT (a.account_no % 1000)::integer, a.currency, sum(b.ledger)
FROM ledger.own_account AS a
JOIN ledger.balance AS b ON b.account_no = a.account_no
WHERE a.kind = 'clearing'
GROUP BY a.account_no, a.currency
ORDER BY 1, 2

-- name: trial_balance
-- An account stands on one side, whatever its single buckets hold.
SELECT a.currency, a.kind::text, count(*),
       coalesce(sum(b.ledger) FILTER (WHERE b.ledger < 0), 0),
       coalesce(sum(b.ledger) FILTER (WHERE b.ledger > 0), 0)
FROM ledger.own_account AS a
CROSS JOIN LATERAL (
    SELECT sum(x.ledger) AS ledger, max(x.seq) AS seq
    FROM ledger.balance AS x WHERE x.account_no = a.account_no
) AS b
GROUP BY a.currency, a.kind
HAVING count(*) FILTER (WHERE b.seq > 0) > 0
ORDER BY a.currency, a.kind

-- name: items_in_order
-- Items that left from here, all of them or the named ones, in the order of their ids' text.
SELECT i.item_id::text, i.attempt, i.state::text, i.target, i.amount, i.currency, i.booked_on
FROM ledger.suspense_item AS i
WHERE %(items)s::text[] IS NULL OR i.item_id::text = ANY (%(items)s::text[])
ORDER BY i.item_id

-- name: deliveries_booked
-- Deliveries that were booked here, wherever their accounts live by now; a reference is an item
-- id of 36 characters, a colon and an attempt, so the ids come in the order of their text.
SELECT t.reference, t.account_no, t.amount, t.currency, t.booked_on
FROM ledger.transfer AS t
JOIN ledger.shard_state AS s ON s.shard = t.booked_on
WHERE t.origin = 'delivery' AND t.outcome = 'POSTED'
    AND (%(items)s::text[] IS NULL OR left(t.reference, 36) = ANY (%(items)s::text[]))
ORDER BY t.reference COLLATE "C"

-- name: parked_towards
-- The shards that parked items are on their way to, by a map of ranges; null where it has none.
SELECT DISTINCT r.shard
FROM ledger.suspense_item AS i
LEFT JOIN unnest(%(lo)s::bigint[], %(hi)s::bigint[], %(shard)s::integer[]) AS r (lo, hi, shard)
    ON i.target >= r.lo AND i.target < r.hi
WHERE i.state = 'parked'
