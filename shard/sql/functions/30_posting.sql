-- The one write path of a shard: many commands in, one outcome per command out, one commit.

-- Write the entries of legs that were decided in order, with the figures after each, and move
-- their balances. Legs come sorted by command. Returns the time of all these entries: `p_now`, or
-- later where a bucket has a later one already.
--
-- What belongs to commands is taken from their arrays where it is needed: joined to the legs, it
-- would be sorted and stored with them again and again.
CREATE OR REPLACE FUNCTION ledger.write_entries(
    p_now timestamptz, p_shard smallint, p_date date,
    p_home bigint[], p_origin ledger.origin[], p_reference text[], p_id uuid[],
    p_value_date date[], p_leg_command integer[], p_leg_account bigint[],
    p_leg_bucket smallint[], p_leg_amount numeric[], p_leg_held numeric[],
    p_leg_counterparty bigint[],
    OUT posted_at timestamptz
)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_entries bigint;
BEGIN
    SELECT greatest(p_now, max(b.posted_at)) INTO posted_at
    FROM unnest(p_leg_account, p_leg_bucket) AS l (account_no, bucket)
    JOIN ledger.balance AS b ON b.account_no = l.account_no AND b.bucket = l.bucket;

    WITH line AS MATERIALIZED (
        SELECT l.command, l.leg_n, l.account_no, l.bucket, l.amount, l.held_delta,
               b.ledger + sum(l.amount) OVER w AS ledger_after,
               b.held + sum(l.held_delta) OVER w AS held_after,
               b.seq + row_number() OVER w AS seq,
               a.overdraft_limit - a.minimum_balance AS limit_after
        FROM unnest(p_leg_command, p_leg_account, p_leg_bucket, p_leg_amount, p_leg_held)
            WITH ORDINALITY AS l (command, account_no, bucket, amount, held_delta, leg_n)
        JOIN ledger.account AS a ON a.account_no = l.account_no
        JOIN ledger.balance AS b ON b.account_no = l.account_no AND b.bucket = l.bucket
        WINDOW w AS (PARTITION BY l.account_no, l.bucket ORDER BY l.leg_n ROWS UNBOUNDED PRECEDING)
    ), moved AS (
        UPDATE ledger.balance AS b
        SET ledger = last.ledger_after, held = last.held_after, seq = last.seq,
            posted_at = write_entries.posted_at
        FROM (
            SELECT DISTINCT ON (l.account_no, l.bucket)
                   l.account_no, l.bucket, l.ledger_after, l.held_after, l.seq
            FROM line AS l
            ORDER BY l.account_no, l.bucket, l.seq DESC
        ) AS last
        WHERE b.account_no = last.account_no AND b.bucket = last.bucket
    )
    INSERT INTO ledger.entry (
        account_no, bucket, business_date, seq, transfer_id, home, origin, reference,
        counterparty, amount, held_delta, ledger_after, held_after, limit_after, value_date,
        posted_at, booked_on
    )
    SELECT l.account_no, l.bucket, p_date, l.seq, p_id[l.command], p_home[l.command],
           p_origin[l.command], p_reference[l.command], p_leg_counterparty[l.leg_n],
           l.amount, l.held_delta, l.ledger_after, l.held_after, l.limit_after,
           coalesce(p_value_date[l.command], p_date), write_entries.posted_at, p_shard
    FROM line AS l;
    GET DIAGNOSTICS v_entries = ROW_COUNT;
    IF v_entries <> cardinality(p_leg_command) THEN
        RAISE EXCEPTION 'a leg has no account, or no such bucket' USING ERRCODE = 'LG103';
    END IF;
END
$$;

-- Book a batch of commands. One round trip, one transaction.
--
-- Arrays p_home .. p_terms describe commands (index = command number, from 1); p_leg_* are
-- their legs, p_item_* the amounts that leave for other shards. Legs and items of a command sum
-- to zero; the leg on this shard's suspense account is added here, so that no caller can park an
-- amount without its item. `p_lane` chooses the bucket of accounts that have several. What
-- `p_terms` may hold is told at the top of 22_terms.sql. With `p_is_atomic` either all commands
-- are booked, or none: then LG301 is raised with their answers as its detail.
--
-- A refused command never disturbs its neighbours. Refusals are stored and replayed, except
-- those of a client that names an unknown or a system account, and those that say "not here" or
-- "not now" (NOT_OWNER, RANGE_MOVING, DATE_NOT_OPEN) or MALFORMED.
CREATE OR REPLACE FUNCTION ledger.post_batch_v2(
    p_lane integer, p_convoy uuid,
    p_home bigint[], p_origin ledger.origin[], p_reference text[], p_kind ledger.kind[],
    p_id uuid[], p_hash bytea[], p_currency text[], p_amount numeric[], p_creditor bigint[],
    p_not_before date[], p_value_date date[], p_detail jsonb[], p_narrative text[],
    p_terms jsonb[],
    p_leg_command integer[], p_leg_account bigint[], p_leg_amount numeric[],
    p_leg_counterparty bigint[],
    p_item_command integer[], p_item_id uuid[], p_item_target bigint[], p_item_amount numeric[],
    p_is_atomic boolean
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
    v_claimed_at timestamptz;
    v_began_at timestamptz;
    v_locked_at timestamptz;
    v_posted_at timestamptz;
    -- POSTED until something speaks against it.
    v_outcome ledger.outcome[] := array_fill('POSTED'::ledger.outcome, ARRAY[v_count]);
    v_fit_outcome ledger.outcome[];
    -- Whether this batch inserted the command's row, so that it is ours to decide.
    v_claim record;
    v_claims integer;
    v_claimed boolean[] := array_fill(true, ARRAY[v_count]);
    v_unfit record;
    v_leg record;
    v_gather bigint[] := '{}';
    v_in_order record;
    v_has_terms CONSTANT boolean := array_remove(p_terms, NULL) <> '{}';
    -- Whether commands must be decided one after the other: those with terms, and those after a
    -- forced one, which may take bucket 0 below the floor that other buckets still see.
    v_is_ordered CONSTANT boolean := v_has_terms OR 'forced' = ANY (p_kind);
    v_is_first_try boolean := NOT v_is_ordered;
BEGIN
    -- 1. Locks on the business day and on the ranges.
    PERFORM ledger.lock_ranges(p_home || p_leg_account);

    -- 2. In a later statement: the business date, who owns what, and the commands' shape.
    SELECT s.shard, s.business_date INTO STRICT v_shard, v_date FROM ledger.shard_state AS s;
    FOR v_unfit IN
        SELECT u.command, u.outcome FROM ledger.unfit_commands(
            v_date, p_home, p_origin, p_reference, p_kind, p_currency, p_amount, p_not_before,
            p_terms, p_leg_command, p_leg_account, p_leg_amount, p_item_command, p_item_amount
        ) AS u
    LOOP
        v_outcome[v_unfit.command] := v_unfit.outcome;
    END LOOP;

    -- 3. Claim the references, sorted; whoever comes second waits here and finds an answer.
    v_began_at := clock_timestamp();
    v_claimed_at := ledger.now();
    v_claim := ledger.claim_references(
        v_outcome, v_claimed_at, v_shard, v_date, p_convoy, p_home, p_origin, p_reference, p_kind,
        p_id, p_hash, p_currency, p_amount, p_creditor, p_value_date, p_detail, p_item_command
    );
    v_claims := coalesce(cardinality(v_claim.refs), 0);
    IF v_claims < v_count THEN
        v_claimed := ledger.own_claims(
            v_outcome, p_home, p_origin, p_reference, v_claim.homes, v_claim.origins, v_claim.refs
        );
    END IF;
    IF 'tombstone' = ANY (p_kind) THEN
        FOR v_unfit IN
            SELECT c.n FROM unnest(v_claimed, p_kind) WITH ORDINALITY AS c (is_claimed, kind, n)
            WHERE c.is_claimed AND c.kind = 'tombstone'
        LOOP
            v_outcome[v_unfit.n] := 'RECALLED';
        END LOOP;
    END IF;
    v_fit_outcome := v_outcome;
    IF v_has_terms THEN
        PERFORM ledger.lock_reversed_credits(v_claimed, p_home, p_id, p_terms);
    END IF;

    WHILE v_claims > 0 LOOP
        BEGIN
            -- Nearly always all of it can be booked, and the shortest way to know is to do it.
            IF v_is_first_try THEN
                v_is_first_try := false;
                v_posted_at := ledger.write_at_once(
                    p_lane, v_shard, v_date, v_claimed_at, v_began_at, v_claimed, p_home, p_origin,
                    p_reference, p_kind, p_id, p_currency, p_value_date, p_leg_command,
                    p_leg_account, p_leg_amount, p_leg_counterparty, p_item_command, p_item_amount
                );
                EXIT WHEN v_posted_at IS NOT NULL;
                RAISE EXCEPTION 'not all of it can be booked' USING ERRCODE = 'LG901';
            END IF;

            -- 4. Lock the balances touched, in the order of (account, bucket).
            SELECT l.* INTO v_leg FROM ledger.lock_legs(
                p_lane, v_shard, v_claimed, v_gather, p_home, p_kind, p_currency, p_leg_command,
                p_leg_account, p_leg_amount, p_leg_counterparty, p_item_command, p_item_amount
            ) AS l;
            v_outcome := v_fit_outcome;

            -- One time for the whole batch: that of the claim, unless a reference or a lock was
            -- waited for. Claiming and locking a large batch is 20 ms of work by itself.
            v_locked_at := v_claimed_at;
            IF clock_timestamp() > v_began_at + interval '50 ms' THEN
                v_locked_at := ledger.now();
            END IF;

            -- 5 and 6. In later statements, under the locks: ask the accounts, then for the funds
            -- in order, and write what they can bear.
            v_outcome := ledger.judge_accounts(
                p_origin, p_kind, p_currency, v_leg.commands, v_leg.accounts, v_leg.buckets,
                v_leg.amounts, v_leg.suspense, v_outcome
            );
            v_in_order := ledger.decide_in_order(
                v_leg.commands, v_leg.accounts, v_leg.buckets, v_leg.amounts,
                v_leg.counterparties, p_kind, v_gather, p_home, p_amount, p_creditor, p_terms,
                v_locked_at, v_outcome,
                CASE WHEN v_has_terms THEN ledger.state_of_terms(p_home, p_terms) ELSE '{}' END
            );
            IF v_in_order.gather <> '{}' THEN
                v_gather := v_gather || v_in_order.gather;
                RAISE EXCEPTION 'every bucket must be locked' USING ERRCODE = 'LG901';
            END IF;
            v_outcome := v_in_order.outcomes;
            v_posted_at := ledger.write_entries(
                v_locked_at, v_shard, v_date, p_home, p_origin, p_reference, p_id, p_value_date,
                v_in_order.commands, v_in_order.accounts, v_in_order.buckets, v_in_order.amounts,
                v_in_order.held, v_in_order.counterparties
            );
            IF v_has_terms THEN
                PERFORM ledger.write_terms(v_in_order.state, v_posted_at);
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
    IF v_posted_at > v_claimed_at THEN
        PERFORM ledger.restamp_claims(v_claimed, v_posted_at, p_home, p_origin, p_reference);
    END IF;
    v_posted_at := coalesce(v_posted_at, v_claimed_at);
    IF array_remove(p_narrative, NULL) <> '{}' THEN
        INSERT INTO ledger.narrative (account_no, origin, reference, content)
        SELECT c.home, c.origin, c.reference, c.narrative
        FROM unnest(p_home, p_origin, p_reference, p_narrative, v_outcome, v_claimed)
            AS c (home, origin, reference, narrative, outcome, is_claimed)
        WHERE c.narrative IS NOT NULL AND c.is_claimed AND c.outcome = 'POSTED';
    END IF;
    IF p_item_command <> '{}' THEN
        INSERT INTO ledger.suspense_item (
            item_id, debtor, origin, reference, transfer_id, target, amount, currency,
            business_date, value_date, convoy, kind, parked_at
        )
        SELECT i.item_id, c.home, c.origin, c.reference, c.id, i.target, i.amount, c.currency,
               v_date, coalesce(c.value_date, v_date), p_convoy,
               CASE WHEN c.kind = 'forced' THEN 'forced' WHEN c.origin = 'reversal' THEN 'return'
                    ELSE 'ordinary' END::ledger.kind, v_claimed_at
        FROM unnest(p_item_command, p_item_id, p_item_target, p_item_amount)
            AS i (command, item_id, target, amount)
        JOIN unnest(
            p_home, p_origin, p_reference, p_kind, p_id, p_currency, p_value_date, v_outcome,
            v_claimed
        ) WITH ORDINALITY AS c (
            home, origin, reference, kind, id, currency, value_date, outcome, is_claimed, n
        ) ON c.n = i.command
        WHERE c.is_claimed AND c.outcome = 'POSTED';
    END IF;

    -- 7. Answer.
    IF p_is_atomic THEN
        PERFORM ledger.abort_unless_booked(
            v_shard, v_date, v_posted_at, v_claimed, v_outcome, p_home, p_origin, p_reference,
            p_kind, p_id, p_hash, p_leg_command, p_leg_account, p_item_command
        );
    END IF;
    IF v_claims = v_count THEN
        RETURN QUERY
        SELECT a.n::integer, a.outcome, false, a.id,
               CASE WHEN a.outcome <> 'POSTED' OR (
                        v_has_terms AND p_kind[a.n] IN ('hold', 'increase', 'void', 'expire')
                    ) THEN 'none'
                    WHEN p_item_command <> '{}' AND a.n = ANY (p_item_command) THEN 'in_transit'
                    ELSE 'posted' END::ledger.money_state,
               v_date, v_posted_at, v_shard, NULL::bigint, NULL::smallint, NULL::bigint
        FROM unnest(p_id, v_outcome) WITH ORDINALITY AS a (id, outcome, n);
    ELSE
        RETURN QUERY SELECT * FROM ledger.answers(
            v_shard, v_date, v_posted_at, v_claimed, v_outcome, p_home, p_origin, p_reference,
            p_kind, p_id, p_hash, p_leg_command, p_leg_account, p_item_command
        );
    END IF;
END
$$;
