-- Suspense items: money that left its debtor here and has not arrived yet. The item alone
-- decides where it goes; whoever acts on it names the attempt he acts on.

-- Lock the named items, then their transfers, each sorted: the order of whoever changes both. With
-- the transfers locked, two settlements of parts of one transfer see each other's work.
CREATE OR REPLACE FUNCTION ledger.lock_items(p_item uuid[]) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM FROM ledger.suspense_item AS i
    WHERE i.item_id = ANY (p_item)
    ORDER BY i.item_id
    FOR NO KEY UPDATE;
    PERFORM FROM ledger.transfer AS t
    JOIN (
        SELECT DISTINCT i.debtor, i.origin, i.reference
        FROM ledger.suspense_item AS i WHERE i.item_id = ANY (p_item)
    ) AS k ON t.account_no = k.debtor AND t.origin = k.origin AND t.reference = k.reference
    ORDER BY t.account_no, t.origin, t.reference
    FOR NO KEY UPDATE OF t;
END
$$;

-- Bring the transfers of changed items up to date, and tell it in their events. To be asked after
-- ledger.lock_items, in a later statement. Only where the debtor still lives here; elsewhere the
-- present owner is told by a command of its own.
-- `p_delivered_at` goes with `p_item`; a transfer was delivered when the last of its items was.
CREATE OR REPLACE FUNCTION ledger.tell_transfers(
    p_item uuid[], p_delivered_at timestamptz[], p_date date, p_cause text
) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_now CONSTANT timestamptz := ledger.now();
BEGIN
    WITH touched AS (
        SELECT DISTINCT i.debtor, i.origin, i.reference, i.transfer_id
        FROM ledger.suspense_item AS i
        JOIN ledger.owned_range AS r
            ON i.debtor >= r.lo AND i.debtor < r.hi AND r.state = 'OWNED'
        WHERE i.item_id = ANY (p_item)
    ), present AS (
        SELECT i.debtor, i.origin, i.reference, max(i.last_refusal) AS refusal,
               (CASE
                   WHEN bool_or(i.state = 'needs_repair') THEN 'needs_repair'
                   WHEN bool_or(i.state = 'parked') THEN 'in_transit'
                   WHEN bool_and(i.state = 'delivered') THEN 'delivered'
                   WHEN bool_and(i.state = 'returned') THEN 'returned'
                   ELSE 'partially_returned'
               END)::ledger.money_state AS money_state,
               max(d.delivered_at) AS delivered_at
        FROM ledger.suspense_item AS i
        JOIN touched AS k ON (k.transfer_id, k.debtor, k.origin, k.reference)
            = (i.transfer_id, i.debtor, i.origin, i.reference)
        LEFT JOIN unnest(p_item, p_delivered_at) AS d (item_id, delivered_at)
            ON d.item_id = i.item_id
        GROUP BY i.debtor, i.origin, i.reference
    ), changed AS (
        UPDATE ledger.transfer AS t
        SET money_state = p.money_state,
            return_code = CASE WHEN p.money_state IN (
                'returned', 'partially_returned', 'needs_repair'
            ) THEN p.refusal END,
            delivered_at = CASE WHEN p.money_state = 'delivered' THEN p.delivered_at END
        FROM present AS p
        WHERE t.account_no = p.debtor AND t.origin = p.origin AND t.reference = p.reference
            AND t.money_state <> p.money_state
        RETURNING t.account_no, t.origin, t.reference, t.money_state
    )
    INSERT INTO ledger.transfer_event (
        account_no, origin, reference, n, happened_at, business_date, money_state, cause
    )
    SELECT c.account_no, c.origin, c.reference,
           (SELECT coalesce(max(e.n), 0) + 1 FROM ledger.transfer_event AS e
            WHERE (e.account_no, e.origin, e.reference)
                = (c.account_no, c.origin, c.reference)),
           v_now, p_date, c.money_state, p_cause
    FROM changed AS c;
END
$$;

-- Take items whose present attempt was booked at its target from parked to delivered or returned,
-- by compare-and-set, and so lock them, sorted. Items that lost the race, or whose debtor's range
-- is fenced, are left. `p_delivered_at` goes with `p_item`; what is returned goes together.
--
-- The order of the locks is that in which UPDATE meets the rows. Both sides of its join come
-- sorted: one by itself, the other out of the primary key, as the state is asked for in words
-- that no index of open items answers. Through such a one every open item would be looked at.
CREATE OR REPLACE FUNCTION ledger.close_items(
    p_item uuid[], p_attempt integer[], p_booked_on smallint[], p_delivered_at timestamptz[],
    p_date date,
    OUT items uuid[], OUT debtors bigint[], OUT origins ledger.origin[], OUT refs text[],
    OUT amounts numeric[], OUT states ledger.item_state[],
    OUT refusals ledger.outcome[], OUT delivered_at timestamptz[]
)
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off SET enable_nestloop = off
SET enable_bitmapscan = off AS $$
DECLARE
    v_now CONSTANT timestamptz := ledger.now();
    v_fenced CONSTANT int8multirange := (
        SELECT coalesce(range_agg(int8range(r.lo, r.hi)), '{}')
        FROM ledger.owned_range AS r WHERE r.state = 'FENCED'
    );
BEGIN
    WITH wanted AS MATERIALIZED (
        SELECT w.* FROM unnest(p_item, p_attempt, p_booked_on, p_delivered_at)
            AS w (item_id, attempt, booked_on, delivered_at)
        ORDER BY w.item_id
    ), closed AS (
        UPDATE ledger.suspense_item AS i
        SET state = CASE WHEN i.target = i.debtor THEN 'returned'
                         ELSE 'delivered' END::ledger.item_state,
            settled_at = v_now, settled_on = p_date, booked_on = w.booked_on
        FROM wanted AS w
        WHERE i.item_id = ANY (p_item) AND i.item_id = w.item_id AND i.attempt = w.attempt
            AND i.state IS NOT DISTINCT FROM 'parked'::ledger.item_state
            AND NOT i.debtor <@ v_fenced
        RETURNING i.item_id, i.debtor, i.origin, i.reference, i.amount, i.state,
                  i.last_refusal, w.delivered_at
    )
    SELECT array_agg(c.item_id), array_agg(c.debtor), array_agg(c.origin), array_agg(c.reference),
           array_agg(c.amount), array_agg(c.state), array_agg(c.last_refusal),
           array_agg(c.delivered_at)
    INTO items, debtors, origins, refs, amounts, states, refusals, delivered_at
    FROM closed AS c;
END
$$;

-- Tell what became of transfers whose whole amount was one item, closed just now, as
-- ledger.tell_transfers does of all others. Returns how many were told.
CREATE OR REPLACE FUNCTION ledger.tell_closed(
    p_debtor bigint[], p_origin ledger.origin[], p_reference text[], p_amount numeric[],
    p_state ledger.item_state[], p_refusal ledger.outcome[], p_delivered_at timestamptz[],
    p_date date
) RETURNS integer
LANGUAGE plpgsql VOLATILE SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_now CONSTANT timestamptz := ledger.now();
    v_owned CONSTANT int8multirange := (
        SELECT coalesce(range_agg(int8range(r.lo, r.hi)), '{}')
        FROM ledger.owned_range AS r WHERE r.state = 'OWNED'
    );
    v_told integer;
BEGIN
    WITH ended AS MATERIALIZED (
        SELECT c.* FROM unnest(
            p_debtor, p_origin, p_reference, p_amount, p_state::text[], p_refusal, p_delivered_at
        ) AS c (debtor, origin, reference, amount, state, refusal, delivered_at)
        WHERE c.debtor <@ v_owned
        ORDER BY c.debtor, c.origin, c.reference
    ), changed AS (
        UPDATE ledger.transfer AS t
        SET money_state = c.state::ledger.money_state,
            return_code = CASE WHEN c.state = 'returned' THEN c.refusal END,
            delivered_at = CASE WHEN c.state = 'delivered' THEN c.delivered_at END
        FROM ended AS c
        WHERE t.account_no = c.debtor AND t.origin = c.origin AND t.reference = c.reference
            AND t.amount = c.amount
        RETURNING t.account_no, t.origin, t.reference, t.money_state
    )
    INSERT INTO ledger.transfer_event (
        account_no, origin, reference, n, happened_at, business_date, money_state, cause
    )
    SELECT c.account_no, c.origin, c.reference,
           (SELECT coalesce(max(e.n), 0) + 1 FROM ledger.transfer_event AS e
            WHERE e.account_no = c.account_no AND e.origin = c.origin
                AND e.reference = c.reference),
           v_now, p_date, c.money_state, 'settled'
    FROM changed AS c;
    GET DIAGNOSTICS v_told = ROW_COUNT;
    RETURN v_told;
END
$$;

-- Close items whose present attempt was booked at its target: one transaction takes them from
-- parked to delivered or returned and moves the sum of just those from suspense to the clearing
-- account of the shard that booked them, one voucher per (booked_on, currency).
CREATE OR REPLACE FUNCTION ledger.settle_v1(
    p_lane integer, p_id uuid, p_item uuid[], p_attempt integer[], p_booked_on smallint[],
    p_delivered_at timestamptz[]
) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_shard smallint;
    v_date date;
    v_closed record;
    v_told integer;
BEGIN
    PERFORM ledger.lock_ranges((
        SELECT array_agg(i.debtor) || (SELECT s.shard * 1000000 FROM ledger.shard_state AS s)
        FROM ledger.suspense_item AS i WHERE i.item_id = ANY (p_item)
    ));
    SELECT s.shard, s.business_date INTO STRICT v_shard, v_date FROM ledger.shard_state AS s;
    v_closed := ledger.close_items(p_item, p_attempt, p_booked_on, p_delivered_at, v_date);
    IF v_closed.items IS NULL THEN
        RETURN 0;
    END IF;

    v_told := ledger.tell_closed(
        v_closed.debtors, v_closed.origins, v_closed.refs, v_closed.amounts, v_closed.states,
        v_closed.refusals, v_closed.delivered_at, v_date
    );
    IF v_told < cardinality(v_closed.items) THEN
        -- Some are parts of transfers, or their debtors live elsewhere.
        PERFORM ledger.lock_items(v_closed.items);
        PERFORM ledger.tell_transfers(
            v_closed.items, v_closed.delivered_at, v_date, 'settled'
        );
    END IF;
    PERFORM ledger.write_settlement(p_lane, p_id, v_closed.items, v_shard, v_date);
    RETURN cardinality(v_closed.items);
END
$$;

-- The vouchers of a settlement: suspense -, clearing(booked_on) +, for the items just closed.
CREATE OR REPLACE FUNCTION ledger.write_settlement(
    p_lane integer, p_id uuid, p_closed uuid[], p_shard smallint, p_date date
) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_voucher record;
    v_leg record;
    v_count integer;
    v_posted_at timestamptz;
BEGIN
    SELECT array_agg(s.suspense) AS home, array_agg(s.clearing) AS creditor,
           array_agg(s.amount) AS amount, array_agg(s.currency) AS currency,
           array_agg('settle:' || p_id || ':' || s.booked_on || ':' || s.currency) AS reference
    INTO v_voucher
    FROM (
        SELECT i.booked_on, i.currency, sum(i.amount) AS amount,
               (p_shard * 1000000 + 100000 + y.account_index * 1000)::bigint AS suspense,
               (p_shard * 1000000 + 200000 + y.account_index * 1000 + i.booked_on)::bigint
                   AS clearing
        FROM ledger.suspense_item AS i
        JOIN ledger.currency AS y ON y.code = i.currency
        WHERE i.item_id = ANY (p_closed)
        GROUP BY i.booked_on, i.currency, y.account_index
    ) AS s;
    v_count := cardinality(v_voucher.home);

    SELECT l.* INTO v_leg FROM ledger.lock_legs(
        p_lane, p_shard, array_fill(true, ARRAY[v_count]), '{}', v_voucher.home,
        array_fill('ordinary'::ledger.kind, ARRAY[v_count]), v_voucher.currency,
        (SELECT array_agg(n.n) FROM generate_series(1, 2 * v_count) AS g (i),
                LATERAL (SELECT (g.i - 1) % v_count + 1) AS n (n)),
        v_voucher.home || v_voucher.creditor,
        (SELECT array_agg(-a.amount) FROM unnest(v_voucher.amount) AS a (amount))
            || v_voucher.amount,
        v_voucher.creditor || v_voucher.home, '{}', '{}'
    ) AS l;
    v_posted_at := ledger.write_entries(
        ledger.now(), p_shard, p_date, v_voucher.home,
        array_fill('system'::ledger.origin, ARRAY[v_count]), v_voucher.reference,
        array_fill(p_id, ARRAY[v_count]), array_fill(p_date, ARRAY[v_count]), v_leg.commands,
        v_leg.accounts, v_leg.buckets, v_leg.amounts,
        array_fill(0::numeric, ARRAY[cardinality(v_leg.commands)]), v_leg.counterparties
    );
    INSERT INTO ledger.transfer (
        account_no, origin, reference, id, request_hash, kind, outcome, money_state, creditor,
        currency, amount, business_date, value_date, posted_at, booked_on, purpose
    )
    SELECT c.home, 'system', c.reference, p_id, '', 'ordinary', 'POSTED', 'posted', c.creditor,
           c.currency, c.amount, p_date, p_date, v_posted_at, p_shard, 'settlement'
    FROM unnest(
        v_voucher.home, v_voucher.reference, v_voucher.creditor, v_voucher.currency,
        v_voucher.amount
    ) AS c (home, reference, creditor, currency, amount);
END
$$;
