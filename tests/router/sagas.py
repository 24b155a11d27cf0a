"""Money between shards in every state that an operator may find it in, on a real bank.

It leaves an account on shard 1 for one on shard 2, and is carried by hand where no worker runs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal

import psycopg

from router.saga_reads import Saga, TransferName
from router.transfer_requests import TransferRequest
from router.wiring import Bank
from sagas.carriage import Carriage
from shard.accounts import AccountKind, NewAccount
from shard.commands import MoneyState
from shard.ids import new_id
from shard.outcomes import Outcome
from shard.repair_choice import RepairChoice
from shard.repairs import Decided, Decision
from shard.suspense import Carrier
from shard.transfers import TransferRecord
from tests.router.ranges import TestRange, new_range
from tests.sagas.small_bank import eventually
from tests.support.bank import account_no, open_account, settings_of
from tests.support.databases import Databases

AMOUNT = "20.17"
NO_TEMPORAL = "127.0.0.1:1"
NOWHERE = "host=/nowhere dbname=ledger"
_LIMIT_S = 30.0
_ROUNDS = 3
"""To its target, back to its debtor, and once more."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A transfer of ``AMOUNT`` EUR between two accounts, seen by a process of the bank."""

    bank: Bank
    debtor: int
    creditor: int
    reference: str

    @property
    def name(self) -> TransferName:
        """What finds it."""
        return TransferName(self.debtor, self.reference)

    @property
    def words(self) -> tuple[str, str]:
        """The same on a command line."""
        return str(self.debtor), self.reference

    async def record(self) -> TransferRecord:
        """The transfer as it stands."""
        return await self.bank.transfers.get(self.debtor, self.reference)

    async def saga(self) -> Saga:
        """Its one item."""
        (saga,) = await self.bank.saga_reads.find(self.name)
        return saga

    async def until(self, state: MoneyState) -> None:
        """Wait for a state of the transfer, which a worker brings about."""
        record = await eventually(self.record, lambda seen: seen.money_state is state)
        assert state is record.money_state

    async def carry(self) -> None:
        """Deliver the present attempt once, and settle or redirect it."""
        saga = await self.saga()
        carriage = Carriage(self.bank.shards, self.bank.routes)
        assert saga.destination is not None
        await carriage.carry(saga.source, saga.destination, [saga.record.item], limit_s=_LIMIT_S)

    async def decide(self, choice: RepairChoice, target: int, evidence: Outcome) -> None:
        """Put a new attempt on record, with what the present one has met."""
        item = (await self.saga()).record.item
        decision = Decision(
            new_id(), item.item_id, item.attempt, choice, "as agreed", "ada", "bob",
            target=target, evidence=evidence,
        )  # fmt: skip
        assert Decided.DECIDED is await self.bank.shards[1].repairs.decide(decision)


def request(debtor: int, creditor: int, amount: str = AMOUNT) -> TransferRequest:
    """A transfer under a fresh reference."""
    return TransferRequest(str(new_id()), debtor, creditor, Decimal(amount), "EUR", "Rent")


async def send(bank: Bank, debtor: int, creditor: int) -> Sent:
    """Submit a transfer."""
    wanted = request(debtor, creditor)
    await bank.transfers.submit(wanted)
    return Sent(bank, debtor, creditor, wanted.reference)


async def park(bank: Bank, servers: Databases, creditor: int) -> Sent:
    """Submit a transfer from shard 1 whose money no convoy of any process carries."""
    debtor = await open_account(bank.shards[1], "100.00")
    async with Bank(settings_of(servers, temporal_address=NO_TEMPORAL)) as parking:
        sent = await send(parking, debtor, creditor)
    return replace(sent, bank=bank)


@asynccontextmanager
async def waiting_for(bank: Bank, servers: Databases) -> AsyncIterator[tuple[Sent, TestRange]]:
    """An amount that its route holds, and the range of its target, which may be fenced.

    Afterwards it is delivered.
    """
    async with new_range(servers, shard=2) as made:
        new = NewAccount(made.lo, "EUR", AccountKind.EQUITY, None, None, b"test")
        assert [Outcome.POSTED] == await bank.shards[2].accounts.open_many([new])
        await bank.routes.refresh()
        sent = await park(bank, servers, made.lo)
        item = (await sent.saga()).record.item
        await bank.shards[1].suspense.hand_over([item.item_id], Carrier.ROUTE, 2)
        try:
            yield sent, made
        finally:
            await made.set(2, "OWNED", epoch=2)
            await _to_the_end(sent)


@asynccontextmanager
async def refused_by_all(bank: Bank, servers: Databases) -> AsyncIterator[Sent]:
    """An amount that neither its creditor nor its debtor can have.

    Afterwards it is given to the debtor, unless the test has seen to it.
    """
    sent = await park(bank, servers, account_no(2))
    await set_status(servers, sent.debtor, "closed")
    await sent.carry()
    await sent.carry()
    assert MoneyState.NEEDS_REPAIR is (await sent.record()).money_state
    try:
        yield sent
    finally:
        await set_status(servers, sent.debtor, "open")
        if (await sent.record()).money_state is MoneyState.NEEDS_REPAIR:
            await sent.decide(RepairChoice.RETRY, sent.debtor, Outcome.ACCOUNT_CLOSED)
        await _to_the_end(sent)


async def set_status(servers: Databases, account: int, status: str) -> None:
    """Close or reopen an account that has money in transit, which no call does."""
    dsn = servers.shard_owner_dsns[account // 1_000_000_000]
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute(
            "UPDATE ledger.account SET status = %s WHERE account_no = %s", (status, account)
        )


async def _to_the_end(sent: Sent) -> None:
    for _ in range(_ROUNDS):
        if not (await sent.saga()).record.is_open:
            return
        await sent.carry()
    assert not (await sent.saga()).record.is_open
