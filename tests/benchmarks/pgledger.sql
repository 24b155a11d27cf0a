-- The published design of pgledger (github.com/pgr0ss/pgledger), written anew for comparison: one
-- function call for each transfer; both accounts locked in the order of their ids; balance and
-- version in the account's row; entries with the balance before and after; text ids made of a
-- prefix and a time-ordered id; the same foreign keys and indexes.
--
-- Left out, to the peer's advantage: its ids are ULIDs encoded in PL/pgSQL, here they are plain
-- uuidv7; its one-transfer function calls the one for many, here there is only the former.

DROP SCHEMA IF EXISTS peer CASCADE;
CREATE SCHEMA peer;

CREATE TABLE peer.account (
    id text PRIMARY KEY,
    currency text NOT NULL,
    balance numeric NOT NULL DEFAULT 0,
    version bigint NOT NULL DEFAULT 0,
    allows_negative boolean NOT NULL,
    allows_positive boolean NOT NULL,
    metadata jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE peer.transfer (
    id text PRIMARY KEY DEFAULT 'pglt_' || uuidv7(),
    from_account text NOT NULL REFERENCES peer.account (id),
    to_account text NOT NULL REFERENCES peer.account (id),
    amount numeric NOT NULL,
    created_at timestamptz NOT NULL,
    event_at timestamptz NOT NULL,
    metadata jsonb,
    CHECK (amount > 0 AND from_account <> to_account)
);
CREATE INDEX ON peer.transfer (from_account);
CREATE INDEX ON peer.transfer (to_account);
CREATE INDEX ON peer.transfer (event_at);

CREATE TABLE peer.entry (
    id text PRIMARY KEY DEFAULT 'pgle_' || uuidv7(),
    account text NOT NULL REFERENCES peer.account (id),
    transfer text NOT NULL REFERENCES peer.transfer (id),
    amount numeric NOT NULL,
    balance_before numeric NOT NULL,
    balance_after numeric NOT NULL,
    account_version bigint NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX ON peer.entry (account);
CREATE INDEX ON peer.entry (transfer);

CREATE FUNCTION peer.move(p_account text, p_amount numeric) RETURNS peer.account
LANGUAGE plpgsql AS $$
DECLARE
    v_account peer.account;
BEGIN
    UPDATE peer.account AS a
    SET balance = a.balance + p_amount, version = a.version + 1, updated_at = now()
    WHERE a.id = p_account
    RETURNING a.* INTO STRICT v_account;
    IF v_account.balance < 0 AND NOT v_account.allows_negative THEN
        RAISE EXCEPTION 'account % may not be negative', p_account;
    ELSIF v_account.balance > 0 AND NOT v_account.allows_positive THEN
        RAISE EXCEPTION 'account % may not be positive', p_account;
    END IF;
    RETURN v_account;
END
$$;

CREATE FUNCTION peer.create_transfer(p_from text, p_to text, p_amount numeric) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_from peer.account;
    v_to peer.account;
    v_transfer text;
BEGIN
    IF p_amount <= 0 OR p_from = p_to THEN
        RAISE EXCEPTION 'a transfer moves a positive amount between two accounts';
    END IF;
    PERFORM FROM peer.account AS a WHERE a.id = least(p_from, p_to) FOR UPDATE;
    PERFORM FROM peer.account AS a WHERE a.id = greatest(p_from, p_to) FOR UPDATE;
    v_from := peer.move(p_from, -p_amount);
    v_to := peer.move(p_to, p_amount);
    IF v_from.currency <> v_to.currency THEN
        RAISE EXCEPTION 'one transfer, one currency';
    END IF;
    INSERT INTO peer.transfer (from_account, to_account, amount, created_at, event_at)
    VALUES (p_from, p_to, p_amount, now(), now())
    RETURNING id INTO v_transfer;
    INSERT INTO peer.entry (
        account, transfer, amount, balance_before, balance_after, account_version, created_at
    ) VALUES (
        p_from, v_transfer, -p_amount, v_from.balance + p_amount, v_from.balance, v_from.version,
        now()
    );
    INSERT INTO peer.entry (
        account, transfer, amount, balance_before, balance_after, account_version, created_at
    ) VALUES (
        p_to, v_transfer, p_amount, v_to.balance - p_amount, v_to.balance, v_to.version, now()
    );
    RETURN v_transfer;
END
$$;
