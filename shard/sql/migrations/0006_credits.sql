-- A person may send two items of one transfer to one account: what each has credited there is
-- taken back up to a cap of its own. So a credit that came by a delivery is known by its item.
--
-- The new name comes first: it waits for whoever is about to note something under the old one.
ALTER TABLE ledger.reversed_credit RENAME COLUMN transfer_id TO credit_id;

UPDATE ledger.reversed_credit AS r
SET credit_id = split_part(d.reference, ':', 1)::uuid
FROM (
    SELECT DISTINCT ON (t.account_no, t.id) t.account_no, t.id, t.reference
    FROM ledger.reversed_credit AS c
    JOIN ledger.transfer AS t
        ON t.account_no = c.account_no AND t.origin = 'delivery' AND t.id = c.credit_id
    WHERE t.outcome = 'POSTED' AND t.kind <> 'return'
        -- A creditor within the shard to whom another's part was sent is known by his own.
        AND NOT EXISTS (
            SELECT FROM ledger.entry AS e
            WHERE e.account_no = c.account_no AND e.transfer_id = c.credit_id AND e.amount > 0
                AND e.origin <> 'delivery'
        )
    ORDER BY t.account_no, t.id, t.posted_at
) AS d
WHERE r.account_no = d.account_no AND r.credit_id = d.id;
