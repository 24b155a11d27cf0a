-- Steps of a posting that stand on their own; ledger.post_batch_v2 calls them in turn.

-- Commands that cannot be booked here or now, or are badly formed, with the first reason in the
-- order of precedence. Nothing is stored about them. To be asked after ledger.lock_ranges.
CREATE OR REPLACE FUNCTION ledger.unfit_commands(
    p_date date, p_home bigint[], p_origin ledger.origin[], p_reference text[],
    p_kind ledger.kind[], p_currency text[], p_amount numeric[], p_not_before date[],
    p_terms jsonb[], p_leg_command integer[], p_leg_account bigint[], p_leg_amount numeric[],
    p_item_command integer[], p_item_amount numeric[]
) RETURNS TABLE (command integer, outcome ledger.outcome)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
BEGIN
    IF ledger.are_plainly_fit(
        p_date, p_home, p_kind, p_currency, p_not_before, p_terms, p_leg_command, p_leg_account,
        p_leg_amount, p_item_command, p_item_amount
    ) THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH asked AS (
        SELECT c.*, c.kind IN ('tombstone', 'hold', 'increase', 'void', 'expire') AS has_no_legs
        FROM unnest(p_home, p_kind, p_currency, p_not_before)
            WITH ORDINALITY AS c (home, kind, currency, not_before, n)
    ), leg AS (
        SELECT l.* FROM unnest(p_leg_command, p_leg_account, p_leg_amount)
            AS l (command, account_no, amount)
    ), named AS (
        SELECT l.command, l.account_no FROM leg AS l
        UNION ALL
        SELECT a.n::integer, a.home FROM asked AS a
    ), part AS (
        SELECT l.command, l.amount, l.account_no FROM leg AS l
        UNION ALL
        SELECT i.command, i.amount, NULL FROM unnest(p_item_command, p_item_amount)
            AS i (command, amount)
    ), shape AS (
        SELECT p.command, sum(p.amount) AS total, bool_or(p.amount = 0) AS has_zero,
               bool_or(p.amount <> round(p.amount, coalesce(y.scale::integer, 0))) AS has_excess,
               bool_or(p.account_no = a.home) AS touches_home,
               bool_or(y.code IS NULL) AS has_strange_currency
        FROM part AS p
        JOIN asked AS a ON a.n = p.command
        LEFT JOIN ledger.currency AS y ON y.code = a.currency
        GROUP BY p.command
    ), reason AS (
        SELECT n.command, (
            CASE WHEN r.state = 'FENCED' THEN 'RANGE_MOVING' ELSE 'NOT_OWNER' END
        )::ledger.outcome AS outcome
        FROM named AS n
        LEFT JOIN ledger.owned_range AS r ON n.account_no >= r.lo AND n.account_no < r.hi
        WHERE r.state IS DISTINCT FROM 'OWNED'
        UNION ALL
        SELECT a.n::integer, 'MALFORMED' FROM asked AS a
        LEFT JOIN shape AS s ON s.command = a.n
        WHERE a.has_no_legs <> (s.command IS NULL)
            OR s.total <> 0 OR s.has_zero OR s.has_excess OR NOT s.touches_home
            OR s.has_strange_currency
        UNION ALL
        SELECT a.n::integer, 'DATE_NOT_OPEN' FROM asked AS a WHERE a.not_before > p_date
        UNION ALL
        SELECT m.command, 'MALFORMED' FROM ledger.malformed_terms(
            p_home, p_origin, p_reference, p_kind, p_currency, p_amount, p_terms, p_leg_command,
            p_leg_account, p_leg_amount
        ) AS m (command)
        WHERE array_remove(p_terms, NULL) <> '{}'
            OR p_kind && '{hold,increase,capture,void,expire}'
    )
    SELECT r.command, min(r.outcome) FROM reason AS r GROUP BY r.command;
END
$$;

-- Whether nothing speaks against any of these commands: they are of the usual kinds and have no
-- terms. The answer of nearly every batch, which costs a third of looking for reasons, however
-- many ranges there are.
CREATE OR REPLACE FUNCTION ledger.are_plainly_fit(
    p_date date, p_home bigint[], p_kind ledger.kind[], p_currency text[], p_not_before date[],
    p_terms jsonb[], p_leg_command integer[], p_leg_account bigint[], p_leg_amount numeric[],
    p_item_command integer[], p_item_amount numeric[]
) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF NOT p_kind <@ '{ordinary,return,forced}' OR array_remove(p_terms, NULL) <> '{}'
        OR (SELECT max(d.not_before) FROM unnest(p_not_before) AS d (not_before)) > p_date
    THEN
        RETURN false;
    END IF;
    RETURN (
        -- An account of no range, and a currency without a scale, must not pass as unknown.
        SELECT count(*) = cardinality(p_home) AND bool_and(c.is_fit)
        FROM (
            SELECT sum(p.amount) = 0 AND bool_or(p.is_home)
                   AND bool_and(p.is_owned AND p.amount <> 0 AND coalesce(
                       p.amount = round(p.amount, y.scale), false
                   )) AS is_fit
            FROM (
                SELECT l.command, l.amount, l.account_no = p_home[l.command] AS is_home,
                       l.account_no <@ owned.numbers AS is_owned
                FROM unnest(p_leg_command, p_leg_account, p_leg_amount)
                        AS l (command, account_no, amount),
                     (SELECT coalesce(range_agg(int8range(r.lo, r.hi)), '{}') AS numbers
                      FROM ledger.owned_range AS r WHERE r.state = 'OWNED') AS owned
                UNION ALL
                SELECT i.command, i.amount, false, true
                FROM unnest(p_item_command, p_item_amount) AS i (command, amount)
            ) AS p
            LEFT JOIN ledger.currency AS y ON y.code = p_currency[p.command]
            GROUP BY p.command
        ) AS c
    );
END
$$;

-- Commands whose terms do not fit their kind. What a capture or a reversal is about must be
-- exactly what its home account gives. A hold is named by its own command, a client's. Amounts
-- are given a bound because NaN is greater than all others.
CREATE OR REPLACE FUNCTION ledger.malformed_terms(
    p_home bigint[], p_origin ledger.origin[], p_reference text[], p_kind ledger.kind[],
    p_currency text[], p_amount numeric[], p_terms jsonb[], p_leg_command integer[],
    p_leg_account bigint[], p_leg_amount numeric[]
) RETURNS SETOF integer
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN QUERY
    SELECT c.n::integer
    FROM unnest(p_home, p_origin, p_reference, p_kind, p_currency, p_amount, p_terms)
        WITH ORDINALITY AS c (home, origin, reference, kind, currency, amount, terms, n)
    LEFT JOIN ledger.currency AS y ON y.code = c.currency
    WHERE (c.kind IN ('hold', 'increase', 'capture', 'void', 'expire'))
            <> coalesce(c.terms ? 'hold', false)
        OR (c.kind = 'hold' AND (
            c.terms ->> 'expires_at' IS NULL OR c.home < 1000000000
            OR c.origin <> 'client' OR c.terms ->> 'hold' <> c.reference
        ))
        OR ((c.kind IN ('hold', 'increase', 'capture') OR c.terms ? 'reverses') AND (
            c.amount <= 0 OR c.amount >= 100000000000000
            OR c.amount <> round(c.amount, coalesce(y.scale, 0))
        ))
        OR y.code IS NULL
        OR (c.terms ? 'reverses' AND (
            c.kind <> 'ordinary' OR c.terms #>> '{reverses,id}' IS NULL
        ))
        OR ((c.kind = 'capture' OR c.terms ? 'reverses') AND -c.amount IS DISTINCT FROM (
            SELECT sum(l.amount)
            FROM unnest(p_leg_command, p_leg_account, p_leg_amount)
                AS l (command, account_no, amount)
            WHERE l.command = c.n AND l.account_no = c.home AND l.amount < 0
        ));
END
$$;

-- The legs of the claimed commands, and one more for each command with items: on this shard's
-- suspense account. `n` orders the legs of a command.
CREATE OR REPLACE FUNCTION ledger.claimed_legs(
    p_shard smallint, p_claimed boolean[], p_home bigint[], p_currency text[],
    p_leg_command integer[], p_leg_account bigint[], p_leg_amount numeric[],
    p_leg_counterparty bigint[], p_item_command integer[], p_item_amount numeric[]
) RETURNS TABLE (
    command integer, account_no bigint, amount numeric, counterparty bigint, is_suspense boolean,
    n bigint
)
LANGUAGE sql STABLE AS $$
    SELECT l.command, l.account_no, l.amount, l.counterparty, false, l.n
    FROM unnest(p_leg_command, p_leg_account, p_leg_amount, p_leg_counterparty)
        WITH ORDINALITY AS l (command, account_no, amount, counterparty, n)
    WHERE p_claimed[l.command]
    UNION ALL
    SELECT i.command, p_shard * 1000000 + 100000 + y.account_index * 1000, sum(i.amount),
           p_home[i.command], true, cardinality(p_leg_command) + 1
    FROM unnest(p_item_command, p_item_amount) AS i (command, amount)
    JOIN ledger.currency AS y ON y.code = p_currency[i.command]
    WHERE p_claimed[i.command]
    GROUP BY i.command, y.account_index
$$;

-- Lock the balances that the claimed commands touch, in the order of (account, bucket), and
-- return their legs as parallel arrays sorted by (command, leg), each with the bucket it goes to.
-- Each command that has items gets one leg more, on this shard's suspense account, and one that
-- only holds back or lets go gets a leg of zero on its home account. Accounts in `p_gather` are
-- locked with all their buckets. Only bucket 0 may be overdrawn, so a forced booking goes there;
-- what is held back stands there, too.
CREATE OR REPLACE FUNCTION ledger.lock_legs(
    p_lane integer, p_shard smallint, p_claimed boolean[], p_gather bigint[], p_home bigint[],
    p_kind ledger.kind[], p_currency text[], p_leg_command integer[], p_leg_account bigint[],
    p_leg_amount numeric[], p_leg_counterparty bigint[], p_item_command integer[],
    p_item_amount numeric[],
    OUT commands integer[], OUT accounts bigint[], OUT buckets smallint[], OUT amounts numeric[],
    OUT counterparties bigint[], OUT suspense boolean[], OUT locked_rows bigint
)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
BEGIN
    WITH wanted AS (
        SELECT l.command, l.account_no, l.amount, l.counterparty, l.is_suspense, l.n
        FROM ledger.claimed_legs(
            p_shard, p_claimed, p_home, p_currency, p_leg_command, p_leg_account, p_leg_amount,
            p_leg_counterparty, p_item_command, p_item_amount
        ) AS l
        UNION ALL
        SELECT c.n, c.home, 0, NULL, false, cardinality(p_leg_command) + 2
        FROM unnest(p_home, p_kind, p_claimed) WITH ORDINALITY AS c (home, kind, is_claimed, n)
        WHERE c.is_claimed AND c.kind IN ('hold', 'increase', 'void', 'expire')
    ), leg AS MATERIALIZED (
        SELECT w.*, (CASE WHEN a.bucket_count > 1 AND p_kind[w.command] <> 'forced'
                               AND NOT (w.account_no = p_home[w.command] AND p_kind[w.command]
                                   IN ('hold', 'increase', 'capture', 'void', 'expire'))
                          THEN p_lane % a.bucket_count ELSE 0 END)::smallint AS bucket
        FROM wanted AS w
        LEFT JOIN ledger.account AS a ON a.account_no = w.account_no
    ), locked AS MATERIALIZED (
        SELECT b.account_no
        FROM ledger.balance AS b
        JOIN (
            SELECT l.account_no, l.bucket FROM leg AS l
            UNION
            SELECT g.account_no, g.bucket
            FROM ledger.balance AS g WHERE g.account_no = ANY (p_gather)
        ) AS touched ON touched.account_no = b.account_no AND touched.bucket = b.bucket
        ORDER BY b.account_no, b.bucket
        FOR NO KEY UPDATE OF b
    )
    SELECT array_agg(l.command ORDER BY l.command, l.n),
           array_agg(l.account_no ORDER BY l.command, l.n),
           array_agg(l.bucket ORDER BY l.command, l.n),
           array_agg(l.amount ORDER BY l.command, l.n),
           array_agg(l.counterparty ORDER BY l.command, l.n),
           array_agg(l.is_suspense ORDER BY l.command, l.n),
           (SELECT count(*) FROM locked)
    INTO commands, accounts, buckets, amounts, counterparties, suspense, locked_rows
    FROM leg AS l;
END
$$;

-- Refuse, under the balance locks, what accounts speak against: unknown, closed, frozen, another
-- currency, a system account named by a client. Funds are not judged here. A bucket that was
-- drained since it was chosen makes the caller lock again (LG901).
CREATE OR REPLACE FUNCTION ledger.judge_accounts(
    p_origin ledger.origin[], p_kind ledger.kind[], p_currency text[], p_leg_command integer[],
    p_leg_account bigint[], p_leg_bucket smallint[], p_leg_amount numeric[],
    p_leg_suspense boolean[], INOUT outcomes ledger.outcome[]
)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_refused record;
BEGIN
    FOR v_refused IN
        SELECT l.command, bool_or(a.account_no IS NOT NULL AND b.account_no IS NULL) AS is_lost,
               min(ledger.refusal_of(
                   c.origin, c.kind, c.currency, l.account_no, l.is_suspense,
                   l.amount < 0 OR c.kind IN ('hold', 'increase'), l.amount > 0, a.kind,
                   a.status, a.currency, a.credits_when_frozen
               )) AS outcome
        FROM unnest(p_leg_command, p_leg_account, p_leg_bucket, p_leg_amount, p_leg_suspense)
            AS l (command, account_no, bucket, amount, is_suspense)
        JOIN unnest(p_origin, p_kind, p_currency)
            WITH ORDINALITY AS c (origin, kind, currency, n) ON c.n = l.command
        LEFT JOIN ledger.account AS a ON a.account_no = l.account_no
        LEFT JOIN ledger.balance AS b ON b.account_no = l.account_no AND b.bucket = l.bucket
        GROUP BY l.command
    LOOP
        IF v_refused.is_lost THEN
            RAISE EXCEPTION 'a bucket was drained meanwhile' USING ERRCODE = 'LG901';
        ELSIF v_refused.outcome IS NOT NULL THEN
            outcomes[v_refused.command] := v_refused.outcome;
        END IF;
    END LOOP;
END
$$;

-- What an account speaks against one leg, or NULL. A leg takes money away or holds it back
-- (`p_takes`), brings it (`p_brings`), or only lets go of what was held back. What comes back to
-- a frozen account by a reversal was its own.
CREATE OR REPLACE FUNCTION ledger.refusal_of(
    p_origin ledger.origin, p_kind ledger.kind, p_currency text, p_account bigint,
    p_is_suspense boolean, p_takes boolean, p_brings boolean,
    p_account_kind ledger.account_kind, p_status ledger.account_status, p_account_currency text,
    p_credits_when_frozen boolean
) RETURNS ledger.outcome
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (CASE
    WHEN p_account < 1000000000 AND NOT p_is_suspense AND (
        -- Suspense is moved by items and their settlement alone, whoever asks.
        p_account_kind = 'suspense' OR NOT (
            p_origin = 'system' OR (p_origin = 'delivery' AND p_account_kind = 'clearing')
        )
    )
    THEN 'SYSTEM_ACCOUNT'::ledger.outcome
    WHEN p_status IS NULL THEN 'ACCOUNT_UNKNOWN'::ledger.outcome
    WHEN p_status = 'closed' THEN 'ACCOUNT_CLOSED'::ledger.outcome
    WHEN p_status = 'frozen' AND p_kind NOT IN ('return', 'forced') AND (
        p_takes OR (p_brings AND NOT p_credits_when_frozen AND p_origin <> 'reversal')
    )
    THEN 'ACCOUNT_FROZEN'::ledger.outcome
    WHEN p_account_currency <> p_currency THEN 'CURRENCY_MISMATCH'::ledger.outcome
END);

-- Give the refused commands of a batch their outcome, before anybody can have seen another one.
-- What a client's mistake in naming an account must not leave behind is deleted again.
CREATE OR REPLACE FUNCTION ledger.correct_refused(
    p_claimed boolean[], p_outcome ledger.outcome[], p_home bigint[], p_origin ledger.origin[],
    p_reference text[]
) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
BEGIN
    DELETE FROM ledger.transfer AS t
    USING unnest(p_claimed, p_outcome, p_home, p_origin, p_reference)
        AS c (is_claimed, outcome, home, origin, reference)
    WHERE c.is_claimed AND c.origin = 'client'
        AND c.outcome IN ('ACCOUNT_UNKNOWN', 'SYSTEM_ACCOUNT')
        AND t.account_no = c.home AND t.origin = c.origin AND t.reference = c.reference;
    UPDATE ledger.transfer AS t SET outcome = c.outcome, money_state = 'none', convoy = NULL
    FROM unnest(p_claimed, p_outcome, p_home, p_origin, p_reference)
        AS c (is_claimed, outcome, home, origin, reference)
    WHERE c.is_claimed AND c.outcome <> 'POSTED'
        AND t.account_no = c.home AND t.origin = c.origin AND t.reference = c.reference;
END
$$;
