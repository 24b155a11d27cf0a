-- It is asked with the business date from now on.
DROP FUNCTION IF EXISTS ledger.are_plainly_fit;
-- With the evidence that an attempt was booked its successor settles it, where this began another.
DROP FUNCTION IF EXISTS ledger.decide_repair_v1;
