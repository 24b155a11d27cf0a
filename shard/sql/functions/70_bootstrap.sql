-- Making a database into a shard. Only the owner of the schema may do this.

-- Say which shard this is and open its first business date; give it its system accounts for
-- every currency and every peer, itself included. Safe to repeat, also with more peers.
CREATE OR REPLACE FUNCTION ledger.prepare_shard_v1(
    p_shard smallint, p_peers smallint[], p_date date, p_months_ahead integer,
    p_system_buckets smallint
) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_shard smallint;
BEGIN
    PERFORM pg_advisory_xact_lock(7101, 0);
    INSERT INTO ledger.shard_state (shard, business_date) VALUES (p_shard, p_date)
    ON CONFLICT DO NOTHING;
    SELECT s.shard INTO STRICT v_shard FROM ledger.shard_state AS s;
    IF v_shard <> p_shard THEN
        RAISE EXCEPTION 'this database is shard %, not shard %', v_shard, p_shard
            USING ERRCODE = 'LG105';
    END IF;
    PERFORM ledger.ensure_partitions_v1(s.business_date, p_months_ahead)
    FROM ledger.shard_state AS s;

    INSERT INTO ledger.owned_range (range_id, lo, hi)
    VALUES (p_shard, p_shard * 1000000, (p_shard + 1) * 1000000)
    ON CONFLICT DO NOTHING;

    WITH wanted AS (
        SELECT p_shard * 1000000 + 100000 + y.account_index * 1000 AS account_no, y.code,
               'suspense'::ledger.account_kind AS kind
        FROM ledger.currency AS y
        UNION ALL
        SELECT p_shard * 1000000 + 200000 + y.account_index * 1000 + p.peer, y.code, 'clearing'
        FROM ledger.currency AS y, unnest(p_peers || p_shard) AS p (peer)
    ), opened AS (
        INSERT INTO ledger.account AS n (
            account_no, currency, kind, has_floor, bucket_count, request_hash, opened_on, opened_at
        )
        SELECT DISTINCT w.account_no, w.code, w.kind, false, p_system_buckets, ''::bytea,
               s.business_date, ledger.now()
        FROM wanted AS w, ledger.shard_state AS s
        ON CONFLICT DO NOTHING
        RETURNING n.account_no, n.bucket_count
    )
    INSERT INTO ledger.balance (account_no, bucket)
    SELECT o.account_no, b.bucket
    FROM opened AS o, generate_series(0, o.bucket_count - 1) AS b (bucket);
END
$$;

-- Take a range that no shard has owned before. Safe to repeat.
CREATE OR REPLACE FUNCTION ledger.adopt_range_v1(p_range_id integer, p_lo bigint, p_hi bigint)
RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM ledger.lock_range_exclusively(p_range_id);
    INSERT INTO ledger.owned_range (range_id, lo, hi) VALUES (p_range_id, p_lo, p_hi)
    ON CONFLICT (range_id) DO NOTHING;
END
$$;
