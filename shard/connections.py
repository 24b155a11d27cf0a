"""Connections to one database, and what their failures mean."""

from __future__ import annotations

import asyncio
import select
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import LiteralString, TypeAlias, TypeVar

import psycopg
from psycopg import AsyncConnection, errors, waiting
from psycopg.abc import RV, PQGen
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from shard.breaker import Breaker
from shard.errors import (
    LedgerError,
    Malformed,
    OutcomeUnknown,
    Overloaded,
    SchemaMissing,
    ShardUnavailable,
)
from shard.limits import (
    ANSWER_LIMIT_S,
    CONNECT_TIMEOUT_S,
    LOCK_TIMEOUT_S,
    READ_POOL_CONNECTIONS,
    READ_POOL_TIMEOUT_S,
    READ_POOL_WAITERS_MAX,
    STATEMENT_TIMEOUT_S,
)
from shard.onlooker import Onlooker

Connection: TypeAlias = AsyncConnection[TupleRow]
_Row = TypeVar("_Row")

# Connection failures, resources exhausted, shut down by an operator.
_GONE = ("08", "53", "57")
OUR_SQLSTATES = "LG"
"""Errors that the ledger's own functions raise begin with this."""
_SESSION = "-c jit=off -c timezone=UTC"
# Planning a large statement for each call costs more than a plan for its very values saves; and
# a plan made while the tables were small must still be the right one when they have grown.
_SHORT_WORK = (
    f"{_SESSION} -c plan_cache_mode=force_generic_plan -c enable_seqscan=off"
    f" -c random_page_cost=1.1 -c lock_timeout={int(LOCK_TIMEOUT_S * 1000)}"
    f" -c statement_timeout={int(STATEMENT_TIMEOUT_S * 1000)}"
)


class _ImpatientConnection(AsyncConnection[TupleRow]):
    """A connection that is closed as soon as whoever waits for its answer gives up.

    The driver would first ask the server to cancel the query, and then wait for its end: ten
    seconds for a server that hangs. The query is left to its own time limits instead.
    """

    async def wait(
        self,
        gen: PQGen[RV],
        interval: float = 0.1,
        timeout: float | None = None,  # noqa: ASYNC109  the driver's own signature
    ) -> RV:
        """Wait for the server; given up, it is closed."""
        try:
            return await waiting.wait_async(
                gen, self.pgconn.socket, interval=interval, timeout=timeout
            )
        except asyncio.CancelledError:
            self.pgconn.finish()
            raise


def serving_dsn(dsn: str) -> str:
    """The DSN of sessions that serve: they read and lock the few rows they name."""
    return make_conninfo(dsn, options=_SHORT_WORK, connect_timeout=CONNECT_TIMEOUT_S)


async def connect(dsn: str, *, is_serving: bool = False) -> Connection:
    """Open one connection; raises ``ShardUnavailable`` when nobody answers.

    A serving one is in autocommit mode. The others migrate, or report on whole tables.
    """
    kind = _ImpatientConnection if is_serving else AsyncConnection[TupleRow]
    try:
        return await kind.connect(
            serving_dsn(dsn)
            if is_serving
            else make_conninfo(dsn, options=_SESSION, connect_timeout=CONNECT_TIMEOUT_S),
            autocommit=is_serving,
            prepare_threshold=0,
        )
    except psycopg.OperationalError as error:
        raise ShardUnavailable(f"The database does not answer: {error}") from None


def was_left(connection: Connection) -> bool:
    """Whether the server has something to say while nothing was asked: as a rule, goodbye.

    Found out before the send, a lost connection is only made anew; after it, the outcome of
    the whole batch would be unknown.
    """
    if connection.closed:
        return False
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    return bool(waiting.poll(0))


async def _check_not_left(connection: Connection) -> None:
    """Tell the pool, without a round trip, that a connection is of no use any more."""
    if was_left(connection):
        # Unless it is closed the pool takes it back, and lends it again.
        await connection.close()
        raise psycopg.OperationalError("the server has closed the connection")


def told(error: psycopg.Error) -> LedgerError:
    """What a failure of the database means, when nothing was written or only read."""
    sqlstate = error.diag.sqlstate
    message = error.diag.message_primary or str(error)
    match error:
        case errors.UndefinedTable() | errors.UndefinedFunction() | errors.InvalidSchemaName():
            return SchemaMissing()
        case errors.CheckViolation() | errors.DataError():
            return Malformed(f"The database refuses the request: {message}")
        case errors.DeadlockDetected() | errors.LockNotAvailable() | errors.QueryCanceled():
            return Overloaded(f"The shard could not finish in time: {message}")
    if sqlstate is None or sqlstate[:2] in _GONE:
        return ShardUnavailable(f"The database does not answer: {message}")
    return LedgerError(f"The database failed: {message}")


@asynccontextmanager
async def failures_told() -> AsyncIterator[None]:
    """Turn the driver's errors into those of this product; errors of our own SQL pass."""
    try:
        yield
    except TooManyRequests as error:
        raise Overloaded(f"Too many reads wait for this database: {error}") from None
    except (PoolTimeout, PoolClosed) as error:
        raise ShardUnavailable(f"The database does not answer: {error}") from None
    except psycopg.Error as error:
        if (error.diag.sqlstate or "").startswith(OUR_SQLSTATES):
            raise
        raise told(error) from error


class Readers:
    """A small pool of connections for reads and for the short writes outside the lanes.

    With a ``breaker`` nobody waits for a database that is known not to answer.
    """

    def __init__(
        self,
        dsn: str,
        breaker: Breaker | None = None,
        *,
        connections: int = READ_POOL_CONNECTIONS,
    ) -> None:
        self.onlooker: Onlooker | None = None
        self._breaker = breaker
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            serving_dsn(dsn),
            connection_class=_ImpatientConnection,
            kwargs={"autocommit": True, "prepare_threshold": 0},
            min_size=0,
            max_size=connections,
            max_waiting=READ_POOL_WAITERS_MAX,
            timeout=READ_POOL_TIMEOUT_S,
            open=False,
            reconnect_timeout=READ_POOL_TIMEOUT_S,
            reconnect_failed=self._on_unreachable,
            check=_check_not_left,
        )
        self._under_way: set[asyncio.Future[list[TupleRow]]] = set()

    @property
    def reads_waiting(self) -> int:
        """How many reads wait for a connection right now."""
        return self._pool.get_stats().get("requests_waiting", 0)

    async def open(self) -> None:
        """Start the pool; connections are made when they are asked for."""
        await self._pool.open()

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection; raises ``ShardUnavailable``."""
        async with failures_told(), self._pool.connection() as connection:
            yield connection

    async def rows(
        self,
        query: LiteralString,
        parameters: Sequence[object] | Mapping[str, object] = (),
    ) -> list[TupleRow]:
        """The rows of a query that reads; raises ``ShardUnavailable``."""
        try:
            return await self._patiently(query, parameters)
        except OutcomeUnknown as error:
            raise ShardUnavailable from error

    async def value(
        self, kind: type[_Row], query: LiteralString, parameters: Sequence[object] = ()
    ) -> _Row:
        """The one value, of type ``kind``, of a query that reads and always has a row."""
        return _only(kind, await self.rows(query, parameters))

    async def write(
        self, kind: type[_Row], query: LiteralString, parameters: Sequence[object] = ()
    ) -> _Row:
        """The one value of a query that changes something.

        Raises ``ShardUnavailable`` when nothing was sent, ``OutcomeUnknown`` when no answer came
        afterwards: it may have happened, and repeating it is safe.
        """
        return _only(kind, await self.write_rows(query, parameters))

    async def write_rows(
        self, query: LiteralString, parameters: Sequence[object] = ()
    ) -> list[TupleRow]:
        """The rows of a query that changes something; raises like ``write``."""
        return await self._patiently(query, parameters)

    async def _patiently(
        self, query: LiteralString, parameters: Sequence[object] | Mapping[str, object]
    ) -> list[TupleRow]:
        """Execute a query, but do not hang with a server that hangs.

        Whoever stops waiting earlier leaves the query to its own end, and with it its
        connection, which goes back to the pool then.
        """
        if self._breaker is not None and not self._breaker.admits():
            raise ShardUnavailable("The database did not answer a moment ago.")
        work = asyncio.ensure_future(self._execute(query, parameters))
        self._under_way.add(work)
        work.add_done_callback(self._ended)
        await asyncio.wait({work}, timeout=ANSWER_LIMIT_S)
        if work.done():
            return work.result()
        work.cancel()
        self._on_silence()
        raise OutcomeUnknown

    async def _execute(
        self, query: LiteralString, parameters: Sequence[object] | Mapping[str, object]
    ) -> list[TupleRow]:
        try:
            rows = await self._fetched(query, parameters)
        except (ShardUnavailable, OutcomeUnknown):
            if self._breaker is not None and self._breaker.is_open:
                # It was the one that should find out.
                self._breaker.failed()
            raise
        if self._breaker is not None:
            self._breaker.answered()
        return rows

    async def _fetched(
        self, query: LiteralString, parameters: Sequence[object] | Mapping[str, object]
    ) -> list[TupleRow]:
        async with self.connection() as connection:
            try:
                rows = await (await connection.execute(query, parameters)).fetchall()
                if self.onlooker is not None:
                    await self.onlooker.saw_write(query, connection)
            except psycopg.OperationalError as error:
                if connection.broken or connection.closed:
                    raise OutcomeUnknown from error
                raise
            return rows

    def _on_silence(self) -> None:
        if self._breaker is not None:
            self._breaker.failed()

    async def _on_unreachable(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._on_silence()

    def _ended(self, work: asyncio.Future[list[TupleRow]]) -> None:
        self._under_way.discard(work)
        if not work.cancelled():
            work.exception()


def _only(kind: type[_Row], rows: Sequence[TupleRow]) -> _Row:
    if not rows or not isinstance(rows[0][0], kind):
        raise LedgerError(f"A query that always gives a {kind.__name__} did not.")
    return rows[0][0]
