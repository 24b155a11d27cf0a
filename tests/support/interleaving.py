"""Forcing interleavings: hold a lock on a connection of one's own, and see others wait for it.

Nothing here lets time pass and hopes: a test goes on when PostgreSQL says that a backend waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, LiteralString, TypeVar

from psycopg.rows import TupleRow

from shard.commands import Answer, Command
from shard.connections import Connection, connect
from shard.ownership import RangeState
from shard.posting import post_batch

_PATIENCE_S = 20.0
_Result = TypeVar("_Result")

_BLOCKED = """
WITH RECURSIVE waiting AS (
    SELECT DISTINCT l.pid, pg_blocking_pids(l.pid) AS blockers
    FROM pg_locks AS l WHERE NOT l.granted
), blocked (pid) AS (
    SELECT w.pid FROM waiting AS w WHERE pg_backend_pid() = ANY (w.blockers)
    UNION
    SELECT w.pid FROM waiting AS w JOIN blocked AS b ON b.pid = ANY (w.blockers)
)
SELECT pid FROM blocked
"""
_LOCK_BALANCE = "SELECT FROM ledger.balance WHERE account_no = %s AND bucket = %s FOR UPDATE"
_CLAIM = """
INSERT INTO ledger.transfer (
    account_no, origin, reference, id, request_hash, kind, outcome, money_state, currency, amount,
    business_date, value_date, posted_at, booked_on
) VALUES (%s, %s, %s, %s, %s, 'ordinary', 'POSTED', 'posted', %s, %s, now(), now(), now(), 1)
"""
_CHANGE_RANGE = """
UPDATE ledger.owned_range SET state = %s::text::ledger.range_state, next_owner = %s,
    epoch = epoch + 1
WHERE range_id = %s RETURNING epoch
"""


class Holder:
    """A transaction that holds locks until it ends, and sees who waits for it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._tasks: list[asyncio.Task[Any]] = []

    def start(self, work: Coroutine[Any, Any, _Result]) -> asyncio.Task[_Result]:
        """Start what is to wait for this transaction."""
        task = asyncio.create_task(work)
        self._tasks.append(task)
        return task

    async def execute(
        self, statement: LiteralString, parameters: Sequence[object] = ()
    ) -> list[TupleRow]:
        """Run any statement in this transaction."""
        cursor = await self._connection.execute(statement, parameters)
        return await cursor.fetchall() if cursor.description is not None else []

    async def lock_day(self) -> None:
        """Hold the barrier of the business day, as its advance does."""
        await self.execute("SELECT pg_advisory_xact_lock(7101, 0)")

    async def lock_range(self, range_id: int) -> None:
        """Hold a range exclusively, as its fence does."""
        await self.execute("SELECT pg_advisory_xact_lock(7102, %s)", (range_id,))

    async def lock_balance(self, account_no: int, bucket: int = 0) -> None:
        """Hold the row of one bucket."""
        await self.execute(_LOCK_BALANCE, (account_no, bucket))

    async def claim(self, command: Command) -> None:
        """Hold the key of a command, as a posting does that has not committed yet."""
        await self.execute(
            _CLAIM,
            (command.home, command.origin.value, command.reference, command.transfer_id,
             command.request_hash, command.currency, command.amount),
        )  # fmt: skip

    async def post(self, command: Command) -> Answer:
        """Book a command, as a posting does that has not committed yet."""
        (answer,) = await post_batch(self._connection, 0, None, [command])
        return answer

    async def change_range(
        self, range_id: int, state: RangeState, next_owner: int | None = None
    ) -> int:
        """Change a range's state under its exclusive lock; its new epoch."""
        await self.lock_range(range_id)
        ((epoch,),) = await self.execute(_CHANGE_RANGE, (state.value, next_owner, range_id))
        return int(epoch)

    async def commit(self) -> None:
        """Let go, and let others see what was changed here."""
        await self._connection.commit()

    async def rollback(self) -> None:
        """Let go as if nothing had been."""
        await self._connection.rollback()

    async def end(self) -> None:
        """Let go, and see the end of everything that was started here."""
        await self._connection.rollback()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until_blocks(self, *tasks: asyncio.Task[Any]) -> None:
        """Wait until as many backends as there are tasks wait for this transaction.

        Directly, or in a queue behind one that does. A task that ends meanwhile did not wait.
        """
        async with asyncio.timeout(_PATIENCE_S):
            while len(await self.blocked()) < len(tasks):
                ended = [task for task in tasks if task.done()]
                assert not ended, f"this did not wait: {ended[0]}"
                await asyncio.sleep(0.002)  # sleep: a backend tells nobody that it waits

    async def blocked(self) -> list[int]:
        """The process ids of the backends that wait for this transaction."""
        return [pid for (pid,) in await self.execute(_BLOCKED)]


@asynccontextmanager
async def holder(dsn: str) -> AsyncIterator[Holder]:
    """A transaction of its own; what it still holds at the end is rolled back.

    Enter it after the connections of those that are to wait for it: what it has started must
    end before they do.
    """
    connection = await connect(dsn)
    held = Holder(connection)
    try:
        yield held
    finally:
        await held.end()
        await connection.close()


@asynccontextmanager
async def posting_connection(dsn: str) -> AsyncIterator[Connection]:
    """A connection as a lane has one."""
    connection = await connect(dsn, is_serving=True)
    try:
        yield connection
    finally:
        await connection.close()


async def free_buckets(dsn: str, account_no: int) -> list[int]:
    """The buckets of an account that nobody holds at this moment."""
    async with holder(dsn) as probe:
        rows = await probe.execute(
            "SELECT bucket FROM ledger.balance WHERE account_no = %s"
            " ORDER BY bucket FOR UPDATE SKIP LOCKED",
            (account_no,),
        )
    return [bucket for (bucket,) in rows]
