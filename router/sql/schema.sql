-- The schema of the directory, the bank's control database. Migration number 1.
--
-- shard              the shards of the bank
-- account_range      customers' ranges of account numbers, their present owner, the next number
-- range_move         moves of ranges between shards, one row each, kept for ever
-- customer_home      the range on which a customer's accounts live, decided once
-- account_reference  which account number an opening was given, by customer and reference, for ever
-- hot_account        accounts that are split into buckets or have sub-accounts on other shards
-- closing_day        days on which the bank is closed, besides weekends
--
-- Never on the path of a posting. For ownership it is a cache: the shards' own `owned_range` rows
-- are the truth, and the epoch tells which of two answers is newer.

CREATE SCHEMA directory;

CREATE TABLE directory.shard (
    shard smallint PRIMARY KEY CHECK (shard BETWEEN 1 AND 999),
    added_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE directory.account_range (
    range_id integer PRIMARY KEY CHECK (range_id > 1000),
    lo bigint NOT NULL,
    hi bigint NOT NULL,
    shard smallint NOT NULL REFERENCES directory.shard,
    epoch bigint NOT NULL DEFAULT 1,
    takes_new_customers boolean NOT NULL DEFAULT true,
    next_account_no bigint NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    CHECK (1000000000 <= lo AND lo < hi),
    CHECK (next_account_no BETWEEN lo AND hi),
    EXCLUDE USING gist (int8range(lo, hi) WITH &&)
);

CREATE TABLE directory.range_move (
    move_id uuid PRIMARY KEY,
    range_id integer NOT NULL REFERENCES directory.account_range,
    from_shard smallint NOT NULL REFERENCES directory.shard,
    to_shard smallint NOT NULL REFERENCES directory.shard,
    state text NOT NULL,
    epoch_before bigint NOT NULL,
    actor text NOT NULL,
    reason text,
    planned_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    ended_at timestamptz,
    CHECK (from_shard <> to_shard)
);

CREATE UNIQUE INDEX range_move_one_at_a_time ON directory.range_move (range_id)
    WHERE ended_at IS NULL;

CREATE TABLE directory.customer_home (
    customer text PRIMARY KEY,
    range_id integer NOT NULL REFERENCES directory.account_range,
    decided_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE directory.account_reference (
    customer text NOT NULL,
    reference text NOT NULL,
    account_no bigint NOT NULL UNIQUE,
    request_hash bytea NOT NULL,
    reserved_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer, reference)
);

CREATE TABLE directory.hot_account (
    account_no bigint PRIMARY KEY,
    bucket_count smallint NOT NULL DEFAULT 1 CHECK (bucket_count BETWEEN 1 AND 256),
    sub_account_shards smallint[] NOT NULL DEFAULT '{}',
    since timestamptz NOT NULL DEFAULT now(),
    reason text
);

CREATE TABLE directory.closing_day (
    day date PRIMARY KEY,
    name text NOT NULL
);
