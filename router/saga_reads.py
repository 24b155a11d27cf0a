"""Money between shards as an operator sees it: what is open, who carries it, what it met.

Every shard keeps its own items, so all of them are asked. One that does not answer is named in
the answer: what it holds must not look as if it did not exist.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from urllib.parse import quote
from uuid import UUID

from router.errors import AccountUnassigned
from router.limits import SAGAS_LISTED, SAGAS_LISTED_MAX
from router.routing import Routes
from sagas.starts import convoy_workflow_id, repair_workflow_id, route_workflow_id
from shard.commands import Origin
from shard.errors import LedgerError, Malformed, NotFound, ShardUnavailable
from shard.outcomes import Outcome
from shard.ownership import RangeState
from shard.repairs import DecisionRecord, ItemFilter, ItemRecord
from shard.shard import Shard
from shard.suspense import Carrier
from shard.transfers import TransferRecord


@dataclass(frozen=True, slots=True)
class TransferName:
    """A transfer by its home account, its reference, and who gave that."""

    account: int
    reference: str
    origin: Origin = Origin.CLIENT


@dataclass(frozen=True, slots=True)
class WantedSagas:
    """Which open items are wanted: by themselves, by source and destination; None is any."""

    items: ItemFilter = field(default_factory=ItemFilter)
    source: int | None = None
    destination: int | None = None
    limit: int = SAGAS_LISTED


@dataclass(frozen=True, slots=True)
class Saga:
    """An item of the shard ``source``, the workflow that holds it, or held it last, and its page.

    ``destination`` is the shard that should own the target now, None where no range holds it.
    ``page`` is None where no address of Temporal's UI is set.
    """

    source: int
    record: ItemRecord
    destination: int | None
    workflow: str
    page: str | None
    decisions: tuple[DecisionRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenSagas:
    """Open items, oldest first; ``silent`` are the shards that did not answer, and why."""

    sagas: tuple[Saga, ...]
    has_more: bool
    silent: Mapping[int, str]


class AtTarget(StrEnum):
    """What is known of an item's present attempt where it goes."""

    NOTHING = "nothing"
    BOOKED = "booked"
    REFUSED = "refused"
    SILENT = "silent"
    UNASSIGNED = "unassigned"


@dataclass(frozen=True, slots=True)
class TargetView:
    """What the owner of an item's target tells of the present attempt.

    ``refusal`` is RECALLED where a tombstone keeps it from arriving. ``booked_on`` and
    ``posted_at`` (UTC) belong to a booking. ``reason``: why nobody answers.
    """

    state: AtTarget
    shard: int | None = None
    is_moving: bool = False
    refusal: Outcome | None = None
    booked_on: int | None = None
    posted_at: datetime | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Outlook:
    """All that must be known of an item to say what may be done with it, as of a time (UTC)."""

    saga: Saga
    at_target: TargetView
    is_debtor_moving: bool
    as_of: datetime


@dataclass(frozen=True, slots=True)
class TemporalPlace:
    """Where Temporal is: for its command line, and for links into its UI if that has an address."""

    address: str
    namespace: str
    ui_url: str | None = None

    def page(self, workflow_id: str) -> str | None:
        """The address of a workflow's page; the UI shows its latest run."""
        if not self.ui_url:
            return None
        base, name = self.ui_url.rstrip("/"), quote(self.namespace, safe="")
        return f"{base}/namespaces/{name}/workflows/{quote(workflow_id, safe='')}"


def _now() -> datetime:
    return datetime.now(UTC)


class SagaReads:
    """Reads items of all shards; changes nothing."""

    def __init__(
        self, routes: Routes, temporal: TemporalPlace, now: Callable[[], datetime] = _now
    ) -> None:
        self.temporal = temporal
        self._routes = routes
        self._now = now

    @property
    def as_of(self) -> datetime:
        """The time of what is read now (UTC)."""
        return self._now()

    async def open_items(self, wanted: WantedSagas) -> OpenSagas:
        """Open items of all shards, or of one, oldest first; raises ``Malformed``."""
        sources = self._sources(wanted.source)
        # Which shard owns a target is not in the item: a destination is sorted out here.
        is_sifted = wanted.destination is not None
        page = SAGAS_LISTED_MAX if is_sifted else wanted.limit + 1
        silent: dict[int, str] = {}

        async def read(number: int) -> list[ItemRecord]:
            try:
                return await self._shard(number).repairs.open_items(wanted.items, page)
            except LedgerError as error:
                silent[number] = error.detail
                return []

        answers = await asyncio.gather(*map(read, sources))
        sagas = [
            self.saga(number, record)
            for number, records in zip(sources, answers, strict=True)
            for record in records
        ]
        sagas.sort(key=lambda each: (each.record.item.parked_at, each.record.item.item_id))
        if is_sifted:
            sagas = [each for each in sagas if each.destination == wanted.destination]
        is_cut = is_sifted and any(len(records) == page for records in answers)
        has_more = len(sagas) > wanted.limit or is_cut
        return OpenSagas(tuple(sagas[: wanted.limit]), has_more, silent)

    async def find(self, name: UUID | TransferName) -> list[Saga]:
        """An item, or all items of a transfer, open or closed, with what was decided on them.

        Raises ``NotFound``, and ``ShardUnavailable`` where a shard that might have it is silent.
        """
        if isinstance(name, TransferName):
            return await self._of_transfer(name)
        return [await self._of_id(name)]

    async def outlook(self, saga: Saga) -> Outlook:
        """What is known of an item's present attempt; raises ``ShardUnavailable`` of its source."""
        debtor = saga.record.item.debtor
        is_moving = False
        if saga.record.is_open:
            is_moving = await _is_fenced(self._shard(saga.source), debtor)
        return Outlook(saga, await self._at_target(saga), is_moving, self._now())

    def saga(
        self, source: int, record: ItemRecord, decisions: tuple[DecisionRecord, ...] = ()
    ) -> Saga:
        """An item with its workflow and where it goes, as far as this process knows."""
        owner = self._routes.range_map.owner_of(record.item.target)
        workflow = workflow_of(source, record)
        return Saga(
            source=source,
            record=record,
            destination=None if owner is None else owner.shard,
            workflow=workflow,
            page=self.temporal.page(workflow),
            decisions=decisions,
        )

    async def sagas_of(self, transfer: TransferRecord) -> list[Saga]:
        """The items of a transfer, which stay where it was booked, with their decisions."""
        source = transfer.booked_on
        repairs = self._shard(source).repairs
        records = await repairs.of_transfer(transfer)
        decisions = await asyncio.gather(*(repairs.decisions(r.item.item_id) for r in records))
        return [
            self.saga(source, record, tuple(decided))
            for record, decided in zip(records, decisions, strict=True)
        ]

    async def _of_transfer(self, name: TransferName) -> list[Saga]:
        transfer = await self._routes.follow(
            name.account,
            lambda shard: shard.transfers.get(name.account, name.origin, name.reference),
        )
        sagas = await self.sagas_of(transfer)
        if not sagas:
            raise NotFound(
                f"This transfer ({transfer.money_state}) has no item: nothing of it left shard "
                f"{transfer.booked_on}. ledger trace tells its story."
            )
        return sagas

    async def _of_id(self, item_id: UUID) -> Saga:
        silent: dict[int, str] = {}

        async def ask(number: int) -> Saga | None:
            repairs = self._shard(number).repairs
            try:
                record = await repairs.get(item_id)
                return self.saga(number, record, tuple(await repairs.decisions(item_id)))
            except NotFound:
                return None
            except LedgerError as error:
                silent[number] = error.detail
                return None

        for found in await asyncio.gather(*map(ask, self._sources(None))):
            if found is not None:
                return found
        if silent:
            told = "; ".join(f"shard {number}: {why}" for number, why in sorted(silent.items()))
            raise ShardUnavailable(f"No shard that answers has this item. Not asked: {told}")
        raise NotFound("No shard has such an item.")

    async def _at_target(self, saga: Saga) -> TargetView:
        item = saga.record.item
        reference = f"{item.item_id}:{item.attempt}"

        async def ask(shard: Shard) -> tuple[int, bool, TransferRecord | None]:
            try:
                met = await shard.transfers.get(item.target, Origin.DELIVERY, reference)
            except NotFound:
                met = None
            return shard.number, await _is_fenced(shard, item.target), met

        try:
            number, is_moving, met = await self._routes.follow(item.target, ask)
        except AccountUnassigned:
            return TargetView(AtTarget.UNASSIGNED)
        except LedgerError as error:
            return TargetView(AtTarget.SILENT, saga.destination, reason=error.detail)
        if met is None:
            return TargetView(AtTarget.NOTHING, number, is_moving)
        if met.outcome is not Outcome.POSTED:
            return TargetView(AtTarget.REFUSED, number, is_moving, refusal=met.outcome)
        return TargetView(
            AtTarget.BOOKED,
            number,
            is_moving,
            booked_on=met.booked_on,
            posted_at=met.posted_at,
        )

    def _sources(self, source: int | None) -> list[int]:
        numbers = sorted(self._routes.shards)
        if source is None:
            return numbers
        if source not in numbers:
            known = ", ".join(map(str, numbers))
            raise Malformed(f"There is no shard {source}; there are: {known}.")
        return [source]

    def _shard(self, number: int) -> Shard:
        try:
            return self._routes.shards[number]
        except KeyError:
            message = f"Shard {number} is not in this process's settings."
            raise ShardUnavailable(message) from None


def workflow_of(source: int, record: ItemRecord) -> str:
    """The id of the workflow that holds an item; of a closed one, the last that held it."""
    item = record.item
    match item.carrier:
        case Carrier.REPAIR:
            return repair_workflow_id(source, str(item.item_id))
        case Carrier.ROUTE if record.route is not None:
            return route_workflow_id(source, record.route)
        case _:
            return convoy_workflow_id(source, str(item.convoy))


async def _is_fenced(shard: Shard, account_no: int) -> bool:
    """Whether a shard keeps an account's range still, because it is about to move."""
    ranges = await shard.ownership.ranges()
    return any(r.lo <= account_no < r.hi and r.state is RangeState.FENCED for r in ranges)
