"""The ways of an amount between two shards on which control points lie, and their right ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import ClassVar

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.service import RPCError

from sagas.carriage import Carriage
from sagas.control_points import ControlPoint, ControlPointFailure, Unarmed
from sagas.convoy_activities import ConvoyActivities
from sagas.convoy_workflow import ConvoyWorkflow
from sagas.freight import Freight
from sagas.messages import ConvoyOrder, ConvoyResult, HandOverOrder, Step
from sagas.repair_activities import RepairActivities
from sagas.repair_messages import DECIDE, DecideOrder
from sagas.starts import convoy_workflow_id, ensure_repair, start_convoy
from sagas.sweeper import Sweeper
from sagas.terminus import Terminus
from shard.accounts import AccountStatus
from shard.commands import Answer, Command, MoneyState, Origin
from shard.errors import LedgerError, NotFound
from shard.outcomes import Outcome
from shard.repairs import ItemRecord
from shard.shard import Shard
from shard.suspense import ItemState, SuspenseItem
from tests.sagas.small_bank import FUNDS, PATIENCE_S, SmallBank
from tests.sagas.stuck_items import StuckItem, shown, words
from tests.support.bank import Figures, again, figures, transfer
from tests.support.gates import FailingOnce
from tests.support.saga_process import Debit

AMOUNT = "20.00"
AT_ONCE_S = -60.0
"""Everything parked is a straggler."""
LIMIT_S = 30.0
NOWHERE = "host=127.0.0.1 port=1 dbname=nowhere"
PAID = Figures(Decimal(AMOUNT), 1)
NEVER_PAID = Figures(Decimal(0), 0)
HAS_PAID = Figures(Decimal(FUNDS) - Decimal(AMOUNT), 2)
MONEY_BACK = Figures(Decimal(FUNDS), 3)


@dataclass(frozen=True, slots=True)
class End:
    """How an amount may end: where it is then, after how many attempts."""

    item: ItemState
    money: MoneyState
    attempt: int
    debtor: Figures
    creditor: Figures


DELIVERED = End(ItemState.DELIVERED, MoneyState.DELIVERED, 1, HAS_PAID, PAID)
RETURNED = End(ItemState.RETURNED, MoneyState.RETURNED, 2, MONEY_BACK, NEVER_PAID)


class Trip:
    """An amount that goes from an account on shard 1 to one on shard 2, whatever happens to it.

    ``others`` are the shards as a second process knows them.
    """

    name: ClassVar[str] = "forward"
    steps: ClassVar[frozenset[str]] = frozenset({"debit", "departure", "deliver", "settle"})
    end: ClassVar[End] = DELIVERED
    begins_with_debit: ClassVar[bool] = True

    def __init__(self, bank: SmallBank, others: Mapping[int, Shard]) -> None:
        self._bank = bank
        self._others = others
        self.shards: dict[int, Shard] = dict(bank.shards)
        """As its carriers know them; the destination may be away at first."""
        self.debtor = 0
        self.creditor = 0
        self._command: Command | None = None

    async def prepare(self) -> None:
        """Come to where it sets out, with nothing armed."""
        self.debtor = await self._bank.open_account(1)
        self.creditor = await self._bank.open_account(2, "0")
        self._command = transfer(self.debtor, self.creditor, AMOUNT)

    async def set_out(self) -> None:
        """Begin what a control point is going to meet."""
        await self._bank.shards[1].lanes.post(self.command)

    async def take_again(self, step: str) -> None:
        """Take a step once more, with the input it has at this moment, in a second process."""
        match step:
            case "debit":
                await self._others[1].lanes.post(self.command)
            case "departure":
                await self._start_convoy((await self.record()).item)
            case "hand_over":
                convoy = str((await self.record()).item.convoy)
                activities = ConvoyActivities(
                    self._client, self._others, self._carriage, self._freight, Terminus(), Unarmed()
                )
                await activities.hand_over(HandOverOrder(1, convoy, 2))
            case "recall" | "decide":
                repair = RepairActivities(self._others, self._bank.owners, self._carriage)
                await repair.decide(await self._decide_order())
            case _:
                item = await self._item_carried()
                destination = await self._bank.owners.owner_of(item.target)
                await self._carriage.carry(1, destination, [item], limit_s=LIMIT_S)

    async def come_home(self) -> None:
        """Repeat the request until it is answered, as a client does; sweep until it has ended."""
        answer = await self._repeated()
        assert Outcome.POSTED is answer.outcome
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            await Sweeper(self._client, self._bank.shards, AT_ONCE_S).sweep(1)
            for _ in range(50):
                if not (await self.record()).is_open:
                    return
                await asyncio.sleep(0.02)  # sleep: pause between two looks at a database

    async def carriers_ended(self) -> None:
        """Wait for the workflows it has started itself: they may be late and do their part."""

    async def assert_ended_right(self) -> None:
        """Once, and the books say so."""
        bank = self._bank
        item, transfer_record, balance = await asyncio.gather(
            self.record(),
            bank.transfer_record(self.debtor, self.command.reference),
            bank.shards[1].balances.get(self.debtor),
        )
        assert self.end == End(
            item.state,
            transfer_record.money_state,
            item.item.attempt,
            await figures(bank.shards[1], self.debtor),
            await figures(bank.shards[2], self.creditor),
        )
        assert Decimal(0) == balance.in_transit
        assert [] == await bank.wrong_books()

    async def forget_convoy(self, convoy: str | None) -> None:
        """End the workflow of a convoy whose worker died, so that no later test carries it."""
        if convoy is None:
            return
        try:
            handle = self._client.get_workflow_handle(convoy_workflow_id(1, convoy))
            await handle.terminate("the test is over")
        except RPCError:
            return  # It never started, or has ended.

    async def record(self) -> ItemRecord:
        """Its item as it stands; there is never more than one."""
        (record,) = await self._records()
        return record

    async def convoy(self) -> str | None:
        """The convoy it has boarded, if it was debited."""
        records = await self._records()
        return str(records[0].item.convoy) if records else None

    def dsns(self, served: Mapping[int, str]) -> dict[int, str]:
        """The shards as a process of their own finds them."""
        return dict(served)

    def debit(self) -> Debit | None:
        """What such a process begins with."""
        if not self.begins_with_debit:
            return None
        return Debit(self.debtor, self.creditor, AMOUNT, self.command.reference)

    @property
    def command(self) -> Command:
        """The request, as it was made first."""
        assert self._command is not None
        return self._command

    @property
    def _client(self) -> Client:
        return self._bank.client

    @property
    def _carriage(self) -> Carriage:
        return Carriage(self._others, self._bank.owners)

    @property
    def _freight(self) -> Freight:
        return Freight(self._others, self._bank.owners, self._carriage)

    async def _records(self) -> list[ItemRecord]:
        shard = self._bank.shards[1]
        try:
            # Another process may have booked it, under an id of its own.
            named = (self.debtor, Origin.CLIENT, self.command.reference)
            booked = await shard.transfers.get(*named)
        except NotFound:
            return []
        return await shard.repairs.of_transfer(booked)

    async def _item_carried(self) -> SuspenseItem:
        """The item as its carrier has read it: in its first attempt."""
        return replace((await self.record()).item, attempt=1, target=self.creditor)

    async def _start_convoy(
        self, item: SuspenseItem
    ) -> WorkflowHandle[ConvoyWorkflow, ConvoyResult]:
        return await start_convoy(self._client, ConvoyOrder(1, str(item.convoy)), is_eager=False)

    async def _decide_order(self) -> DecideOrder:
        raise NotImplementedError("nothing is decided on this way")

    async def _repeated(self) -> Answer:
        give_up_at = time.monotonic() + PATIENCE_S
        while True:
            try:
                return await self._bank.shards[1].lanes.post(again(self.command))
            except LedgerError as error:
                if not error.retryable or time.monotonic() > give_up_at:
                    raise


class Refused(Trip):
    """Its creditor is closed: it turns round."""

    name = "refused"
    steps = frozenset({"return"})
    end = RETURNED

    async def prepare(self) -> None:
        """Close the creditor."""
        await super().prepare()
        await self._bank.set_status(self.creditor, AccountStatus.CLOSED)


class Returning(Refused):
    """It has turned round, and is on its way back."""

    name = "returning"
    steps = frozenset({"deliver", "settle"})
    begins_with_debit = False

    def __init__(self, bank: SmallBank, others: Mapping[int, Shard]) -> None:
        super().__init__(bank, others)
        self._travel: WorkflowHandle[ConvoyWorkflow, ConvoyResult] | None = None

    async def prepare(self) -> None:
        """Be refused, and lose the worker just then."""
        await super().prepare()
        await self._bank.shards[1].lanes.post(self.command)
        shards, owners = self._bank.shards, self._bank.owners
        failing = Carriage(shards, owners, FailingOnce(ControlPoint.RETURN_AFTER_REPLY))
        with pytest.raises(ControlPointFailure):
            await failing.carry(1, 2, [(await self.record()).item], limit_s=LIMIT_S)

    async def set_out(self) -> None:
        """Have its convoy carry it on."""
        self._travel = await self._start_convoy((await self.record()).item)

    async def carriers_ended(self) -> None:
        """Wait for its convoy."""
        assert self._travel is not None
        await self._travel.result()

    async def _item_carried(self) -> SuspenseItem:
        return (await self.record()).item


class HandedOver(Trip):
    """Its destination does not answer at first: a route takes it over."""

    name = "handed over"
    steps = frozenset({"hand_over"})

    async def prepare(self) -> None:
        """Let its carriers ask for the destination where nobody is."""
        await super().prepare()
        self.shards[2] = Shard(2, NOWHERE)
        await self.shards[2].open()

    async def come_home(self) -> None:
        """The destination is back."""
        away, self.shards[2] = self.shards[2], self._bank.shards[2]
        await away.close()
        await super().come_home()

    def dsns(self, served: Mapping[int, str]) -> dict[int, str]:
        """The destination is nowhere."""
        return {**served, 2: NOWHERE}


class Repaired(Trip):
    """A person sends it back."""

    name = "repaired"
    steps = frozenset({"recall", "decide"})
    end = RETURNED
    begins_with_debit = False

    def __init__(self, bank: SmallBank, others: Mapping[int, Shard]) -> None:
        super().__init__(bank, others)
        self._refusals: list[str] = []

    async def prepare(self) -> None:
        """Be set aside for a person."""
        await super().prepare()
        await self._bank.shards[1].lanes.post(self.command)
        item = (await self.record()).item
        cause = Outcome.ACCOUNT_FROZEN
        assert await self._bank.shards[1].suspense.mark_needs_repair(item.item_id, 1, cause)
        await ensure_repair(self._client, 1, str(item.item_id))

    async def set_out(self) -> None:
        """Decide. Who is told that it could not be carried out looks, and decides again."""
        stuck = await self._stuck()
        await shown(stuck, "Needs a decision")
        async with asyncio.timeout(PATIENCE_S):
            while ItemState.NEEDS_REPAIR is (await self.record()).state:
                try:
                    await stuck.handle.execute_update(DECIDE, words("return"))
                except WorkflowUpdateFailedError as error:
                    self._refusals.append(str(error.cause))

    async def come_home(self) -> None:
        """Its workflow has seen that, and ends."""
        await super().come_home()
        result = await (await self._stuck()).handle.result()
        assert ("returned", 2) == (result.state, result.attempt)

    async def assert_ended_right(self) -> None:
        """Decided once."""
        assert 1 == len(await (await self._stuck()).decisions()), self._refusals
        await super().assert_ended_right()

    async def _decide_order(self) -> DecideOrder:
        """What the workflow has asked its activity for, as Temporal keeps it."""
        given: list[Payload] = []
        async for event in (await self._stuck()).handle.fetch_history_events():
            asked = event.activity_task_scheduled_event_attributes
            if asked.activity_type.name == Step.DECIDE_ITEM:
                given = list(asked.input.payloads)
        (order,) = await self._client.data_converter.decode(given, [DecideOrder])
        assert isinstance(order, DecideOrder)
        return order

    async def _stuck(self) -> StuckItem:
        item = (await self.record()).item
        return StuckItem(self._bank, self.debtor, self.creditor, self.command.reference, item)


TRIPS: tuple[type[Trip], ...] = (Trip, Refused, Returning, HandedOver, Repaired)
