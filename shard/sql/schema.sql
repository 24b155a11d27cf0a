-- The schema of one shard. Migration number 1; later changes are files under migrations/.
--
-- currency          the currencies books are kept in (ISO 4217), with their decimals
-- shard_state       one row: which shard this is, and its open business date
-- owned_range       the shard's own and only truth about which account numbers it may serve
-- account           one row an account; what it is and what it may do
-- account_event     append-only: who changed an account's status, limit or buckets, when, why
-- balance           an account's money, in one bucket or several
-- transfer          one row a command, named by (home account, origin, reference)
-- transfer_event    append-only: each later change of a transfer's state
-- entry             append-only: each change of one bucket, with the figures after it
-- hold              reserved money
-- narrative         free text and names: erasable, apart from the books
-- suspense_item     money that left its debtor here and has not arrived elsewhere yet
-- payment_file      a payroll file registered at the account it debits
--
-- Every table that moves with a range has the account number first in its primary key, no
-- foreign key leaves an account, and no key comes from a sequence of this shard: that is what
-- makes ranges movable. Amounts are numeric(18,4): 14 integer digits, 4 decimals.
--
-- Lock order, everywhere: business day, ranges ascending, account rows, command keys ascending,
-- suspense items ascending, balances by (account_no, bucket).

CREATE SCHEMA ledger;

CREATE TYPE ledger.origin AS ENUM ('client', 'delivery', 'payroll', 'reversal', 'system');

CREATE TYPE ledger.kind AS ENUM ('ordinary', 'return', 'forced', 'tombstone');

-- In order of precedence: the least of several applicable outcomes is the one that is told.
CREATE TYPE ledger.outcome AS ENUM (
    'NOT_OWNER', 'RANGE_MOVING', 'MALFORMED', 'DATE_NOT_OPEN', 'REFERENCE_REUSED',
    'SYSTEM_ACCOUNT', 'ACCOUNT_UNKNOWN', 'ACCOUNT_EXISTS', 'ACCOUNT_CLOSED', 'ACCOUNT_FROZEN',
    'CURRENCY_MISMATCH', 'INSUFFICIENT_FUNDS', 'LIMIT_EXCEEDED', 'BALANCE_NOT_ZERO', 'HOLDS_OPEN',
    'MONEY_IN_TRANSIT', 'RECALLED', 'POSTED'
);

CREATE TYPE ledger.money_state AS ENUM (
    'none', 'posted', 'in_transit', 'delivered', 'returned', 'partially_returned', 'needs_repair'
);

CREATE TYPE ledger.account_kind AS ENUM (
    'customer', 'internal', 'asset', 'liability', 'income', 'expense', 'equity',
    'suspense', 'clearing'
);

CREATE TYPE ledger.account_status AS ENUM ('open', 'frozen', 'closed');

-- FENCED: no writes while the range's last changes drain to its next owner. RELEASED: given away
-- for good. INCOMING: being copied here, neither counted nor served.
CREATE TYPE ledger.range_state AS ENUM ('OWNED', 'FENCED', 'RELEASED', 'INCOMING');

CREATE TYPE ledger.item_state AS ENUM ('parked', 'delivered', 'returned', 'needs_repair');

CREATE TYPE ledger.carrier AS ENUM ('convoy', 'route', 'repair');

CREATE TABLE ledger.currency (
    code text PRIMARY KEY CHECK (code ~ '^[A-Z]{3}$'),
    account_index smallint NOT NULL UNIQUE CHECK (account_index BETWEEN 1 AND 99),
    scale smallint NOT NULL CHECK (scale BETWEEN 0 AND 4)
);

INSERT INTO ledger.currency (code, account_index, scale) VALUES
    ('EUR', 1, 2), ('USD', 2, 2), ('GBP', 3, 2), ('CHF', 4, 2), ('JPY', 5, 0), ('SEK', 6, 2),
    ('NOK', 7, 2), ('DKK', 8, 2), ('PLN', 9, 2), ('CZK', 10, 2), ('HUF', 11, 2), ('BHD', 12, 3),
    ('KWD', 13, 3), ('CLF', 14, 4);

CREATE TABLE ledger.shard_state (
    is_only_row boolean PRIMARY KEY DEFAULT true CHECK (is_only_row),
    shard smallint NOT NULL CHECK (shard BETWEEN 1 AND 999),
    business_date date NOT NULL,
    allows_test_clock boolean NOT NULL DEFAULT false
);

CREATE TABLE ledger.owned_range (
    range_id integer PRIMARY KEY,
    lo bigint NOT NULL,
    hi bigint NOT NULL CHECK (lo < hi),
    epoch bigint NOT NULL DEFAULT 1,
    state ledger.range_state NOT NULL DEFAULT 'OWNED',
    next_owner smallint,
    changed_at timestamptz NOT NULL DEFAULT now(),
    EXCLUDE USING gist (int8range(lo, hi) WITH &&)
);

CREATE TABLE ledger.account (
    account_no bigint PRIMARY KEY,
    currency text NOT NULL,
    kind ledger.account_kind NOT NULL,
    status ledger.account_status NOT NULL DEFAULT 'open',
    has_floor boolean NOT NULL DEFAULT true,
    overdraft_limit numeric(18, 4) NOT NULL DEFAULT 0 CHECK (overdraft_limit >= 0),
    bucket_count smallint NOT NULL DEFAULT 1 CHECK (bucket_count BETWEEN 1 AND 256),
    customer text,
    parent bigint,
    product text,
    gl_code text,
    jurisdiction text,
    request_hash bytea NOT NULL,
    opened_on date NOT NULL,
    opened_at timestamptz NOT NULL
);

CREATE TABLE ledger.account_event (
    account_no bigint NOT NULL,
    n integer NOT NULL,
    happened_at timestamptz NOT NULL,
    business_date date NOT NULL,
    actor text NOT NULL,
    change text NOT NULL,
    before text,
    after text,
    reason text,
    PRIMARY KEY (account_no, n)
);

-- A customer's balance stays within 14 integer digits (LIMIT_EXCEEDED). The sums have room for
-- more: a bucket of a system account sees the traffic of years before end of day merges it.
-- Room is left in each page, so that an update finds its place there and touches no index.
CREATE TABLE ledger.balance (
    account_no bigint NOT NULL,
    bucket smallint NOT NULL,
    ledger numeric(24, 4) NOT NULL DEFAULT 0,
    held numeric(18, 4) NOT NULL DEFAULT 0 CHECK (held >= 0),
    seq bigint NOT NULL DEFAULT 0,
    posted_at timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (account_no, bucket)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

CREATE TABLE ledger.transfer (
    account_no bigint NOT NULL,
    origin ledger.origin NOT NULL,
    reference text COLLATE "C" NOT NULL CHECK (reference ~ '^[A-Za-z0-9._:-]{1,64}$'),
    id uuid NOT NULL,
    request_hash bytea NOT NULL,
    kind ledger.kind NOT NULL,
    outcome ledger.outcome NOT NULL,
    money_state ledger.money_state NOT NULL,
    return_code ledger.outcome,
    creditor bigint,
    currency text NOT NULL,
    amount numeric(18, 4) NOT NULL,
    business_date date NOT NULL,
    value_date date NOT NULL,
    posted_at timestamptz NOT NULL,
    delivered_at timestamptz,
    booked_on smallint NOT NULL,
    convoy uuid,
    channel text,
    actor text,
    purpose text,
    correlation_id text,
    end_to_end_id text,
    trace_id text,
    PRIMARY KEY (account_no, origin, reference)
) WITH (fillfactor = 90);

CREATE TABLE ledger.transfer_event (
    account_no bigint NOT NULL,
    origin ledger.origin NOT NULL,
    reference text COLLATE "C" NOT NULL,
    n integer NOT NULL,
    happened_at timestamptz NOT NULL,
    business_date date NOT NULL,
    money_state ledger.money_state NOT NULL,
    cause text NOT NULL,
    PRIMARY KEY (account_no, origin, reference, n)
);

CREATE TABLE ledger.entry (
    account_no bigint NOT NULL,
    bucket smallint NOT NULL,
    business_date date NOT NULL,
    seq bigint NOT NULL,
    transfer_id uuid NOT NULL,
    home bigint NOT NULL,
    origin ledger.origin NOT NULL,
    reference text COLLATE "C" NOT NULL,
    counterparty bigint,
    amount numeric(18, 4) NOT NULL,
    held_delta numeric(18, 4) NOT NULL DEFAULT 0,
    ledger_after numeric(24, 4) NOT NULL,
    held_after numeric(18, 4) NOT NULL,
    limit_after numeric(18, 4) NOT NULL,
    value_date date NOT NULL,
    posted_at timestamptz NOT NULL,
    booked_on smallint NOT NULL,
    transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (account_no, bucket, business_date, seq)
) PARTITION BY RANGE (business_date);

CREATE TABLE ledger.hold (
    account_no bigint NOT NULL,
    reference text COLLATE "C" NOT NULL,
    bucket smallint NOT NULL DEFAULT 0,
    amount numeric(18, 4) NOT NULL CHECK (amount > 0),
    captured numeric(18, 4) NOT NULL DEFAULT 0 CHECK (captured BETWEEN 0 AND amount),
    state text NOT NULL CHECK (state IN ('pending', 'captured', 'voided', 'expired')),
    placed_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (account_no, reference)
);

CREATE TABLE ledger.narrative (
    account_no bigint NOT NULL,
    origin ledger.origin NOT NULL,
    reference text COLLATE "C" NOT NULL,
    content text NOT NULL CHECK (length(content) <= 500),
    PRIMARY KEY (account_no, origin, reference)
);

CREATE TABLE ledger.suspense_item (
    item_id uuid PRIMARY KEY,
    debtor bigint NOT NULL,
    origin ledger.origin NOT NULL,
    reference text COLLATE "C" NOT NULL,
    transfer_id uuid NOT NULL,
    target bigint NOT NULL,
    attempt integer NOT NULL DEFAULT 1,
    amount numeric(18, 4) NOT NULL CHECK (amount > 0),
    currency text NOT NULL,
    business_date date NOT NULL,
    value_date date NOT NULL,
    convoy uuid NOT NULL,
    carrier ledger.carrier NOT NULL DEFAULT 'convoy',
    route smallint,
    state ledger.item_state NOT NULL DEFAULT 'parked',
    last_refusal ledger.outcome,
    parked_at timestamptz NOT NULL,
    settled_at timestamptz,
    settled_on date,
    booked_on smallint
) WITH (fillfactor = 70);

CREATE INDEX suspense_item_by_transfer ON ledger.suspense_item (debtor, origin, reference);
CREATE INDEX suspense_item_by_convoy ON ledger.suspense_item (convoy) WHERE state = 'parked';
CREATE INDEX suspense_item_by_route ON ledger.suspense_item (route, item_id)
    WHERE state = 'parked' AND carrier = 'route';
CREATE INDEX suspense_item_open ON ledger.suspense_item (parked_at)
    WHERE state IN ('parked', 'needs_repair');

CREATE TABLE ledger.payment_file (
    account_no bigint NOT NULL,
    reference text COLLATE "C" NOT NULL,
    file_hash bytea NOT NULL,
    line_count integer NOT NULL CHECK (line_count > 0),
    control_sum numeric(18, 4) NOT NULL,
    currency text NOT NULL,
    registered_on date NOT NULL,
    registered_at timestamptz NOT NULL,
    PRIMARY KEY (account_no, reference)
);
