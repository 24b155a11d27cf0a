"""Every limit and time-out of one shard's ledger, with its unit and its reason."""

from __future__ import annotations

HOLDS_PER_BATCH = 500
"""Holds ended at once: one full batch of a lane."""

LANES_PER_SHARD = 2
"""Connections that post; two keep one batch executing while the other commits."""

LANE_BATCH_COMMANDS = 500
"""Beyond about 500 a batch gains nothing per command and its neighbours wait longer."""

LANE_COMPANY_COMMANDS = 100
"""Commands that are worth a call of their own while another lane is busy: a call costs as much as
about a dozen of them, and what a second lane posts is wanted by the first one's rows. Bulk work is
more than that; requests one by one leave it to one lane, whose server process stays warm."""

LANE_COMPANY_WAIT_S = 0.02
"""A lane that is busy for longer may be held up by a lock: another one starts with what waits."""

LANE_GATHERED_COMMANDS = 200
"""Lines of streams that are worth a call of their own."""

LANE_GATHER_S = 0.08
"""Fewer lines than that are sent no sooner than this after the batch before, if nobody else wants
anything booked: at half the peak rate a line cost twice what it costs in a full batch, and between
shards the whole machine was busy with calls. Whoever waits for each answer is not held up."""

LANE_REQUESTS_MAX = 256
"""Single requests of one process that wait for one shard or are under way to it. Eight times what
gives the peak rate, and less than a batch: at 3,000 a second the last one is answered within
90 ms, while each one more would only wait longer."""

LANE_QUEUE_BULK_COMMANDS = 2_500
"""Bulk work that may wait for one shard: five batches, so that no lane idles while more comes."""

LANE_QUEUE_UNITS = 8
"""Batches to be booked wholly or not at all that may wait for one shard: half a second of them."""

DEADLINE_GRAIN_S = 0.01
"""Deadlines are looked at this far apart at least, however many callers set their own."""

LANE_SLOW_S = 0.25
"""A shard that has kept a lane busy for longer than this is slow: several times a full batch."""

LANE_ANSWER_LIMIT_S = 8.0
"""A server that is silent about a batch for longer than STATEMENT_TIMEOUT_S hangs; the
connection is given up then."""

BREAKER_PAUSE_S = 0.05
"""A shard that did not answer is asked again after this; the pause doubles each time."""

BREAKER_PAUSE_MAX_S = 0.5
"""The longest pause: how long a shard that came back may go unnoticed by those who ask."""

BREAKER_TRIAL_LIMIT_S = 5.0
"""A request sent to find out is taken for lost after this: above CONNECT_TIMEOUT_S."""

POST_RETRY_BUDGET_S = 10.0
"""How long a lane asks again after a lost connection before it answers "unknown"."""

POST_RETRY_PAUSE_MAX_S = 1.0
"""Longest pause between two attempts to reach a shard."""

POST_RETRY_PAUSE_S = 0.1
"""First pause between two attempts to reach a shard; it doubles each time."""

CONNECT_TIMEOUT_S = 3
"""A shard that does not accept a connection within this is not there."""

LOCK_TIMEOUT_S = 4.0
"""Below a request's budget: whoever waits for a lock must hear so before the caller is gone."""

STATEMENT_TIMEOUT_S = 6.0
"""Above LOCK_TIMEOUT_S: a batch that takes longer is rolled back, as those who asked have gone."""

ANSWER_LIMIT_S = 5.0
"""A server that accepts a short query and does not answer it within this hangs."""

READ_POOL_CONNECTIONS = 4
"""Reads are short; more connections would only queue inside PostgreSQL."""

ARRIVAL_CONNECTIONS = 2
"""Deliveries have connections of their own, so that no read waits for a lock of theirs; each uses
another bucket of the clearing accounts."""

READ_POOL_WAITERS_MAX = 256
"""Reads that may wait for a connection: about 100 ms of them; beyond it they are refused."""

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

STATEMENT_CHUNK_ROWS = 500
"""Entries of a statement read at once: memory stays flat, and reads of others get their turn."""

STATEMENT_BUCKET_ROWS_MIN = 20
"""Of a bucket of a statement at least so many are read at once, however many buckets there are."""

SETTLEMENT_CLOCK_SLACK_S = 60.0
"""How far the clock of the process that settled an item may be from its shard's, for a trace to
find the voucher: more than hosts differ, and a few thousand vouchers to look through."""
