-- The items of a transfer by its id, which is made when it is booked: new ones go to the index's
-- right end. By debtor and reference every amount dirtied two random pages, once when it was
-- parked and once more when it was settled.
DROP INDEX ledger.suspense_item_by_transfer;
CREATE INDEX suspense_item_by_transfer ON ledger.suspense_item (transfer_id);

-- Nearly every item is changed once, when it is settled: its second version finds room beside the
-- first one, without a lock that is logged and another page.
ALTER TABLE ledger.suspense_item SET (fillfactor = 45);
