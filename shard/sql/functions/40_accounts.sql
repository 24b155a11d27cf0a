-- Accounts: opening, changes. Every writer takes the range lock and asks for ownership after it.

-- Open accounts, each with its buckets. Opening again by the same request (same hash) answers
-- POSTED and changes nothing; a number taken by another request answers ACCOUNT_EXISTS.
-- An overdraft limit of NULL means that the account has no floor. MALFORMED: an unknown currency,
-- a limit or minimum below zero, with more decimals than that has or more than 14 other digits, a
-- minimum beside an overdraft or on an account with several buckets, a system account.
CREATE OR REPLACE FUNCTION ledger.open_accounts_v2(
    p_account bigint[], p_currency text[], p_kind ledger.account_kind[], p_limit numeric[],
    p_minimum numeric[], p_buckets smallint[], p_customer text[], p_name text[],
    p_product text[], p_metadata jsonb[], p_hash bytea[], p_actor text
) RETURNS TABLE (account_no bigint, outcome ledger.outcome)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_date date;
    v_now timestamptz;
BEGIN
    PERFORM ledger.lock_ranges(p_account);
    SELECT s.business_date INTO STRICT v_date FROM ledger.shard_state AS s;
    v_now := ledger.now();

    WITH asked AS (
        SELECT DISTINCT ON (a.account_no) a.*
        FROM unnest(
            p_account, p_currency, p_kind, p_limit, p_minimum, p_buckets, p_customer, p_name,
            p_product, p_metadata, p_hash
        ) AS a (
            account_no, currency, kind, overdraft_limit, minimum_balance, bucket_count, customer,
            name, product, metadata, hash
        )
        JOIN ledger.owned_range AS r
            ON a.account_no >= r.lo AND a.account_no < r.hi AND r.state = 'OWNED'
        JOIN ledger.currency AS y ON y.code = a.currency
        WHERE a.account_no >= 1000000000 AND a.kind NOT IN ('suspense', 'clearing')
            AND a.overdraft_limit IS NOT DISTINCT FROM round(a.overdraft_limit, y.scale)
            AND a.minimum_balance = round(a.minimum_balance, y.scale)
            -- NaN is above every bound.
            AND coalesce(a.overdraft_limit, 0) >= 0 AND a.minimum_balance >= 0
            AND coalesce(a.overdraft_limit, 0) < 100000000000000
            AND a.minimum_balance < 100000000000000 AND a.bucket_count BETWEEN 1 AND 256
            AND (a.minimum_balance = 0 OR (a.overdraft_limit = 0 AND a.bucket_count = 1))
        ORDER BY a.account_no
    ), opened AS (
        INSERT INTO ledger.account AS n (
            account_no, currency, kind, has_floor, overdraft_limit, minimum_balance, bucket_count,
            customer, product, metadata, request_hash, opened_on, opened_at
        )
        SELECT a.account_no, a.currency, a.kind, a.overdraft_limit IS NOT NULL,
               coalesce(a.overdraft_limit, 0), a.minimum_balance, a.bucket_count, a.customer,
               a.product, a.metadata, a.hash, v_date, v_now
        FROM asked AS a ORDER BY a.account_no
        ON CONFLICT DO NOTHING
        RETURNING n.account_no, n.bucket_count, n.customer
    ), told AS (
        INSERT INTO ledger.account_event (
            account_no, n, happened_at, business_date, actor, change, after
        )
        SELECT o.account_no, 1, v_now, v_date, p_actor, 'opened', 'open' FROM opened AS o
    ), named AS (
        INSERT INTO ledger.narrative (account_no, origin, reference, content)
        SELECT a.account_no, 'system', 'account:name', a.name
        FROM asked AS a JOIN opened AS o ON o.account_no = a.account_no
        WHERE a.name IS NOT NULL
    )
    INSERT INTO ledger.balance (account_no, bucket)
    SELECT o.account_no, b.bucket
    FROM opened AS o, generate_series(0, o.bucket_count - 1) AS b (bucket);

    RETURN QUERY
    SELECT a.account_no,
           CASE WHEN ledger.may_write(a.account_no) <> 'POSTED'
                THEN ledger.may_write(a.account_no)
                WHEN n.account_no IS NULL THEN 'MALFORMED'
                WHEN n.request_hash = a.hash THEN 'POSTED'
                ELSE 'ACCOUNT_EXISTS' END::ledger.outcome
    FROM unnest(p_account, p_hash) WITH ORDINALITY AS a (account_no, hash, n)
    LEFT JOIN ledger.account AS n ON n.account_no = a.account_no
    ORDER BY a.n;
END
$$;

-- Lock an account's row and all its buckets, in order, so that no posting is half way across.
CREATE OR REPLACE FUNCTION ledger.lock_account(p_account bigint) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM FROM ledger.account AS a WHERE a.account_no = p_account FOR UPDATE;
    PERFORM FROM ledger.balance AS b WHERE b.account_no = p_account
    ORDER BY b.bucket FOR UPDATE;
END
$$;

-- Change what is given, NULL being left as it is; POSTED also when it already was so. Closed is for
-- ever. Closing needs a balance of zero in sum, no open hold, and none of the account's money in
-- transit. A floor is not put above what is available (INSUFFICIENT_FUNDS). MALFORMED: a limit for
-- an account without a floor, a minimum beside an overdraft or on several buckets, too many
-- decimals.
CREATE OR REPLACE FUNCTION ledger.change_account_v1(
    p_account bigint, p_status ledger.account_status, p_credits_when_frozen boolean,
    p_limit numeric, p_minimum numeric, p_metadata jsonb, p_actor text, p_reason text
) RETURNS ledger.outcome
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_outcome ledger.outcome;
    v_before ledger.account;
    v_after ledger.account;
BEGIN
    PERFORM ledger.lock_ranges(ARRAY[p_account]);
    v_outcome := ledger.may_write(p_account);
    IF v_outcome <> 'POSTED' THEN
        RETURN v_outcome;
    ELSIF p_account < 1000000000 THEN
        -- A frozen suspense account would refuse every transfer to another shard.
        RETURN 'SYSTEM_ACCOUNT';
    END IF;
    PERFORM ledger.lock_account(p_account);

    SELECT a.* INTO v_before FROM ledger.account AS a WHERE a.account_no = p_account;
    IF v_before.account_no IS NULL THEN
        RETURN 'ACCOUNT_UNKNOWN';
    END IF;
    v_after := v_before;
    v_after.status := coalesce(p_status, v_before.status);
    v_after.credits_when_frozen := coalesce(p_credits_when_frozen, v_before.credits_when_frozen);
    v_after.overdraft_limit := coalesce(p_limit, v_before.overdraft_limit);
    v_after.minimum_balance := coalesce(p_minimum, v_before.minimum_balance);
    v_after.metadata := coalesce(p_metadata, v_before.metadata);
    IF v_after IS NOT DISTINCT FROM v_before THEN
        RETURN 'POSTED';
    END IF;
    v_outcome := ledger.reason_not_to_change(v_before, v_after);
    IF v_outcome = 'POSTED' THEN
        UPDATE ledger.account
        SET status = v_after.status, credits_when_frozen = v_after.credits_when_frozen,
            overdraft_limit = v_after.overdraft_limit,
            minimum_balance = v_after.minimum_balance, metadata = v_after.metadata
        WHERE account_no = p_account;
        PERFORM ledger.tell_account_changes(v_before, v_after, p_actor, p_reason);
    END IF;
    RETURN v_outcome;
END
$$;

-- Why an account may not become what is asked, or POSTED. To be asked under ledger.lock_account.
CREATE OR REPLACE FUNCTION ledger.reason_not_to_change(
    p_before ledger.account, p_after ledger.account
) RETURNS ledger.outcome
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_scale integer;
    v_is_lower boolean;
BEGIN
    SELECT y.scale INTO v_scale FROM ledger.currency AS y WHERE y.code = p_before.currency;
    v_is_lower := p_after.overdraft_limit - p_after.minimum_balance
        < p_before.overdraft_limit - p_before.minimum_balance;
    IF p_before.status = 'closed' THEN
        RETURN 'ACCOUNT_CLOSED';
    ELSIF (NOT p_after.has_floor AND (p_after.overdraft_limit, p_after.minimum_balance) <> (0, 0))
        OR (p_after.minimum_balance > 0 AND (
            p_after.overdraft_limit > 0 OR p_after.bucket_count > 1
        ))
        OR p_after.overdraft_limit < 0 OR p_after.minimum_balance < 0
        -- NaN is above every bound.
        OR p_after.overdraft_limit >= 100000000000000 OR p_after.minimum_balance >= 100000000000000
        OR p_after.overdraft_limit <> round(p_after.overdraft_limit, v_scale)
        OR p_after.minimum_balance <> round(p_after.minimum_balance, v_scale)
    THEN
        RETURN 'MALFORMED';
    ELSIF v_is_lower AND (
        -- Where that leaves bucket 0 alone below the floor, the other buckets owe it.
        SELECT sum(b.ledger - b.held) + p_after.overdraft_limit - p_after.minimum_balance < 0
        FROM ledger.balance AS b WHERE b.account_no = p_after.account_no
    ) THEN
        RETURN 'INSUFFICIENT_FUNDS';
    ELSIF p_after.status = 'closed' THEN
        RETURN ledger.reason_not_to_close(p_after.account_no);
    END IF;
    RETURN 'POSTED';
END
$$;

-- One event for each thing that was changed.
CREATE OR REPLACE FUNCTION ledger.tell_account_changes(
    p_before ledger.account, p_after ledger.account, p_actor text, p_reason text
) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    INSERT INTO ledger.account_event (
        account_no, n, happened_at, business_date, actor, change, before, after, reason
    )
    SELECT p_after.account_no,
           (SELECT coalesce(max(e.n), 0) FROM ledger.account_event AS e
            WHERE e.account_no = p_after.account_no) + row_number() OVER (ORDER BY c.place),
           ledger.now(), s.business_date, p_actor, c.change, c.before, c.after, p_reason
    FROM ledger.shard_state AS s, (
        VALUES (1, 'status', p_before.status::text, p_after.status::text),
               (2, 'credits_when_frozen', p_before.credits_when_frozen::text,
                p_after.credits_when_frozen::text),
               (3, 'overdraft_limit', p_before.overdraft_limit::text,
                p_after.overdraft_limit::text),
               (4, 'minimum_balance', p_before.minimum_balance::text,
                p_after.minimum_balance::text),
               (5, 'metadata', p_before.metadata::text, p_after.metadata::text)
    ) AS c (place, change, before, after)
    WHERE c.before IS DISTINCT FROM c.after;
END
$$;

-- Why an account cannot be closed now, or POSTED. To be asked under ledger.lock_account.
CREATE OR REPLACE FUNCTION ledger.reason_not_to_close(p_account bigint) RETURNS ledger.outcome
LANGUAGE sql VOLATILE AS $$
    SELECT (CASE
        WHEN (SELECT sum(b.ledger) <> 0 FROM ledger.balance AS b WHERE b.account_no = p_account)
        THEN 'BALANCE_NOT_ZERO'
        WHEN EXISTS (
            SELECT FROM ledger.hold AS h WHERE h.account_no = p_account AND h.state = 'pending'
        ) THEN 'HOLDS_OPEN'
        WHEN EXISTS (
            SELECT FROM ledger.suspense_item AS i
            WHERE i.debtor = p_account AND i.settled_at IS NULL
        ) THEN 'MONEY_IN_TRANSIT'
        ELSE 'POSTED'
    END)::ledger.outcome;
$$;

-- Register a payment file at the account it debits: 'new', 'known' (the same file again), or
-- 'other' (another file under the same message id); NOT_OWNER and RANGE_MOVING as outcomes.
CREATE OR REPLACE FUNCTION ledger.register_payment_file_v1(
    p_account bigint, p_reference text, p_hash bytea, p_lines integer, p_sum numeric,
    p_currency text
) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_outcome ledger.outcome;
    v_hash bytea;
BEGIN
    PERFORM ledger.lock_ranges(ARRAY[p_account]);
    v_outcome := ledger.may_write(p_account);
    IF v_outcome <> 'POSTED' THEN
        RETURN v_outcome::text;
    END IF;
    INSERT INTO ledger.payment_file (
        account_no, reference, file_hash, line_count, control_sum, currency, registered_on,
        registered_at
    )
    SELECT p_account, p_reference, p_hash, p_lines, p_sum, p_currency, s.business_date,
           ledger.now()
    FROM ledger.shard_state AS s
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        RETURN 'new';
    END IF;
    SELECT f.file_hash INTO STRICT v_hash FROM ledger.payment_file AS f
    WHERE f.account_no = p_account AND f.reference = p_reference;
    RETURN CASE WHEN v_hash = p_hash THEN 'known' ELSE 'other' END;
END
$$;
