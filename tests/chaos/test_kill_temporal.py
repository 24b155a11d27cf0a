"""Without Temporal only the completion of cross-shard transfers waits; nothing is lost by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest

from deploy.embedded.temporal import TemporalServer
from router.transfer_requests import TransferRequest
from router.transfers import Submitted
from router.wiring import Bank
from shard.commands import MoneyState
from shard.ids import new_id
from tests.support.bank import Figures, at_rest, figures, findings, open_account, settings_of
from tests.support.databases import Databases

TRANSFERS = 10
FUNDS = "100.00"
SOON_S = 0.5


@asynccontextmanager
async def bank_at(servers: Databases, temporal: TemporalServer) -> AsyncIterator[Bank]:
    """A bank with its worker at this Temporal; in the end nothing is in transit in it."""
    async with Bank(settings_of(servers, temporal)) as bank:
        yield bank
        await at_rest(bank)
        assert await findings(bank.shards) == []


class Customers:
    """A payer on shard 1, a payee beside it and one on shard 2."""

    def __init__(self, bank: Bank, payer: int, neighbour: int, stranger: int) -> None:
        self._bank = bank
        self._payer, self._neighbour, self._stranger = payer, neighbour, stranger

    @classmethod
    async def of(cls, bank: Bank) -> Customers:
        """Open their accounts."""
        one, two = bank.shards[1], bank.shards[2]
        return cls(
            bank, await open_account(one, FUNDS), await open_account(one), await open_account(two)
        )

    async def pay_neighbour(self) -> list[MoneyState]:
        """Pay 1.00 several times within the shard; where the money is."""
        return await self._pay(self._neighbour)

    async def pay_stranger(self) -> list[MoneyState]:
        """Pay 1.00 several times to the other shard; where the money is."""
        return await self._pay(self._stranger)

    async def assert_stranger_paid(self, count: int) -> None:
        """Each of them arrived once."""
        expected = Figures(Decimal(count), count)
        assert expected == await figures(self._bank.shards[2], self._stranger)

    async def _pay(self, creditor: int) -> list[MoneyState]:
        requests = [
            TransferRequest(str(new_id()), self._payer, creditor, Decimal(1), "EUR")
            for _ in range(TRANSFERS)
        ]
        submitted: list[Submitted] = await asyncio.gather(
            *(self._bank.transfers.submit(each) for each in requests)
        )
        return [each.record.money_state for each in submitted]


async def test_transfers_go_on_while_temporal_is_down(
    servers: Databases, own_temporal: TemporalServer
) -> None:
    """Within a shard they are booked, between shards accepted; these arrive when it is back."""
    async with bank_at(servers, own_temporal) as bank:
        customers = await Customers.of(bank)
        await own_temporal.stop()
        assert [MoneyState.POSTED] * TRANSFERS == await customers.pay_neighbour()
        assert [MoneyState.IN_TRANSIT] * TRANSFERS == await customers.pay_stranger()
        await customers.assert_stranger_paid(0)
        await own_temporal.start()
        await at_rest(bank)
        await customers.assert_stranger_paid(TRANSFERS)


async def test_a_bank_opens_while_temporal_is_down(
    servers: Databases, own_temporal: TemporalServer
) -> None:
    """What it accepts until then leaves as soon as Temporal answers."""
    await own_temporal.stop()
    async with bank_at(servers, own_temporal) as bank:
        customers = await Customers.of(bank)
        assert [MoneyState.IN_TRANSIT] * TRANSFERS == await customers.pay_stranger()
        await own_temporal.start()
        await at_rest(bank)
        await customers.assert_stranger_paid(TRANSFERS)


async def test_transfers_arrive_although_temporal_lost_its_database(
    servers: Databases, own_temporal: TemporalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shards are the authority: a Temporal that remembers nothing, not even the sweeper,
    learns again what to do while the same worker runs on."""
    monkeypatch.setattr("sagas.worker.SCHEDULE_CHECK_S", SOON_S)
    async with bank_at(servers, own_temporal) as bank:
        customers = await Customers.of(bank)
        await customers.pay_stranger()
        await at_rest(bank)
        await own_temporal.destroy()
        await own_temporal.start()
        for shard in bank.shards.values():
            shard.lanes.boarding = None
        assert [MoneyState.IN_TRANSIT] * TRANSFERS == await customers.pay_stranger()
        await at_rest(bank)
        await customers.assert_stranger_paid(2 * TRANSFERS)
