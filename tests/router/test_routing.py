"""Routes: following ranges that moved, with a stale map, and while the directory is down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from router.accounts import Opening
from router.errors import AccountUnassigned, RoutesUnknown
from router.range_map import RangeMap
from router.wiring import Bank
from shard.accounts import AccountKind
from shard.errors import NotFound, RangeMoving, ShardUnavailable
from shard.ids import new_id
from tests.router.ranges import TestRange, new_range
from tests.support.bank import settings_of
from tests.support.databases import Databases

NOWHERE = "host=/nowhere dbname=ledger"


@pytest.fixture
async def test_range(servers: Databases) -> AsyncIterator[TestRange]:
    """A range of this test's own, on shard 1."""
    async with new_range(servers, shard=1) as made:
        yield made


@pytest.fixture
async def stale_bank(servers: Databases, test_range: TestRange) -> AsyncIterator[Bank]:
    """A process that read the map while the range was on shard 1; no Temporal in reach."""
    async with Bank(settings_of(servers, temporal_address="127.0.0.1:1")) as bank:
        assert bank.routes.owner_now(test_range.lo) == 1
        yield bank


def equity(account_no: int) -> Opening:
    """An account of the bank itself under a number of choice."""
    return Opening(
        "BANK",
        str(new_id()),
        "EUR",
        AccountKind.EQUITY,
        overdraft_limit=None,
        account_no=account_no,
    )


async def test_the_next_owner_that_a_shard_names_is_followed(
    stale_bank: Bank, test_range: TestRange
) -> None:
    """Although the directory still says shard 1, the account is found on shard 2."""
    await test_range.move(1, 2, epoch=2)
    with pytest.raises(NotFound):
        await stale_bank.accounts.get(test_range.lo)
    assert stale_bank.routes.owner_now(test_range.lo) == 2


async def test_a_range_that_moved_twice_is_found(stale_bank: Bank, test_range: TestRange) -> None:
    """Each former owner names the next one."""
    await test_range.move(1, 2, epoch=2)
    await test_range.move(2, 3, epoch=3)
    with pytest.raises(NotFound):
        await stale_bank.accounts.get(test_range.lo)
    assert stale_bank.routes.owner_now(test_range.lo) == 3


async def test_a_range_that_came_back_is_found(stale_bank: Bank, test_range: TestRange) -> None:
    """The epoch tells the newer owner from the older one, though it is the same shard."""
    await test_range.move(1, 2, epoch=2)
    with pytest.raises(NotFound):
        await stale_bank.accounts.get(test_range.lo)
    await test_range.move(2, 1, epoch=3)
    with pytest.raises(NotFound):
        await stale_bank.accounts.get(test_range.lo)
    assert stale_bank.routes.owner_now(test_range.lo) == 1


async def test_the_directory_is_read_again_where_a_shard_names_nobody(
    stale_bank: Bank, test_range: TestRange
) -> None:
    """A shard that lost the range without a word sends the router to the directory."""
    await test_range.set(1, "INCOMING", epoch=2)
    await test_range.set(3, "OWNED", epoch=2)
    await test_range.publish(3, epoch=2)
    with pytest.raises(NotFound):
        await stale_bank.accounts.get(test_range.lo)
    assert stale_bank.routes.owner_now(test_range.lo) == 3
    await test_range.set(1, "RELEASED", epoch=2, next_owner=3)


async def test_accounts_are_opened_where_the_range_lives_by_now(
    stale_bank: Bank, test_range: TestRange
) -> None:
    """The number is reserved for one range; the shard that owns it opens the account."""
    await test_range.move(1, 2, epoch=2)
    opened = await stale_bank.accounts.open(equity(test_range.lo), actor="test")
    assert await stale_bank.shards[2].accounts.get(test_range.lo) == opened.account


async def test_a_write_waits_while_its_range_is_fenced(
    stale_bank: Bank, test_range: TestRange
) -> None:
    """The client sees a slow answer, not an error."""
    await test_range.set(1, "FENCED", epoch=2)
    waiting = asyncio.create_task(stale_bank.accounts.open(equity(test_range.lo), actor="test"))
    lanes = stale_bank.shards[1]
    await lanes.ping()
    assert not waiting.done()
    await test_range.move(1, 2, epoch=2)
    assert (await waiting).is_new


async def test_a_range_that_nobody_owns_is_not_an_unknown_account(
    stale_bank: Bank, test_range: TestRange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between release and opening nobody serves; the answer must stay "try again"."""
    monkeypatch.setattr("router.routing.REQUEST_BUDGET_S", 0.3)
    await test_range.set(1, "RELEASED", epoch=2, next_owner=2)
    await test_range.set(2, "INCOMING", epoch=2)
    with pytest.raises(RoutesUnknown):
        await stale_bank.accounts.get(test_range.lo)
    await test_range.set(2, "OWNED", epoch=2)


async def test_a_fence_that_outlasts_the_budget_is_told(
    stale_bank: Bank, test_range: TestRange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write answers RANGE_MOVING after it has waited."""
    monkeypatch.setattr("router.accounts.REQUEST_BUDGET_S", 0.2)
    await test_range.set(1, "FENCED", epoch=2)
    with pytest.raises(RangeMoving):
        await stale_bank.accounts.open(equity(test_range.lo), actor="test")
    await test_range.set(1, "OWNED", epoch=2)


async def test_a_number_in_no_range_is_unassigned(stale_bank: Bank) -> None:
    """With the whole map known this is an answer, not ignorance."""
    with pytest.raises(AccountUnassigned):
        await stale_bank.accounts.get(9_999_999_999)


async def test_without_the_directory_the_shards_tell_what_they_own(
    servers: Databases, test_range: TestRange
) -> None:
    """A process can start while the directory is down."""
    settings = settings_of(servers, directory_dsn=NOWHERE, temporal_address="127.0.0.1:1")
    async with Bank(settings) as bank:
        assert bank.routes.owner_now(test_range.lo) == 1
        assert bank.routes.owner_now(3_999_999_999) == 3
        with pytest.raises(AccountUnassigned):
            bank.routes.owner_now(9_999_999_999)


async def test_without_directory_and_one_shard_its_ranges_are_unknown_and_not_unassigned(
    servers: Databases,
) -> None:
    """ "Unknown account" is a final answer, and must not be given out of ignorance."""
    dsns = dict(servers.shard_dsns) | {2: NOWHERE}
    settings = settings_of(
        servers, directory_dsn=NOWHERE, shard_dsns=dsns, temporal_address="127.0.0.1:1"
    )
    async with Bank(settings) as bank:
        assert bank.routes.owner_now(1_000_000_000) == 1
        with pytest.raises(RoutesUnknown):
            await bank.routes.owner_of(2_000_000_000)


async def test_a_shard_that_this_process_has_no_dsn_for_is_unavailable(
    servers: Databases,
) -> None:
    """The account exists, this process cannot reach it."""
    dsns = {1: servers.shard_dsns[1]}
    async with Bank(settings_of(servers, shard_dsns=dsns, temporal_address="127.0.0.1:1")) as bank:
        with pytest.raises(ShardUnavailable):
            bank.routes.owner_now(2_000_000_000)


async def test_callers_at_the_same_time_share_one_reading(
    stale_bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred requests that meet a moved range ask the directory once."""
    read, readings = stale_bank.directory.range_map, []

    async def counted() -> RangeMap:
        readings.append(await read())
        return readings[-1]

    monkeypatch.setattr(stale_bank.directory, "range_map", counted)
    await asyncio.gather(*(stale_bank.routes.refresh() for _ in range(100)))
    assert len(readings) == 1
