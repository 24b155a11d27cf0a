-- What stood in an account at a time, or at the end of a business date: from its entries, by a
-- number of probes of their key that grows with the logarithm of their number.
--
-- Within a bucket seq has no gaps, and neither business_date nor posted_at runs backwards with it.

-- The last entry of a bucket that was posted at `p_at` or before; NULL if there is none. Bisects
-- the business dates by their first entries, then the last of these dates by seq.
CREATE OR REPLACE FUNCTION ledger.entry_at(p_account_no bigint, p_bucket smallint, p_at timestamptz)
RETURNS ledger.entry
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_last ledger.entry;
    -- Posted at `p_at` or before, and the first of its date.
    v_found ledger.entry;
    v_probe ledger.entry;
    v_end date;
    v_low bigint;
    v_high bigint;
    v_seq bigint;
BEGIN
    SELECT e.* INTO v_last FROM ledger.entry AS e
    WHERE e.account_no = p_account_no AND e.bucket = p_bucket
    ORDER BY e.business_date DESC, e.seq DESC LIMIT 1;
    IF v_last.posted_at <= p_at OR v_last.seq IS NULL THEN
        RETURN v_last;
    END IF;
    SELECT e.* INTO v_found FROM ledger.entry AS e
    WHERE e.account_no = p_account_no AND e.bucket = p_bucket
    ORDER BY e.business_date, e.seq LIMIT 1;
    IF v_found.posted_at > p_at THEN
        RETURN NULL;
    END IF;

    -- No date from v_end on has an entry that is early enough.
    v_end := v_last.business_date + 1;
    WHILE v_end - v_found.business_date > 1 LOOP
        SELECT e.* INTO v_probe FROM ledger.entry AS e
        WHERE e.account_no = p_account_no AND e.bucket = p_bucket
            AND e.business_date >= v_found.business_date
                + (v_end - v_found.business_date) / 2
            AND e.business_date < v_end
        ORDER BY e.business_date, e.seq LIMIT 1;
        IF v_probe.posted_at <= p_at THEN
            v_found := v_probe;
        ELSE
            v_end := v_found.business_date + (v_end - v_found.business_date) / 2;
        END IF;
    END LOOP;

    SELECT e.* INTO v_last FROM ledger.entry AS e
    WHERE e.account_no = p_account_no AND e.bucket = p_bucket
        AND e.business_date = v_found.business_date
    ORDER BY e.seq DESC LIMIT 1;
    IF v_last.posted_at <= p_at THEN
        RETURN v_last;
    END IF;
    v_low := v_found.seq;
    v_high := v_last.seq;
    WHILE v_high - v_low > 1 LOOP
        v_seq := (v_low + v_high) / 2;
        SELECT e.* INTO STRICT v_probe FROM ledger.entry AS e
        WHERE e.account_no = p_account_no AND e.bucket = p_bucket
            AND e.business_date = v_found.business_date AND e.seq = v_seq;
        IF v_probe.posted_at <= p_at THEN
            v_found := v_probe;
            v_low := v_seq;
        ELSE
            v_high := v_seq;
        END IF;
    END LOOP;
    RETURN v_found;
END
$$;

-- The last entry of each bucket of an account: at a time, or if that is NULL, at the end of a
-- business date. Buckets that had none yet are left out.
CREATE OR REPLACE FUNCTION ledger.last_entries(
    p_account_no bigint, p_at timestamptz, p_date date
) RETURNS SETOF ledger.entry
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF p_at IS NOT NULL THEN
        RETURN QUERY
        SELECT f.* FROM ledger.balance AS b, ledger.entry_at(b.account_no, b.bucket, p_at) AS f
        WHERE b.account_no = p_account_no AND f.seq IS NOT NULL;
    ELSE
        RETURN QUERY
        SELECT f.* FROM ledger.balance AS b, LATERAL (
            SELECT e.* FROM ledger.entry AS e
            WHERE e.account_no = b.account_no AND e.bucket = b.bucket AND e.business_date <= p_date
            ORDER BY e.business_date DESC, e.seq DESC LIMIT 1
        ) AS f
        WHERE b.account_no = p_account_no;
    END IF;
END
$$;

-- What had left an account and had not arrived: parked by then, and settled later. Nearly all
-- items are settled within seconds, so they are looked for among those settled just afterwards;
-- the slow ones are few and have an index of their own. `p_last_at`: the account's last entry by
-- then, which for a business date stands for its end: what was parked on it was parked by then.
CREATE OR REPLACE FUNCTION ledger.in_transit_at(
    p_account_no bigint, p_at timestamptz, p_date date, p_last_at timestamptz
) RETURNS numeric
LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(i.amount), 0)
    FROM (
        SELECT q.* FROM ledger.suspense_item AS q
        WHERE q.debtor = p_account_no AND q.settled_at - q.parked_at <= interval '10 seconds'
            AND q.settled_at BETWEEN coalesce(p_at, p_last_at)
                AND coalesce(p_at, p_last_at) + interval '10 seconds'
        UNION ALL
        SELECT w.* FROM ledger.suspense_item AS w
        WHERE w.debtor = p_account_no AND w.settled_at >= coalesce(p_at, p_last_at)
            AND w.settled_at - w.parked_at > interval '10 seconds'
        UNION ALL
        SELECT o.* FROM ledger.suspense_item AS o
        WHERE o.debtor = p_account_no AND o.settled_at IS NULL
    ) AS i
    -- An item is parked when its posting begins; its debit may be stamped later.
    LEFT JOIN ledger.transfer AS t
        ON t.account_no = i.debtor AND t.origin = i.origin AND t.reference = i.reference
    WHERE CASE WHEN p_at IS NULL
               THEN i.business_date <= p_date AND (i.settled_on IS NULL OR i.settled_on > p_date)
               ELSE coalesce(t.posted_at, i.parked_at) <= p_at
                   AND (i.settled_at IS NULL OR i.settled_at > p_at) END;
$$;

-- How far below zero an account might go at a time or, if that is NULL, at the end of a business
-- date: overdraft limit minus minimum balance. What they were until they were changed stands in the
-- first event that tells of a later change.
CREATE OR REPLACE FUNCTION ledger.headroom_as_of_v1(
    p_account_no bigint, p_at timestamptz, p_date date
) RETURNS numeric
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(later.overdraft_limit, a.overdraft_limit)
        - coalesce(later.minimum_balance, a.minimum_balance)
    FROM ledger.account AS a
    CROSS JOIN LATERAL (
        SELECT (array_agg(e.before ORDER BY e.n) FILTER (WHERE e.change = 'overdraft_limit'))[1]
                   ::numeric AS overdraft_limit,
               (array_agg(e.before ORDER BY e.n) FILTER (WHERE e.change = 'minimum_balance'))[1]
                   ::numeric AS minimum_balance
        FROM ledger.account_event AS e
        WHERE e.account_no = a.account_no
            AND (e.happened_at > p_at OR p_at IS NULL AND e.business_date > p_date)
    ) AS later
    WHERE a.account_no = p_account_no;
$$;

-- An account's four figures as of a time or, if that is NULL, of the end of a business date; one
-- snapshot over all buckets. No row where the account is not served here. `is_future`: it has not
-- been that late yet; `existed`: the account was open by then.
--
-- A time that is hardly past is not final: what is being posted may bear an earlier one still.
CREATE OR REPLACE FUNCTION ledger.balance_as_of_v1(
    p_account_no bigint, p_at timestamptz, p_date date
) RETURNS TABLE (
    account_no bigint, currency text, ledger numeric, held numeric, available numeric,
    in_transit numeric, seq text, is_future boolean, existed boolean
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_account ledger.account;
    v_last ledger.entry[];
BEGIN
    SELECT a.* INTO v_account
    FROM ledger.account AS a
    JOIN ledger.owned_range AS r
        ON a.account_no >= r.lo AND a.account_no < r.hi AND r.state IN ('OWNED', 'FENCED')
    WHERE a.account_no = p_account_no;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    v_last := ARRAY(SELECT l FROM ledger.last_entries(p_account_no, p_at, p_date) AS l);
    RETURN QUERY
    SELECT v_account.account_no, v_account.currency, f.ledger, f.held,
           CASE WHEN v_account.has_floor THEN f.ledger - f.held
               + ledger.headroom_as_of_v1(p_account_no, p_at, p_date) END,
           ledger.in_transit_at(
               p_account_no, p_at, p_date, (SELECT max(l.posted_at) FROM unnest(v_last) AS l)
           ),
           CASE WHEN v_account.bucket_count = 1 THEN coalesce(f.seq, 0)::text ELSE f.seqs END,
           coalesce(p_at > ledger.now(), p_date > s.business_date),
           coalesce(p_at >= v_account.opened_at, p_date >= v_account.opened_on)
    FROM ledger.shard_state AS s, (
        SELECT coalesce(sum(l.ledger_after), 0) AS ledger, coalesce(sum(l.held_after), 0) AS held,
               max(l.seq) AS seq,
               string_agg(b.bucket || ':' || coalesce(l.seq, 0), ',' ORDER BY b.bucket) AS seqs
        FROM ledger.balance AS b
        LEFT JOIN unnest(v_last) AS l ON l.bucket = b.bucket
        WHERE b.account_no = p_account_no
    ) AS f;
END
$$;
