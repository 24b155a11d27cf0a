"""What must hold on one shard at every instant, checked in one snapshot.

And what a shard contributes to the checks between shards: its clearing, items and deliveries.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files

from psycopg import IsolationLevel
from psycopg.rows import TupleRow

from shard.connections import Connection, connect, failures_told
from shard.limits import CHECK_PAGE_ROWS, FINDINGS_PER_INVARIANT
from shard.named_queries import load_queries

_QUERIES = load_queries((files("shard") / "sql" / "invariants.sql").read_text())
_NO_CHECKS = {
    "lift_time_limit", "clearing_balances", "trial_balance", "items_in_order",
    "deliveries_booked", "parked_towards",
}  # fmt: skip
_ITEM_ID_CHARS = 36
INVARIANTS: tuple[str, ...] = tuple(name for name in _QUERIES if name not in _NO_CHECKS)
"""The names of the checks, in the order in which they run."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One violation of one invariant on one shard."""

    shard: int
    invariant: str
    detail: str


@dataclass(frozen=True, slots=True)
class ClearingBalance:
    """What ``clearing(this->peer)`` holds in ``currency``."""

    peer: int
    currency: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class TrialLine:
    """Accounts of one kind and currency: how many, their debit (<= 0) and credit (>= 0) sums."""

    currency: str
    kind: str
    accounts: int
    debit: Decimal
    credit: Decimal


@dataclass(frozen=True, slots=True)
class ItemLine:
    """An item (amount > 0) as its source shard knows it; ``booked_on`` once it is closed."""

    item_id: str
    attempt: int
    state: str
    target: int
    amount: Decimal
    currency: str
    booked_on: int | None


@dataclass(frozen=True, slots=True)
class DeliveryLine:
    """A delivery as shard ``booked_on`` booked it for ``target``."""

    reference: str
    target: int
    amount: Decimal
    currency: str
    booked_on: int

    @property
    def item_id(self) -> str:
        """The item that its reference names, before the attempt."""
        return self.reference[:_ITEM_ID_CHARS]


@dataclass(frozen=True, slots=True)
class BothSides:
    """A shard's items and the deliveries it booked, both in the order of ``item_id``."""

    items: AsyncIterator[ItemLine]
    deliveries: AsyncIterator[DeliveryLine]


class Invariants:
    """Checks one shard's books; every call has a connection and a snapshot of its own."""

    def __init__(self, number: int, dsn: str) -> None:
        self._number = number
        self._dsn = dsn

    async def check(self) -> list[Finding]:
        """Every violation, at most ``FINDINGS_PER_INVARIANT`` of each kind."""
        async with failures_told(), await connect(self._dsn) as connection:
            await _take_snapshot(connection)
            findings = []
            for name in INVARIANTS:
                cursor = await connection.execute(_QUERIES[name])
                for (detail,) in await cursor.fetchmany(FINDINGS_PER_INVARIANT):
                    findings.append(Finding(self._number, name, detail))
            return findings

    async def clearing(self) -> list[ClearingBalance]:
        """The clearing accounts towards every peer, this shard included."""
        return [ClearingBalance(*row) for row in await self._figures("clearing_balances")]

    async def trial_balance(self) -> list[TrialLine]:
        """Debits and credits by currency and kind of account, where anything was ever booked."""
        return [TrialLine(*row) for row in await self._figures("trial_balance")]

    async def parked_towards(self, ranges: Sequence[tuple[int, int, int]]) -> set[int | None]:
        """The shards that parked items are on their way to, by ``(lo, hi, shard)``.

        None is among them when an item's target lies in none of the ranges.
        """
        lo, hi, shards = ([each[n] for each in ranges] for n in range(3))
        named = {"lo": lo, "hi": hi, "shard": shards}
        return {shard for (shard,) in await self._figures("parked_towards", named)}

    @asynccontextmanager
    async def both_sides(self) -> AsyncIterator[BothSides]:
        """Every item and delivery of one snapshot, read page by page while it is iterated."""
        async with failures_told(), await connect(self._dsn) as connection:
            await _take_snapshot(connection)
            async with (
                connection.cursor("items") as items,
                connection.cursor("deliveries") as deliveries,
            ):
                items.itersize = deliveries.itersize = CHECK_PAGE_ROWS
                await items.execute(_QUERIES["items_in_order"], {"items": None})
                await deliveries.execute(_QUERIES["deliveries_booked"], {"items": None})
                yield BothSides(
                    (ItemLine(*row) async for row in items),
                    (DeliveryLine(*row) async for row in deliveries),
                )

    async def items(self, item_ids: Collection[str]) -> list[ItemLine]:
        """The named items that left from here."""
        named = {"items": list(item_ids)}
        return [ItemLine(*row) for row in await self._figures("items_in_order", named)]

    async def deliveries(self, item_ids: Collection[str]) -> list[DeliveryLine]:
        """The deliveries of the named items that were booked here."""
        named = {"items": list(item_ids)}
        return [DeliveryLine(*row) for row in await self._figures("deliveries_booked", named)]

    async def _figures(
        self, name: str, parameters: Mapping[str, object] | None = None
    ) -> list[TupleRow]:
        async with failures_told(), await connect(self._dsn) as connection:
            await _take_snapshot(connection)
            return await (await connection.execute(_QUERIES[name], parameters)).fetchall()


async def _take_snapshot(connection: Connection) -> None:
    await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
    await connection.set_read_only(True)
    await connection.execute(_QUERIES["lift_time_limit"])
