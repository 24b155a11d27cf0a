"""``ledger check``: clean on a sound bank, and it finds what was spoilt by hand.

It runs on servers of its own, because what is planted here must not disturb other tests.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from psycopg import sql

from router.check import BETWEEN_SHARDS, CheckResult
from router.wiring import Bank, migrate_all
from shard.account_numbers import clearing_account
from shard.connections import connect
from tests.support.bank import BUSINESS_DATE, account_no, open_account, settings_of, transfer
from tests.support.databases import Databases, databases
from tests.support.options import PostgresChoice

NOWHERE = "host=/nowhere dbname=ledger"
NO_TEMPORAL = "127.0.0.1:1"


@pytest.fixture(scope="module")
async def own_servers(postgres: PostgresChoice) -> AsyncIterator[Databases]:
    """A bank for this file alone."""
    async with databases(postgres) as found:
        await migrate_all(settings_of(found), report=lambda *_: None, today=BUSINESS_DATE)
        yield found


@pytest.fixture
async def bank(own_servers: Databases) -> AsyncIterator[Bank]:
    """The bank without Temporal: what is parked stays where it is."""
    async with Bank(settings_of(own_servers, temporal_address=NO_TEMPORAL)) as opened:
        yield opened


def found(result: CheckResult) -> set[tuple[int, str]]:
    """Shard and invariant of each finding."""
    return {(each.shard, each.invariant) for each in result.findings}


@asynccontextmanager
async def planted(dsn: str, statement: str, undo: str) -> AsyncIterator[None]:
    """Spoil a database by hand, and put it right again."""
    async with await connect(dsn) as connection:
        await connection.execute(sql.SQL(statement))
    try:
        yield
    finally:
        async with await connect(dsn) as connection:
            await connection.execute(sql.SQL(undo))


async def test_a_sound_bank_is_clean_and_says_what_was_checked(bank: Bank) -> None:
    """Every shard, every pair of shards, ranges and the directory."""
    debtor = await open_account(bank.shards[1], "10.00")
    await bank.shards[1].lanes.post(transfer(debtor, await open_account(bank.shards[1]), "1.00"))
    result = await bank.check.run()
    assert result.findings == ()
    assert result.is_clean
    assert {"books of shard 3", "clearing of shards 1 and 2", "one owner per range"} <= set(
        result.checked
    )


async def test_a_cent_planted_by_hand_is_found(bank: Bank, own_servers: Databases) -> None:
    """On one shard, in one balance: the books of that shard do not add up."""
    account = await open_account(bank.shards[2], "10.00")
    change = f"UPDATE ledger.balance SET ledger = ledger {{}} 0.01 WHERE account_no = {account}"
    async with planted(own_servers.shard_owner_dsns[2], change.format("+"), change.format("-")):
        result = await bank.check.run()
    assert {shard for shard, _ in found(result)} == {2}
    assert not result.is_clean


async def test_clearing_that_does_not_cancel_is_found(bank: Bank, own_servers: Databases) -> None:
    """What one shard says it is owed, the other must owe."""
    number = clearing_account(1, 2, "EUR")
    change = (
        "UPDATE ledger.balance SET ledger = ledger {} 5 "
        f"WHERE bucket = 0 AND account_no = {number}"
    )
    async with planted(own_servers.shard_owner_dsns[1], change.format("+"), change.format("-")):
        result = await bank.check.run()
    assert (BETWEEN_SHARDS, "clearing pairs cancel") in found(result)


async def test_while_items_are_open_clearing_is_not_at_rest_and_no_finding(
    bank: Bank, own_servers: Databases
) -> None:
    """A delivery that is booked and not settled yet is no error."""
    debtor = await open_account(bank.shards[1], "10.00")
    parked = transfer(debtor, account_no(2), "1.00")
    await bank.shards[1].lanes.post(parked)
    result = await bank.check.run()
    assert found(result) == set()
    assert "clearing of shards 1 and 2: not at rest" in result.checked
    assert "clearing of shards 2 and 3" in result.checked
    async with await connect(own_servers.shard_owner_dsns[1]) as connection:
        await connection.execute(
            "UPDATE ledger.suspense_item SET state = 'parked', target = debtor "
            "WHERE transfer_id = %s",
            (parked.transfer_id,),
        )


async def test_an_item_that_can_never_arrive_is_found(bank: Bank, own_servers: Databases) -> None:
    """Its target lies in no range, or is one of the machinery's accounts."""
    debtor = await open_account(bank.shards[3], "10.00")
    parked = transfer(debtor, account_no(2), "1.00")
    await bank.shards[3].lanes.post(parked)
    change = (
        f"UPDATE ledger.suspense_item SET target = {{}} WHERE transfer_id = '{parked.transfer_id}'"
    )
    for target in (9_999_999_999, 1_101_000):
        async with planted(
            own_servers.shard_owner_dsns[3], change.format(target), change.format(debtor)
        ):
            assert (3, "items are plausible") in found(await bank.check.run())


async def test_a_range_with_two_owners_is_found(bank: Bank, own_servers: Databases) -> None:
    """At every instant one shard serves an account, never two."""
    async with planted(
        own_servers.shard_owner_dsns[2],
        "INSERT INTO ledger.owned_range (range_id, lo, hi) VALUES (1001, 1000000000, 1250000000)",
        "DELETE FROM ledger.owned_range WHERE range_id = 1001",
    ):
        result = await bank.check.run()
    assert (BETWEEN_SHARDS, "one owner per range") in found(result)


async def test_a_range_that_nobody_owns_is_found(bank: Bank, own_servers: Databases) -> None:
    """The directory knows the range, and no shard serves it."""
    async with planted(
        own_servers.shard_owner_dsns[3],
        "UPDATE ledger.owned_range SET state = 'RELEASED', next_owner = 2 WHERE range_id = 1012",
        "UPDATE ledger.owned_range SET state = 'OWNED', next_owner = NULL WHERE range_id = 1012",
    ):
        result = await bank.check.run()
    assert (BETWEEN_SHARDS, "directory agrees with shards") in found(result)


async def test_a_directory_with_another_opinion_is_found(
    bank: Bank, own_servers: Databases
) -> None:
    """A range map that lags behind for good would send every request on a detour."""
    async with planted(
        own_servers.directory_owner_dsn,
        "UPDATE directory.account_range SET shard = 3 WHERE range_id = 1001",
        "UPDATE directory.account_range SET shard = 1 WHERE range_id = 1001",
    ):
        result = await bank.check.run()
    assert found(result) == {(BETWEEN_SHARDS, "directory agrees with shards")}


async def test_a_shard_that_is_down_is_not_checked_and_not_clean(own_servers: Databases) -> None:
    """What could not be looked at is told, and the rest is checked."""
    dsns = dict(own_servers.shard_dsns) | {2: NOWHERE}
    settings = settings_of(own_servers, shard_dsns=dsns, temporal_address=NO_TEMPORAL)
    async with Bank(settings) as bank:
        result = await bank.check.run()
    assert found(result) == set()
    assert not result.is_clean
    assert "books of shard 2: SHARD_UNAVAILABLE" in result.not_checked
    assert "clearing of shards 1 and 3" in {
        each.removesuffix(": not at rest") for each in result.checked
    }


async def test_without_the_directory_the_shards_are_checked_all_the_same(
    own_servers: Databases,
) -> None:
    """It is a cache; its absence hides no money."""
    settings = settings_of(own_servers, directory_dsn=NOWHERE, temporal_address=NO_TEMPORAL)
    async with Bank(settings) as bank:
        result = await bank.check.run()
    assert result.not_checked == ("ranges against the directory: DIRECTORY_UNAVAILABLE",)
    assert found(result) == set()
