"""The front door of one shard."""

from __future__ import annotations

from shard.accounts import Accounts
from shard.balances import Balances
from shard.business_day import BusinessDay
from shard.commit_times import CommitTimes
from shard.connections import Readers
from shard.invariants import Invariants
from shard.lanes import Boarding, Lanes
from shard.limits import LANES_PER_SHARD
from shard.named_queries import QUERIES
from shard.ownership import Ownership
from shard.payment_files import PaymentFiles
from shard.statements import Statements
from shard.suspense import Suspense
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
        self._readers = Readers(dsn)
        self.lanes = Lanes(dsn, process_no=process_no, lane_count=lane_count, boarding=boarding)
        self.ownership = Ownership(self._readers)
        self.accounts = Accounts(self._readers, self.ownership)
        self.transfers = Transfers(self._readers, self.ownership)
        self.balances = Balances(self._readers, self.ownership)
        self.statements = Statements(self._readers, self.ownership)
        self.suspense = Suspense(self._readers, lane=process_no * lane_count)
        self.payment_files = PaymentFiles(self._readers, self.ownership)
        self.business_day = BusinessDay(self._readers)
        self.invariants = Invariants(number, dsn)
        self.commit_times = CommitTimes(self._readers)

    async def open(self) -> None:
        """Start pool and lanes; succeeds also while the server is down."""
        await self._readers.open()
        await self.lanes.open()

    async def close(self) -> None:
        """Stop the lanes and close every connection."""
        await self.lanes.close()
        await self._readers.close()

    async def ping(self) -> None:
        """Ask the server for a sign of life; raises ``ShardUnavailable``, ``SchemaMissing``."""
        await self._readers.value(int, QUERIES["ping"])
