"""Items as a person sees them, and what persons decide on those that need one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from psycopg.rows import TupleRow

from shard.connections import Readers
from shard.errors import NotFound
from shard.named_queries import QUERIES
from shard.outcomes import Outcome
from shard.repair_choice import RepairChoice
from shard.suspense import Carrier, ItemState, SuspenseItem, read_item
from shard.transfers import TransferRecord

_ITEM_COLUMNS = 18


class Decided(StrEnum):
    """What became of a decision at the item's shard."""

    DECIDED = "decided"
    STALE = "stale"
    MOVING = "moving"
    UNSAFE = "unsafe"


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision on ``attempt`` of an item; ``decision_id`` makes it happen once.

    ``target`` is the account that a new attempt goes to; None keeps the present one.
    ``evidence`` is what the present target's shard has stored under the attempt's reference:
    a refusal or a tombstone, without which no other attempt begins, or POSTED. ``maker`` and
    ``checker`` are two persons.
    """

    decision_id: UUID
    item_id: UUID
    attempt: int
    choice: RepairChoice
    reason: str
    maker: str
    checker: str
    target: int | None = None
    wait_until: datetime | None = None
    evidence: Outcome | None = None


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """A decision that was carried out, the ``n``-th on its item; times in UTC."""

    n: int
    decision_id: UUID
    choice: RepairChoice
    attempt: int
    evidence: Outcome | None
    target_before: int
    target_after: int
    wait_until: datetime | None
    reason: str
    maker: str
    checker: str
    decided_at: datetime
    business_date: date


@dataclass(frozen=True, slots=True)
class ItemRecord:
    """An item, open or closed. ``booked_on`` is the shard that took the money, once settled.

    ``route`` is the destination whose route workflow carries it.
    """

    item: SuspenseItem
    state: ItemState
    route: int | None
    settled_at: datetime | None
    settled_on: date | None
    booked_on: int | None

    @property
    def is_open(self) -> bool:
        """Whether its amount still stands in suspense."""
        return self.state in {ItemState.PARKED, ItemState.NEEDS_REPAIR}


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """Which open items are wanted: parked for ``age_s`` seconds at least; None is any.

    ``least`` and ``most`` bound the amount, each in the item's own currency.
    """

    age_s: float = 0.0
    state: ItemState | None = None
    carrier: Carrier | None = None
    currency: str | None = None
    least: Decimal | None = None
    most: Decimal | None = None


class Repairs:
    """The items of one shard that persons look at and decide on."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers

    async def get(self, item_id: UUID) -> ItemRecord:
        """An item, whatever became of it; raises ``NotFound``."""
        rows = await self._readers.rows(QUERIES["item_record"], (item_id,))
        if not rows:
            raise NotFound("There is no such item on this shard.")
        return _record(rows[0])

    async def of_transfer(self, transfer: TransferRecord) -> list[ItemRecord]:
        """The items of a transfer that was booked here, in the order of their ids.

        Its id alone does not name it: the deliveries of its amounts have the same.
        """
        named = (transfer.transfer_id, transfer.home, transfer.origin.value, transfer.reference)
        rows = await self._readers.rows(QUERIES["item_records_of_transfer"], named)
        return [_record(row) for row in rows]

    async def open_items(self, wanted: ItemFilter, limit: int) -> list[ItemRecord]:
        """At most ``limit`` open items, oldest first."""
        named = {
            "age_s": wanted.age_s,
            "state": _value(wanted.state),
            "carrier": _value(wanted.carrier),
            "currency": wanted.currency,
            "least": wanted.least,
            "most": wanted.most,
            "row_limit": limit,
        }
        rows = await self._readers.rows(QUERIES["open_item_records"], named)
        return [_record(row) for row in rows]

    async def in_repair(self, limit: int, after: UUID | None = None) -> list[UUID]:
        """Ids of open items in the hands of repair workflows, ascending, after one of them."""
        rows = await self._readers.rows(QUERIES["items_in_repair"], (after, limit))
        return [item_id for (item_id,) in rows]

    async def decisions(self, item_id: UUID) -> Sequence[DecisionRecord]:
        """What was decided on an item, in that order."""
        rows = await self._readers.rows(QUERIES["repair_decisions"], (item_id,))
        return [_decision(row) for row in rows]

    async def decide(self, decision: Decision) -> Decided:
        """Carry out a decision and put it on record; repeating it is safe."""
        parameters = (
            decision.item_id,
            decision.attempt,
            decision.decision_id,
            decision.choice.value,
            decision.target,
            decision.wait_until,
            _value(decision.evidence),
            decision.reason,
            decision.maker,
            decision.checker,
        )
        return Decided(await self._readers.write(str, QUERIES["decide_repair"], parameters))


def _value(word: StrEnum | None) -> str | None:
    return None if word is None else word.value


def _record(row: TupleRow) -> ItemRecord:
    state, route, settled_at, settled_on, booked_on = row[_ITEM_COLUMNS:]
    return ItemRecord(
        item=read_item(row[:_ITEM_COLUMNS]),
        state=ItemState(state),
        route=route,
        settled_at=settled_at,
        settled_on=settled_on,
        booked_on=booked_on,
    )


def _decision(row: TupleRow) -> DecisionRecord:
    (n, decision_id, choice, attempt, evidence, target_before, target_after, wait_until,
     reason, maker, checker, decided_at, business_date) = row  # fmt: skip
    return DecisionRecord(
        n=n,
        decision_id=decision_id,
        choice=RepairChoice(choice),
        attempt=attempt,
        evidence=None if evidence is None else Outcome(evidence),
        target_before=target_before,
        target_after=target_after,
        wait_until=wait_until,
        reason=reason,
        maker=maker,
        checker=checker,
        decided_at=decided_at,
        business_date=business_date,
    )
