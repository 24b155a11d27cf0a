-- The role ledger_posting owns nothing: it reads, and it executes the functions named here.
-- It can neither insert, update nor delete a row by itself.

REVOKE ALL ON SCHEMA ledger FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA ledger FROM PUBLIC, ledger_posting;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA ledger FROM PUBLIC, ledger_posting;

GRANT USAGE ON SCHEMA ledger TO ledger_posting;
GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO ledger_posting;
ALTER DEFAULT PRIVILEGES IN SCHEMA ledger GRANT SELECT ON TABLES TO ledger_posting;

GRANT EXECUTE ON FUNCTION
    ledger.now, ledger.post_batch_v2, ledger.open_accounts_v2, ledger.change_account_v1,
    ledger.register_payment_file_v1, ledger.deliver_v1, ledger.settle_v1, ledger.redirect_v1,
    ledger.hand_over_v1, ledger.restamp_v1, ledger.mark_needs_repair_v1, ledger.decide_repair_v2,
    ledger.advance_business_date_v1,
    ledger.balance_as_of_v1, ledger.headroom_as_of_v1
TO ledger_posting;
