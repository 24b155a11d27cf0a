-- Replaced by functions with other parameters.
DROP FUNCTION IF EXISTS ledger.write_at_once;
DROP FUNCTION IF EXISTS ledger.move_balances;
DROP FUNCTION IF EXISTS ledger.lock_legs;
DROP FUNCTION IF EXISTS ledger.write_entries;
DROP FUNCTION IF EXISTS ledger.decide_in_order;
