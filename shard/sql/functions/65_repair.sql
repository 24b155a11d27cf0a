-- What a person decides on an item: carried out and put on record in one transaction.

-- Carry out a decision on the present attempt of an open item, which stays in the hands of its
-- repair workflow. `p_evidence` is what the target's shard has stored under that attempt's
-- reference: a refusal or a tombstone, so that it is spent and cannot be booked any more, or
-- POSTED; NULL where nothing is known of it. A decision that was carried out before is found by
-- its id.
--
-- 'retry' delivers again, as a new attempt where the present one is spent, and as the same where
-- it was booked, so that it is settled; 'return' and 'redirect' begin an attempt with `p_target`;
-- 'wait' only says until when.
--
-- Returns 'decided'; 'stale' where the item is closed or in another attempt; 'moving' where the
-- debtor's range is; 'unsafe' where the present attempt is booked, or might still be.
CREATE OR REPLACE FUNCTION ledger.decide_repair_v2(
    p_item uuid, p_attempt integer, p_decision uuid, p_choice ledger.repair_choice,
    p_target bigint, p_wait_until timestamptz, p_evidence ledger.outcome, p_reason text,
    p_maker text, p_checker text
) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_is_spent CONSTANT boolean := coalesce(p_evidence <> 'POSTED', false);
    v_date date;
    v_item record;
    v_is_new boolean;
BEGIN
    PERFORM ledger.lock_ranges((
        SELECT array_agg(i.debtor) FROM ledger.suspense_item AS i WHERE i.item_id = p_item
    ));
    SELECT s.business_date INTO STRICT v_date FROM ledger.shard_state AS s;
    PERFORM ledger.lock_items(ARRAY[p_item]);
    IF EXISTS (SELECT FROM ledger.repair_decision AS d WHERE d.decision_id = p_decision) THEN
        RETURN 'decided';
    END IF;
    SELECT i.attempt, i.state, i.target, ledger.may_write(i.debtor) AS ownership INTO v_item
    FROM ledger.suspense_item AS i WHERE i.item_id = p_item;
    IF NOT FOUND OR v_item.attempt <> p_attempt
        OR v_item.state NOT IN ('parked', 'needs_repair')
    THEN
        RETURN 'stale';
    ELSIF v_item.ownership = 'RANGE_MOVING' THEN
        RETURN 'moving';
    ELSIF p_choice IN ('return', 'redirect') AND NOT v_is_spent
        OR p_choice = 'retry' AND v_item.state = 'needs_repair' AND p_evidence IS NULL
    THEN
        RETURN 'unsafe';
    END IF;

    v_is_new := p_choice IN ('return', 'redirect') OR p_choice = 'retry' AND v_is_spent;
    UPDATE ledger.suspense_item AS i
    SET attempt = i.attempt + v_is_new::integer,
        target = CASE WHEN v_is_new THEN coalesce(p_target, i.target) ELSE i.target END,
        state = CASE WHEN p_choice = 'wait' THEN i.state ELSE 'parked' END,
        carrier = 'repair', route = NULL,
        -- What may pass a freeze is meant for the account that it was meant for.
        kind = CASE WHEN p_choice = 'redirect' THEN 'ordinary' ELSE i.kind END,
        last_refusal = CASE WHEN v_is_spent THEN p_evidence ELSE i.last_refusal END
    WHERE i.item_id = p_item;
    INSERT INTO ledger.repair_decision (
        item_id, n, decision_id, choice, attempt, evidence, target_before, target_after,
        wait_until, reason, maker, checker, decided_at, business_date
    )
    SELECT p_item, count(d.n) + 1, p_decision, p_choice, p_attempt, p_evidence, v_item.target,
           CASE WHEN v_is_new THEN coalesce(p_target, v_item.target) ELSE v_item.target END,
           CASE WHEN p_choice = 'wait' THEN p_wait_until END, p_reason, p_maker, p_checker,
           ledger.now(), v_date
    FROM ledger.repair_decision AS d WHERE d.item_id = p_item;
    PERFORM ledger.tell_transfers(
        ARRAY[p_item], '{}'::timestamptz[], v_date, 'repair:' || p_choice
    );
    RETURN 'decided';
END
$$;
