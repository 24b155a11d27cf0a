"""Transfers whose money stands in suspense, and what a test asks of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal

from shard.commands import Leg, MoneyState, Origin, ParkedAmount
from shard.ids import new_id
from shard.outcomes import Outcome
from shard.suspense import Settlement, SuspenseItem
from shard.transfers import TransferRecord
from tests.shard.own_server import OwnShard
from tests.support.bank import account_no, open_account, transfer
from tests.support.interleaving import holder

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Parked:
    """A transfer with its money in suspense, one item for each amount."""

    own: OwnShard
    debtor: int
    reference: str
    items: list[SuspenseItem]

    @property
    def item(self) -> SuspenseItem:
        (item,) = self.items
        return item

    async def record(self) -> TransferRecord:
        """The transfer as it stands."""
        return await self.own.shard.transfers.get(self.debtor, Origin.CLIENT, self.reference)

    async def items_now(self) -> list[SuspenseItem]:
        """The items that are still parked, in the order of their birth."""
        record = await self.record()
        assert record.convoy is not None
        found = await self.own.shard.suspense.of_convoy(record.convoy)
        mine = {item.item_id for item in self.items}
        return sorted((i for i in found if i.item_id in mine), key=lambda i: i.item_id)

    async def events(self) -> list[tuple[MoneyState, str]]:
        """What the transfer's events tell."""
        async with holder(self.own.database.dsn) as look:
            rows = await look.execute(
                "SELECT money_state::text, cause FROM ledger.transfer_event"
                " WHERE account_no = %s AND reference = %s ORDER BY n",
                (self.debtor, self.reference),
            )
        return [(MoneyState(state), cause) for state, cause in rows]


async def park(
    own: OwnShard, *amounts: str, debtor: int | None = None, currency: str = "EUR"
) -> Parked:
    """A booked transfer to shard 2, one item for each amount (one of 20 if none is given)."""
    values = [Decimal(amount) for amount in amounts or ("20",)]
    debtor = debtor or await open_account(own.shard, "100", currency=currency)
    command = transfer(debtor, account_no(2), str(sum(values)), currency=currency)
    command = replace(
        command,
        legs=(Leg(debtor, -command.amount),),
        parked=tuple(ParkedAmount(new_id(), account_no(2), value) for value in values),
    )
    answer = await own.shard.lanes.post(command)
    assert Outcome.POSTED is answer.outcome
    assert answer.convoy is not None
    items = await own.shard.suspense.of_convoy(answer.convoy)
    return Parked(own, debtor, command.reference, sorted(items, key=lambda i: i.item_id))


def booked(item: SuspenseItem, *, on: int = 2, at: datetime = NOON) -> Settlement:
    """An item's present attempt, booked at its target."""
    return Settlement(item.item_id, item.attempt, on, at)
