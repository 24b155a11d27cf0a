-- It is asked with the business date from now on.
DROP FUNCTION IF EXISTS ledger.are_plainly_fit;
