"""Every limit and time-out of one shard's ledger, with its unit and its reason."""

from __future__ import annotations

LANES_PER_SHARD = 2
"""Connections that post; two keep one batch executing while the other commits."""

LANE_BATCH_COMMANDS = 500
"""Beyond about 500 a batch gains nothing per command and its neighbours wait longer."""

LANE_QUEUE_COMMANDS = 5_000
"""About half a second of work for one shard; beyond it waiting is worse than a 503."""

LANE_QUEUE_BULK_COMMANDS = 2_500
"""What bulk work may fill of the queue; the rest is kept for whoever waits for one answer."""

POST_RETRY_BUDGET_S = 10.0
"""How long a lane asks again after a lost connection before it answers "unknown"."""

POST_RETRY_PAUSE_MAX_S = 1.0
"""Longest pause between two attempts to reach a shard."""

POST_RETRY_PAUSE_S = 0.1
"""First pause between two attempts to reach a shard; it doubles each time."""

CONNECT_TIMEOUT_S = 5
"""A shard that does not accept a connection within this is not there."""

LOCK_TIMEOUT_S = 4.0
"""Below a request's budget: whoever waits for a lock must hear so before the caller is gone."""

ANSWER_LIMIT_S = 5.0
"""A server that accepts a short query and does not answer it within this hangs."""

READ_POOL_CONNECTIONS = 4
"""Reads are short; more connections would only queue inside PostgreSQL."""

READ_POOL_TIMEOUT_S = 2.0
"""How long a read waits for a free connection; a dead shard is told of after this."""

SYSTEM_ACCOUNT_BUCKETS = 16
"""One bucket per lane; processes beyond that share buckets and merely wait for each other."""

PARTITION_MONTHS_AHEAD = 3
"""Entry partitions that stand ready beyond the month of the open business date."""

PAGE_ROWS_DEFAULT = 100
"""Entries in a page when the reader does not say."""

PAGE_ROWS_MAX = 1_000
"""The largest page a reader may ask for."""

FINDINGS_PER_INVARIANT = 20
"""Violations shown of one kind; more would hide the other kinds."""

COMMIT_TIMES_ROWS = 100_000
"""Commit times read at once: enough for a percentile, and about 20 MB."""

CHECK_PAGE_ROWS = 5_000
"""Rows a check reads at once from each table: some MB, however many years stand in it."""
