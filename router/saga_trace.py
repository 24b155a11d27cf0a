"""``ledger trace``: one transfer's whole story, put together from both its shards and Temporal.

What is about an account is asked of its present owner. What is about an item, or stands on a
system account, is asked of the shard that booked it: neither ever moves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from router.item_ways import targets_of
from router.routing import Routes
from router.saga_reads import Saga, SagaReads, TransferName
from router.saga_trace_moment import balances_of, creditors_of, debtors_of, reconciled
from router.saga_trace_story import Attempt, Gap, ItemStory, Story
from router.saga_trace_workflows import Connect, ask_temporal, workflows_of
from shard.account_numbers import clearing_account, suspense_account
from shard.commands import Origin
from shard.errors import LedgerError, NotFound, ShardUnavailable
from shard.shard import Shard
from shard.trace import Booking, CommandDetails, TracedEntry, TransferEvent, booking_of
from shard.transfers import TransferRecord

T = TypeVar("T")
_Home = tuple[int, TransferRecord, CommandDetails, list[TransferEvent]]


class Traces:
    """Tells the stories of transfers; changes nothing."""

    def __init__(self, routes: Routes, reads: SagaReads, temporal: Connect) -> None:
        self._routes = routes
        self._reads = reads
        self._temporal = temporal

    async def tell(self, name: TransferName) -> Story:
        """The story of one transfer; raises ``NotFound``, ``ShardUnavailable`` of its home.

        Whatever else does not answer leaves a gap, which the story names.
        """
        return await _Telling(self._routes, self._reads, self._temporal).tell(name)


class _Telling:
    """One story while it is put together."""

    def __init__(self, routes: Routes, reads: SagaReads, temporal: Connect) -> None:
        self._routes = routes
        self._reads = reads
        self._temporal = temporal
        self._gaps: list[Gap] = []

    async def tell(self, name: TransferName) -> Story:
        shard, transfer, details, events = await self._home(name)
        sagas = await self._or_gap(
            f"The items of the transfer, on shard {transfer.booked_on}",
            self._reads.sagas_of(transfer),
            [],
        )
        items = await asyncio.gather(*(self._item(transfer, saga) for saga in sagas))
        entries, workflows = await asyncio.gather(
            self._entries(transfer, items),
            ask_temporal(self._temporal, self._reads.temporal, workflows_of(transfer, sagas)),
        )
        moment = await balances_of(self._routes, transfer, items)
        gaps = (*self._gaps, *moment.gaps)
        return Story(
            as_of=self._reads.as_of,
            shard=shard,
            transfer=transfer,
            details=details,
            events=tuple(events),
            entries=tuple(entries),
            items=tuple(items),
            workflows=workflows,
            parties=moment.parties,
            figures=moment.figures,
            reconciled=tuple(reconciled(transfer, entries, items, gaps)),
            gaps=gaps,
        )

    async def _home(self, name: TransferName) -> _Home:
        key = (name.account, name.origin, name.reference)

        async def ask(shard: Shard) -> _Home:
            record = await shard.transfers.get(*key)
            trace = shard.trace
            return shard.number, record, await trace.details(*key), await trace.events(*key)

        return await self._routes.follow(name.account, ask)

    async def _entries(
        self, transfer: TransferRecord, items: Sequence[ItemStory]
    ) -> list[TracedEntry]:
        """What the transfer itself has booked: on its own accounts, and in suspense."""
        booking = booking_of(transfer)
        paid_elsewhere = {item.attempts[0].target for item in items}
        accounts = [*debtors_of(transfer), *creditors_of(transfer)]
        asked = [
            self._entries_of(booking, account)
            for account in dict.fromkeys(accounts)
            if account not in paid_elsewhere
        ]
        if items:
            suspense = suspense_account(transfer.booked_on, transfer.currency)
            asked.append(self._entries_at(transfer.booked_on, booking, suspense))
        return [entry for entries in await asyncio.gather(*asked) for entry in entries]

    async def _item(self, transfer: TransferRecord, saga: Saga) -> ItemStory:
        numbers = range(1, saga.record.item.attempt + 1)
        attempts = await asyncio.gather(
            *(self._attempt(transfer, saga, number) for number in numbers)
        )
        source = saga.source
        voucher = await self._or_gap(
            f"The settlement of item {saga.record.item.item_id}, on shard {source}",
            self._shard(source, lambda shard: shard.trace.settlement(source, saga.record)),
            None,
        )
        if voucher is None:
            return ItemStory(saga, tuple(attempts))
        both = await asyncio.gather(
            self._entries_at(source, voucher.booking, voucher.booking.home),
            self._entries_at(source, voucher.booking, voucher.clearing),
        )
        settlement = tuple(entry for entries in both for entry in entries)
        return ItemStory(saga, tuple(attempts), voucher, settlement)

    async def _attempt(self, transfer: TransferRecord, saga: Saga, number: int) -> Attempt:
        """One attempt: of the accounts it may have gone to, the one whose shard knows of it."""
        item_id = saga.record.item.item_id
        targets = _targets(transfer, saga, number)
        gaps_before = len(self._gaps)
        for target in targets:
            delivery = await self._or_gap(
                f"Attempt {number} of item {item_id}, at account {target}",
                self._delivery(target, f"{item_id}:{number}"),
                None,
            )
            if delivery is not None:
                return Attempt(number, target, delivery, await self._delivered(saga, delivery))
        is_known = len(self._gaps) == gaps_before
        return Attempt(number, targets[0] if len(targets) == 1 else None, is_known=is_known)

    async def _delivery(self, target: int, reference: str) -> TransferRecord:
        return await self._routes.follow(
            target, lambda shard: shard.transfers.get(target, Origin.DELIVERY, reference)
        )

    async def _delivered(self, saga: Saga, delivery: TransferRecord) -> tuple[TracedEntry, ...]:
        """What a delivery has booked: at its target, and on the clearing account beside it."""
        booking, here = booking_of(delivery), delivery.booked_on
        clearing = clearing_account(here, saga.source, delivery.currency)
        both = await asyncio.gather(
            self._entries_at(here, booking, clearing), self._entries_of(booking, delivery.home)
        )
        return tuple(entry for entries in both for entry in entries)

    async def _entries_of(self, booking: Booking, account: int) -> list[TracedEntry]:
        """Entries of an account, by its present owner."""
        return await self._or_gap(
            f"The entries of account {account}",
            self._routes.follow(account, lambda shard: shard.trace.entries(booking, account)),
            [],
        )

    async def _entries_at(self, number: int, booking: Booking, account: int) -> list[TracedEntry]:
        """Entries of a system account, which lives on one shard for ever."""
        return await self._or_gap(
            f"The entries of account {account}, on shard {number}",
            self._shard(number, lambda shard: shard.trace.entries(booking, account)),
            [],
        )

    async def _shard(self, number: int, ask: Callable[[Shard], Awaitable[T]]) -> T:
        if number not in self._routes.shards:
            raise ShardUnavailable(f"Shard {number} is not in this process's settings.")
        return await ask(self._routes.shards[number])

    async def _or_gap(self, what: str, told: Awaitable[T], otherwise: T) -> T:
        """What is told; a shard that does not answer leaves a gap, a lack of anything does not."""
        try:
            return await told
        except NotFound:
            return otherwise
        except LedgerError as error:
            self._gaps.append(Gap(what, error.detail))
            return otherwise


def _targets(transfer: TransferRecord, saga: Saga, number: int) -> list[int]:
    """The account that an attempt of an item went to.

    A first one of which nobody tells went to the creditor, or to one of several whose part is as
    large.
    """
    item = saga.record.item
    target = targets_of(item, saga.decisions)[number - 1]
    return creditors_of(transfer, item.amount) if target is None else [target]
