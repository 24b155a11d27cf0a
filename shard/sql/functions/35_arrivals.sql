-- Arrivals: the deliveries of another shard's items, in columns.

-- Post the present attempts of items of shard `p_source`, as one batch. The reference of each is
-- its attempt, its home the target, and the money comes from the clearing account of its source.
-- It is never booked on an earlier business date than the debit. The client's reference and trace
-- go with it, so that both sides show them.
--
-- Answers alike are told once, with the numbers (from 1) of the items they are about.
CREATE OR REPLACE FUNCTION ledger.deliver_v1(
    p_lane integer, p_source smallint, p_item uuid[], p_attempt integer[], p_target bigint[],
    p_debtor bigint[], p_id uuid[], p_kind ledger.kind[], p_hash bytea[], p_currency text[],
    p_amount numeric[], p_not_before date[], p_value_date date[], p_reference text[],
    p_trace text[], p_narrative text[]
)
RETURNS TABLE (
    commands integer[], outcome ledger.outcome, is_replay boolean,
    money_state ledger.money_state, business_date date, posted_at timestamptz,
    booked_on smallint, foreign_account bigint, next_owner smallint, epoch bigint
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_count CONSTANT integer := cardinality(p_item);
    v_at record;
BEGIN
    SELECT array_agg(i.n::integer ORDER BY i.n) AS numbers,
           array_agg(i.item_id || ':' || i.attempt ORDER BY i.n) AS refs,
           array_agg(
               s.shard * 1000000 + 200000 + y.account_index * 1000 + p_source ORDER BY i.n
           )::bigint[] AS clearing,
           array_agg(-i.amount ORDER BY i.n) AS taken,
           array_agg(CASE WHEN i.trace_id IS NULL
               THEN jsonb_build_object('end_to_end_id', i.reference)
               ELSE jsonb_build_object('end_to_end_id', i.reference, 'trace_id', i.trace_id)
           END ORDER BY i.n) AS details
    INTO v_at
    FROM unnest(p_item, p_attempt, p_amount, p_currency, p_reference, p_trace)
        WITH ORDINALITY AS i (item_id, attempt, amount, currency, reference, trace_id, n)
    CROSS JOIN ledger.shard_state AS s
    LEFT JOIN ledger.currency AS y ON y.code = i.currency;

    RETURN QUERY
    SELECT array_agg(a.command), a.outcome, a.is_replay, a.money_state, a.business_date,
           a.posted_at, a.booked_on, a.foreign_account, a.next_owner, a.epoch
    FROM ledger.post_batch_v2(
        p_lane, NULL, p_target, array_fill('delivery'::ledger.origin, ARRAY[v_count]),
        v_at.refs, p_kind, p_id, p_hash, p_currency, p_amount, p_target, p_not_before,
        p_value_date, v_at.details, p_narrative, array_fill(NULL::jsonb, ARRAY[v_count]),
        v_at.numbers || v_at.numbers, v_at.clearing || p_target, v_at.taken || p_amount,
        p_target || p_debtor, '{}', '{}', '{}', '{}', false
    ) AS a
    GROUP BY 2, 3, 4, 5, 6, 7, 8, 9, 10;
END
$$;
