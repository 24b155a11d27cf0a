-- A past for the customers' accounts of a shard, as postings would have left it: in each of
-- %(rounds)s rounds, evenly over the last %(days)s days, every account pays the next one 0.01, the
-- last one pays the first. So balances stay as they are, and every account gets two entries in
-- each round.
--
-- The accounts are %(first)s to %(last)s without a gap; a run fills the slice that begins at
-- %(from)s and ends before %(to)s.

-- name: let_days_pass
SELECT ledger.ensure_partitions_v1(s.business_date, %(days)s / 28),
       ledger.advance_business_date_v1(s.business_date + %(days)s, 1)
FROM ledger.shard_state AS s

-- name: past_transfers
INSERT INTO ledger.transfer (
    account_no, origin, reference, id, request_hash, kind, outcome, money_state, creditor,
    currency, amount, business_date, value_date, posted_at, booked_on
)
SELECT a.account_no, 'client', 'past-' || lpad(k::text, 9, '0'),
       (lpad(to_hex(a.account_no), 16, '0') || lpad(to_hex(k), 16, '0'))::uuid,
       uuid_send((lpad(to_hex(k), 16, '0') || lpad(to_hex(a.account_no), 16, '0'))::uuid),
       'ordinary', 'POSTED', 'posted',
       CASE WHEN a.account_no = %(last)s THEN %(first)s ELSE a.account_no + 1 END,
       'EUR', 0.01, s.business_date - ago.days, s.business_date - ago.days,
       now(), s.shard
FROM ledger.shard_state AS s,
     generate_series(%(from)s::bigint, %(to)s::bigint - 1) AS a (account_no),
     generate_series(1, %(rounds)s::integer) AS k,
     LATERAL (SELECT (%(rounds)s::integer - k) * %(days)s / %(rounds)s::integer) AS ago (days)

-- name: past_entries
INSERT INTO ledger.entry (
    account_no, bucket, business_date, seq, transfer_id, home, origin, reference, counterparty,
    amount, ledger_after, held_after, limit_after, value_date, posted_at, booked_on
)
SELECT b.account_no, 0, s.business_date - ago.days,
       b.seq + 2 * (k - 1) + 1 + leg.is_credit::integer,
       (lpad(to_hex(leg.home), 16, '0') || lpad(to_hex(k), 16, '0'))::uuid,
       leg.home, 'client', 'past-' || lpad(k::text, 9, '0'), leg.counterparty,
       leg.amount, b.ledger + CASE WHEN leg.is_credit THEN 0 ELSE leg.amount END, b.held, 0,
       s.business_date - ago.days, now(), s.shard
FROM ledger.shard_state AS s
CROSS JOIN ledger.balance AS b
CROSS JOIN generate_series(1, %(rounds)s::integer) AS k
CROSS JOIN LATERAL (
    SELECT (%(rounds)s::integer - k) * %(days)s / %(rounds)s::integer
) AS ago (days)
CROSS JOIN LATERAL (
    VALUES
        (false, -0.01, b.account_no,
         CASE WHEN b.account_no = %(last)s THEN %(first)s ELSE b.account_no + 1 END),
        (true, 0.01, CASE WHEN b.account_no = %(first)s THEN %(last)s ELSE b.account_no - 1 END,
         CASE WHEN b.account_no = %(first)s THEN %(last)s ELSE b.account_no - 1 END)
) AS leg (is_credit, amount, home, counterparty)
WHERE b.account_no >= %(from)s AND b.account_no < %(to)s

-- name: balances_after_the_past
UPDATE ledger.balance AS b SET seq = b.seq + 2 * %(rounds)s, posted_at = now()
WHERE b.account_no >= %(from)s AND b.account_no < %(to)s

-- name: vacuum
VACUUM (ANALYZE) ledger.transfer, ledger.entry, ledger.balance
