-- Accounts: opening, status. Every writer takes the range lock and asks for ownership after it.

-- Open accounts, each with its buckets. Opening again by the same request (same hash) answers
-- POSTED and changes nothing; a number taken by another request answers ACCOUNT_EXISTS.
-- An overdraft limit of NULL means that the account has no floor. MALFORMED: an unknown currency,
-- a limit with more decimals than it has, a system account.
CREATE OR REPLACE FUNCTION ledger.open_accounts_v1(
    p_account bigint[], p_currency text[], p_kind ledger.account_kind[], p_limit numeric[],
    p_buckets smallint[], p_customer text[], p_name text[], p_product text[], p_hash bytea[],
    p_actor text
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
            p_account, p_currency, p_kind, p_limit, p_buckets, p_customer, p_name, p_product, p_hash
        ) AS a (
            account_no, currency, kind, overdraft_limit, bucket_count, customer, name, product, hash
        )
        JOIN ledger.owned_range AS r
            ON a.account_no >= r.lo AND a.account_no < r.hi AND r.state = 'OWNED'
        JOIN ledger.currency AS y ON y.code = a.currency
        WHERE a.account_no >= 1000000000 AND a.kind NOT IN ('suspense', 'clearing')
            AND a.overdraft_limit IS NOT DISTINCT FROM round(a.overdraft_limit, y.scale)
        ORDER BY a.account_no
    ), opened AS (
        INSERT INTO ledger.account AS n (
            account_no, currency, kind, has_floor, overdraft_limit, bucket_count, customer,
            product, request_hash, opened_on, opened_at
        )
        SELECT a.account_no, a.currency, a.kind, a.overdraft_limit IS NOT NULL,
               coalesce(a.overdraft_limit, 0), a.bucket_count, a.customer, a.product, a.hash,
               v_date, v_now
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

-- Change an account's status; POSTED also when it already was so. Closed is for ever. Closing
-- needs a balance of zero in sum, no open hold, and none of the account's money in transit.
CREATE OR REPLACE FUNCTION ledger.change_status_v1(
    p_account bigint, p_status ledger.account_status, p_actor text, p_reason text
) RETURNS ledger.outcome
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_outcome ledger.outcome;
    v_status ledger.account_status;
    v_date date;
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

    SELECT a.status INTO v_status FROM ledger.account AS a WHERE a.account_no = p_account;
    IF v_status IS NULL THEN
        RETURN 'ACCOUNT_UNKNOWN';
    ELSIF v_status = p_status THEN
        RETURN 'POSTED';
    ELSIF v_status = 'closed' THEN
        RETURN 'ACCOUNT_CLOSED';
    ELSIF p_status = 'closed' THEN
        v_outcome := ledger.reason_not_to_close(p_account);
        IF v_outcome <> 'POSTED' THEN
            RETURN v_outcome;
        END IF;
    END IF;

    SELECT s.business_date INTO STRICT v_date FROM ledger.shard_state AS s;
    UPDATE ledger.account SET status = p_status WHERE account_no = p_account;
    INSERT INTO ledger.account_event (
        account_no, n, happened_at, business_date, actor, change, before, after, reason
    )
    SELECT p_account, coalesce(max(e.n), 0) + 1, ledger.now(), v_date, p_actor, 'status',
           v_status::text, p_status::text, p_reason
    FROM ledger.account_event AS e WHERE e.account_no = p_account;
    RETURN 'POSTED';
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
            WHERE i.debtor = p_account AND i.state IN ('parked', 'needs_repair')
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
