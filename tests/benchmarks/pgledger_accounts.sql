-- As many accounts as the ledger's own measurement has, each with funds.
INSERT INTO peer.account (id, currency, balance, allows_negative, allows_positive)
SELECT 'pgla_' || n, 'EUR', 100000, false, true
FROM generate_series(1, %(accounts)s::integer) AS n;
