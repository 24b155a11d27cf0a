"""A server that hangs, not even refusing, must not make those who ask hang with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import LiteralString

import psutil
import pytest

from deploy.embedded.postgres import PostgresServer
from shard import breaker as breaker_module
from shard import connections as connections_module
from shard import lane as lane_module
from shard.accounts import AccountStatus
from shard.connections import Readers
from shard.errors import OutcomeUnknown, ShardUnavailable
from shard.outcomes import Outcome
from shard.shard import Shard
from tests.shard.own_server import OwnShard
from tests.support.bank import Figures, again, figures, open_account, transfer

_BUDGET_S = 0.2
_PATIENCE_S = 3.0
_FOR_EVER: LiteralString = "SELECT pg_advisory_lock(1), pg_advisory_lock(1)"


@pytest.fixture
async def one_lane(own: OwnShard) -> AsyncIterator[Shard]:
    """The own shard over a single lane: once it has posted, it is connected."""
    shard = Shard(1, own.database.dsn, lane_count=1)
    await shard.open()
    try:
        yield shard
    finally:
        await shard.close()


@contextmanager
def hanging(server: PostgresServer) -> Iterator[None]:
    """Stop the server and all its sessions in the middle of whatever they do."""
    postmaster = psutil.Process(int((server.data / "postmaster.pid").read_text().split()[0]))
    processes = [postmaster, *postmaster.children()]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


async def test_a_posting_that_gets_no_answer_is_unknown(
    own: OwnShard, own_server: PostgresServer
) -> None:
    """At its deadline the caller is told so; repeated later, it has one effect."""
    debtor, creditor = await open_account(own.shard, "10"), await open_account(own.shard)
    command = transfer(debtor, creditor, "4")
    with hanging(own_server), pytest.raises(OutcomeUnknown):
        await own.shard.lanes.post(command, asyncio.get_running_loop().time() + _BUDGET_S)

    await own.shard.lanes.post(again(command))

    assert Figures(Decimal(4), 1) == await figures(own.shard, creditor)


async def test_a_read_that_gets_no_answer(
    own: OwnShard, own_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read finds the shard unavailable."""
    account = await open_account(own.shard)
    monkeypatch.setattr(connections_module, "ANSWER_LIMIT_S", _BUDGET_S)
    with hanging(own_server), pytest.raises(ShardUnavailable):
        await own.shard.balances.get(account)


async def test_a_change_that_gets_no_answer(
    own: OwnShard, own_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a change it is unknown whether it happened."""
    account = await open_account(own.shard)
    monkeypatch.setattr(connections_module, "ANSWER_LIMIT_S", _BUDGET_S)
    with hanging(own_server), pytest.raises(OutcomeUnknown):
        await own.shard.accounts.change_status(
            account, AccountStatus.FROZEN, actor="test", reason="the server hangs"
        )


async def test_a_read_given_up_does_not_hang_with_its_server(
    own: OwnShard, own_server: PostgresServer
) -> None:
    """Whoever stops waiting is free at once: a silent server is not asked to cancel first."""
    readers = Readers(own.database.dsn)
    await readers.open()
    reached = asyncio.Event()

    async def read() -> None:
        async with readers.connection() as connection:
            reached.set()
            await connection.execute(_FOR_EVER)

    reading = asyncio.create_task(read())
    await reached.wait()
    with hanging(own_server):
        reading.cancel()
        ended, _ = await asyncio.wait({reading}, timeout=_PATIENCE_S)
    await readers.close()

    assert {reading} == ended


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(_PATIENCE_S * 10):
        while not is_so():  # noqa: ASYNC110 figures have no event
            await asyncio.sleep(0.005)  # sleep: pause between two looks at a figure


async def test_a_lane_gives_a_silent_server_up(
    one_lane: Shard, own_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lane whose server hangs is not lost: it asks again, and the batch has one effect."""
    debtor, creditor = await open_account(one_lane, "10"), await open_account(one_lane)
    monkeypatch.setattr(lane_module, "LANE_ANSWER_LIMIT_S", _BUDGET_S)
    monkeypatch.setattr(lane_module, "POST_RETRY_BUDGET_S", 3600.0)
    figures_of_lanes = one_lane.lanes.figures
    with hanging(own_server):
        posting = asyncio.create_task(one_lane.lanes.post(transfer(debtor, creditor, "4")))
        await _until(lambda: figures_of_lanes.batches_cut_off == 1)

    answer = await posting

    assert (Outcome.POSTED, False) == (answer.outcome, answer.is_replay)
    assert Figures(Decimal(4), 1) == await figures(one_lane, creditor)


async def test_bulk_work_ends_although_the_server_hangs(
    one_lane: Shard, own_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a deadline of its own it is told as well that the outcome is unknown."""
    debtor, creditor = await open_account(one_lane, "10"), await open_account(one_lane)
    commands = [transfer(debtor, creditor, "1") for _ in range(3)]
    monkeypatch.setattr(one_lane.breaker, "_pause_s", 0.0)
    with monkeypatch.context() as impatient, hanging(own_server):
        impatient.setattr(lane_module, "LANE_ANSWER_LIMIT_S", _BUDGET_S)
        impatient.setattr(lane_module, "POST_RETRY_BUDGET_S", 0.0)
        with pytest.raises(OutcomeUnknown):
            await one_lane.lanes.post_many(commands)

    answers = await one_lane.lanes.post_many([again(command) for command in commands])

    assert [Outcome.POSTED] * 3 == [answer.outcome for answer in answers]
    assert Figures(Decimal(3), 3) == await figures(one_lane, creditor)


async def test_a_shard_known_to_hang_is_not_asked(
    one_lane: Shard, own_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once one batch was given up, postings and reads are refused at once, until it answers."""
    debtor, creditor = await open_account(one_lane, "10"), await open_account(one_lane)
    monkeypatch.setattr(lane_module, "LANE_ANSWER_LIMIT_S", _BUDGET_S)
    monkeypatch.setattr(lane_module, "POST_RETRY_BUDGET_S", 3600.0)
    monkeypatch.setattr(breaker_module, "BREAKER_PAUSE_MAX_S", 3600.0)
    monkeypatch.setattr(one_lane.breaker, "_pause_s", 3600.0)
    with hanging(own_server):
        posting = asyncio.create_task(one_lane.lanes.post(transfer(debtor, creditor, "1")))
        await _until(lambda: one_lane.breaker.is_open)
        # Were they to wait for the server, this would hang.
        for _ in range(3):
            with pytest.raises(ShardUnavailable):
                await one_lane.lanes.post(transfer(debtor, creditor, "1"))
        with pytest.raises(ShardUnavailable):
            await one_lane.balances.get(creditor)
    await posting

    assert 3 == one_lane.lanes.figures.refused_unavailable
    assert not one_lane.breaker.is_open
    assert Figures(Decimal(1), 1) == await figures(one_lane, creditor)
