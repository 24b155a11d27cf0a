"""The front door of one shard."""

from __future__ import annotations

import time

from shard.accounts import Accounts
from shard.arrivals import Arrivals
from shard.balances import Balances
from shard.breaker import Breaker
from shard.business_day import BusinessDay
from shard.commit_times import CommitTimes
from shard.connections import Readers
from shard.holds import Holds, expiry_command
from shard.invariants import Invariants
from shard.lane import Boarding
from shard.lanes import Lanes
from shard.limits import ARRIVAL_CONNECTIONS, HOLDS_PER_BATCH, LANES_PER_SHARD
from shard.named_queries import QUERIES
from shard.onlooker import Onlooker
from shard.outcomes import Outcome
from shard.ownership import Ownership
from shard.payment_files import PaymentFiles
from shard.repairs import Repairs
from shard.statements import Statements
from shard.suspense import Suspense
from shard.trace import Trace
from shard.transfers import Transfers


class Shard:
    """Everything one shard can do, over connections of the role ``ledger_posting``.

    ``process_no`` tells this process from others that serve the same shard, so that their
    lanes use different buckets of the system accounts.
    """

    def __init__(
        self,
        number: int,
        dsn: str,
        *,
        process_no: int = 0,
        lane_count: int = LANES_PER_SHARD,
        boarding: Boarding | None = None,
    ) -> None:
        self.number = number
        self.breaker = Breaker(time.monotonic)
        self._readers = Readers(dsn, self.breaker)
        self._deliveries = Readers(dsn, self.breaker, connections=ARRIVAL_CONNECTIONS)
        self.lanes = Lanes(
            dsn,
            process_no=process_no,
            lane_count=lane_count,
            boarding=boarding,
            breaker=self.breaker,
        )
        self.ownership = Ownership(self._readers)
        self.accounts = Accounts(self._readers, self.ownership)
        self.transfers = Transfers(self._readers, self.ownership)
        self.balances = Balances(self._readers, self.ownership)
        self.statements = Statements(self._readers, self.ownership)
        self.holds = Holds(self._readers, self.ownership)
        self.suspense = Suspense(self._readers, lane=process_no * lane_count)
        self.arrivals = Arrivals(self._deliveries, first_lane=process_no * lane_count)
        self.repairs = Repairs(self._readers)
        self.trace = Trace(self._readers, self.ownership)
        self.payment_files = PaymentFiles(self._readers, self.ownership)
        self.business_day = BusinessDay(self._readers)
        self.invariants = Invariants(number, dsn)
        self.commit_times = CommitTimes(dsn)

    @property
    def reads_waiting(self) -> int:
        """How many reads wait for a connection right now."""
        return self._readers.reads_waiting

    def watched_by(self, onlooker: Onlooker) -> None:
        """Let somebody look on from now on."""
        self.lanes.onlooker = onlooker
        self._readers.onlooker = onlooker
        self._deliveries.onlooker = onlooker

    async def open(self) -> None:
        """Start pool and lanes; succeeds also while the server is down."""
        await self._readers.open()
        await self._deliveries.open()
        await self.lanes.open()

    async def close(self) -> None:
        """Stop the lanes and close every connection."""
        await self.lanes.close()
        await self._deliveries.close()
        await self._readers.close()

    async def expire_holds(self) -> int:
        """End the holds whose time is up, in batches; how many. May run twice, also at once.

        Raises ``ShardUnavailable`` and what lanes raise; the next call goes on from there.
        """
        expired = 0
        while due := await self.holds.due(HOLDS_PER_BATCH):
            answers = await self.lanes.post_many([expiry_command(hold) for hold in due])
            ended = [each for each in answers if each.outcome is Outcome.POSTED]
            expired += sum(not answer.is_replay for answer in ended)
            if len(due) < HOLDS_PER_BATCH or all(answer.is_replay for answer in answers):
                break
        return expired

    async def ping(self) -> None:
        """Ask the server for a sign of life; raises ``ShardUnavailable``, ``SchemaMissing``."""
        await self._readers.value(int, QUERIES["ping"])
