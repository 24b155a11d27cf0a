"""Each invariant finds what was planted by hand, down to a cent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta

import psycopg
import pytest

from deploy.embedded.postgres import PostgresServer
from shard.commands import Kind, Origin
from shard.invariants import INVARIANTS, Finding, Invariants
from tests.shard.own_server import (
    Database,
    OwnShard,
    drop_database,
    fresh_database,
    make_shard,
    opened,
)
from tests.shard.parked import booked, park
from tests.support.bank import BUSINESS_DATE, account_no, open_account, transfer


@dataclass(frozen=True, slots=True)
class Plant:
    """What somebody changes by hand, and the invariants that find it."""

    statement: str
    found_by: frozenset[str]


def plant(statement: str, *found_by: str) -> Plant:
    return Plant(statement, frozenset(found_by))


_SOME = "SELECT b.account_no FROM ledger.balance AS b JOIN ledger.account AS a USING (account_no)"
_PLAIN = f"({_SOME} WHERE a.kind = 'customer' AND b.ledger = 70)"
_ONE_ENTRY = f"account_no = {_PLAIN} AND seq = 2"
_PARKED_ITEM = "state = 'parked'"
_DELIVERED_ITEM = "state = 'delivered'"

PLANTS = {
    "a cent on a balance": plant(
        f"UPDATE ledger.balance SET ledger = ledger + 0.01 WHERE account_no = {_PLAIN}",
        "books_sum_to_zero", "balance_is_sum_of_entries",
    ),
    "a cent moved between balances": plant(
        f"UPDATE ledger.balance SET ledger = ledger + CASE WHEN account_no = {_PLAIN}"
        " THEN 0.01 ELSE -0.01 END WHERE account_no IN"
        f" ({_PLAIN}, ({_SOME} WHERE b.ledger = 130))",
        "balance_is_sum_of_entries",
    ),
    "a cent on an entry": plant(
        f"UPDATE ledger.entry SET amount = amount + 0.01 WHERE {_ONE_ENTRY}",
        "balance_is_sum_of_entries", "figures_follow_each_other", "transfers_sum_to_zero",
    ),
    "a cent on a figure after an entry": plant(
        f"UPDATE ledger.entry SET ledger_after = ledger_after + 0.01 WHERE {_ONE_ENTRY}",
        "balance_is_sum_of_entries", "figures_follow_each_other",
    ),
    "an entry deleted with its amount": plant(
        f"WITH gone AS (DELETE FROM ledger.entry WHERE {_ONE_ENTRY} RETURNING *)"
        " UPDATE ledger.balance AS b SET ledger = b.ledger - g.amount, seq = b.seq - 1"
        " FROM gone AS g WHERE (b.account_no, b.bucket) = (g.account_no, g.bucket)",
        "books_sum_to_zero", "transfers_sum_to_zero", "commands_have_their_entries",
    ),
    "a gap in the numbers": plant(
        f"WITH later AS (UPDATE ledger.entry SET seq = seq + 1 WHERE {_ONE_ENTRY})"
        f" UPDATE ledger.balance SET seq = seq + 1 WHERE account_no = {_PLAIN}",
        "balance_is_sum_of_entries",
    ),
    "a time that runs backwards": plant(
        f"UPDATE ledger.entry SET posted_at = posted_at - interval '1 day' WHERE {_ONE_ENTRY}",
        "figures_follow_each_other",
    ),
    "a cent on an item": plant(
        f"UPDATE ledger.suspense_item SET amount = amount + 0.01 WHERE {_PARKED_ITEM}",
        "suspense_is_sum_of_open_items", "parked_amounts_have_items",
    ),
    "an item that vanished": plant(
        f"DELETE FROM ledger.suspense_item WHERE {_PARKED_ITEM}",
        "suspense_is_sum_of_open_items", "parked_amounts_have_items",
    ),
    "an item closed without a voucher": plant(
        f"UPDATE ledger.suspense_item SET state = 'delivered' WHERE {_PARKED_ITEM}",
        "suspense_is_sum_of_open_items", "items_agree_with_transfers",
        "items_are_open_until_settled",
    ),
    "an open item with the time of a settlement": plant(
        f"UPDATE ledger.suspense_item SET settled_at = now() WHERE {_PARKED_ITEM}",
        "items_are_open_until_settled",
    ),
    "a transfer with another id than its item": plant(
        "UPDATE ledger.transfer SET id = gen_random_uuid() WHERE money_state = 'in_transit'",
        "items_agree_with_transfers",
    ),
    "an item opened again": plant(
        f"UPDATE ledger.suspense_item SET state = 'parked' WHERE {_DELIVERED_ITEM}",
        "suspense_is_sum_of_open_items", "items_agree_with_transfers",
        "items_are_open_until_settled",
    ),
    "a transfer that claims to be delivered": plant(
        "UPDATE ledger.transfer SET money_state = 'delivered' WHERE money_state = 'in_transit'",
        "items_agree_with_transfers",
    ),
    "money held back without a hold": plant(
        f"UPDATE ledger.balance SET held = 1 WHERE account_no = {_PLAIN}",
        "held_is_sum_of_open_holds",
        "balance_is_sum_of_entries",
    ),
    "a hold that nothing is held back for": plant(
        "INSERT INTO ledger.hold (account_no, reference, amount, state, placed_at, expires_at)"
        f" VALUES ({_PLAIN}, 'H-1', 1, 'pending', now(), now())",
        "held_is_sum_of_open_holds",
    ),
    "a limit taken away": plant(
        "UPDATE ledger.account SET overdraft_limit = 4.99 WHERE overdraft_limit = 5",
        "nothing_below_its_floor",
    ),
    "a bucket below zero": plant(
        "WITH lent AS (UPDATE ledger.balance AS b SET ledger = b.ledger"
        " + CASE b.bucket WHEN 0 THEN 0.01 ELSE -0.01 END"
        " FROM ledger.account AS a WHERE a.account_no = b.account_no AND a.has_floor"
        " AND a.bucket_count > 1 AND b.bucket < 2 RETURNING b.*)"
        " INSERT INTO ledger.entry (account_no, bucket, business_date, seq, transfer_id, home,"
        " origin, reference, amount, ledger_after, held_after, limit_after, value_date,"
        " posted_at, booked_on) SELECT l.account_no, l.bucket, s.business_date, l.seq + 1,"
        " t.id, t.account_no, t.origin, t.reference, CASE l.bucket WHEN 0 THEN 0.01"
        " ELSE -0.01 END, l.ledger, 0, 0, s.business_date, now(), 1"
        " FROM lent AS l, ledger.shard_state AS s, (SELECT * FROM ledger.transfer"
        " WHERE outcome = 'POSTED' AND origin = 'client' LIMIT 1) AS t;"
        " UPDATE ledger.balance AS b SET seq = b.seq + 1 FROM ledger.account AS a"
        " WHERE a.account_no = b.account_no AND a.has_floor AND a.bucket_count > 1"
        " AND b.bucket < 2",
        "only_bucket_zero_is_overdrawn", "no_entry_below_its_floor",
    ),
    "a command turned into a refusal": plant(
        "UPDATE ledger.transfer SET outcome = 'ACCOUNT_FROZEN' WHERE reference = 'PLAIN'",
        "entries_have_their_command", "commands_have_their_entries",
    ),
    "a refusal turned into a booking": plant(
        "UPDATE ledger.transfer SET outcome = 'POSTED' WHERE outcome = 'INSUFFICIENT_FUNDS'",
        "commands_have_their_entries",
    ),
    "a command that vanished": plant(
        "DELETE FROM ledger.transfer WHERE reference = 'PLAIN'", "entries_have_their_command"
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
async def template(own_server: PostgresServer) -> Database:
    """A small bank with something of everything in it, to be copied."""
    database = await fresh_database(own_server)
    await make_shard(database)
    async with opened(database) as shard:
        own = OwnShard(shard, database)
        debtor, creditor = await open_account(shard, "100"), await open_account(shard, "100")
        overdrawn = await open_account(shard, limit="5")
        await open_account(shard, buckets=4)
        forced = replace(
            transfer(await open_account(shard), creditor, "9"),
            kind=Kind.FORCED,
            origin=Origin.REVERSAL,
        )
        await shard.lanes.post_many([
            transfer(debtor, creditor, "30", "PLAIN"),
            transfer(overdrawn, creditor, "5"),
            transfer(debtor, creditor, "1000"),
            transfer(creditor, account_no(1), "14.00", "UNKNOWN"),
            forced,
        ])  # fmt: skip
        await shard.lanes.post(transfer(creditor, await open_account(shard), "14"))
        delivered = await park(own, "7")
        await shard.suspense.settle([booked(delivered.item)])
        await park(own, "3", "4")
    return database


@pytest.fixture
async def copied(own_server: PostgresServer, template: Database) -> AsyncIterator[Database]:
    """A copy of that bank, thrown away with what was planted in it."""
    database = await fresh_database(own_server, template)
    yield database
    await drop_database(own_server, database)


async def _check(database: Database) -> list[Finding]:
    return await Invariants(1, database.dsn).check()


@pytest.mark.parametrize("planted", PLANTS.values(), ids=PLANTS.keys())
async def test_what_was_planted_is_found(planted: Plant, copied: Database) -> None:
    """A change by hand is found by just the invariants that it breaks."""
    assert [] == await _check(copied)
    async with await psycopg.AsyncConnection.connect(copied.superuser_dsn) as connection:
        for statement in planted.statement.split(";"):
            cursor = await connection.execute(statement.encode())
            assert cursor.rowcount > 0

    assert planted.found_by == {finding.invariant for finding in await _check(copied)}


def test_every_invariant_was_seen_to_find_something() -> None:
    """No check stands in the list that could not find anything."""
    assert set(INVARIANTS) == {name for each in PLANTS.values() for name in each.found_by}


async def test_a_chargeback_hides_no_debit_after_it(copied: Database) -> None:
    """What goes below the floor is found on accounts that were forced below it, too."""
    async with opened(copied) as shard:
        debtor, creditor = await open_account(shard, "10"), await open_account(shard)
        forced = replace(transfer(debtor, creditor, "11"), kind=Kind.FORCED)
        await shard.lanes.post(forced)
        assert [] == await shard.invariants.check()
        await _set_floor(copied, debtor, is_there=False)
        await shard.lanes.post(transfer(debtor, creditor, "1"))
        await _set_floor(copied, debtor, is_there=True)

        found = {finding.invariant for finding in await shard.invariants.check()}
    assert {"no_entry_below_its_floor"} == found


async def _set_floor(database: Database, account: int, *, is_there: bool) -> None:
    async with await psycopg.AsyncConnection.connect(database.superuser_dsn) as connection:
        await connection.execute(
            "UPDATE ledger.account SET has_floor = %s WHERE account_no = %s", (is_there, account)
        )


async def test_what_the_books_leave_out_is_not_counted(copied: Database) -> None:
    """Accounts of a range that was released are archive: no check counts them."""
    async with await psycopg.AsyncConnection.connect(copied.superuser_dsn) as connection:
        await connection.execute("UPDATE ledger.owned_range SET state = 'RELEASED' WHERE lo >= 1e9")
        await connection.execute(
            "UPDATE ledger.balance SET ledger = 1 WHERE account_no >= 1000000000"
        )

    found = {finding.invariant for finding in await _check(copied)}
    assert {"books_sum_to_zero"} == found, "only the voucher of a release makes the rest whole"


async def test_the_trial_balance_sums_to_zero(copied: Database) -> None:
    """Debits and credits of all kinds of accounts cancel in each currency."""
    lines = await Invariants(1, copied.dsn).trial_balance()

    assert {"equity", "customer", "suspense", "clearing"} <= {line.kind for line in lines}
    assert 0 == sum(line.debit + line.credit for line in lines if line.currency == "EUR")


async def test_a_check_sees_one_instant(copied: Database) -> None:
    """Invariants hold over a bank that is being posted to, also across a change of date."""
    async with opened(copied) as shard:
        debtor, creditor = await open_account(shard, "100"), await open_account(shard)
        await shard.lanes.post(transfer(debtor, creditor, "1"))
        await shard.business_day.advance(BUSINESS_DATE + timedelta(days=1))
        await shard.lanes.post(transfer(creditor, debtor, "1"))

        assert [] == await shard.invariants.check()
