"""``ledger check``: clean on a sound bank, and it finds what was spoilt by hand.

It runs on servers of its own, because what is planted here must not disturb other tests.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest
from psycopg import sql

from router.check import BETWEEN_SHARDS, CheckResult
from router.check_items import compare_items
from router.wiring import Bank, migrate_all
from sagas.deliveries import delivery_command
from shard.account_numbers import clearing_account
from shard.commands import Answer, Command, Leg, Origin
from shard.connections import connect
from shard.ids import new_id
from shard.invariants import BothSides, Invariants
from shard.outcomes import Outcome
from shard.shard import Shard
from shard.suspense import Settlement, SuspenseItem
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


def from_clearing(account: int, amount: str) -> Command:
    """A posting of the system itself between ``clearing(1->2)`` and an account of shard 1."""
    clearing, value = clearing_account(1, 2, "EUR"), Decimal(amount)
    return Command(
        home=clearing,
        origin=Origin.SYSTEM,
        reference=str(new_id()),
        transfer_id=new_id(),
        request_hash=b"t",
        currency="EUR",
        amount=abs(value),
        creditor=account,
        legs=(Leg(clearing, -value, account), Leg(account, value, clearing)),
    )


async def set_aside(shard: Shard, parked: Command) -> None:
    """Leave a parked amount to a person: it is in nobody's way any more."""
    (item,) = parked.parked
    assert await shard.suspense.mark_needs_repair(item.item_id, 1, Outcome.ACCOUNT_CLOSED)


async def park(bank: Bank) -> SuspenseItem:
    """An item of 2.00 on its way from shard 1 to an open account of shard 2."""
    debtor, creditor = (
        await open_account(bank.shards[1], "9.00"),
        await open_account(bank.shards[2]),
    )
    answer = await bank.shards[1].lanes.post(transfer(debtor, creditor, "2.00"))
    assert answer.convoy is not None
    (item,) = await bank.shards[1].suspense.of_convoy(answer.convoy)
    return item


async def deliver(bank: Bank, item: SuspenseItem) -> Answer:
    """Book an item on shard 2."""
    return await bank.shards[2].lanes.post(delivery_command(item, source=1, destination=2))


async def settle(bank: Bank, item: SuspenseItem, delivered: Answer) -> None:
    """Close an item on shard 1."""
    assert delivered.booked_on is not None
    assert delivered.posted_at is not None
    done = Settlement(item.item_id, item.attempt, delivered.booked_on, delivered.posted_at)
    assert await bank.shards[1].suspense.settle([done]) == 1


async def arrived(bank: Bank) -> SuspenseItem:
    """An item that is closed, and rightly so."""
    item = await park(bank)
    await settle(bank, item, await deliver(bank, item))
    return item


def between(result: CheckResult) -> list[str]:
    """What is said about items and deliveries."""
    return [
        each.detail for each in result.findings if each.invariant == "items and deliveries agree"
    ]


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


async def test_what_is_parked_leaves_only_its_own_pair_unchecked(bank: Bank) -> None:
    """A delivery that is booked and not settled yet is no error, and no clean pair either."""
    debtor = await open_account(bank.shards[1], "10.00")
    parked = transfer(debtor, account_no(2), "1.00")
    await bank.shards[1].lanes.post(parked)
    result = await bank.check.run()
    await set_aside(bank.shards[1], parked)
    assert found(result) == set()
    assert result.not_checked == ("clearing of shards 1 and 2: money is in transit between them",)
    assert {"clearing of shards 1 and 3", "clearing of shards 2 and 3"} <= set(result.checked)


async def test_an_item_that_needs_repair_hides_no_clearing(bank: Bank) -> None:
    """It stands in suspense: money taken out of clearing meanwhile is found."""
    debtor = await open_account(bank.shards[1], "10.00")
    parked = transfer(debtor, account_no(2), "1.00")
    await bank.shards[1].lanes.post(parked)
    thief = await open_account(bank.shards[1])
    await set_aside(bank.shards[1], parked)
    await bank.shards[1].lanes.post(from_clearing(thief, "5.00"))
    result = await bank.check.run()
    await bank.shards[1].lanes.post(from_clearing(thief, "-5.00"))
    assert found(result) == {(BETWEEN_SHARDS, "clearing pairs cancel")}
    assert result.not_checked == ()


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
    await set_aside(bank.shards[3], parked)


async def test_what_arrived_as_its_item_says_is_no_finding(bank: Bank) -> None:
    """Nor is what was booked in the item's present attempt and is not settled yet."""
    await arrived(bank)
    moving = await park(bank)
    delivered = await deliver(bank, moving)
    while_moving = await bank.check.run()
    await settle(bank, moving, delivered)
    assert while_moving.findings == ()
    assert (await bank.check.run()).is_clean


async def test_an_item_closed_without_a_delivery_is_found(
    bank: Bank, own_servers: Databases
) -> None:
    """A shard that says "delivered" must be believed by the shard it names."""
    item = await arrived(bank)
    change = f"UPDATE ledger.transfer SET outcome = '{{}}' WHERE reference = '{item.item_id}:1'"
    async with planted(
        own_servers.shard_owner_dsns[2], change.format("RECALLED"), change.format("POSTED")
    ):
        (told,) = between(await bank.check.run())
    assert told == (
        f"item {item.item_id} (delivered, attempt 1) is closed, and no shard booked its delivery"
    )


async def test_an_item_booked_in_two_attempts_is_found(bank: Bank, own_servers: Databases) -> None:
    """Each attempt may be booked only once the one before it was refused."""
    item = await arrived(bank)
    copy = (
        f"INSERT INTO ledger.transfer SELECT (jsonb_populate_record(t, jsonb_build_object("
        f"'reference', '{item.item_id}:2'))).* FROM ledger.transfer AS t "
        f"WHERE t.reference = '{item.item_id}:1'"
    )
    undo = f"DELETE FROM ledger.transfer WHERE reference = '{item.item_id}:2'"
    async with planted(own_servers.shard_owner_dsns[2], copy, undo):
        (told,) = between(await bank.check.run())
    assert "was booked 2 times" in told


DISAGREEMENTS = {
    "carries": (2, "UPDATE ledger.transfer SET amount = amount {} 1 WHERE reference = '{}:1'"),
    "was to pay": (1, "UPDATE ledger.suspense_item SET target = target {} 1 WHERE item_id = '{}'"),
    "says it was booked on shard": (
        1, "UPDATE ledger.suspense_item SET booked_on = booked_on {} 1 WHERE item_id = '{}'",
    ),
    "is in another attempt": (
        1, "UPDATE ledger.suspense_item SET attempt = attempt {} 1 WHERE item_id = '{}'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("words", DISAGREEMENTS)
async def test_a_delivery_that_is_not_what_its_item_says_is_found(
    words: str, bank: Bank, own_servers: Databases
) -> None:
    """Target, amount, currency, attempt and place agree, and what differs is named."""
    item = await arrived(bank)
    shard, change = DISAGREEMENTS[words]
    dsn = own_servers.shard_owner_dsns[shard]
    async with planted(dsn, change.format("+", item.item_id), change.format("-", item.item_id)):
        (told,) = between(await bank.check.run())
    assert f"item {item.item_id}" in told
    assert words in told


async def test_a_delivery_without_an_item_is_found(bank: Bank, own_servers: Databases) -> None:
    """Money that arrives must have left somewhere."""
    item = await arrived(bank)
    change = "UPDATE ledger.transfer SET reference = '{}:1' WHERE reference = '{}:1'"
    stranger = new_id()
    async with planted(
        own_servers.shard_owner_dsns[2],
        change.format(stranger, item.item_id),
        change.format(item.item_id, stranger),
    ):
        told = between(await bank.check.run())
    assert len(told) == 2
    assert sum("belongs to no item" in each and str(stranger) in each for each in told) == 1


async def test_an_item_set_aside_although_it_arrived_is_found(
    bank: Bank, own_servers: Databases
) -> None:
    """Whoever repairs it would pay it a second time."""
    item = await park(bank)
    delivered = await deliver(bank, item)
    change = f"UPDATE ledger.suspense_item SET state = '{{}}' WHERE item_id = '{item.item_id}'"
    async with planted(
        own_servers.shard_owner_dsns[1], change.format("needs_repair"), change.format("parked")
    ):
        (told,) = between(await bank.check.run())
    await settle(bank, item, delivered)
    assert "has not arrived, yet its delivery was booked" in told


class AfterDelivery(Invariants):
    """Shard 1, whose snapshot is taken after an item arrived that shard 2's does not know."""

    def __init__(self, bank: Bank, dsn: str, item: SuspenseItem) -> None:
        super().__init__(1, dsn)
        self._bank = bank
        self._item = item

    @asynccontextmanager
    async def both_sides(self) -> AsyncIterator[BothSides]:
        await settle(self._bank, self._item, await deliver(self._bank, self._item))
        async with super().both_sides() as sides:
            yield sides


async def test_what_moves_between_two_snapshots_is_no_finding(
    bank: Bank, own_servers: Databases
) -> None:
    """The item is closed in one snapshot, its delivery is missing in the other: read again."""
    item = await park(bank)
    late = AfterDelivery(bank, own_servers.shard_dsns[1], item)
    compared = await compare_items([bank.shards[2].invariants, late, bank.shards[3].invariants])
    assert (compared.faults, compared.undecided) == ((), ())


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
    assert "items against deliveries: shard 2 does not answer" in result.not_checked
    assert "clearing of shards 1 and 3" in result.checked


async def test_without_the_directory_the_shards_are_checked_all_the_same(
    own_servers: Databases,
) -> None:
    """It is a cache; its absence hides no money."""
    settings = settings_of(own_servers, directory_dsn=NOWHERE, temporal_address=NO_TEMPORAL)
    async with Bank(settings) as bank:
        result = await bank.check.run()
    assert result.not_checked == ("ranges against the directory: DIRECTORY_UNAVAILABLE",)
    assert found(result) == set()
