-- The slow path of a posting: commands one after the other, when some account could run short or
-- a command has terms of its own.

-- Decide the commands of a batch in their order, on the balances that the caller has locked.
--
-- Legs come sorted by (command, leg). A debit is taken from its lane's bucket; where that is
-- short and all buckets of the account are locked (`p_gathered`), from the others as well, which
-- splits the leg. What is held back stands in bucket 0, so there the others fill it up. `gather`
-- names bucketed accounts that are short in the leg's bucket and not locked as a whole yet: the
-- caller gives up all balance locks and comes back with them.
--
-- Headroom is what a bucket may still lose: ledger - held, in bucket 0 the limit on top, without
-- end where the account has no floor. Whatever its floor, what an account that is not the system's
-- holds, or holds back, stays within 14 integer digits. A refused command leaves no trace in the
-- figures, nor in the `state` of terms, for those after it.
CREATE OR REPLACE FUNCTION ledger.decide_in_order(
    p_commands integer[], p_accounts bigint[], p_buckets smallint[], p_amounts numeric[],
    p_counterparties bigint[], p_kinds ledger.kind[], p_gathered bigint[],
    p_home bigint[], p_amount numeric[], p_creditor bigint[], p_terms jsonb[], p_now timestamptz,
    INOUT outcomes ledger.outcome[], INOUT state jsonb,
    OUT gather bigint[], OUT commands integer[], OUT accounts bigint[], OUT buckets smallint[],
    OUT amounts numeric[], OUT held numeric[], OUT counterparties bigint[]
)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_headroom numeric[];
    v_ledger numeric[];
    v_held_back numeric[];
    v_seq bigint[];
    v_bucket smallint[];
    v_leg record;
    v_part record;
    v_terms record;
    v_command integer := 0;
    v_state_before jsonb;
    v_held numeric;
    v_change numeric;
    v_refusal ledger.outcome;
    v_is_refused boolean;
    v_is_short boolean;
    v_mark integer := 0;
    -- The rows that the present command has changed, and by how much, to undo it.
    v_undo_row integer[];
    v_undo_change numeric[];
    v_undo_amount numeric[];
    v_total numeric;
    v_row integer;
BEGIN
    gather := '{}'; commands := '{}'; accounts := '{}'; buckets := '{}'; amounts := '{}';
    held := '{}'; counterparties := '{}';

    SELECT array_agg(row_of.headroom ORDER BY row_of.account_no, row_of.bucket),
           array_agg(row_of.ledger ORDER BY row_of.account_no, row_of.bucket),
           array_agg(row_of.held ORDER BY row_of.account_no, row_of.bucket),
           array_agg(row_of.seq ORDER BY row_of.account_no, row_of.bucket),
           array_agg(row_of.bucket ORDER BY row_of.account_no, row_of.bucket)
    INTO v_headroom, v_ledger, v_held_back, v_seq, v_bucket
    FROM ledger.headroom_of(p_accounts) AS row_of;

    FOR v_leg IN
        WITH place AS (
            SELECT h.account_no, h.bucket,
                   row_number() OVER (ORDER BY h.account_no, h.bucket)::integer AS row_no
            FROM ledger.headroom_of(p_accounts) AS h
        ), span AS (
            SELECT p.account_no, min(p.row_no) AS first_row, max(p.row_no) AS last_row
            FROM place AS p GROUP BY p.account_no
        )
        SELECT l.command, l.account_no, l.amount, l.counterparty, p.row_no, s.first_row,
               s.last_row, l.account_no = ANY (p_gathered) AS is_gathered
        FROM unnest(p_commands, p_accounts, p_buckets, p_amounts, p_counterparties)
            WITH ORDINALITY AS l (command, account_no, bucket, amount, counterparty, n)
        JOIN place AS p ON p.account_no = l.account_no AND p.bucket = l.bucket
        JOIN span AS s ON s.account_no = l.account_no
        WHERE outcomes[l.command] = 'POSTED'
        ORDER BY l.command, l.account_no <> p_home[l.command], l.n
    LOOP
        v_refusal := NULL;
        v_held := 0;
        IF v_leg.command <> v_command THEN
            v_command := v_leg.command;
            v_is_refused := false;
            v_mark := cardinality(commands);
            v_undo_row := '{}'; v_undo_change := '{}'; v_undo_amount := '{}';
            v_state_before := state;
            IF p_terms[v_command] IS NOT NULL THEN
                -- The leg of the home account comes first.
                v_terms := ledger.judge_terms(
                    p_kinds[v_command], p_home[v_command], p_amount[v_command],
                    p_creditor[v_command], p_terms[v_command],
                    CASE WHEN v_leg.first_row = v_leg.last_row THEN v_seq[v_leg.row_no] END,
                    p_now, state
                );
                state := v_terms.state;
                v_held := v_terms.held_delta;
                v_refusal := v_terms.refusal;
            END IF;
        END IF;
        CONTINUE WHEN v_is_refused;

        v_change := v_leg.amount - v_held;
        -- Where a forced booking or a lower limit left bucket 0 below its floor, the others owe it.
        v_is_short := v_change < 0 AND p_kinds[v_leg.command] <> 'forced' AND (
            v_headroom[v_leg.row_no] + v_change < 0 OR v_headroom[v_leg.first_row] < 0
        );
        IF v_refusal IS NOT NULL THEN
            NULL;
        ELSIF v_is_short THEN
            v_total := v_headroom[v_leg.row_no];
            IF v_leg.is_gathered THEN
                v_total := 0;
                FOR v_row IN v_leg.first_row .. v_leg.last_row LOOP
                    v_total := v_total + v_headroom[v_row];
                END LOOP;
            ELSIF v_leg.last_row > v_leg.first_row THEN
                gather := gather || v_leg.account_no;
            END IF;
            IF v_total + v_change < 0 THEN
                v_refusal := 'INSUFFICIENT_FUNDS';
            END IF;
        END IF;
        IF v_refusal IS NULL AND v_leg.account_no >= 1000000000 AND (
            abs(v_ledger[v_leg.row_no] + v_leg.amount) >= 100000000000000
            OR v_held_back[v_leg.row_no] + v_held >= 100000000000000
        ) THEN
            v_refusal := 'LIMIT_EXCEEDED';
        END IF;

        IF v_refusal IS NOT NULL THEN
            outcomes[v_leg.command] := v_refusal;
            v_is_refused := true;
            state := v_state_before;
            FOR v_row IN 1 .. cardinality(v_undo_row) LOOP
                v_headroom[v_undo_row[v_row]] :=
                    v_headroom[v_undo_row[v_row]] - v_undo_change[v_row];
                v_ledger[v_undo_row[v_row]] :=
                    v_ledger[v_undo_row[v_row]] - v_undo_amount[v_row];
                v_held_back[v_undo_row[v_row]] := v_held_back[v_undo_row[v_row]]
                    - v_undo_amount[v_row] + v_undo_change[v_row];
                v_seq[v_undo_row[v_row]] := v_seq[v_undo_row[v_row]] - 1;
            END LOOP;
            commands := commands[1:v_mark]; accounts := accounts[1:v_mark];
            buckets := buckets[1:v_mark]; amounts := amounts[1:v_mark]; held := held[1:v_mark];
            counterparties := counterparties[1:v_mark];
            CONTINUE;
        END IF;

        FOR v_part IN
            SELECT p.row_no, p.amount, p.held
            FROM ledger.parts_of_leg(
                v_leg.row_no, v_leg.first_row, v_leg.last_row, v_leg.amount, v_held, v_is_short,
                v_headroom
            ) AS p
        LOOP
            v_row := v_part.row_no;
            v_headroom[v_row] := v_headroom[v_row] + v_part.amount - v_part.held;
            v_ledger[v_row] := v_ledger[v_row] + v_part.amount;
            v_held_back[v_row] := v_held_back[v_row] + v_part.held;
            v_seq[v_row] := v_seq[v_row] + 1;
            commands := commands || v_leg.command;
            accounts := accounts || v_leg.account_no;
            buckets := buckets || v_bucket[v_row];
            amounts := amounts || v_part.amount;
            held := held || v_part.held;
            counterparties := counterparties || v_leg.counterparty;
            v_undo_row := v_undo_row || v_row;
            v_undo_change := v_undo_change || v_part.amount - v_part.held;
            v_undo_amount := v_undo_amount || v_part.amount;
        END LOOP;
    END LOOP;
END
$$;

-- One leg as the changes of single buckets; rows are numbered as in `p_headroom`. A leg that its
-- own bucket can bear is one part. A debit takes what its own bucket has, then from the others in
-- their order. An amount held back stays in its bucket, which the others fill up for it.
CREATE OR REPLACE FUNCTION ledger.parts_of_leg(
    p_row integer, p_first integer, p_last integer, p_amount numeric, p_held numeric,
    p_is_short boolean, p_headroom numeric[]
) RETURNS TABLE (row_no integer, amount numeric, held numeric)
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_open numeric := p_held - p_amount;
    v_row integer;
    v_part numeric;
BEGIN
    IF NOT p_is_short THEN
        RETURN QUERY SELECT p_row, p_amount, p_held;
        RETURN;
    END IF;
    -- Where its own bucket is below zero already, an amount held back needs that much more.
    v_part := CASE WHEN p_held > 0 THEN p_headroom[p_row]
                   ELSE least(v_open, greatest(p_headroom[p_row], 0)) END;
    v_open := v_open - v_part;
    IF p_held = 0 AND v_part > 0 THEN
        RETURN QUERY SELECT p_row, -v_part, 0::numeric;
    END IF;
    FOR v_row IN p_first .. p_last LOOP
        CONTINUE WHEN v_row = p_row OR p_headroom[v_row] <= 0;
        EXIT WHEN v_open = 0;
        v_part := least(v_open, p_headroom[v_row]);
        v_open := v_open - v_part;
        RETURN QUERY SELECT v_row, -v_part, 0::numeric;
        IF p_held > 0 THEN
            RETURN QUERY SELECT p_row, v_part, 0::numeric;
        END IF;
    END LOOP;
    IF p_held > 0 THEN
        RETURN QUERY SELECT p_row, p_amount, p_held;
    END IF;
END
$$;

-- What each bucket of the named accounts may still lose, what it holds, and its position.
CREATE OR REPLACE FUNCTION ledger.headroom_of(p_accounts bigint[])
RETURNS TABLE (
    account_no bigint, bucket smallint, headroom numeric, ledger numeric, held numeric,
    seq bigint
)
LANGUAGE sql STABLE AS $$
    SELECT b.account_no, b.bucket,
           CASE WHEN NOT a.has_floor THEN 'Infinity'::numeric
                WHEN b.bucket = 0
                THEN b.ledger - b.held + a.overdraft_limit - a.minimum_balance
                ELSE b.ledger - b.held END,
           b.ledger, b.held, b.seq
    FROM ledger.account AS a
    JOIN ledger.balance AS b ON b.account_no = a.account_no
    WHERE a.account_no = ANY (p_accounts);
$$;
