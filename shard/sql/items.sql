-- Items as a person sees them: whatever became of them, and who decided what. Read by name.

-- name: item_record
-- One item by its id.
SELECT i.item_id, i.attempt, i.debtor, i.origin::text, i.reference, i.transfer_id, i.target,
       i.amount, i.currency, i.business_date, i.value_date, i.convoy, i.carrier::text,
       i.parked_at, n.content, i.last_refusal::text, i.kind::text, t.trace_id,
       i.state::text, i.route, i.settled_at, i.settled_on, i.booked_on
FROM ledger.suspense_item AS i
LEFT JOIN ledger.transfer AS t
    ON t.account_no = i.debtor AND t.origin = i.origin AND t.reference = i.reference
LEFT JOIN ledger.narrative AS n
    ON n.account_no = i.debtor AND n.origin = i.origin AND n.reference = i.reference
WHERE i.item_id = %s::uuid

-- name: item_records_of_transfer
-- The items of one transfer, in the order of their ids.
SELECT i.item_id, i.attempt, i.debtor, i.origin::text, i.reference, i.transfer_id, i.target,
       i.amount, i.currency, i.business_date, i.value_date, i.convoy, i.carrier::text,
       i.parked_at, n.content, i.last_refusal::text, i.kind::text, t.trace_id,
       i.state::text, i.route, i.settled_at, i.settled_on, i.booked_on
FROM ledger.suspense_item AS i
LEFT JOIN ledger.transfer AS t
    ON t.account_no = i.debtor AND t.origin = i.origin AND t.reference = i.reference
LEFT JOIN ledger.narrative AS n
    ON n.account_no = i.debtor AND n.origin = i.origin AND n.reference = i.reference
WHERE i.transfer_id = %s::uuid AND i.debtor = %s::bigint
    AND i.origin = %s::text::ledger.origin AND i.reference = %s::text
ORDER BY i.item_id

-- name: open_item_records
-- Open items, oldest first, as far as they fit what is given; whatever is null is any.
SELECT i.item_id, i.attempt, i.debtor, i.origin::text, i.reference, i.transfer_id, i.target,
       i.amount, i.currency, i.business_date, i.value_date, i.convoy, i.carrier::text,
       i.parked_at, n.content, i.last_refusal::text, i.kind::text, t.trace_id,
       i.state::text, i.route, i.settled_at, i.settled_on, i.booked_on
FROM ledger.suspense_item AS i
LEFT JOIN ledger.transfer AS t
    ON t.account_no = i.debtor AND t.origin = i.origin AND t.reference = i.reference
LEFT JOIN ledger.narrative AS n
    ON n.account_no = i.debtor AND n.origin = i.origin AND n.reference = i.reference
WHERE i.state IN ('parked', 'needs_repair')
    AND (%(age_s)s::double precision = 0 OR i.parked_at
        <= ledger.now() - make_interval(secs => %(age_s)s::double precision))
    AND (%(state)s::text IS NULL OR i.state::text = %(state)s::text)
    AND (%(carrier)s::text IS NULL OR i.carrier::text = %(carrier)s::text)
    AND (%(currency)s::text IS NULL OR i.currency = %(currency)s::text)
    AND i.amount >= coalesce(%(least)s::numeric, 0)
    AND i.amount <= coalesce(%(most)s::numeric, 'Infinity'::numeric)
ORDER BY i.parked_at, i.item_id
LIMIT %(row_limit)s::integer

-- name: repair_decisions
SELECT d.n, d.decision_id, d.choice::text, d.attempt, d.evidence::text, d.target_before,
       d.target_after, d.wait_until, d.reason, d.maker, d.checker, d.decided_at, d.business_date
FROM ledger.repair_decision AS d
WHERE d.item_id = %s::uuid
ORDER BY d.n

-- name: items_in_repair
-- Ids of open items in the hands of repair workflows, after one of them.
SELECT i.item_id
FROM ledger.suspense_item AS i
WHERE i.carrier = 'repair' AND i.state IN ('parked', 'needs_repair')
    AND i.item_id > coalesce(%s::uuid, '00000000-0000-0000-0000-000000000000')
ORDER BY i.item_id
LIMIT %s::integer

-- name: decide_repair
SELECT ledger.decide_repair_v2(
    %s::uuid, %s::integer, %s::uuid, %s::text::ledger.repair_choice, %s::bigint,
    %s::timestamptz, %s::text::ledger.outcome, %s::text, %s::text, %s::text
)

-- name: count_open
-- How many items are open, or so many if there are more. In the order of the index, which is
-- then read by itself and no further than that.
SELECT count(*)
FROM (
    SELECT i.parked_at FROM ledger.suspense_item AS i
    WHERE i.state IN ('parked', 'needs_repair')
    ORDER BY i.parked_at
    LIMIT %s::integer
) AS o

-- name: open_by_age
-- Open items that are alike, of the oldest ones as many as row_limit says. The age is the number
-- of bounds (seconds, ascending) that it has reached.
WITH moment AS MATERIALIZED (
    SELECT array_agg(m.at - make_interval(secs => b.seconds) ORDER BY b.seconds DESC) AS bounds
    FROM (SELECT ledger.now() AS at OFFSET 0) AS m
    CROSS JOIN unnest(%(bounds_s)s::double precision[]) AS b (seconds)
)
SELECT o.state::text, o.carrier::text, o.currency, o.age, count(*), sum(o.amount),
       min(o.parked_at)
FROM (
    SELECT i.state, i.carrier, i.currency, i.amount, i.parked_at,
           cardinality(m.bounds) - width_bucket(i.parked_at, m.bounds) AS age
    FROM ledger.suspense_item AS i
    CROSS JOIN moment AS m
    WHERE i.state IN ('parked', 'needs_repair')
    ORDER BY i.parked_at
    LIMIT %(row_limit)s::integer
) AS o
GROUP BY o.state, o.carrier, o.currency, o.age
ORDER BY o.state, o.carrier, o.currency, o.age
