"""The sweeper on real servers: nothing that is parked is ever forgotten."""

from __future__ import annotations

from datetime import timedelta

import pytest
from temporalio.service import RPCError

from sagas.limits import SWEEP_INTERVAL_S
from sagas.sweeper import SCHEDULE_ID, Sweeper, ensure_schedule
from sagas.worker import build_worker
from shard.commands import MoneyState
from shard.ids import new_id
from shard.shard import Shard
from tests.sagas.small_bank import SmallBank, eventually
from tests.support.databases import Databases

HOURLY_S = 3600.0
AT_ONCE_S = -60.0
"""A straggler's age in these tests: everything parked is one."""


@pytest.fixture
def sweeper(small_bank: SmallBank, worker: None) -> Sweeper:
    """A sweeper in a process with a worker; nothing else there starts a workflow."""
    return Sweeper(small_bank.client, small_bank.shards, AT_ONCE_S)


async def test_an_item_whose_convoy_never_left_arrives(
    small_bank: SmallBank, sweeper: Sweeper
) -> None:
    """The sweep gives it a new convoy and sends that off."""
    debtor, reference = await small_bank.park(await small_bank.open_account(2))
    sweep = await sweeper.sweep(1)
    assert sweep.failure is None
    assert (await small_bank.ended(debtor, reference)).money_state is MoneyState.DELIVERED


async def test_an_item_whose_route_was_never_started_arrives(
    small_bank: SmallBank, sweeper: Sweeper
) -> None:
    """The sweep sees that every route with open items runs."""
    debtor, reference = await small_bank.park(await small_bank.open_account(2), route=2)
    sweep = await sweeper.sweep(1)
    assert 2 in sweep.routes
    assert (await small_bank.ended(debtor, reference)).money_state is MoneyState.DELIVERED


async def test_sweeping_twice_at_once_pays_once(small_bank: SmallBank, sweeper: Sweeper) -> None:
    """Two sweepers, two convoys, one delivery."""
    creditor = await small_bank.open_account(2, "0")
    debtor, reference = await small_bank.park(creditor)
    for _ in range(2):
        await sweeper.sweep(1)
    await small_bank.ended(debtor, reference)
    await sweeper.sweep(1)
    assert str(await small_bank.ledger_of(creditor)) == "20.0000"


async def test_an_item_that_was_sent_off_a_moment_ago_is_left_alone(
    small_bank: SmallBank,
) -> None:
    """An old item with a young convoy is on its way."""
    debtor, reference = await small_bank.park(await small_bank.open_account(2))
    item = await small_bank.item_of(debtor, reference)
    young = new_id()
    await small_bank.shards[1].suspense.restamp([item.item_id], young)
    sweeper = Sweeper(small_bank.client, small_bank.shards)
    await sweeper.sweep(1)
    assert (await small_bank.item_of(debtor, reference)).convoy == young
    async with build_worker(small_bank.client, small_bank.shards, small_bank.owners):
        await Sweeper(small_bank.client, small_bank.shards, AT_ONCE_S).sweep(1)
        await small_bank.ended(debtor, reference)


async def test_a_dead_shard_is_reported_and_not_raised(
    small_bank: SmallBank, servers: Databases
) -> None:
    """The other shards are swept by the same workflow."""
    unreachable = Shard(1, "host=127.0.0.1 port=1 dbname=nowhere")
    await unreachable.open()
    sweep = await Sweeper(small_bank.client, {1: unreachable}).sweep(1)
    await unreachable.close()
    assert sweep.failure is not None
    assert (0, 0) == (sweep.stragglers, sweep.convoys)


async def test_the_schedule_sweeps_all_shards(small_bank: SmallBank) -> None:
    """What the schedule starts finds a straggler and sends it off."""
    debtor, reference = await small_bank.park(await small_bank.open_account(3))
    sweeper = Sweeper(small_bank.client, small_bank.shards, AT_ONCE_S)
    async with build_worker(
        small_bank.client, small_bank.shards, small_bank.owners, sweeper=sweeper
    ):
        await ensure_schedule(small_bank.client)
        await small_bank.client.get_schedule_handle(SCHEDULE_ID).trigger()
        assert (await small_bank.ended(debtor, reference)).money_state is MoneyState.DELIVERED


async def test_a_schedule_paused_by_hand_stays_paused(small_bank: SmallBank) -> None:
    """A worker that starts brings the schedule up to date and leaves the operator's word alone."""
    await ensure_schedule(small_bank.client)
    handle = small_bank.client.get_schedule_handle(SCHEDULE_ID)
    await handle.pause(note="maintenance")
    await ensure_schedule(small_bank.client)
    state = (await handle.describe()).schedule.state
    await handle.unpause()
    assert (True, "maintenance") == (state.paused, state.note)


async def test_a_schedule_is_changed_only_where_it_differs(small_bank: SmallBank) -> None:
    """Workers that start do not disturb it; another interval is brought up to date."""
    handle = small_bank.client.get_schedule_handle(SCHEDULE_ID)
    await ensure_schedule(small_bank.client, HOURLY_S)
    before = (await handle.describe()).info.last_updated_at
    await ensure_schedule(small_bank.client, HOURLY_S)
    assert before == (await handle.describe()).info.last_updated_at
    await ensure_schedule(small_bank.client)
    described = await eventually(handle.describe, lambda now: now.info.last_updated_at != before)
    expected = [timedelta(seconds=SWEEP_INTERVAL_S)]
    assert expected == [interval.every for interval in described.schedule.spec.intervals]


async def test_a_schedule_that_was_deleted_is_made_again(small_bank: SmallBank) -> None:
    """Temporal's database may be lost; the next worker to start puts the schedule back."""
    await ensure_schedule(small_bank.client)
    handle = small_bank.client.get_schedule_handle(SCHEDULE_ID)
    await handle.delete()
    with pytest.raises(RPCError):
        await handle.describe()
    await ensure_schedule(small_bank.client)
    assert not (await handle.describe()).schedule.state.paused
