"""Convoys of parked transfers, and how a test carries them: in columns or by objects."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from uuid import UUID

import psycopg

from sagas.carriage import Carriage, Carried
from sagas.control_points import ControlPoints
from sagas.deliveries import recall_command
from sagas.freight import Freight
from sagas.observer import Observer, Unobserved
from shard.cargo import Cargo
from shard.commands import Command, MoneyState
from shard.ids import new_id
from shard.outcomes import Outcome
from shard.shard import Shard
from shard.suspense import Redirection, SuspenseItem
from tests.sagas.small_bank import SmallBank
from tests.support.bank import Figures, figures, transfer

LIMIT_S = 30.0
SHORT_S = 0.3
PAID = Figures(Decimal("20.00"), 1)
UNPAID = Figures(Decimal(0), 0)


class Listener(Unobserved):
    """An observer that notes what it is told."""

    def __init__(self) -> None:
        self.windows: list[tuple[float, int]] = []
        self.unanswered = 0
        self.found: list[tuple[int, int]] = []
        self.repairs = 0

    def window(self, seconds: float, items: int = 1) -> None:
        self.windows.append((seconds, items))

    def deliveries_unanswered(self, items: int) -> None:
        self.unanswered += items

    def deliveries_found(self, found: int, not_found: int) -> None:
        self.found.append((found, not_found))

    def repair_opened(self) -> None:
        self.repairs += 1


@dataclass(slots=True)
class Boarded:
    """A convoy of transfers of 20.00 from shard 1 that nobody carries yet."""

    bank: SmallBank
    convoy: UUID
    commands: list[Command]

    async def items(self) -> list[SuspenseItem]:
        """The items as they stand, in the order of the transfers."""
        repairs = self.bank.shards[1].repairs
        return [(await repairs.get(command.parked[0].item_id)).item for command in self.commands]

    async def states(self) -> list[MoneyState]:
        """Where the money of each transfer is."""
        return [
            (await self.bank.transfer_record(command.home, command.reference)).money_state
            for command in self.commands
        ]

    async def cargo(self) -> Cargo:
        """What it still holds."""
        return await self.bank.shards[1].suspense.cargo_of_convoy(self.convoy)

    async def end(self) -> None:
        """Carry by objects what is left, so that no later test finds it."""
        bank, carriage = self.bank, Carriage(self.bank.shards, self.bank.owners)
        for _ in range(3):
            left = [item for item in await self.items() if await is_open(bank, item)]
            for destination, items in (await carriage.by_destination(1, left)).items():
                await carriage.carry(1, destination, items, limit_s=LIMIT_S)
        assert not [item for item in await self.items() if await is_open(bank, item)]


async def is_open(bank: SmallBank, item: SuspenseItem) -> bool:
    """Whether an item's amount stands in suspense."""
    return (await bank.shards[1].repairs.get(item.item_id)).is_open


async def board(bank: SmallBank, *creditors: int) -> Boarded:
    """Park a transfer for each of these, all in one convoy."""
    bank.board_nothing()
    commands = [transfer(await bank.open_account(1), creditor, "20.00") for creditor in creditors]
    await bank.shards[1].lanes.post_many(commands)
    convoy = new_id()
    item_ids = [command.parked[0].item_id for command in commands]
    assert len(commands) == await bank.shards[1].suspense.restamp(item_ids, convoy)
    return Boarded(bank, convoy, commands)


async def board_many(bank: SmallBank, count: int) -> tuple[Boarded, list[int]]:
    """A convoy for as many creditors on shard 2, who have nothing yet; these as well."""
    creditors = [await bank.open_account(2, "0") for _ in range(count)]
    return await board(bank, *creditors), creditors


def freight_of(
    bank: SmallBank,
    *,
    points: ControlPoints | None = None,
    observer: Observer | None = None,
    shards: Mapping[int, Shard] | None = None,
) -> Freight:
    """The freight of a process, with its own carriage."""
    known = shards or bank.shards
    carriage = Carriage(known, bank.owners, points, observer)
    return Freight(known, bank.owners, carriage, points, observer)


async def carry(
    boarded: Boarded,
    freight: Freight | None = None,
    *,
    manifest: Cargo | None = None,
    destination: int | None = None,
    limit_s: float = LIMIT_S,
) -> Carried:
    """Carry a convoy to all of its destinations once, or to one."""
    freight = freight or freight_of(boarded.bank)
    carried = Carried()
    groups = await freight.by_destination(1, boarded.convoy, manifest)
    for number, cargo in groups.items():
        if destination in {None, number}:
            carried += await freight.carry(1, number, boarded.convoy, cargo, limit_s=limit_s)
    return carried


async def carry_items(boarded: Boarded) -> Carried:
    """The same by objects."""
    carriage = Carriage(boarded.bank.shards, boarded.bank.owners)
    items = await boarded.bank.shards[1].suspense.of_convoy(boarded.convoy)
    carried = Carried()
    for number, group in (await carriage.by_destination(1, items)).items():
        carried += await carriage.carry(1, number, group, limit_s=LIMIT_S)
    return carried


WAYS: dict[str, Callable[[Boarded], Awaitable[Carried]]] = {
    "columns": carry,
    "objects": carry_items,
}


async def paid(bank: SmallBank, *accounts: int) -> list[Figures]:
    """What each of these accounts has, and in how many entries."""
    return [await figures(bank.shard_of(account), account) for account in accounts]


def told(carried: Carried) -> tuple[int, int, int, int]:
    """How many were delivered, redirected, are waiting, and need a person."""
    return carried.delivered, carried.redirected, carried.waiting, len(carried.stuck)


@asynccontextmanager
async def unreachable(number: int) -> AsyncIterator[Shard]:
    """A shard that nobody serves."""
    dead = Shard(number, "host=127.0.0.1 port=1 dbname=nowhere")
    await dead.open()
    try:
        yield dead
    finally:
        await dead.close()


async def nothing() -> None:
    """No second process takes part."""


async def abuse(bank: SmallBank, item: SuspenseItem) -> None:
    """Have somebody use an item's reference for something else, which books nothing."""
    other = recall_command(replace(item, amount=Decimal(1)), details={})
    assert Outcome.RECALLED is (await bank.shards[2].lanes.post(other)).outcome


async def end_repair(bank: SmallBank, item: SuspenseItem) -> None:
    """Send an item back that needs a person, as if nobody had ever had to be asked."""
    async with await psycopg.AsyncConnection.connect(bank.owner_dsns[1]) as connection:
        await connection.execute(
            "UPDATE ledger.suspense_item SET state = 'parked', carrier = 'convoy',"
            " settled_at = NULL, settled_on = NULL WHERE item_id = %s",
            (item.item_id,),
        )
    back = Redirection(item.item_id, item.attempt, item.debtor, Outcome.ACCOUNT_CLOSED)
    assert 1 == await bank.shards[1].suspense.redirect([back])
