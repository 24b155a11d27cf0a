-- Commands with terms of their own: holds, reversals, and debits that ask for a certain position.
--
-- `terms` of a command is a JSON object with what applies to it:
--   hold          reference of the hold; of kind 'hold' itself its own reference
--   expires_at    when the hold ends (kinds 'hold' and 'increase')
--   creditor      the only account the hold may be captured for (kind 'hold')
--   is_final      what a capture leaves is released
--   expected_seq  the position at which the home account must stand
--   reverses      {id, home, origin, reference, date}: the booking whose credit is taken back
--
-- Such commands are judged one after the other. What they change is kept in `state` until the
-- batch is decided: an object of 'hold:<account>:<reference>' and 'credit:<account>:<credit>'.

-- What tells the credit that a reversal takes back from others of its account: the transfer, of a
-- delivery its item. Several items of one transfer may end on one account, and each attempt has a
-- reference of its own; of an item's attempts one is booked at most.
CREATE OR REPLACE FUNCTION ledger.credit_of(p_terms jsonb) RETURNS uuid
LANGUAGE sql IMMUTABLE
RETURN CASE WHEN p_terms #>> '{reverses,origin}' = 'delivery'
    THEN split_part(p_terms #>> '{reverses,reference}', ':', 1)
    ELSE p_terms #>> '{reverses,id}'
END::uuid;

-- Note what the originals of reversals have credited to the homes of the reversals, and lock
-- those notes, sorted. The evidence is the command that booked the credit; where that went to
-- another shard with its account, or had several creditors, the entries themselves. What comes
-- back to its debtor is nobody's credit, and what this very batch may still refuse is none yet.
CREATE OR REPLACE FUNCTION ledger.lock_reversed_credits(
    p_claimed boolean[], p_home bigint[], p_id uuid[], p_terms jsonb[]
) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    WITH wanted AS (
        SELECT DISTINCT c.home, ledger.credit_of(c.terms) AS credit,
               (c.terms #>> '{reverses,id}')::uuid AS id,
               (c.terms #>> '{reverses,home}')::bigint AS original_home,
               (c.terms #>> '{reverses,origin}')::ledger.origin AS origin,
               c.terms #>> '{reverses,reference}' AS reference,
               (c.terms #>> '{reverses,date}')::date AS booked
        FROM unnest(p_claimed, p_home, p_terms) AS c (is_claimed, home, terms)
        WHERE c.is_claimed AND c.terms ? 'reverses' AND NOT EXISTS (
            SELECT FROM unnest(p_claimed, p_id) AS n (is_claimed, id)
            WHERE n.is_claimed AND n.id = (c.terms #>> '{reverses,id}')::uuid
        )
    ), known AS (
        SELECT w.home, w.credit, coalesce((
            SELECT t.amount FROM ledger.transfer AS t
            WHERE t.account_no = w.original_home AND t.origin = w.origin
                AND t.reference = w.reference AND t.id = w.id AND t.creditor = w.home
                AND t.outcome = 'POSTED' AND t.money_state = 'posted' AND t.kind <> 'return'
        ), (
            SELECT sum(e.amount) FROM ledger.entry AS e
            WHERE e.account_no = w.home AND e.business_date = w.booked AND e.transfer_id = w.id
                AND e.home = w.original_home AND e.origin = w.origin
                AND e.reference = w.reference AND e.amount > 0
                AND NOT EXISTS (
                    SELECT FROM ledger.transfer AS t
                    WHERE t.account_no = e.home AND t.origin = e.origin
                        AND t.reference = e.reference AND t.kind = 'return'
                )
        )) AS credited
        FROM wanted AS w
    )
    INSERT INTO ledger.reversed_credit (account_no, credit_id, credited)
    SELECT k.home, k.credit, k.credited FROM known AS k WHERE k.credited > 0
    ORDER BY k.home, k.credit
    ON CONFLICT DO NOTHING;
    PERFORM FROM ledger.reversed_credit AS r
    JOIN (
        SELECT DISTINCT c.home, ledger.credit_of(c.terms) AS credit
        FROM unnest(p_claimed, p_home, p_terms) AS c (is_claimed, home, terms)
        WHERE c.is_claimed AND c.terms ? 'reverses'
    ) AS w ON r.account_no = w.home AND r.credit_id = w.credit
    ORDER BY r.account_no, r.credit_id
    FOR UPDATE OF r;
END
$$;

-- The holds and reversed credits that the commands name, as they stand now. To be asked under
-- the locks of the balances, which keep holds still.
CREATE OR REPLACE FUNCTION ledger.state_of_terms(p_home bigint[], p_terms jsonb[]) RETURNS jsonb
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN (
        SELECT coalesce(jsonb_object_agg(s.key, s.value), '{}')
        FROM (
            SELECT 'hold:' || h.account_no || ':' || h.reference, to_jsonb(h)
            FROM unnest(p_home, p_terms) AS c (home, terms)
            JOIN ledger.hold AS h
                ON h.account_no = c.home AND h.reference = c.terms ->> 'hold'
            UNION
            SELECT 'credit:' || r.account_no || ':' || r.credit_id, to_jsonb(r)
            FROM unnest(p_home, p_terms) AS c (home, terms)
            JOIN ledger.reversed_credit AS r ON r.account_no = c.home
                AND r.credit_id = ledger.credit_of(c.terms)
        ) AS s (key, value)
    );
END
$$;

-- Judge one command by its terms. `p_seq` is the position of its home account, NULL where that
-- has several buckets. Returns what the home's held amount changes by, and the state after it.
CREATE OR REPLACE FUNCTION ledger.judge_terms(
    p_kind ledger.kind, p_home bigint, p_amount numeric, p_creditor bigint, p_terms jsonb,
    p_seq bigint, p_now timestamptz,
    INOUT state jsonb, OUT held_delta numeric, OUT refusal ledger.outcome
)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_key text;
    v_credit jsonb;
BEGIN
    held_delta := 0;
    IF p_terms ? 'expected_seq' AND (p_terms ->> 'expected_seq')::bigint IS DISTINCT FROM p_seq THEN
        refusal := 'SEQUENCE_MISMATCH';
        RETURN;
    END IF;
    IF p_terms ? 'reverses' THEN
        v_key := 'credit:' || p_home || ':' || ledger.credit_of(p_terms);
        v_credit := state -> v_key;
        IF v_credit IS NULL THEN
            refusal := 'NOT_REVERSIBLE';
            RETURN;
        ELSIF (v_credit ->> 'reversed')::numeric + p_amount > (v_credit ->> 'credited')::numeric
        THEN
            refusal := 'REVERSAL_EXCEEDED';
            RETURN;
        END IF;
        state := state || jsonb_build_object(v_key, v_credit || jsonb_build_object(
            'reversed', (v_credit ->> 'reversed')::numeric + p_amount, 'is_changed', true
        ));
    END IF;
    IF p_terms ? 'hold' THEN
        v_key := 'hold:' || p_home || ':' || (p_terms ->> 'hold');
        SELECT j.held_delta, j.refusal,
               CASE WHEN j.hold IS NULL THEN state
                    ELSE state || jsonb_build_object(v_key, j.hold) END
        INTO held_delta, refusal, state
        FROM ledger.judge_hold(
            p_kind, p_amount, p_creditor, p_terms, p_now, state -> v_key
        ) AS j;
    END IF;
END
$$;

-- What a command does to one hold (NULL: there is none yet), or why it may not.
CREATE OR REPLACE FUNCTION ledger.judge_hold(
    p_kind ledger.kind, p_amount numeric, p_creditor bigint, p_terms jsonb, p_now timestamptz,
    INOUT hold jsonb, OUT held_delta numeric, OUT refusal ledger.outcome
)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_amount numeric := (hold ->> 'amount')::numeric;
    v_captured numeric := (hold ->> 'captured')::numeric;
    v_left CONSTANT numeric := v_amount - v_captured;
    v_is_due CONSTANT boolean := (hold ->> 'expires_at')::timestamptz <= p_now;
    v_state text := 'pending';
    v_expires_at CONSTANT text := coalesce(p_terms ->> 'expires_at', hold ->> 'expires_at');
BEGIN
    held_delta := 0;
    refusal := (CASE
        WHEN p_kind <> 'hold' AND hold IS NULL THEN 'HOLD_UNKNOWN'
        WHEN p_kind <> 'hold' AND hold ->> 'state' <> 'pending' THEN 'HOLD_NOT_OPEN'
        WHEN p_kind = 'expire' AND NOT v_is_due THEN 'HOLD_NOT_OPEN'
        WHEN p_kind IN ('capture', 'increase') AND v_is_due THEN 'HOLD_EXPIRED'
        -- An end that is set lies ahead: so it is reached once, and its expiry is no replay.
        WHEN p_kind IN ('hold', 'increase') AND v_expires_at::timestamptz <= p_now
            THEN 'HOLD_EXPIRED'
        WHEN p_kind = 'capture' AND hold ->> 'creditor' IS NOT NULL
            AND (hold ->> 'creditor')::bigint IS DISTINCT FROM p_creditor
            THEN 'HOLD_CREDITOR_MISMATCH'
        WHEN p_kind = 'capture' AND p_amount > v_left THEN 'HOLD_EXCEEDED'
        WHEN p_kind = 'increase' AND v_amount + p_amount >= 100000000000000 THEN 'LIMIT_EXCEEDED'
    END)::ledger.outcome;
    IF refusal IS NOT NULL THEN
        hold := NULL;
        RETURN;
    END IF;

    CASE p_kind
        WHEN 'hold' THEN
            v_amount := p_amount;
            v_captured := 0;
            held_delta := p_amount;
        WHEN 'increase' THEN
            v_amount := v_amount + p_amount;
            held_delta := p_amount;
        WHEN 'capture' THEN
            v_captured := v_captured + p_amount;
            held_delta := -p_amount;
            IF v_captured = v_amount OR (p_terms ->> 'is_final')::boolean THEN
                v_state := 'captured';
                held_delta := -v_left;
            END IF;
        WHEN 'void' THEN
            v_state := 'voided';
            held_delta := -v_left;
        WHEN 'expire' THEN
            v_state := 'expired';
            held_delta := -v_left;
    END CASE;
    hold := coalesce(hold, '{}') || jsonb_build_object(
        'amount', v_amount, 'captured', v_captured, 'state', v_state,
        'expires_at', v_expires_at, 'is_changed', true
    ) || CASE WHEN p_kind = 'hold'
              THEN jsonb_build_object('creditor', p_terms -> 'creditor') ELSE '{}' END;
END
$$;

-- Write the holds and reversed credits that a batch has changed.
CREATE OR REPLACE FUNCTION ledger.write_terms(p_state jsonb, p_now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    INSERT INTO ledger.hold AS h (
        account_no, reference, amount, captured, state, placed_at, expires_at, creditor, closed_at
    )
    SELECT split_part(s.key, ':', 2)::bigint, substr(s.key, 7 + length(split_part(s.key, ':', 2))),
           (s.value ->> 'amount')::numeric, (s.value ->> 'captured')::numeric,
           s.value ->> 'state', p_now, (s.value ->> 'expires_at')::timestamptz,
           (s.value ->> 'creditor')::bigint,
           CASE WHEN s.value ->> 'state' <> 'pending' THEN p_now END
    FROM jsonb_each(p_state) AS s (key, value)
    WHERE s.key LIKE 'hold:%' AND s.value ? 'is_changed'
    ON CONFLICT (account_no, reference) DO UPDATE
    SET amount = excluded.amount, captured = excluded.captured, state = excluded.state,
        expires_at = excluded.expires_at, closed_at = excluded.closed_at;

    UPDATE ledger.reversed_credit AS r
    SET reversed = (s.value ->> 'reversed')::numeric
    FROM jsonb_each(p_state) AS s (key, value)
    WHERE s.key LIKE 'credit:%' AND s.value ? 'is_changed'
        AND r.account_no = split_part(s.key, ':', 2)::bigint
        AND r.credit_id = split_part(s.key, ':', 3)::uuid;
END
$$;
