"""A bank as the sagas see it: shards, owners and convoys, without router and HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import TypeVar

from temporalio.client import Client

from deploy.embedded.temporal import TemporalServer
from sagas.convoys import Convoys
from sagas.limits import SEARCH_ATTRIBUTES_LIMIT_S
from sagas.search_attributes import ensure_search_attributes
from sagas.worker import connect
from shard.accounts import AccountStatus
from shard.commands import MoneyState, Origin
from shard.errors import NotFound
from shard.shard import Shard
from shard.suspense import Carrier, SuspenseItem
from shard.transfers import TransferRecord
from tests.support.bank import findings, open_account, transfer
from tests.support.databases import Databases

ACCOUNTS_PER_SHARD = 1_000_000_000
FUNDS = "1000.00"
PATIENCE_S = 90.0
_MANY = 100_000
_Seen = TypeVar("_Seen")


class FirstDigit:
    """``Owners``: an account lives where its first digit says, unless a shard said otherwise."""

    def __init__(self, shards: Mapping[int, Shard]) -> None:
        self._shards = shards
        self.assigned: dict[int, int] = {}
        """What this map insists on, whatever a shard says."""
        self.learnt: dict[int, int | None] = {}

    async def owner_of(self, account_no: int) -> int:
        """The shard of an account."""
        if account_no in self.assigned:
            return self.assigned[account_no]
        shard = self.learnt.get(account_no) or account_no // ACCOUNTS_PER_SHARD
        if shard not in self._shards:
            raise NotFound
        return shard

    async def learn(self, account_no: int, next_owner: int | None, epoch: int | None) -> None:
        """Remember what a shard said."""
        self.learnt[account_no] = next_owner


class SmallBank:
    """Three shards on real servers and Temporal, and what a test does with them."""

    def __init__(
        self, shards: Mapping[int, Shard], client: Client, owner_dsns: Mapping[int, str]
    ) -> None:
        self.shards = shards
        self.client = client
        self.owner_dsns = owner_dsns
        """Of the roles that own each shard's database, for what no call allows."""
        self.owners = FirstDigit(shards)

    def board(self, convoys: Convoys) -> None:
        """Let what is parked from now on board these convoys."""
        for number, shard in self.shards.items():
            shard.lanes.boarding = convoys.platform(number)

    def board_nothing(self) -> None:
        """Let what is parked from now on board no convoy of this process."""
        for shard in self.shards.values():
            shard.lanes.boarding = None

    def shard_of(self, account_no: int) -> Shard:
        """The shard of an account."""
        return self.shards[account_no // ACCOUNTS_PER_SHARD]

    async def open_account(self, shard: int, funds: str = FUNDS) -> int:
        """An account of a customer with some money; its number."""
        return await open_account(self.shards[shard], funds)

    async def transfer(self, debtor: int, creditor: int, amount: str = "20.00") -> str:
        """Debit an account for one on another shard; the transfer's reference."""
        command = transfer(debtor, creditor, amount)
        answer = await self.shard_of(debtor).lanes.post(command)
        assert answer.money_state is MoneyState.IN_TRANSIT, answer
        return command.reference

    async def item_of(self, debtor: int, reference: str) -> SuspenseItem:
        """The parked item of a transfer."""
        for carrier in (Carrier.CONVOY, Carrier.ROUTE):
            for item in await self.shard_of(debtor).suspense.of_carrier(carrier, _MANY):
                if (item.debtor, item.reference) == (debtor, reference):
                    return item
        raise AssertionError("the transfer has no parked item")

    async def park(self, creditor: int, *, route: int | None = None) -> tuple[int, str]:
        """Park a transfer from shard 1 that no convoy carries; its debtor and reference.

        With ``route`` it is handed over to the route to that shard.
        """
        self.board_nothing()
        debtor = await self.open_account(1)
        reference = await self.transfer(debtor, creditor)
        if route is not None:
            item = await self.item_of(debtor, reference)
            await self.shards[1].suspense.hand_over([item.item_id], Carrier.ROUTE, route)
        return debtor, reference

    async def transfer_record(self, debtor: int, reference: str) -> TransferRecord:
        """A transfer as it stands."""
        return await self.shard_of(debtor).transfers.get(debtor, Origin.CLIENT, reference)

    async def ended(self, debtor: int, reference: str) -> TransferRecord:
        """Wait until a transfer's money is no longer in transit; how it ended."""
        return await eventually(
            lambda: self.transfer_record(debtor, reference),
            lambda record: record.money_state is not MoneyState.IN_TRANSIT,
        )

    async def ledger_of(self, account_no: int) -> Decimal:
        """The booked balance of an account."""
        return (await self.shard_of(account_no).balances.get(account_no)).ledger

    async def set_status(self, account_no: int, status: AccountStatus) -> None:
        """Freeze, reopen or close an account."""
        accounts = self.shard_of(account_no).accounts
        await accounts.change_status(account_no, status, actor="test", reason="test")

    async def wrong_books(self) -> list[str]:
        """Violated invariants of each shard, and clearing pairs that do not cancel."""
        wrong = [str(finding) for finding in await findings(self.shards)]
        clearing = {
            (number, line.peer, line.currency): line.amount
            for number, shard in self.shards.items()
            for line in await shard.invariants.clearing()
        }
        for (here, peer, currency), amount in clearing.items():
            opposite = clearing.get((peer, here, currency), Decimal(0)) if here != peer else 0
            if amount + opposite:
                wrong.append(f"clearing {here}-{peer} {currency}: {amount} and {opposite}")
        return wrong


async def connected_bank(
    shards: Mapping[int, Shard], temporal: TemporalServer, servers: Databases
) -> SmallBank:
    """The bank of this run's servers, whose Temporal knows what repairs are searched by."""
    client = await connect(temporal.address)
    await ensure_search_attributes(client, SEARCH_ATTRIBUTES_LIMIT_S)
    return SmallBank(shards, client, servers.shard_owner_dsns)


async def eventually(look: Callable[[], Awaitable[_Seen]], is_so: Callable[[_Seen], bool]) -> _Seen:
    """Look again and again until it is so; what is seen then, or when patience is at its end."""
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        seen = await look()
        if is_so(seen) or time.monotonic() > give_up_at:
            return seen
        await asyncio.sleep(0.02)  # sleep: pause between two looks at a database
