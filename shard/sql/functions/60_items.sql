-- Who carries an open item, and where it goes next. Compare-and-set throughout.

-- Start a new attempt for items whose present attempt was refused at its target, or recalled by
-- a tombstone there: the caller has that answer in hand. Attempts that are not the present one
-- any more, and items that are closed, are left alone. So is what was recalled while a repair
-- holds it: a person has it in hand, and says himself where it goes. Returns how many were changed.
CREATE OR REPLACE FUNCTION ledger.redirect_v1(
    p_item uuid[], p_attempt integer[], p_target bigint[], p_cause ledger.outcome[]
) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_changed integer;
BEGIN
    -- The same locks as a settlement's: whoever of the two comes first is done first.
    PERFORM ledger.lock_items(p_item);
    UPDATE ledger.suspense_item AS i
    SET attempt = i.attempt + 1, target = w.target, last_refusal = w.cause
    FROM unnest(p_item, p_attempt, p_target, p_cause) AS w (item_id, attempt, target, cause)
    WHERE i.item_id = w.item_id AND i.attempt = w.attempt AND i.state = 'parked'
        AND (w.cause <> 'RECALLED' OR i.carrier <> 'repair');
    GET DIAGNOSTICS v_changed = ROW_COUNT;
    RETURN v_changed;
END
$$;

-- Put parked items into the hands of another kind of workflow; of several routes, `p_route`
-- tells which. What a repair holds stays with it. Returns how many were not there already.
CREATE OR REPLACE FUNCTION ledger.hand_over_v1(
    p_item uuid[], p_carrier ledger.carrier, p_route smallint DEFAULT NULL
) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_changed integer;
BEGIN
    PERFORM FROM ledger.suspense_item AS i WHERE i.item_id = ANY (p_item)
    ORDER BY i.item_id FOR NO KEY UPDATE;
    UPDATE ledger.suspense_item AS i SET carrier = p_carrier, route = p_route
    WHERE i.item_id = ANY (p_item) AND i.state = 'parked' AND i.carrier <> 'repair'
        AND (i.carrier, i.route) IS DISTINCT FROM (p_carrier, p_route);
    GET DIAGNOSTICS v_changed = ROW_COUNT;
    RETURN v_changed;
END
$$;

-- Give parked items that no workflow holds a new convoy. Returns how many.
CREATE OR REPLACE FUNCTION ledger.restamp_v1(p_item uuid[], p_convoy uuid) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_changed integer;
BEGIN
    PERFORM FROM ledger.suspense_item AS i WHERE i.item_id = ANY (p_item)
    ORDER BY i.item_id FOR NO KEY UPDATE;
    UPDATE ledger.suspense_item AS i SET convoy = p_convoy
    WHERE i.item_id = ANY (p_item) AND i.state = 'parked' AND i.carrier = 'convoy';
    GET DIAGNOSTICS v_changed = ROW_COUNT;
    RETURN v_changed;
END
$$;

-- Set an item aside for a person: its return was refused as well. False when it was not parked
-- in this attempt any more, or when the debtor's range is fenced, which leaves it as it is.
CREATE OR REPLACE FUNCTION ledger.mark_needs_repair_v1(
    p_item uuid, p_attempt integer, p_cause ledger.outcome
) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_date date;
BEGIN
    PERFORM ledger.lock_ranges((
        SELECT array_agg(i.debtor) FROM ledger.suspense_item AS i WHERE i.item_id = p_item
    ));
    SELECT s.business_date INTO STRICT v_date FROM ledger.shard_state AS s;
    PERFORM ledger.lock_items(ARRAY[p_item]);
    UPDATE ledger.suspense_item AS i
    SET state = 'needs_repair', carrier = 'repair', last_refusal = p_cause
    WHERE i.item_id = p_item AND i.attempt = p_attempt AND i.state = 'parked'
        AND ledger.may_write(i.debtor) <> 'RANGE_MOVING';
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM ledger.tell_transfers(ARRAY[p_item], '{}'::timestamptz[], v_date, p_cause::text);
    RETURN true;
END
$$;
