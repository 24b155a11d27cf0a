\set debtor random(2, :accounts)
SELECT peer.create_transfer('pgla_' || :debtor::text, 'pgla_1', 0.01);
