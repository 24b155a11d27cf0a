"""The way of an amount between shards: the account that each attempt went to, and what it met.

An item holds its present target alone. The first attempt went to the creditor whom the transfer
names, the later ones where a person sent them, and all others back to the debtor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from router.routing import Routes
from shard.commands import Origin
from shard.errors import NotFound
from shard.outcomes import Outcome
from shard.repair_choice import RepairChoice
from shard.repairs import DecisionRecord, ItemRecord
from shard.suspense import Carrier, ItemState, SuspenseItem
from shard.transfers import TransferRecord


def targets_of(item: SuspenseItem, decisions: Sequence[DecisionRecord]) -> tuple[int | None, ...]:
    """The account of each attempt; None for a first one of which no decision tells."""
    begun = {each.attempt + 1: each.target_after for each in decisions if _begins_attempt(each)}
    first = next((each.target_before for each in decisions if each.attempt == 1), None)
    later = (begun.get(number, item.debtor) for number in range(2, item.attempt))
    return (item.target,) if item.attempt == 1 else (first, *later, item.target)


def _begins_attempt(decision: DecisionRecord) -> bool:
    """Whether the attempt that it was decided on was spent; else that is delivered again."""
    is_spent = decision.evidence not in {None, Outcome.POSTED}
    return is_spent and decision.choice is not RepairChoice.WAIT


@dataclass(frozen=True, slots=True)
class Way:
    """The way so far of the amount for one creditor; ``targets`` are the accounts by attempt."""

    record: ItemRecord
    targets: tuple[int, ...]

    @property
    def item(self) -> SuspenseItem:
        """The item in its present attempt."""
        return self.record.item

    @property
    def may_be_recalled(self) -> bool:
        """Whether it is on its way by itself: where it goes else, a person says."""
        is_parked = self.record.state is ItemState.PARKED
        return is_parked and self.item.carrier is not Carrier.REPAIR

    def is_sent_back_after(self, attempt: int) -> bool:
        """Whether an attempt was followed by one that went to the debtor."""
        return self.targets[attempt : attempt + 1] == (self.item.debtor,)


class Ways:
    """Reads the ways of amounts."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes

    async def of_leg(self, original: TransferRecord, creditor: int, amount: Decimal) -> Way | None:
        """How what a transfer paid to ``creditor`` has gone; None if it never left its shard.

        Raises ``ShardUnavailable`` of the shard where it was booked, or of the creditor's.
        """
        repairs = self._routes.shards[original.booked_on].repairs
        for record in await repairs.of_transfer(original):
            item = record.item
            if item.amount != amount:
                continue
            decisions = await repairs.decisions(item.item_id) if item.attempt > 1 else ()
            first, *later = targets_of(item, decisions)
            if first is None and await self._began_at(original, creditor, item):
                first = creditor
            if first == creditor:
                told = [target for target in later if target is not None]
                return Way(record, (first, *told))
        return None

    async def met(self, way: Way) -> dict[int, TransferRecord]:
        """What attempts have met where they went, by number; of those to the debtor nothing."""
        found = {}
        for number, target in enumerate(way.targets, start=1):
            if target != way.item.debtor:
                record = await self.met_at(target, way.item, number)
                if record is not None:
                    found[number] = record
        return found

    async def met_at(self, target: int, item: SuspenseItem, attempt: int) -> TransferRecord | None:
        """What one attempt has met at an account: a booking, a refusal, a tombstone."""
        reference = f"{item.item_id}:{attempt}"
        try:
            return await self._routes.follow(
                target, lambda shard: shard.transfers.get(target, Origin.DELIVERY, reference)
            )
        except NotFound:
            return None

    async def _began_at(self, original: TransferRecord, creditor: int, item: SuspenseItem) -> bool:
        """Whether the first attempt went to a creditor: only what it has met there can tell."""
        return original.creditor is not None or await self.met_at(creditor, item, 1) is not None
