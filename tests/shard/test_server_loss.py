"""A shard's server goes away and comes back: every answer stays true, nothing happens twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal

import pytest

from deploy.embedded.postgres import PostgresServer
from shard import lane as lane_module
from shard.commands import Answer, Command
from shard.errors import OutcomeUnknown, ShardUnavailable
from shard.outcomes import Outcome
from shard.shard import Shard
from tests.shard.own_server import Database, fresh_database, make_shard, opened
from tests.support.bank import again, open_account, transfer

_CLIENTS = 12
_ANSWERS_BEFORE_THE_CRASH = 60


@pytest.fixture
async def lost(own_server: PostgresServer) -> AsyncIterator[Database]:
    """A shard on the own server, which runs again at the end."""
    database = await fresh_database(own_server)
    await make_shard(database)
    yield database
    await own_server.start()


async def test_a_shard_that_is_down_says_so(
    own_server: PostgresServer, lost: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the server is down nothing waits for it, and when it is back all goes on."""
    # Were the lanes to wait for the server, this test would hang.
    monkeypatch.setattr(lane_module, "POST_RETRY_BUDGET_S", 3600.0)
    async with opened(lost) as shard:
        debtor, creditor = await open_account(shard, "100"), await open_account(shard)
    await own_server.stop("immediate")
    async with opened(lost) as shard:
        command = transfer(debtor, creditor, "1")
        with pytest.raises(ShardUnavailable):
            await shard.lanes.post(command)
        with pytest.raises(ShardUnavailable):
            await shard.lanes.post_many([transfer(debtor, creditor, "1")] * 2)
        await own_server.start()

        answer = await shard.lanes.post(command)
        balance = await shard.balances.get(creditor)

    assert (Outcome.POSTED, False) == (answer.outcome, answer.is_replay)
    assert Decimal(1) == balance.ledger


async def test_a_lane_notices_a_lost_server_before_it_sends(
    own_server: PostgresServer, lost: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is posted after a server has gone is told so: nothing was sent, nothing is unknown."""
    # Were a lane to send and then to ask again, this test would hang.
    monkeypatch.setattr(lane_module, "POST_RETRY_BUDGET_S", 3600.0)
    async with opened(lost) as shard:
        debtor, creditor = await open_account(shard, "100"), await open_account(shard)
        await own_server.stop("immediate")

        with pytest.raises(ShardUnavailable):
            await shard.lanes.post(transfer(debtor, creditor, "1"))

        await own_server.restart("immediate")
        answer = await shard.lanes.post(transfer(debtor, creditor, "1"))
        await own_server.restart("immediate")
        again_answer = await shard.lanes.post(transfer(debtor, creditor, "1"))

    assert [Outcome.POSTED] * 2 == [answer.outcome, again_answer.outcome]


@dataclass(slots=True)
class Load:
    """Clients that transfer cents between accounts until their shard stops answering."""

    shard: Shard
    accounts: list[int]
    rng: random.Random
    answers: list[tuple[Command, Answer]]
    unknown: list[Command]
    enough: asyncio.Event

    async def run(self) -> None:
        """Let all clients work until each of them got an error."""
        await asyncio.gather(*(self._client() for _ in range(_CLIENTS)))

    async def _client(self) -> None:
        while True:
            debtor, creditor = self.rng.sample(self.accounts, 2)
            command = transfer(debtor, creditor, f"0.{self.rng.randint(1, 99):02}")
            try:
                answer = await self.shard.lanes.post(command)
            except (ShardUnavailable, OutcomeUnknown):
                self.unknown.append(command)
                return
            self.answers.append((command, answer))
            if len(self.answers) >= _ANSWERS_BEFORE_THE_CRASH:
                self.enough.set()


async def test_a_crash_under_load_loses_no_answer(
    own_server: PostgresServer,
    lost: Database,
    rng: random.Random,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was answered before a kill -9 is there; the rest is whole or absent, and repeatable."""
    monkeypatch.setattr(lane_module, "POST_RETRY_BUDGET_S", 0.0)
    async with opened(lost) as shard:
        accounts = [await open_account(shard, "5") for _ in range(8)]
        load = Load(shard, accounts, rng, [], [], asyncio.Event())
        running = asyncio.create_task(load.run())
        await load.enough.wait()
        await own_server.kill()
        await running

    await own_server.start()
    async with opened(lost) as shard:
        assert await shard.invariants.check() == []
        repeated = await shard.lanes.post_many([again(command) for command, _ in load.answers])
        first = await shard.lanes.post_many([again(command) for command in load.unknown])
        second = await shard.lanes.post_many([again(command) for command in load.unknown])
        total = sum([(await shard.balances.get(number)).ledger for number in accounts])
        assert await shard.invariants.check() == []

    assert _core([answer for _, answer in load.answers]) == _core(repeated)
    assert [True] * len(repeated) == [answer.is_replay for answer in repeated]
    assert _core(first) == _core(second)
    assert [True] * len(second) == [answer.is_replay for answer in second]
    assert _CLIENTS == len(load.unknown)
    assert Decimal(5 * 8) == total


def _core(answers: list[Answer]) -> list[tuple[object, ...]]:
    return [(a.outcome, a.transfer_id, a.posted_at, a.business_date) for a in answers]
