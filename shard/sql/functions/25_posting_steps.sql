-- Steps of a posting that stand on their own; ledger.post_batch_v1 calls them in turn.

-- Commands that cannot be booked here or now, or are badly formed, with the first reason in the
-- order of precedence. Nothing is stored about them. To be asked after ledger.lock_ranges.
CREATE OR REPLACE FUNCTION ledger.unfit_commands(
    p_date date, p_home bigint[], p_kind ledger.kind[], p_currency text[], p_not_before date[],
    p_leg_command integer[], p_leg_account bigint[], p_leg_amount numeric[],
    p_item_command integer[], p_item_amount numeric[]
) RETURNS TABLE (command integer, outcome ledger.outcome)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH asked AS (
        SELECT c.* FROM unnest(p_home, p_kind, p_currency, p_not_before)
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
        WHERE (a.kind = 'tombstone') <> (s.command IS NULL)
            OR s.total <> 0 OR s.has_zero OR s.has_excess OR NOT s.touches_home
            OR s.has_strange_currency
        UNION ALL
        SELECT a.n::integer, 'DATE_NOT_OPEN' FROM asked AS a WHERE a.not_before > p_date
    )
    SELECT r.command, min(r.outcome) FROM reason AS r GROUP BY r.command;
END
$$;

-- The legs of the claimed commands as parallel arrays sorted by (command, leg), completed by one
-- suspense leg for each command that has items, each with the bucket it goes to.
CREATE OR REPLACE FUNCTION ledger.legs_to_book(
    p_lane integer, p_shard smallint, p_claimed boolean[], p_home bigint[], p_currency text[],
    p_leg_command integer[], p_leg_account bigint[], p_leg_amount numeric[],
    p_leg_counterparty bigint[], p_item_command integer[], p_item_amount numeric[],
    OUT commands integer[], OUT accounts bigint[], OUT buckets smallint[], OUT amounts numeric[],
    OUT counterparties bigint[], OUT suspense boolean[]
)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
BEGIN
    WITH leg AS (
        SELECT l.command, l.account_no, l.amount, l.counterparty, false AS is_suspense, l.n
        FROM unnest(p_leg_command, p_leg_account, p_leg_amount, p_leg_counterparty)
            WITH ORDINALITY AS l (command, account_no, amount, counterparty, n)
        WHERE p_claimed[l.command]
        UNION ALL
        SELECT i.command, p_shard * 1000000 + 100000 + y.account_index * 1000, sum(i.amount),
               c.home, true, cardinality(p_leg_command) + 1
        FROM unnest(p_item_command, p_item_amount) AS i (command, amount)
        JOIN unnest(p_home, p_currency) WITH ORDINALITY AS c (home, currency, n)
            ON c.n = i.command
        JOIN ledger.currency AS y ON y.code = c.currency
        WHERE p_claimed[i.command]
        GROUP BY i.command, y.account_index, c.home
    )
    SELECT array_agg(l.command ORDER BY l.command, l.n),
           array_agg(l.account_no ORDER BY l.command, l.n),
           array_agg(
               (CASE WHEN a.bucket_count > 1 THEN p_lane % a.bucket_count ELSE 0 END)::smallint
               ORDER BY l.command, l.n
           ),
           array_agg(l.amount ORDER BY l.command, l.n),
           array_agg(l.counterparty ORDER BY l.command, l.n),
           array_agg(l.is_suspense ORDER BY l.command, l.n)
    INTO commands, accounts, buckets, amounts, counterparties, suspense
    FROM leg AS l
    LEFT JOIN ledger.account AS a ON a.account_no = l.account_no;
END
$$;

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
