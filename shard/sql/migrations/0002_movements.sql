-- Holds, reversals, forced bookings between shards, transfers with several legs, floors above zero.
--
-- New values of a type cannot be used before the transaction that adds them is committed; they
-- stand only inside plpgsql, which reads them when it runs.

ALTER TYPE ledger.kind ADD VALUE 'hold';
ALTER TYPE ledger.kind ADD VALUE 'increase';
ALTER TYPE ledger.kind ADD VALUE 'capture';
ALTER TYPE ledger.kind ADD VALUE 'void';
ALTER TYPE ledger.kind ADD VALUE 'expire';

ALTER TYPE ledger.outcome ADD VALUE 'SEQUENCE_MISMATCH' BEFORE 'INSUFFICIENT_FUNDS';
ALTER TYPE ledger.outcome ADD VALUE 'HOLD_UNKNOWN' BEFORE 'INSUFFICIENT_FUNDS';
ALTER TYPE ledger.outcome ADD VALUE 'HOLD_NOT_OPEN' BEFORE 'INSUFFICIENT_FUNDS';
ALTER TYPE ledger.outcome ADD VALUE 'HOLD_EXPIRED' BEFORE 'INSUFFICIENT_FUNDS';
ALTER TYPE ledger.outcome ADD VALUE 'HOLD_CREDITOR_MISMATCH' BEFORE 'INSUFFICIENT_FUNDS';
ALTER TYPE ledger.outcome ADD VALUE 'HOLD_EXCEEDED' BEFORE 'INSUFFICIENT_FUNDS';
ALTER TYPE ledger.outcome ADD VALUE 'NOT_REVERSIBLE' BEFORE 'INSUFFICIENT_FUNDS';
ALTER TYPE ledger.outcome ADD VALUE 'REVERSAL_EXCEEDED' BEFORE 'INSUFFICIENT_FUNDS';
ALTER TYPE ledger.outcome ADD VALUE 'ATOMIC_ABORTED' BEFORE 'RECALLED';

-- A frozen account takes part in nothing, or in credits alone. A balance that must remain is a
-- floor above zero; it is kept by bucket 0 alone, so it is not for accounts with several.
ALTER TABLE ledger.account
    ADD COLUMN credits_when_frozen boolean NOT NULL DEFAULT false,
    ADD COLUMN minimum_balance numeric(18, 4) NOT NULL DEFAULT 0 CHECK (minimum_balance >= 0),
    ADD COLUMN metadata jsonb,
    ADD CHECK (minimum_balance = 0 OR (bucket_count = 1 AND overdraft_limit = 0));

-- The legs of a transfer that has more than one creditor, as the client gave them. And the same
-- check of references as before: with the length in the pattern its automaton has so many states
-- that it took a tenth of a posting's time.
ALTER TABLE ledger.transfer
    ADD COLUMN legs jsonb,
    DROP CONSTRAINT transfer_reference_check,
    ADD CONSTRAINT transfer_reference_check CHECK (
        reference !~ '[^A-Za-z0-9._:-]' AND octet_length(reference) BETWEEN 1 AND 64
    );

ALTER TABLE ledger.suspense_item
    ADD COLUMN kind ledger.kind NOT NULL DEFAULT 'ordinary',
    ADD CHECK (carrier <> 'route' OR route IS NOT NULL);

ALTER TABLE ledger.hold
    ADD COLUMN creditor bigint,
    ADD COLUMN closed_at timestamptz;
CREATE INDEX hold_due ON ledger.hold (expires_at) WHERE state = 'pending';

-- What the creditor of a transfer was paid by it, and how much of that was taken back. Made by
-- the first reversal.
CREATE TABLE ledger.reversed_credit (
    account_no bigint NOT NULL,
    transfer_id uuid NOT NULL,
    credited numeric(18, 4) NOT NULL,
    reversed numeric(18, 4) NOT NULL DEFAULT 0 CHECK (reversed BETWEEN 0 AND credited),
    PRIMARY KEY (account_no, transfer_id)
);

-- Replaced by functions with other parameters.
DROP FUNCTION IF EXISTS ledger.post_batch_v1;
DROP FUNCTION IF EXISTS ledger.open_accounts_v1;
DROP FUNCTION IF EXISTS ledger.change_status_v1;
DROP FUNCTION IF EXISTS ledger.write_entries;
DROP FUNCTION IF EXISTS ledger.decide_in_order;
DROP FUNCTION IF EXISTS ledger.headroom_of;
DROP FUNCTION IF EXISTS ledger.unfit_commands;
DROP FUNCTION IF EXISTS ledger.lock_legs;
DROP FUNCTION IF EXISTS ledger.refusal_of;
DROP FUNCTION IF EXISTS ledger.judge_accounts;
DROP FUNCTION IF EXISTS ledger.answers;
