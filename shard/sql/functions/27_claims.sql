-- References: claiming them, and telling what became of commands that were not ours to decide.

-- Insert the rows of commands that are still POSTED, sorted by key, and return the keys that were
-- inserted. A row that somebody else is inserting is waited for. Outcomes are provisional until
-- the batch commits.
CREATE OR REPLACE FUNCTION ledger.claim_references(
    p_outcome ledger.outcome[], p_now timestamptz, p_shard smallint, p_date date, p_convoy uuid,
    p_home bigint[], p_origin ledger.origin[], p_reference text[], p_kind ledger.kind[],
    p_id uuid[], p_hash bytea[], p_currency text[], p_amount numeric[], p_creditor bigint[],
    p_value_date date[], p_detail jsonb[], p_item_command integer[],
    OUT homes bigint[], OUT origins ledger.origin[], OUT refs text[]
)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
BEGIN
    WITH claimed AS (
        INSERT INTO ledger.transfer AS t (
            account_no, origin, reference, id, request_hash, kind, outcome, money_state, creditor,
            currency, amount, business_date, value_date, posted_at, booked_on, convoy, channel,
            actor, purpose, correlation_id, end_to_end_id, trace_id, legs
        )
        SELECT f.home, f.origin, f.reference, f.id, f.hash, f.kind,
               CASE WHEN f.kind = 'tombstone' THEN 'RECALLED' ELSE 'POSTED' END::ledger.outcome,
               CASE WHEN f.kind IN ('tombstone', 'hold', 'increase', 'void', 'expire') THEN 'none'
                    WHEN f.has_items THEN 'in_transit' ELSE 'posted' END::ledger.money_state,
               f.creditor, f.currency, f.amount, p_date, coalesce(f.value_date, p_date), p_now,
               p_shard, CASE WHEN f.has_items THEN p_convoy END, f.detail ->> 'channel',
               f.detail ->> 'actor', f.detail ->> 'purpose', f.detail ->> 'correlation_id',
               f.detail ->> 'end_to_end_id', f.detail ->> 'trace_id', f.detail -> 'legs'
        FROM (
            SELECT DISTINCT ON (a.home, a.origin, a.reference)
                   a.*, i.command IS NOT NULL AS has_items
            FROM unnest(
                p_home, p_origin, p_reference, p_kind, p_id, p_hash, p_currency, p_amount,
                p_creditor, p_value_date, p_detail, p_outcome
            ) WITH ORDINALITY AS a (
                home, origin, reference, kind, id, hash, currency, amount, creditor, value_date,
                detail, outcome, n
            )
            LEFT JOIN (SELECT DISTINCT u.command FROM unnest(p_item_command) AS u (command)) AS i
                ON i.command = a.n
            WHERE a.outcome = 'POSTED'
            ORDER BY a.home, a.origin, a.reference, a.n
        ) AS f
        ORDER BY f.home, f.origin, f.reference
        ON CONFLICT DO NOTHING
        RETURNING t.account_no, t.origin, t.reference
    )
    SELECT array_agg(c.account_no), array_agg(c.origin), array_agg(c.reference)
    INTO homes, origins, refs
    FROM claimed AS c;
END
$$;

-- Which commands of a batch are the claimed ones: of several commands with one reference, the
-- first that was fit to be booked.
CREATE OR REPLACE FUNCTION ledger.own_claims(
    p_outcome ledger.outcome[], p_home bigint[], p_origin ledger.origin[], p_reference text[],
    p_claimed_home bigint[], p_claimed_origin ledger.origin[], p_claimed_reference text[]
) RETURNS boolean[]
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN (
        SELECT array_agg(a.n IS NOT DISTINCT FROM a.first_n AND c.home IS NOT NULL ORDER BY a.n)
        FROM (
            SELECT q.*, min(q.n) FILTER (WHERE q.outcome = 'POSTED')
                   OVER (PARTITION BY q.home, q.origin, q.reference) AS first_n
            FROM unnest(p_home, p_origin, p_reference, p_outcome)
                WITH ORDINALITY AS q (home, origin, reference, outcome, n)
        ) AS a
        LEFT JOIN unnest(p_claimed_home, p_claimed_origin, p_claimed_reference)
            AS c (home, origin, reference)
            ON c.home = a.home AND c.origin = a.origin AND c.reference = a.reference
    );
END
$$;

-- Stamp the claimed rows with the time of their entries.
CREATE OR REPLACE FUNCTION ledger.restamp_claims(
    p_claimed boolean[], p_posted_at timestamptz, p_home bigint[], p_origin ledger.origin[],
    p_reference text[]
) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    UPDATE ledger.transfer AS t SET posted_at = p_posted_at
    FROM unnest(p_home, p_origin, p_reference, p_claimed)
        AS c (home, origin, reference, is_claimed)
    WHERE c.is_claimed AND t.account_no = c.home AND t.origin = c.origin
        AND t.reference = c.reference;
END
$$;

-- The answers of a batch in which not every command was claimed: what was decided now, what was
-- stored before, what a twin in the same batch got, and who owns what is not owned here.
CREATE OR REPLACE FUNCTION ledger.answers(
    p_shard smallint, p_date date, p_posted_at timestamptz, p_claimed boolean[],
    p_outcome ledger.outcome[], p_home bigint[], p_origin ledger.origin[], p_reference text[],
    p_kind ledger.kind[], p_id uuid[], p_hash bytea[], p_leg_command integer[],
    p_leg_account bigint[], p_item_command integer[]
)
RETURNS TABLE (
    command integer, outcome ledger.outcome, is_replay boolean, transfer_id uuid,
    money_state ledger.money_state, business_date date, posted_at timestamptz,
    booked_on smallint, foreign_account bigint, next_owner smallint, epoch bigint
)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
BEGIN
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
                WHEN a.outcome <> 'POSTED' OR p_kind[a.n] IN ('hold', 'increase', 'void', 'expire')
                THEN 'none'
                WHEN a.n = ANY (p_item_command) THEN 'in_transit'
                ELSE 'posted' END::ledger.money_state,
           coalesce(t.business_date, p_date), coalesce(t.posted_at, p_posted_at),
           coalesce(t.booked_on, p_shard), away.account_no, away.next_owner, away.epoch
    FROM (
        SELECT q.*, q.is_claimed OR q.outcome <> 'POSTED' AS is_ours
        FROM unnest(p_home, p_origin, p_reference, p_id, p_hash, p_outcome, p_claimed)
            WITH ORDINALITY AS q (home, origin, reference, id, hash, outcome, is_claimed, n)
    ) AS a
    LEFT JOIN ledger.transfer AS t
        ON NOT a.is_ours AND t.account_no = a.home AND t.origin = a.origin
        AND t.reference = a.reference
    LEFT JOIN LATERAL (
        SELECT w.hash, w.outcome
        FROM unnest(p_home, p_origin, p_reference, p_hash, p_outcome, p_claimed)
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
            AND (a.outcome = 'RANGE_MOVING') = (r.state IS NOT DISTINCT FROM 'FENCED')
        LIMIT 1
    ) AS away ON true
    ORDER BY a.n;
END
$$;

-- Undo a whole batch unless every command of it is booked, now or before by the same request. The
-- answers travel in the error's detail, as all else is rolled back; `is_replay` stands only with
-- what was known before this batch, and so is not undone.
CREATE OR REPLACE FUNCTION ledger.abort_unless_booked(
    p_shard smallint, p_date date, p_posted_at timestamptz, p_claimed boolean[],
    p_outcome ledger.outcome[], p_home bigint[], p_origin ledger.origin[], p_reference text[],
    p_kind ledger.kind[], p_id uuid[], p_hash bytea[], p_leg_command integer[],
    p_leg_account bigint[], p_item_command integer[]
) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_answers jsonb;
BEGIN
    SELECT jsonb_agg(to_jsonb(a) || jsonb_build_object(
        'is_replay', a.is_replay AND NOT EXISTS (
            SELECT FROM unnest(p_claimed, p_home, p_origin, p_reference)
                AS c (is_claimed, home, origin, reference)
            WHERE c.is_claimed AND c.home = p_home[a.command]
                AND c.origin = p_origin[a.command] AND c.reference = p_reference[a.command]
        )
    ) ORDER BY a.command)
    INTO v_answers
    FROM ledger.answers(
        p_shard, p_date, p_posted_at, p_claimed, p_outcome, p_home, p_origin, p_reference, p_kind,
        p_id, p_hash, p_leg_command, p_leg_account, p_item_command
    ) AS a;
    IF jsonb_path_exists(v_answers, '$[*] ? (@.outcome != "POSTED")') THEN
        RAISE EXCEPTION 'not every command of the batch can be booked'
            USING ERRCODE = 'LG301', DETAIL = v_answers::text;
    END IF;
END
$$;
