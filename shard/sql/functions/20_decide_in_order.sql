-- The slow path of a posting: commands one after the other, when some account could run short.

-- Decide the commands of a batch in their order, on the balances that the caller has locked.
--
-- Legs come sorted by (command, leg). A debit is taken from its lane's bucket; where that is
-- short and all buckets of the account are locked (`p_gathered`), from the others as well, which
-- splits the leg. `gather` names bucketed accounts that are short in the lane's bucket and not
-- locked as a whole yet: the caller gives up all balance locks and comes back with them.
--
-- Headroom is what a bucket may still lose: ledger - held, bucket 0 with the overdraft limit on
-- top, without end where the account has no floor. Whatever its floor, an account that is not
-- the system's stays within 14 integer digits. A refused command leaves no trace in the figures
-- of those after it.
CREATE OR REPLACE FUNCTION ledger.decide_in_order(
    p_commands integer[], p_accounts bigint[], p_buckets smallint[], p_amounts numeric[],
    p_counterparties bigint[], p_suspense boolean[], p_kinds ledger.kind[], p_gathered bigint[],
    INOUT outcomes ledger.outcome[],
    OUT gather bigint[], OUT commands integer[], OUT accounts bigint[], OUT buckets smallint[],
    OUT amounts numeric[], OUT counterparties bigint[], OUT suspense boolean[]
)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_headroom numeric[];
    v_ledger numeric[];
    v_bucket smallint[];
    v_leg record;
    v_command integer := 0;
    v_refusal ledger.outcome;
    v_is_short boolean;
    v_mark integer := 0;
    v_undo_row integer[];
    v_undo_amount numeric[];
    v_open numeric;
    v_part numeric;
    v_total numeric;
    v_row integer;
BEGIN
    gather := '{}'; commands := '{}'; accounts := '{}'; buckets := '{}'; amounts := '{}';
    counterparties := '{}'; suspense := '{}';

    SELECT array_agg(row_of.headroom ORDER BY row_of.account_no, row_of.bucket),
           array_agg(row_of.ledger ORDER BY row_of.account_no, row_of.bucket),
           array_agg(row_of.bucket ORDER BY row_of.account_no, row_of.bucket)
    INTO v_headroom, v_ledger, v_bucket
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
        SELECT l.command, l.account_no, l.amount, l.counterparty, l.is_suspense,
               p.row_no, s.first_row,
               s.last_row, l.account_no = ANY (p_gathered) AS is_gathered
        FROM unnest(
            p_commands, p_accounts, p_buckets, p_amounts, p_counterparties, p_suspense
        ) WITH ORDINALITY AS l (
            command, account_no, bucket, amount, counterparty, is_suspense, n
        )
        JOIN place AS p ON p.account_no = l.account_no AND p.bucket = l.bucket
        JOIN span AS s ON s.account_no = l.account_no
        WHERE outcomes[l.command] = 'POSTED'
        ORDER BY l.command, l.n
    LOOP
        IF v_leg.command <> v_command THEN
            v_command := v_leg.command;
            v_refusal := NULL;
            v_mark := cardinality(commands);
            v_undo_row := '{}';
            v_undo_amount := '{}';
        END IF;
        CONTINUE WHEN v_refusal IS NOT NULL;

        v_open := v_leg.amount;
        v_is_short := v_leg.amount < 0 AND p_kinds[v_leg.command] <> 'forced'
            AND v_headroom[v_leg.row_no] + v_leg.amount < 0;
        IF v_is_short THEN
            v_total := v_headroom[v_leg.row_no];
            IF v_leg.is_gathered THEN
                v_total := 0;
                FOR v_row IN v_leg.first_row .. v_leg.last_row LOOP
                    v_total := v_total + v_headroom[v_row];
                END LOOP;
            ELSIF v_leg.last_row > v_leg.first_row THEN
                gather := gather || v_leg.account_no;
            END IF;
            IF v_total + v_leg.amount < 0 THEN
                v_refusal := 'INSUFFICIENT_FUNDS';
            END IF;
        ELSIF v_leg.account_no >= 1000000000
            AND abs(v_ledger[v_leg.row_no] + v_leg.amount) >= 100000000000000
        THEN
            v_refusal := 'LIMIT_EXCEEDED';
        END IF;

        IF v_refusal IS NOT NULL THEN
            outcomes[v_leg.command] := v_refusal;
            FOR v_row IN 1 .. cardinality(v_undo_row) LOOP
                v_headroom[v_undo_row[v_row]] :=
                    v_headroom[v_undo_row[v_row]] - v_undo_amount[v_row];
                v_ledger[v_undo_row[v_row]] :=
                    v_ledger[v_undo_row[v_row]] - v_undo_amount[v_row];
            END LOOP;
            commands := commands[1:v_mark]; accounts := accounts[1:v_mark];
            buckets := buckets[1:v_mark]; amounts := amounts[1:v_mark];
            counterparties := counterparties[1:v_mark]; suspense := suspense[1:v_mark];
            CONTINUE;
        END IF;

        IF v_is_short THEN
            -- The lane's own bucket gives what it has, then the others in their order.
            FOR v_row IN
                SELECT v_leg.row_no UNION ALL
                SELECT r.n FROM generate_series(v_leg.first_row, v_leg.last_row) AS r (n)
                WHERE r.n <> v_leg.row_no
            LOOP
                v_part := greatest(v_open, -greatest(v_headroom[v_row], 0));
                CONTINUE WHEN v_part = 0;
                v_headroom[v_row] := v_headroom[v_row] + v_part;
                v_ledger[v_row] := v_ledger[v_row] + v_part;
                v_open := v_open - v_part;
                commands := commands || v_leg.command;
                accounts := accounts || v_leg.account_no;
                buckets := buckets || v_bucket[v_row];
                amounts := amounts || v_part;
                counterparties := counterparties || v_leg.counterparty;
                suspense := suspense || v_leg.is_suspense;
                v_undo_row := v_undo_row || v_row;
                v_undo_amount := v_undo_amount || v_part;
                EXIT WHEN v_open = 0;
            END LOOP;
            CONTINUE;
        END IF;

        v_headroom[v_leg.row_no] := v_headroom[v_leg.row_no] + v_leg.amount;
        v_ledger[v_leg.row_no] := v_ledger[v_leg.row_no] + v_leg.amount;
        commands := commands || v_leg.command;
        accounts := accounts || v_leg.account_no;
        buckets := buckets || v_bucket[v_leg.row_no];
        amounts := amounts || v_leg.amount;
        counterparties := counterparties || v_leg.counterparty;
        suspense := suspense || v_leg.is_suspense;
        v_undo_row := v_undo_row || v_leg.row_no;
        v_undo_amount := v_undo_amount || v_leg.amount;
    END LOOP;
END
$$;

-- What each bucket of the named accounts may still lose, and what it holds.
CREATE OR REPLACE FUNCTION ledger.headroom_of(p_accounts bigint[])
RETURNS TABLE (account_no bigint, bucket smallint, headroom numeric, ledger numeric)
LANGUAGE sql STABLE AS $$
    SELECT b.account_no, b.bucket,
           CASE WHEN NOT a.has_floor THEN 'Infinity'::numeric
                WHEN b.bucket = 0 THEN b.ledger - b.held + a.overdraft_limit
                ELSE b.ledger - b.held END,
           b.ledger
    FROM ledger.account AS a
    JOIN ledger.balance AS b ON b.account_no = a.account_no
    WHERE a.account_no = ANY (p_accounts);
$$;
