"""Suspense: the source side of money between shards.

An item alone decides where its amount goes: whoever delivers, settles, redirects or repairs it
names the attempt he acts on, and a compare-and-set lets exactly one of them through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

import psycopg
from psycopg.rows import TupleRow

from shard.array_literals import of_ids, of_numbers, of_plain, of_times
from shard.cargo import Cargo
from shard.commands import Kind, Origin
from shard.connections import Readers
from shard.errors import LedgerError
from shard.ids import new_id
from shard.named_queries import QUERIES
from shard.outcomes import Outcome


class Carrier(StrEnum):
    """Which kind of workflow holds an open item."""

    CONVOY = "convoy"
    ROUTE = "route"
    REPAIR = "repair"


@dataclass(frozen=True, slots=True)
class SuspenseItem:
    """A parked amount (> 0, in ``currency``) on its way to ``target``, in attempt ``attempt``."""

    item_id: UUID
    attempt: int
    debtor: int
    origin: Origin
    reference: str
    transfer_id: UUID
    target: int
    amount: Decimal
    currency: str
    business_date: date
    value_date: date
    convoy: UUID
    carrier: Carrier
    parked_at: datetime
    narrative: str | None
    last_refusal: Outcome | None
    kind: Kind = Kind.ORDINARY
    trace_id: str | None = None

    @property
    def is_return(self) -> bool:
        """Whether it is on its way back to its debtor."""
        return self.target == self.debtor

    @property
    def delivery_reference(self) -> str:
        """The reference of the present attempt at its target."""
        return f"{self.item_id}:{self.attempt}"


class ItemState(StrEnum):
    """Where an item's amount is: on its way, at its target, back, or waiting for a person."""

    PARKED = "parked"
    DELIVERED = "delivered"
    RETURNED = "returned"
    NEEDS_REPAIR = "needs_repair"


@dataclass(frozen=True, slots=True)
class Settlement:
    """An attempt that was booked at its target, on which shard and when (UTC)."""

    item_id: UUID
    attempt: int
    booked_on: int
    delivered_at: datetime


@dataclass(frozen=True, slots=True)
class Redirection:
    """An attempt that was refused at its target for ``cause``, and the item's next target."""

    item_id: UUID
    attempt: int
    target: int
    cause: Outcome


@dataclass(frozen=True, slots=True)
class OpenTotal:
    """Open items of one state and currency: how many, how much, since when (UTC)."""

    state: str
    currency: str
    count: int
    amount: Decimal
    oldest_parked_at: datetime


@dataclass(frozen=True, slots=True)
class OpenByAge:
    """Open items alike in state, carrier, currency and age: how many, how much, since when (UTC).

    ``age`` is how many of the bounds asked for it has reached; 0 is younger than all of them.
    """

    state: ItemState
    carrier: Carrier
    currency: str
    age: int
    count: int
    amount: Decimal
    oldest_parked_at: datetime


class Suspense:
    """The suspense items of one shard."""

    def __init__(self, readers: Readers, *, lane: int) -> None:
        self._readers = readers
        self._lane = lane

    async def of_convoy(self, convoy: UUID) -> list[SuspenseItem]:
        """The items of a convoy that are still parked and still its own."""
        return await self._items("items_of_convoy", convoy)

    async def cargo_of_convoy(self, convoy: UUID) -> Cargo:
        """The same items in columns."""
        return Cargo.of_rows(await self._readers.rows(QUERIES["cargo_of_convoy"], (convoy,)))

    async def of_carrier(self, carrier: Carrier, limit: int) -> list[SuspenseItem]:
        """Parked items held by one kind of workflow, oldest first."""
        return await self._items("items_of_carrier", carrier.value, limit)

    async def of_route(self, route: int, limit: int, after: UUID | None) -> list[SuspenseItem]:
        """Parked items that were handed over to ``route``, oldest first, after one item."""
        return await self._items("items_of_route", route, after, limit)

    async def open_routes(self) -> list[int]:
        """The routes that hold parked items, ascending."""
        return [route for (route,) in await self._readers.rows(QUERIES["open_routes"])]

    async def stragglers(self, older_than_s: float, limit: int) -> list[SuspenseItem]:
        """Parked items of convoys that should have arrived by now, oldest first.

        Items parked that far in the future count as well: a clock went wrong.
        """
        named = {"age_s": older_than_s, "row_limit": limit}
        return [read_item(row) for row in await self._readers.rows(QUERIES["stragglers"], named)]

    async def settle(self, settlements: Sequence[Settlement]) -> int:
        """Close items whose attempt was booked, and move their sum to clearing.

        Returns how many were closed by this call; those that another one closed, or that are
        in a later attempt, are left alone. Raises a ``LedgerError`` that is not retryable where
        one of them keeps all of them from being closed.
        """
        return await self._settle(
            of_ids(s.item_id for s in settlements),
            of_numbers(s.attempt for s in settlements),
            of_numbers(s.booked_on for s in settlements),
            of_times(s.delivered_at for s in settlements),
        )

    async def settle_cargo(self, cargo: Cargo, booked_on: int, delivered_at: datetime) -> int:
        """Close items that were all booked on that shard at that time (UTC), like ``settle``."""
        return await self._settle(
            of_plain(cargo.item_ids),
            of_plain(cargo.attempts),
            of_numbers([booked_on] * len(cargo)),
            of_times([delivered_at] * len(cargo)),
        )

    async def _settle(self, *arrays: str) -> int:
        try:
            return await self._readers.write(
                int, QUERIES["settle"], (self._lane, new_id(), *arrays)
            )
        except psycopg.Error as error:
            raise LedgerError(f"The shard refuses the whole settlement: {error}") from error

    async def redirect(self, redirections: Sequence[Redirection]) -> int:
        """Start the next attempt of items; the refusal of the present one must be stored.

        Returns how many were changed: an item that is closed or in another attempt is not.
        """
        return await self._readers.write(
            int,
            QUERIES["redirect"],
            (
                [r.item_id for r in redirections],
                [r.attempt for r in redirections],
                [r.target for r in redirections],
                [r.cause.value for r in redirections],
            ),
        )

    async def hand_over(
        self, item_ids: Sequence[UUID], carrier: Carrier, route: int | None = None
    ) -> int:
        """Put parked items into the hands of another kind of workflow, or of another route.

        A route is a number that the caller gives a meaning. Returns how many items were not
        in these hands already.
        """
        return await self._readers.write(
            int, QUERIES["hand_over"], (list(item_ids), carrier.value, route)
        )

    async def restamp(self, item_ids: Sequence[UUID], convoy: UUID) -> int:
        """Give parked items that no workflow holds a new convoy; returns how many."""
        return await self._readers.write(int, QUERIES["restamp"], (list(item_ids), convoy))

    async def mark_needs_repair(self, item_id: UUID, attempt: int, cause: Outcome) -> bool:
        """Set an item aside for a person; False when it is not in that attempt any more."""
        return await self._readers.write(
            bool, QUERIES["mark_needs_repair"], (item_id, attempt, cause.value)
        )

    async def open_totals(self) -> list[OpenTotal]:
        """What stands in suspense, by state and currency."""
        return [OpenTotal(*row) for row in await self._readers.rows(QUERIES["open_totals"])]

    async def count_open(self, limit: int) -> int:
        """How many items are open; ``limit`` if there are more."""
        return await self._readers.value(int, QUERIES["count_open"], (limit,))

    async def open_by_age(self, bounds_s: Sequence[float], limit: int) -> list[OpenByAge]:
        """Open items by what is alike in them; of the oldest ones ``limit`` at most.

        ``bounds_s`` are ages in seconds, ascending.
        """
        named = {"bounds_s": list(bounds_s), "row_limit": limit}
        return [
            OpenByAge(ItemState(state), Carrier(carrier), *rest)
            for state, carrier, *rest in await self._readers.rows(QUERIES["open_by_age"], named)
        ]

    async def _items(self, query: str, *parameters: object) -> list[SuspenseItem]:
        return [read_item(row) for row in await self._readers.rows(QUERIES[query], parameters)]


def read_item(row: TupleRow) -> SuspenseItem:
    """The item that a row tells of, by the columns of the queries named ``items_of_...``."""
    (item_id, attempt, debtor, origin, reference, transfer_id, target, amount, currency,
     business_date, value_date, convoy, carrier, parked_at, narrative, refusal,
     kind, trace_id) = row  # fmt: skip
    return SuspenseItem(
        item_id=item_id,
        attempt=attempt,
        debtor=debtor,
        origin=Origin(origin),
        reference=reference,
        transfer_id=transfer_id,
        target=target,
        amount=amount,
        currency=currency,
        business_date=business_date,
        value_date=value_date,
        convoy=convoy,
        carrier=Carrier(carrier),
        parked_at=parked_at,
        narrative=narrative,
        last_refusal=Outcome(refusal) if refusal is not None else None,
        kind=Kind(kind),
        trace_id=trace_id,
    )
