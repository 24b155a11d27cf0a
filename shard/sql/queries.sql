-- Named queries of one shard. Reads serve only accounts of ranges that are owned, fenced ones
-- included: until it is released, a range's last state is here.

-- name: lock_migrations
-- Two runners wait for each other; released with the transaction.
SELECT pg_advisory_xact_lock(7100, 0)

-- name: create_migration_table
CREATE TABLE IF NOT EXISTS public.schema_migration (
    name text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)

-- name: applied_migrations
SELECT m.name, m.checksum FROM public.schema_migration AS m

-- name: record_migration
INSERT INTO public.schema_migration (name, checksum) VALUES (%s, %s)
ON CONFLICT (name) DO UPDATE SET checksum = excluded.checksum, applied_at = clock_timestamp()

-- name: prepare_shard
SELECT ledger.prepare_shard_v1(%s::smallint, %s::smallint[], %s::date, %s::integer, %s::smallint)

-- name: adopt_range
SELECT ledger.adopt_range_v1(%s::integer, %s::bigint, %s::bigint)

-- name: ping
SELECT s.shard::integer FROM ledger.shard_state AS s

-- name: post_batch
-- The answers come in the order of the commands.
SELECT outcome::text, is_replay, transfer_id, money_state::text, business_date, posted_at,
       booked_on, foreign_account, next_owner, epoch
FROM ledger.post_batch_v2(
    %s::integer, %s::uuid, %s::bigint[], %s::text[]::ledger.origin[], %s::text[],
    %s::text[]::ledger.kind[], %s::uuid[], %s::bytea[], %s::text[], %s::numeric[], %s::bigint[],
    %s::date[], %s::date[], %s::jsonb[], %s::text[], %s::jsonb[],
    %s::integer[], %s::bigint[], %s::numeric[], %s::bigint[],
    %s::integer[], %s::uuid[], %s::bigint[], %s::numeric[], %s::boolean
)

-- name: deliver
SELECT commands, outcome::text, is_replay, money_state::text, business_date, posted_at, booked_on,
       foreign_account, next_owner, epoch
FROM ledger.deliver_v1(
    %s::integer, %s::smallint, %s::uuid[], %s::integer[], %s::bigint[], %s::bigint[], %s::uuid[],
    %s::text[]::ledger.kind[], %s::bytea[], %s::text[], %s::numeric[], %s::date[], %s::date[],
    %s::text[], %s::text[], %s::text[]
)

-- name: range_of
-- Who owns an account number, as far as this shard knows.
SELECT r.state::text, r.next_owner::integer, r.epoch
FROM ledger.owned_range AS r WHERE %s::bigint >= r.lo AND %s::bigint < r.hi

-- name: owned_ranges
SELECT r.range_id, r.lo, r.hi, r.epoch, r.state::text, r.next_owner::integer
FROM ledger.owned_range AS r ORDER BY r.lo

-- name: open_accounts
SELECT o.outcome::text FROM ledger.open_accounts_v2(
    %s::bigint[], %s::text[], %s::text[]::ledger.account_kind[], %s::numeric[], %s::numeric[],
    %s::smallint[], %s::text[], %s::text[], %s::text[], %s::jsonb[], %s::bytea[], %s::text
) AS o

-- name: account
SELECT a.account_no, a.currency, a.kind::text, a.status::text,
       CASE WHEN a.has_floor THEN a.overdraft_limit END, a.bucket_count::integer, a.customer,
       a.opened_on, n.content, a.minimum_balance, a.credits_when_frozen, a.metadata
FROM ledger.account AS a
JOIN ledger.owned_range AS r
    ON a.account_no >= r.lo AND a.account_no < r.hi AND r.state IN ('OWNED', 'FENCED')
LEFT JOIN ledger.narrative AS n
    ON n.account_no = a.account_no AND n.origin = 'system' AND n.reference = 'account:name'
WHERE a.account_no = %s::bigint

-- name: change_account
SELECT ledger.change_account_v1(
    %s::bigint, %s::text::ledger.account_status, %s::boolean, %s::numeric, %s::numeric,
    %s::jsonb, %s::text, %s::text
)::text

-- name: hold
SELECT h.account_no, h.reference, a.currency, h.amount, h.captured, h.state, h.placed_at,
       h.expires_at, h.creditor, h.closed_at
FROM ledger.hold AS h
JOIN ledger.account AS a ON a.account_no = h.account_no
JOIN ledger.owned_range AS r
    ON h.account_no >= r.lo AND h.account_no < r.hi AND r.state IN ('OWNED', 'FENCED')
WHERE h.account_no = %s::bigint AND h.reference = %s::text

-- name: due_holds
-- Only those this shard may write to; the others are their owner's.
SELECT h.account_no, h.reference, a.currency, h.amount, h.captured, h.state, h.placed_at,
       h.expires_at, h.creditor, h.closed_at
FROM ledger.hold AS h
JOIN ledger.account AS a ON a.account_no = h.account_no
JOIN ledger.owned_range AS r
    ON h.account_no >= r.lo AND h.account_no < r.hi AND r.state = 'OWNED'
WHERE h.state = 'pending' AND h.expires_at <= ledger.now()
ORDER BY h.expires_at
LIMIT %s::integer

-- name: register_payment_file
SELECT ledger.register_payment_file_v1(
    %s::bigint, %s::text, %s::bytea, %s::integer, %s::numeric, %s::text
)

-- name: payment_file
SELECT f.account_no, f.reference, f.file_hash, f.line_count, f.control_sum, f.currency,
       f.registered_on, f.registered_at
FROM ledger.payment_file AS f
JOIN ledger.owned_range AS r
    ON f.account_no >= r.lo AND f.account_no < r.hi AND r.state IN ('OWNED', 'FENCED')
WHERE f.account_no = %s::bigint AND f.reference = %s::text

-- name: transfer
SELECT t.account_no, t.origin::text, t.reference, t.id, t.kind::text, t.creditor, t.amount,
       t.currency, t.outcome::text, t.money_state::text, t.return_code::text, t.business_date,
       t.value_date, t.posted_at, t.booked_on::integer, t.delivered_at, t.convoy, n.content,
       t.request_hash, t.legs, t.purpose, t.end_to_end_id
FROM ledger.transfer AS t
JOIN ledger.owned_range AS r
    ON t.account_no >= r.lo AND t.account_no < r.hi AND r.state IN ('OWNED', 'FENCED')
LEFT JOIN ledger.narrative AS n
    ON n.account_no = t.account_no AND n.origin = t.origin AND n.reference = t.reference
WHERE t.account_no = %s::bigint AND t.origin = %s::text::ledger.origin AND t.reference = %s::text

-- name: transfers_by_keys
-- What of many transfers of one origin is known here, in any order.
SELECT t.account_no, t.origin::text, t.reference, t.id, t.kind::text, t.creditor, t.amount,
       t.currency, t.outcome::text, t.money_state::text, t.return_code::text, t.business_date,
       t.value_date, t.posted_at, t.booked_on::integer, t.delivered_at, t.convoy, n.content,
       t.request_hash, t.legs, t.purpose, t.end_to_end_id
FROM unnest(%(homes)s::bigint[], %(references)s::text[]) AS k (home, reference)
JOIN ledger.transfer AS t
    ON t.account_no = k.home AND t.origin = %(origin)s::text::ledger.origin
    AND t.reference = k.reference
JOIN ledger.owned_range AS r
    ON t.account_no >= r.lo AND t.account_no < r.hi AND r.state IN ('OWNED', 'FENCED')
LEFT JOIN ledger.narrative AS n
    ON n.account_no = t.account_no AND n.origin = t.origin AND n.reference = t.reference

-- name: transfers_by_prefix
-- References sort by their bytes, and '~' sorts behind all they are made of.
SELECT t.account_no, t.origin::text, t.reference, t.id, t.kind::text, t.creditor, t.amount,
       t.currency, t.outcome::text, t.money_state::text, t.return_code::text, t.business_date,
       t.value_date, t.posted_at, t.booked_on::integer, t.delivered_at, t.convoy, n.content,
       t.request_hash, t.legs, t.purpose, t.end_to_end_id
FROM ledger.transfer AS t
JOIN ledger.owned_range AS r
    ON t.account_no >= r.lo AND t.account_no < r.hi AND r.state IN ('OWNED', 'FENCED')
LEFT JOIN ledger.narrative AS n
    ON n.account_no = t.account_no AND n.origin = t.origin AND n.reference = t.reference
WHERE t.account_no = %(home)s::bigint AND t.origin = %(origin)s::text::ledger.origin
    AND t.reference >= %(prefix)s::text AND t.reference < %(prefix)s::text || '~'
    AND t.reference > %(after)s::text
ORDER BY t.reference
LIMIT %(row_limit)s::integer

-- name: items_of_convoy
SELECT i.item_id, i.attempt, i.debtor, i.origin::text, i.reference, i.transfer_id, i.target,
       i.amount, i.currency, i.business_date, i.value_date, i.convoy, i.carrier::text,
       i.parked_at, n.content, i.last_refusal::text, i.kind::text, t.trace_id
FROM ledger.suspense_item AS i
LEFT JOIN ledger.transfer AS t
    ON t.account_no = i.debtor AND t.origin = i.origin AND t.reference = i.reference
LEFT JOIN ledger.narrative AS n
    ON n.account_no = i.debtor AND n.origin = i.origin AND n.reference = i.reference
WHERE i.convoy = %s::uuid AND i.state = 'parked' AND i.carrier = 'convoy'
ORDER BY i.item_id

-- name: cargo_of_convoy
-- The same items in texts, for array literals.
SELECT i.item_id::text, i.attempt::text, i.target::text, i.debtor::text, i.transfer_id::text,
       CASE WHEN i.target = i.debtor THEN 'return' ELSE i.kind::text END, i.currency,
       round(i.amount, y.scale)::text, i.business_date::text, i.value_date::text, i.reference,
       t.trace_id, n.content, extract(epoch FROM i.parked_at)::double precision
FROM ledger.suspense_item AS i
JOIN ledger.currency AS y ON y.code = i.currency
LEFT JOIN ledger.transfer AS t
    ON t.account_no = i.debtor AND t.origin = i.origin AND t.reference = i.reference
LEFT JOIN ledger.narrative AS n
    ON n.account_no = i.debtor AND n.origin = i.origin AND n.reference = i.reference
WHERE i.convoy = %s::uuid AND i.state = 'parked' AND i.carrier = 'convoy'
ORDER BY i.item_id

-- name: items_of_carrier
SELECT i.item_id, i.attempt, i.debtor, i.origin::text, i.reference, i.transfer_id, i.target,
       i.amount, i.currency, i.business_date, i.value_date, i.convoy, i.carrier::text,
       i.parked_at, n.content, i.last_refusal::text, i.kind::text, t.trace_id
FROM ledger.suspense_item AS i
LEFT JOIN ledger.transfer AS t
    ON t.account_no = i.debtor AND t.origin = i.origin AND t.reference = i.reference
LEFT JOIN ledger.narrative AS n
    ON n.account_no = i.debtor AND n.origin = i.origin AND n.reference = i.reference
WHERE i.state = 'parked' AND i.carrier = %s::text::ledger.carrier
ORDER BY i.parked_at
LIMIT %s::integer

-- name: items_of_route
-- In the order of their ids, which is that of their birth; a page starts after the last one's id.
SELECT i.item_id, i.attempt, i.debtor, i.origin::text, i.reference, i.transfer_id, i.target,
       i.amount, i.currency, i.business_date, i.value_date, i.convoy, i.carrier::text,
       i.parked_at, n.content, i.last_refusal::text, i.kind::text, t.trace_id
FROM ledger.suspense_item AS i
LEFT JOIN ledger.transfer AS t
    ON t.account_no = i.debtor AND t.origin = i.origin AND t.reference = i.reference
LEFT JOIN ledger.narrative AS n
    ON n.account_no = i.debtor AND n.origin = i.origin AND n.reference = i.reference
WHERE i.state = 'parked' AND i.carrier = 'route' AND i.route = %s::smallint
    AND i.item_id > coalesce(%s::uuid, '00000000-0000-0000-0000-000000000000')
ORDER BY i.item_id
LIMIT %s::integer

-- name: open_routes
-- From each route straight to the next one in the index, however many items there are.
WITH RECURSIVE open_route AS (
    SELECT min(i.route) AS route
    FROM ledger.suspense_item AS i
    WHERE i.state = 'parked' AND i.carrier = 'route'
    UNION ALL
    SELECT (
        SELECT min(i.route) FROM ledger.suspense_item AS i
        WHERE i.state = 'parked' AND i.carrier = 'route' AND i.route > o.route
    )
    FROM open_route AS o
    WHERE o.route IS NOT NULL
)
SELECT o.route FROM open_route AS o WHERE o.route IS NOT NULL ORDER BY o.route

-- name: stragglers
-- A time in the future is that of a clock gone wrong, and counts as old.
SELECT i.item_id, i.attempt, i.debtor, i.origin::text, i.reference, i.transfer_id, i.target,
       i.amount, i.currency, i.business_date, i.value_date, i.convoy, i.carrier::text,
       i.parked_at, n.content, i.last_refusal::text, i.kind::text, t.trace_id
FROM ledger.suspense_item AS i
LEFT JOIN ledger.transfer AS t
    ON t.account_no = i.debtor AND t.origin = i.origin AND t.reference = i.reference
LEFT JOIN ledger.narrative AS n
    ON n.account_no = i.debtor AND n.origin = i.origin AND n.reference = i.reference
WHERE i.state = 'parked' AND i.carrier = 'convoy'
    AND NOT i.parked_at BETWEEN ledger.now() - make_interval(secs => %(age_s)s::double precision)
        AND ledger.now() + make_interval(secs => %(age_s)s::double precision)
ORDER BY i.parked_at
LIMIT %(row_limit)s::integer

-- name: settle
SELECT ledger.settle_v1(
    %s::integer, %s::uuid, %s::uuid[], %s::integer[], %s::smallint[], %s::timestamptz[]
)

-- name: redirect
SELECT ledger.redirect_v1(%s::uuid[], %s::integer[], %s::bigint[], %s::text[]::ledger.outcome[])

-- name: hand_over
SELECT ledger.hand_over_v1(%s::uuid[], %s::text::ledger.carrier, %s::smallint)

-- name: restamp
SELECT ledger.restamp_v1(%s::uuid[], %s::uuid)

-- name: mark_needs_repair
SELECT ledger.mark_needs_repair_v1(%s::uuid, %s::integer, %s::text::ledger.outcome)

-- name: open_totals
SELECT i.state::text, i.currency, count(*), sum(i.amount), min(i.parked_at)
FROM ledger.suspense_item AS i
WHERE i.state IN ('parked', 'needs_repair')
GROUP BY i.state, i.currency
ORDER BY i.state, i.currency

-- name: business_date
SELECT s.business_date FROM ledger.shard_state AS s

-- name: advance_business_date
SELECT ledger.advance_business_date_v1(%s::date, %s::integer)

-- name: read_whole_tables
-- For a session that looks at most of a table, where the planner takes what came last for few rows.
SELECT set_config('statement_timeout', '0', false), set_config('enable_nestloop', 'off', false)

-- name: debit_commits
-- When the debits of delivered amounts were committed, so that the window until their credits
-- can be measured. Where the server keeps no commit times, the time of posting stands in.
SELECT i.transfer_id, i.target,
       coalesce(
           CASE WHEN current_setting('track_commit_timestamp')::boolean
                THEN pg_xact_commit_timestamp(e.transaction_id::xid) END,
           e.posted_at
       )
FROM ledger.suspense_item AS i
JOIN ledger.entry AS e
    ON e.account_no = i.debtor AND e.business_date = i.business_date
    AND e.transfer_id = i.transfer_id AND e.amount < 0
WHERE i.state = 'delivered' AND i.parked_at >= %(since)s::timestamptz
    AND e.posted_at >= %(since)s::timestamptz
ORDER BY i.parked_at
LIMIT %(row_limit)s::integer

-- name: credit_commits
-- When deliveries were committed here; read like debit_commits.
SELECT e.transfer_id, e.account_no,
       coalesce(
           CASE WHEN current_setting('track_commit_timestamp')::boolean
                THEN pg_xact_commit_timestamp(e.transaction_id::xid) END,
           e.posted_at
       )
FROM ledger.entry AS e
WHERE e.origin = 'delivery' AND e.account_no = e.home AND e.amount > 0
    AND e.posted_at >= %(since)s::timestamptz
ORDER BY e.posted_at
LIMIT %(row_limit)s::integer
