-- The one write path of a shard: many commands in, one outcome per command out, one commit.

-- Write the entries of the commands whose outcome is still POSTED, with the figures after each,
-- and move their balances. Legs come sorted by command. Where a debit would take an account with
-- a floor below it, nothing at all is written and the accounts that are short are returned.
CREATE OR REPLACE FUNCTION ledger.write_entries(
    p_outcome ledger.outcome[], p_posted_at timestamptz, p_shard smallint, p_date date,
    p_home bigint[], p_origin ledger.origin[], p_reference text[], p_kind ledger.kind[],
    p_id uuid[], p_value_date date[],
    p_leg_command integer[], p_leg_account bigint[], p_leg_bucket smallint[],
    p_leg_amount numeric[], p_leg_counterparty bigint[]
) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_short bigint[];
    v_is_complete boolean;
BEGIN
    WITH command AS (
        SELECT c.* FROM unnest(p_home, p_origin, p_reference, p_kind, p_id, p_value_date)
            WITH ORDINALITY AS c (home, origin, reference, kind, id, value_date, n)
    ), leg AS (
        SELECT l.*, row_number() OVER w AS place, sum(l.amount) OVER w AS total
        FROM unnest(p_leg_command, p_leg_account, p_leg_bucket, p_leg_amount, p_leg_counterparty)
            WITH ORDINALITY AS l (command, account_no, bucket, amount, counterparty, n)
        WHERE p_outcome[l.command] = 'POSTED'
        WINDOW w AS (PARTITION BY l.account_no, l.bucket ORDER BY l.n ROWS UNBOUNDED PRECEDING)
    ), line AS (
        SELECT l.*, b.ledger + l.total AS ledger_after, b.held, b.seq + l.place AS seq,
               a.overdraft_limit, a.has_floor,
               b.ledger + l.total - b.held
               + CASE WHEN l.bucket = 0 THEN a.overdraft_limit ELSE 0 END AS headroom
        FROM leg AS l
        JOIN ledger.account AS a ON a.account_no = l.account_no
        JOIN ledger.balance AS b ON b.account_no = l.account_no AND b.bucket = l.bucket
    ), short AS MATERIALIZED (
        SELECT DISTINCT l.account_no
        FROM line AS l
        WHERE l.has_floor AND l.amount < 0 AND l.headroom < 0 AND p_kind[l.command] <> 'forced'
    ), written AS (
        INSERT INTO ledger.entry (
            account_no, bucket, business_date, seq, transfer_id, home, origin, reference,
            counterparty, amount, ledger_after, held_after, limit_after, value_date, posted_at,
            booked_on
        )
        SELECT l.account_no, l.bucket, p_date, l.seq, c.id, c.home, c.origin, c.reference,
               l.counterparty, l.amount, l.ledger_after, l.held, l.overdraft_limit,
               coalesce(c.value_date, p_date), p_posted_at, p_shard
        FROM line AS l
        JOIN command AS c ON c.n = l.command
        WHERE NOT EXISTS (TABLE short)
    ), moved AS (
        UPDATE ledger.balance AS b
        SET ledger = last.ledger_after, seq = last.seq, posted_at = p_posted_at
        FROM (
            SELECT DISTINCT ON (l.account_no, l.bucket) l.account_no, l.bucket, l.ledger_after, l.seq
            FROM line AS l
            ORDER BY l.account_no, l.bucket, l.seq DESC
        ) AS last
        WHERE b.account_no = last.account_no AND b.bucket = last.bucket
            AND NOT EXISTS (TABLE short)
    )
    SELECT (SELECT array_agg(s.account_no) FROM short AS s),
           (SELECT count(*) FROM leg) = (SELECT count(*) FROM line)
    INTO v_short, v_is_complete;
    IF NOT v_is_complete THEN
        RAISE EXCEPTION 'a leg has no account or no bucket to be written to'
            USING ERRCODE = 'LG103';
    END IF;
    RETURN v_short;
END
$$;

-- Book a batch of commands. One round trip, one transaction.
--
-- Arrays p_home .. p_narrative describe commands (index = command number, from 1); p_leg_* are
-- their legs, p_item_* the amounts that leave for other shards. Legs and items of a command sum
-- to zero; the leg on this shard's suspense account is added here, so that no caller can park an
-- amount without its item. `p_lane` chooses the bucket of accounts that have several.
--
-- A refused command never disturbs its neighbours. Refusals are stored and replayed, except
-- those of a client that names an unknown or a system account, and those that say "not here" or
-- "not now" (NOT_OWNER, RANGE_MOVING, DATE_NOT_OPEN) or MALFORMED.
CREATE OR REPLACE FUNCTION ledger.post_batch_v1(
    p_lane integer, p_convoy uuid,
    p_home bigint[], p_origin ledger.origin[], p_reference text[], p_kind ledger.kind[],
    p_id uuid[], p_hash bytea[], p_currency text[], p_amount numeric[], p_creditor bigint[],
    p_not_before date[], p_value_date date[], p_detail jsonb[], p_narrative text[],
    p_leg_command integer[], p_leg_account bigint[], p_leg_amount numeric[],
    p_leg_counterparty bigint[],
    p_item_command integer[], p_item_id uuid[], p_item_target bigint[], p_item_amount numeric[]
)
RETURNS TABLE (
    command integer, outcome ledger.outcome, is_replay boolean, transfer_id uuid,
    money_state ledger.money_state, business_date date, posted_at timestamptz,
    booked_on smallint, foreign_account bigint, next_owner smallint, epoch bigint
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_count CONSTANT integer := cardinality(p_home);
    v_shard smallint;
    v_date date;
    v_posted_at timestamptz;
    v_locked_at timestamptz;
    v_last_posted_at timestamptz;
    -- POSTED until something speaks against it.
    v_outcome ledger.outcome[] := array_fill('POSTED'::ledger.outcome, ARRAY[v_count]);
    v_fit_outcome ledger.outcome[];
    -- Whether this batch inserted the command's row, so that it is ours to decide.
    v_claimed boolean[];
    v_refused record;
    v_refusals_command integer[];
    v_refusals_outcome ledger.outcome[];
    v_has_lost_bucket boolean;
    -- The legs of claimed commands and their suspense legs, each with its bucket.
    v_leg record;
    v_gather bigint[] := '{}';
    v_in_order record;
BEGIN
    -- 1. Locks on the business day and on the ranges.
    PERFORM ledger.lock_ranges(p_home || p_leg_account);

    -- 2. In a later statement: the business date, who owns what, and the commands' shape.
    SELECT s.shard, s.business_date INTO STRICT v_shard, v_date FROM ledger.shard_state AS s;
    FOR v_refused IN
        SELECT u.command, u.outcome FROM ledger.unfit_commands(
            v_date, p_home, p_kind, p_currency, p_not_before, p_leg_command, p_leg_account,
            p_leg_amount, p_item_command, p_item_amount
        ) AS u
    LOOP
        v_outcome[v_refused.command] := v_refused.outcome;
    END LOOP;

    -- 3. Claim the references, sorted; whoever comes second waits here and finds an answer.
    v_posted_at := ledger.now();
    WITH asked AS (
        SELECT a.* FROM unnest(
            p_home, p_origin, p_reference, p_kind, p_id, p_hash, p_currency, p_amount, p_creditor,
            p_value_date, p_detail, v_outcome
        ) WITH ORDINALITY AS a (
            home, origin, reference, kind, id, hash, currency, amount, creditor, value_date,
            detail, outcome, n
        )
    ), first AS (
        SELECT DISTINCT ON (a.home, a.origin, a.reference) a.*, i.command IS NOT NULL AS has_items
        FROM asked AS a
        LEFT JOIN (SELECT DISTINCT u.command FROM unnest(p_item_command) AS u (command)) AS i
            ON i.command = a.n
        WHERE a.outcome = 'POSTED'
        ORDER BY a.home, a.origin, a.reference, a.n
    ), claimed AS (
        INSERT INTO ledger.transfer AS t (
            account_no, origin, reference, id, request_hash, kind, outcome, money_state, creditor,
            currency, amount, business_date, value_date, posted_at, booked_on, convoy, channel,
            actor, purpose, correlation_id, end_to_end_id, trace_id
        )
        SELECT f.home, f.origin, f.reference, f.id, f.hash, f.kind,
               CASE WHEN f.kind = 'tombstone' THEN 'RECALLED' ELSE 'POSTED' END::ledger.outcome,
               CASE WHEN f.kind = 'tombstone' THEN 'none' WHEN f.has_items THEN 'in_transit'
                    ELSE 'posted' END::ledger.money_state,
               f.creditor, f.currency, f.amount, v_date, coalesce(f.value_date, v_date),
               v_posted_at, v_shard, CASE WHEN f.has_items THEN p_convoy END,
               f.detail ->> 'channel', f.detail ->> 'actor', f.detail ->> 'purpose',
               f.detail ->> 'correlation_id', f.detail ->> 'end_to_end_id',
               f.detail ->> 'trace_id'
        FROM first AS f
        ORDER BY f.home, f.origin, f.reference
        ON CONFLICT DO NOTHING
        RETURNING t.account_no, t.origin, t.reference
    )
    SELECT array_agg(c.account_no IS NOT NULL ORDER BY a.n) INTO v_claimed
    FROM asked AS a
    LEFT JOIN first AS f ON f.n = a.n
    LEFT JOIN claimed AS c
        ON c.account_no = f.home AND c.origin = f.origin AND c.reference = f.reference;

    FOR v_refused IN
        SELECT c.n FROM unnest(v_claimed, p_kind) WITH ORDINALITY AS c (is_claimed, kind, n)
        WHERE c.is_claimed AND c.kind = 'tombstone'
    LOOP
        v_outcome[v_refused.n] := 'RECALLED';
    END LOOP;
    v_fit_outcome := v_outcome;

    WHILE true = ANY (v_claimed) LOOP
        BEGIN
            -- 4. Lock the balances touched, in the order of (account, bucket).
            SELECT * INTO v_leg FROM ledger.legs_to_book(
                p_lane, v_shard, v_claimed, p_home, p_currency, p_leg_command, p_leg_account,
                p_leg_amount, p_leg_counterparty, p_item_command, p_item_amount
            );
            PERFORM FROM ledger.balance AS b
            JOIN (
                SELECT l.account_no, l.bucket
                FROM unnest(v_leg.accounts, v_leg.buckets) AS l (account_no, bucket)
                UNION
                SELECT w.account_no, w.bucket
                FROM ledger.balance AS w WHERE w.account_no = ANY (v_gather)
            ) AS touched ON touched.account_no = b.account_no AND touched.bucket = b.bucket
            ORDER BY b.account_no, b.bucket
            FOR NO KEY UPDATE OF b;

            -- 5. In a later statement: status, currency and buckets as they are under the locks.
            v_outcome := v_fit_outcome;
            v_locked_at := ledger.now();
            WITH judged AS (
                SELECT l.command, b.posted_at,
                       a.bucket_count > 0 AND b.account_no IS NULL AS has_lost_bucket,
                       CASE
                       WHEN c.origin <> 'system' AND l.account_no < 1000000000
                           AND NOT l.is_suspense
                           AND NOT (c.origin = 'delivery' AND a.kind = 'clearing')
                       THEN 'SYSTEM_ACCOUNT'
                       WHEN a.account_no IS NULL THEN 'ACCOUNT_UNKNOWN'
                       WHEN a.status = 'closed' THEN 'ACCOUNT_CLOSED'
                       WHEN a.status = 'frozen' AND c.kind = 'ordinary' THEN 'ACCOUNT_FROZEN'
                       WHEN a.currency <> c.currency THEN 'CURRENCY_MISMATCH'
                       END::ledger.outcome AS refusal
                FROM unnest(v_leg.commands, v_leg.accounts, v_leg.buckets, v_leg.suspense)
                    AS l (command, account_no, bucket, is_suspense)
                JOIN unnest(p_origin, p_kind, p_currency)
                    WITH ORDINALITY AS c (origin, kind, currency, n) ON c.n = l.command
                LEFT JOIN ledger.account AS a ON a.account_no = l.account_no
                LEFT JOIN ledger.balance AS b
                    ON b.account_no = l.account_no AND b.bucket = l.bucket
            )
            SELECT max(j.posted_at), coalesce(bool_or(j.has_lost_bucket), false),
                   array_agg(j.command) FILTER (WHERE j.refusal IS NOT NULL),
                   array_agg(j.refusal) FILTER (WHERE j.refusal IS NOT NULL)
            INTO v_last_posted_at, v_has_lost_bucket, v_refusals_command, v_refusals_outcome
            FROM judged AS j;
            IF v_has_lost_bucket THEN
                RAISE EXCEPTION 'a bucket was drained meanwhile' USING ERRCODE = 'LG901';
            END IF;
            FOR v_refused IN
                SELECT r.command, min(r.outcome) AS outcome
                FROM unnest(v_refusals_command, v_refusals_outcome) AS r (command, outcome)
                GROUP BY r.command
            LOOP
                v_outcome[v_refused.command] := v_refused.outcome;
            END LOOP;

            -- One time for the whole batch, never backwards within a bucket: that of the claim,
            -- unless the locks had to be waited for.
            IF v_last_posted_at > v_posted_at OR v_locked_at > v_posted_at + interval '10 ms' THEN
                v_posted_at := greatest(v_posted_at, v_locked_at, v_last_posted_at);
                UPDATE ledger.transfer AS t SET posted_at = v_posted_at
                FROM unnest(p_home, p_origin, p_reference, v_claimed)
                    AS c (home, origin, reference, is_claimed)
                WHERE c.is_claimed AND t.account_no = c.home AND t.origin = c.origin
                    AND t.reference = c.reference;
            END IF;

            -- 6. Write; where an account is short, decide command by command and write again.
            IF ledger.write_entries(
                v_outcome, v_posted_at, v_shard, v_date, p_home, p_origin, p_reference, p_kind,
                p_id, p_value_date, v_leg.commands, v_leg.accounts, v_leg.buckets, v_leg.amounts,
                v_leg.counterparties
            ) IS NOT NULL THEN
                v_in_order := ledger.decide_in_order(
                    v_leg.commands, v_leg.accounts, v_leg.buckets, v_leg.amounts,
                    v_leg.counterparties, p_kind, v_gather, v_outcome
                );
                IF v_in_order.gather <> '{}' THEN
                    v_gather := v_gather || v_in_order.gather;
                    RAISE EXCEPTION 'every bucket must be locked' USING ERRCODE = 'LG901';
                END IF;
                v_outcome := v_in_order.outcomes;
                IF ledger.write_entries(
                    v_outcome, v_posted_at, v_shard, v_date, p_home, p_origin, p_reference,
                    p_kind, p_id, p_value_date, v_in_order.commands, v_in_order.accounts,
                    v_in_order.buckets, v_in_order.amounts, v_in_order.counterparties
                ) IS NOT NULL THEN
                    RAISE EXCEPTION 'an account is short after its commands were decided'
                        USING ERRCODE = 'LG103';
                END IF;
            END IF;
            EXIT;
        EXCEPTION WHEN SQLSTATE 'LG901' THEN
            -- The savepoint has let go of every balance; lock again with what was learnt.
            NULL;
        END;
    END LOOP;

    IF v_outcome IS DISTINCT FROM v_fit_outcome THEN
        PERFORM ledger.correct_refused(v_claimed, v_outcome, p_home, p_origin, p_reference);
    END IF;
    INSERT INTO ledger.narrative (account_no, origin, reference, content)
    SELECT c.home, c.origin, c.reference, c.narrative
    FROM unnest(p_home, p_origin, p_reference, p_narrative, v_outcome, v_claimed)
        AS c (home, origin, reference, narrative, outcome, is_claimed)
    WHERE c.narrative IS NOT NULL AND c.is_claimed AND c.outcome = 'POSTED';
    IF cardinality(p_item_command) > 0 THEN
        INSERT INTO ledger.suspense_item (
            item_id, debtor, origin, reference, transfer_id, target, amount, currency,
            business_date, value_date, convoy, parked_at
        )
        SELECT i.item_id, c.home, c.origin, c.reference, c.id, i.target, i.amount, c.currency,
               v_date, coalesce(c.value_date, v_date), p_convoy, v_posted_at
        FROM unnest(p_item_command, p_item_id, p_item_target, p_item_amount)
            AS i (command, item_id, target, amount)
        JOIN unnest(
            p_home, p_origin, p_reference, p_id, p_currency, p_value_date, v_outcome, v_claimed
        ) WITH ORDINALITY AS c (
            home, origin, reference, id, currency, value_date, outcome, is_claimed, n
        ) ON c.n = i.command
        WHERE c.is_claimed AND c.outcome = 'POSTED';
    END IF;

    -- 7. Answer: what was decided now, what was stored before, what a twin in this batch got.
    RETURN QUERY
    SELECT a.n::integer,
           CASE
           WHEN a.is_ours THEN a.outcome
           WHEN coalesce(t.request_hash, twin.hash) = a.hash THEN coalesce(t.outcome, twin.outcome)
           ELSE 'REFERENCE_REUSED'
           END,
           NOT a.is_ours,
           coalesce(t.id, a.id),
           CASE WHEN NOT a.is_ours THEN coalesce(t.money_state, 'none')
                WHEN a.outcome <> 'POSTED' THEN 'none'
                WHEN a.n = ANY (p_item_command) THEN 'in_transit'
                ELSE 'posted' END::ledger.money_state,
           coalesce(t.business_date, v_date), coalesce(t.posted_at, v_posted_at),
           coalesce(t.booked_on, v_shard), away.account_no, away.next_owner, away.epoch
    FROM (
        SELECT q.*, q.is_claimed OR q.outcome <> 'POSTED' AS is_ours
        FROM unnest(p_home, p_origin, p_reference, p_id, p_hash, v_outcome, v_claimed)
            WITH ORDINALITY AS q (home, origin, reference, id, hash, outcome, is_claimed, n)
    ) AS a
    LEFT JOIN ledger.transfer AS t
        ON NOT a.is_ours AND t.account_no = a.home AND t.origin = a.origin
        AND t.reference = a.reference
    LEFT JOIN LATERAL (
        SELECT w.hash, w.outcome
        FROM unnest(p_home, p_origin, p_reference, p_hash, v_outcome, v_claimed)
            AS w (home, origin, reference, hash, outcome, is_claimed)
        WHERE NOT a.is_ours AND t.account_no IS NULL AND w.is_claimed
            AND w.home = a.home AND w.origin = a.origin AND w.reference = a.reference
    ) AS twin ON true
    LEFT JOIN LATERAL (
        SELECT n.account_no, r.next_owner, r.epoch
        FROM (
            SELECT a.home AS account_no UNION ALL
            SELECT l.account_no FROM unnest(p_leg_command, p_leg_account)
                AS l (command, account_no) WHERE l.command = a.n
        ) AS n
        LEFT JOIN ledger.owned_range AS r ON n.account_no >= r.lo AND n.account_no < r.hi
        WHERE a.outcome IN ('NOT_OWNER', 'RANGE_MOVING') AND r.state IS DISTINCT FROM 'OWNED'
        LIMIT 1
    ) AS away ON true
    ORDER BY a.n;
END
$$;
