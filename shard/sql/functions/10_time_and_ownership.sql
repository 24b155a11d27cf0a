-- The clock, the ownership guard and the locks that every writer takes first.

-- The ledger's clock. Where the owner of the schema allows it in shard_state, a test or a chaos
-- run sets `ledger.clock` on its own connection; elsewhere no session can forge a time.
CREATE OR REPLACE FUNCTION ledger.now() RETURNS timestamptz
LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN CASE
    WHEN current_setting('ledger.clock', true) <> ''
        AND (SELECT s.allows_test_clock FROM ledger.shard_state AS s)
    THEN current_setting('ledger.clock')::timestamptz
    ELSE clock_timestamp()
END;

-- Take the shared locks of a writer: the business day's barrier, then the ranges of the accounts
-- named, ascending. The caller must read business date and ownership in a later statement of a
-- VOLATILE function at READ COMMITTED: what was read before the wait may be stale.
CREATE OR REPLACE FUNCTION ledger.lock_ranges(p_accounts bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'postings run at READ COMMITTED: after a lock wait, a snapshot of the'
            ' whole transaction would be stale' USING ERRCODE = 'LG101';
    END IF;
    PERFORM pg_advisory_xact_lock_shared(7101, 0);
    PERFORM pg_advisory_xact_lock_shared(7102, owner.range_id)
    FROM (
        SELECT DISTINCT r.range_id
        FROM unnest(p_accounts) AS a (account_no)
        JOIN ledger.owned_range AS r ON a.account_no >= r.lo AND a.account_no < r.hi
        ORDER BY r.range_id
    ) AS owner;
END
$$;

-- The exclusive side of the range lock: for a fence, a release, an opening. Held only for the
-- short transaction that changes the range's row.
CREATE OR REPLACE FUNCTION ledger.lock_range_exclusively(p_range_id integer) RETURNS void
LANGUAGE sql VOLATILE AS $$
    SELECT pg_advisory_xact_lock(7102, p_range_id);
$$;

-- Whether this shard accepts writes for an account: POSTED for yes, else NOT_OWNER or
-- RANGE_MOVING. To be asked only after ledger.lock_ranges.
CREATE OR REPLACE FUNCTION ledger.may_write(p_account_no bigint) RETURNS ledger.outcome
LANGUAGE sql VOLATILE AS $$
    SELECT coalesce((
        SELECT (CASE r.state WHEN 'OWNED' THEN 'POSTED' WHEN 'FENCED' THEN 'RANGE_MOVING'
                ELSE 'NOT_OWNER' END)::ledger.outcome
        FROM ledger.owned_range AS r
        WHERE p_account_no >= r.lo AND p_account_no < r.hi
    ), 'NOT_OWNER');
$$;

-- Make sure that entries of `p_from` and of the months after it have a partition. Attaching a
-- table, unlike creating it as a partition, stops neither postings nor reports.
CREATE OR REPLACE FUNCTION ledger.ensure_partitions_v1(p_from date, p_months_ahead integer)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_month date := date_trunc('month', p_from)::date;
    v_last date := (date_trunc('month', p_from) + make_interval(months => p_months_ahead))::date;
    v_name text;
BEGIN
    PERFORM pg_advisory_xact_lock(7103, 0);
    WHILE v_month <= v_last LOOP
        v_name := 'entry_' || to_char(v_month, 'YYYY_MM');
        IF to_regclass('ledger.' || v_name) IS NULL THEN
            EXECUTE format('CREATE TABLE ledger.%I (LIKE ledger.entry INCLUDING DEFAULTS)', v_name);
            EXECUTE format(
                'ALTER TABLE ledger.entry ATTACH PARTITION ledger.%I FOR VALUES FROM (%L) TO (%L)',
                v_name, v_month, (v_month + interval '1 month')::date
            );
        END IF;
        v_month := (v_month + interval '1 month')::date;
    END LOOP;
END
$$;

-- Open the next business date of this shard behind the barrier: no posting is half way across.
-- Opening the date that is already open changes nothing; going back is an error (LG102).
CREATE OR REPLACE FUNCTION ledger.advance_business_date_v1(p_to date, p_months_ahead integer)
RETURNS date
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_open date;
BEGIN
    PERFORM pg_advisory_xact_lock(7101, 0);
    PERFORM ledger.ensure_partitions_v1(p_to, p_months_ahead);
    SELECT s.business_date INTO STRICT v_open FROM ledger.shard_state AS s FOR UPDATE;
    IF p_to < v_open THEN
        RAISE EXCEPTION 'the business date % is open; it does not go back to %', v_open, p_to
            USING ERRCODE = 'LG102';
    END IF;
    UPDATE ledger.shard_state SET business_date = p_to WHERE business_date < p_to;
    RETURN p_to;
END
$$;

-- The accounts whose books are this shard's. A fenced range's still are: until it is released,
-- nobody else counts them. Columns stand by name: of `*` a view would keep those of its first day.
CREATE OR REPLACE VIEW ledger.own_account AS
SELECT a.account_no, a.currency, a.kind, a.status, a.has_floor, a.overdraft_limit, a.bucket_count,
       a.customer, a.parent, a.product, a.gl_code, a.jurisdiction, a.request_hash, a.opened_on,
       a.opened_at, a.minimum_balance, a.credits_when_frozen, a.metadata
FROM ledger.account AS a
JOIN ledger.owned_range AS r
    ON a.account_no >= r.lo AND a.account_no < r.hi AND r.state IN ('OWNED', 'FENCED');
