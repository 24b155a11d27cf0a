-- Decisions of people on items that need one, each with who made it, who checked it, and why.

CREATE TYPE ledger.repair_choice AS ENUM ('retry', 'return', 'redirect', 'wait');

-- Append-only. `attempt` is the one that was decided on; `evidence` is what its target's shard has
-- stored under its reference, without which no other attempt may begin.
CREATE TABLE ledger.repair_decision (
    item_id uuid NOT NULL REFERENCES ledger.suspense_item,
    n integer NOT NULL,
    decision_id uuid NOT NULL UNIQUE,
    choice ledger.repair_choice NOT NULL,
    attempt integer NOT NULL,
    evidence ledger.outcome,
    target_before bigint NOT NULL,
    target_after bigint NOT NULL,
    wait_until timestamptz,
    reason text NOT NULL CHECK (reason <> ''),
    maker text NOT NULL CHECK (maker <> ''),
    checker text NOT NULL CHECK (checker <> ''),
    decided_at timestamptz NOT NULL,
    business_date date NOT NULL,
    PRIMARY KEY (item_id, n),
    CHECK (lower(maker) <> lower(checker)),
    CHECK ((choice = 'wait') = (wait_until IS NOT NULL)),
    CHECK (choice NOT IN ('return', 'redirect') OR evidence IS NOT NULL)
);

CREATE INDEX suspense_item_in_repair ON ledger.suspense_item (item_id)
    WHERE carrier = 'repair' AND state IN ('parked', 'needs_repair');
