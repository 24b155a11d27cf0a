-- The usual end of a posting: every command can be booked, whatever their order.

-- Move each balance by the sum of the legs that are to be booked, and so lock it, in the order of
-- (account, bucket). Returns the figures before, and the latest time of an entry of theirs, at
-- least `p_now`. `is_whole` tells whether every balance was there.
--
-- The locks' order is that in which UPDATE meets the rows: nothing but a nested loop over the
-- sorted parts will do. Without the other joins, and on connections that avoid sequential scans,
-- the planner has no other order.
CREATE OR REPLACE FUNCTION ledger.move_balances(
    p_lane integer, p_shard smallint, p_now timestamptz, p_claimed boolean[], p_home bigint[],
    p_currency text[], p_leg_command integer[], p_leg_account bigint[], p_leg_amount numeric[],
    p_item_command integer[], p_item_amount numeric[],
    OUT accounts bigint[], OUT buckets smallint[], OUT ledgers numeric[], OUT held numeric[],
    OUT seqs bigint[], OUT last_at timestamptz, OUT legs numeric, OUT is_whole boolean
)
LANGUAGE plpgsql VOLATILE SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
BEGIN
    WITH part AS MATERIALIZED (
        SELECT l.account_no, coalesce(p_lane % a.bucket_count, 0)::smallint AS bucket,
               sum(l.amount) AS amount, count(*) AS legs
        FROM ledger.claimed_legs(
            p_shard, p_claimed, p_home, p_currency, p_leg_command, p_leg_account, p_leg_amount,
            '{}', p_item_command, p_item_amount
        ) AS l
        LEFT JOIN ledger.account AS a ON a.account_no = l.account_no
        GROUP BY 1, 2
        ORDER BY 1, 2
    ), moved AS (
        UPDATE ledger.balance AS b
        SET ledger = b.ledger + p.amount, seq = b.seq + p.legs,
            posted_at = greatest(b.posted_at, p_now)
        FROM part AS p
        WHERE b.account_no = p.account_no AND b.bucket = p.bucket
        RETURNING b.account_no, b.bucket, b.ledger - p.amount AS ledger, b.held,
                  b.seq - p.legs AS seq, b.posted_at
    )
    SELECT array_agg(m.account_no), array_agg(m.bucket), array_agg(m.ledger), array_agg(m.held),
           array_agg(m.seq), greatest(p_now, max(m.posted_at)),
           (SELECT coalesce(sum(p.legs), 0) FROM part AS p),
           count(*) = (SELECT count(*) FROM part)
    INTO accounts, buckets, ledgers, held, seqs, last_at, legs, is_whole
    FROM moved AS m;
END
$$;

-- Book all claimed commands at once: move the balances, then, in a later statement and under
-- their locks, ask the accounts and write the entries. Returns the time of all these entries:
-- `p_claimed_at`, or later where more than a moment has passed since `p_began_at`, as where locks
-- were waited for, or where a bucket has a later time already.
--
-- NULL where an account speaks against a leg, could run short on the way, or lost its bucket: what
-- this has moved must then be undone, and the commands decided one by one. For commands without
-- terms, none of them forced.
CREATE OR REPLACE FUNCTION ledger.write_at_once(
    p_lane integer, p_shard smallint, p_date date, p_claimed_at timestamptz,
    p_began_at timestamptz, p_claimed boolean[], p_home bigint[], p_origin ledger.origin[],
    p_reference text[], p_kind ledger.kind[], p_id uuid[], p_currency text[],
    p_value_date date[], p_leg_command integer[], p_leg_account bigint[], p_leg_amount numeric[],
    p_leg_counterparty bigint[], p_item_command integer[], p_item_amount numeric[]
) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_posted_at timestamptz;
    v_moved record;
    v_entries bigint;
BEGIN
    v_moved := ledger.move_balances(
        p_lane, p_shard, p_claimed_at, p_claimed, p_home, p_currency, p_leg_command,
        p_leg_account, p_leg_amount, p_item_command, p_item_amount
    );
    IF NOT v_moved.is_whole THEN
        RETURN NULL;
    END IF;

    v_posted_at := v_moved.last_at;
    IF clock_timestamp() > p_began_at + interval '50 ms' THEN
        v_posted_at := greatest(v_posted_at, ledger.now());
    END IF;
    IF v_posted_at > p_claimed_at THEN
        UPDATE ledger.balance AS b SET posted_at = v_posted_at
        FROM unnest(v_moved.accounts, v_moved.buckets) AS m (account_no, bucket)
        WHERE b.account_no = m.account_no AND b.bucket = m.bucket;
    END IF;

    WITH line AS MATERIALIZED (
        SELECT l.command, l.account_no, l.amount, l.counterparty, l.is_suspense,
               f.bucket, f.held, a.overdraft_limit - a.minimum_balance AS limit_after,
               a.kind, a.status, a.currency, a.has_floor, a.credits_when_frozen,
               f.ledger + sum(l.amount) OVER w AS ledger_after,
               f.seq + row_number() OVER w AS seq
        FROM ledger.claimed_legs(
            p_shard, p_claimed, p_home, p_currency, p_leg_command, p_leg_account, p_leg_amount,
            p_leg_counterparty, p_item_command, p_item_amount
        ) AS l
        JOIN unnest(
            v_moved.accounts, v_moved.buckets, v_moved.ledgers, v_moved.held, v_moved.seqs
        ) AS f (account_no, bucket, ledger, held, seq) ON f.account_no = l.account_no
        JOIN ledger.account AS a ON a.account_no = l.account_no
        WINDOW w AS (PARTITION BY l.account_no ORDER BY l.command, l.n ROWS UNBOUNDED PRECEDING)
    ), verdict AS MATERIALIZED (
        SELECT FROM line AS l
        HAVING NOT coalesce(bool_or(
            ledger.refusal_of(
                p_origin[l.command], p_kind[l.command], p_currency[l.command], l.account_no,
                l.is_suspense, l.amount < 0, l.amount > 0, l.kind, l.status, l.currency,
                l.credits_when_frozen
            ) IS NOT NULL OR (
                l.amount < 0 AND l.has_floor AND (
                    l.ledger_after - l.held
                        + CASE WHEN l.bucket = 0 THEN l.limit_after ELSE 0 END < 0
                    -- Bucket 0 below its floor owes what the others hold.
                    OR l.bucket > 0 AND (
                        SELECT z.ledger - z.held + l.limit_after < 0 FROM ledger.balance AS z
                        WHERE z.account_no = l.account_no AND z.bucket = 0
                    )
                )
            ) OR (l.account_no >= 1000000000 AND abs(l.ledger_after) >= 100000000000000)
        ), false)
    )
    INSERT INTO ledger.entry (
        account_no, bucket, business_date, seq, transfer_id, home, origin, reference,
        counterparty, amount, held_delta, ledger_after, held_after, limit_after, value_date,
        posted_at, booked_on
    )
    SELECT l.account_no, l.bucket, p_date, l.seq, p_id[l.command], p_home[l.command],
           p_origin[l.command], p_reference[l.command], l.counterparty, l.amount, 0,
           l.ledger_after, l.held, l.limit_after, coalesce(p_value_date[l.command], p_date),
           v_posted_at, p_shard
    FROM verdict, line AS l;
    GET DIAGNOSTICS v_entries = ROW_COUNT;
    IF v_entries NOT IN (0, v_moved.legs) THEN
        RAISE EXCEPTION 'a balance was moved without its entry' USING ERRCODE = 'LG103';
    END IF;
    RETURN CASE WHEN v_entries = v_moved.legs THEN v_posted_at END;
END
$$;
