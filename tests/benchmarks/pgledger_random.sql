\set debtor random(1, :accounts)
\set step random(1, :accounts - 1)
SELECT peer.create_transfer(
    'pgla_' || :debtor::text, 'pgla_' || (1 + (:debtor - 1 + :step) % :accounts)::text, 0.01
);
