-- Amounts in transit by their debtor, now and at any time before, without his whole history. Most
-- items are settled within seconds; those that are not, or took longer, are in the second index.
CREATE INDEX suspense_item_quick ON ledger.suspense_item (debtor, settled_at)
    WHERE settled_at - parked_at <= interval '10 seconds';
CREATE INDEX suspense_item_slow ON ledger.suspense_item (debtor, settled_at)
    WHERE settled_at IS NULL OR settled_at - parked_at > interval '10 seconds';
