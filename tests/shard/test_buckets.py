"""Accounts with several buckets: lanes stay apart, and no money is refused that is there."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import pytest

from shard.account_numbers import suspense_account
from shard.commands import Answer, Command
from shard.connections import Connection
from shard.outcomes import Outcome
from shard.posting import post_batch
from shard.shard import Shard
from tests.support.bank import account_no, again, open_account, transfer
from tests.support.databases import Databases
from tests.support.interleaving import holder, posting_connection

Shards = Mapping[int, Shard]
POSTED, SHORT = Outcome.POSTED, Outcome.INSUFFICIENT_FUNDS


class Bucketed:
    """An account with four buckets, and what stands in them."""

    def __init__(self, shard: Shard, servers: Databases, account: int, equity: int) -> None:
        self.account = account
        self._shard = shard
        self._dsn = servers.shard_dsns[shard.number]
        self._equity = equity

    async def fund(self, amounts: Mapping[int, str]) -> None:
        """Put money into buckets, each through its lane."""
        async with posting_connection(self._dsn) as connection:
            for lane, amount in amounts.items():
                command = transfer(self._equity, self.account, amount)
                await post_batch(connection, lane, None, [command])

    async def pay(self, lane: int, *amounts: str) -> list[Outcome]:
        """Debit the account through one lane, several times in one batch."""
        commands = [transfer(self.account, self._equity, amount) for amount in amounts]
        async with posting_connection(self._dsn) as connection:
            return [a.outcome for a in await post_batch(connection, lane, None, commands)]

    async def post(self, lane: int, *commands: Command, clock: str = "") -> list[Answer]:
        """Post through one lane, whose clock may be wrong."""
        async with posting_connection(self._dsn) as connection:
            await _set_clock(connection, clock)
            return await post_batch(connection, lane, None, commands)

    async def buckets(self) -> list[Decimal]:
        """The ledger balance of each bucket."""
        async with holder(self._dsn) as look:
            rows = await look.execute(
                "SELECT ledger FROM ledger.balance WHERE account_no = %s ORDER BY bucket",
                (self.account,),
            )
        return [ledger for (ledger,) in rows]

    def payment(self, amount: str) -> Command:
        """A debit of the account."""
        return transfer(self.account, self._equity, amount)

    def income(self, amount: str) -> Command:
        """A credit of the account."""
        return transfer(self._equity, self.account, amount)


async def _set_clock(connection: Connection, clock: str) -> None:
    await connection.execute("SELECT set_config('ledger.clock', %s, false)", (clock,))


@pytest.fixture
async def bucketed(shards: Shards, servers: Databases) -> Bucketed:
    """An account without money or overdraft."""
    return await _bucketed(shards[1], servers, "0")


async def _bucketed(shard: Shard, servers: Databases, limit: str) -> Bucketed:
    account = await open_account(shard, buckets=4, limit=limit)
    return Bucketed(shard, servers, account, await open_account(shard, limit=None))


async def test_credits_go_to_the_bucket_of_their_lane(bucketed: Bucketed) -> None:
    """Each lane has a bucket; lanes beyond the number of buckets share them."""
    await bucketed.fund({0: "1", 1: "2", 3: "4", 5: "8"})

    assert [1, 10, 0, 4] == await bucketed.buckets()


async def test_a_debit_takes_from_the_bucket_of_its_lane(bucketed: Bucketed) -> None:
    """As long as the lane's bucket has enough, the others are not touched."""
    await bucketed.fund({0: "5", 1: "10"})

    assert [POSTED, POSTED] == await bucketed.pay(1, "4", "6")
    assert [5, 0, 0, 0] == await bucketed.buckets()


async def test_a_debit_that_its_bucket_cannot_cover_takes_from_all(bucketed: Bucketed) -> None:
    """Money in total is never refused because one bucket is short."""
    await bucketed.fund({0: "5", 1: "10", 2: "20", 3: "1"})

    assert [POSTED] == await bucketed.pay(1, "35.99")
    buckets = await bucketed.buckets()
    assert Decimal("0.01") == sum(buckets)
    assert min(buckets) >= 0


async def test_all_buckets_together_are_exact_to_the_cent(bucketed: Bucketed) -> None:
    """What exceeds the sum of all buckets by a cent is refused and changes none."""
    await bucketed.fund({0: "5", 1: "10", 2: "20", 3: "1"})

    assert [SHORT, POSTED, SHORT] == await bucketed.pay(2, "36.01", "36", "0.01")
    assert [0, 0, 0, 0] == await bucketed.buckets()


async def test_only_bucket_zero_uses_the_overdraft(shards: Shards, servers: Databases) -> None:
    """The overdraft is used in bucket 0; the others never fall below zero."""
    bucketed = await _bucketed(shards[1], servers, "7")
    await bucketed.fund({1: "10", 2: "20"})

    assert [SHORT, POSTED] == await bucketed.pay(1, "37.01", "37")
    assert [-7, 0, 0, 0] == await bucketed.buckets()


async def test_the_overdraft_alone_is_found_from_any_lane(
    shards: Shards, servers: Databases
) -> None:
    """An account without money but with an overdraft can be debited through every lane."""
    bucketed = await _bucketed(shards[1], servers, "7")

    assert [POSTED] == await bucketed.pay(3, "6.99")
    assert [POSTED, SHORT] == await bucketed.pay(2, "0.01", "0.01")


async def test_a_batch_that_gathers_still_goes_in_order(bucketed: Bucketed) -> None:
    """Credits and debits of one batch build on each other across all buckets."""
    await bucketed.fund({0: "5", 1: "5"})
    commands = [
        bucketed.payment("11"),
        bucketed.income("3"),
        bucketed.payment("11"),
        bucketed.payment("3"),
        bucketed.payment("2"),
    ]

    answers = await bucketed.post(2, *commands)

    expected = [SHORT, POSTED, POSTED, SHORT, POSTED]
    assert expected == [answer.outcome for answer in answers]
    assert [0, 0, 0, 0] == await bucketed.buckets()


async def test_time_never_runs_backwards_in_gathered_buckets(bucketed: Bucketed) -> None:
    """A debit that reaches into other buckets is not earlier than what stands in them."""
    ahead = "2030-01-01T00:00:00Z"
    (first,) = await bucketed.post(2, bucketed.income("10"), clock=ahead)
    command = bucketed.payment("10")

    (answer,) = await bucketed.post(1, command)
    (replayed,) = await bucketed.post(1, again(command))

    assert first.posted_at == answer.posted_at == replayed.posted_at


async def test_lanes_do_not_wait_for_each_other_on_suspense(
    shards: Shards, servers: Databases
) -> None:
    """System accounts have a bucket per lane: another lane's open posting stops nobody."""
    debtor = await open_account(shards[1], "100")
    dsn = servers.shard_dsns[1]
    async with posting_connection(dsn) as connection, holder(servers.shard_owner_dsns[1]) as held:
        await held.lock_balance(suspense_account(1, "EUR"), 3)
        command = transfer(debtor, account_no(2), "5")
        (answer,) = await post_batch(connection, 4, command.transfer_id, [command])

    assert POSTED is answer.outcome


async def test_a_position_names_every_bucket(shards: Shards, bucketed: Bucketed) -> None:
    """The position of an account with several buckets is a vector, its statement one sequence."""
    await bucketed.fund({2: "5", 0: "7"})
    await bucketed.fund({2: "1"})

    balance = await shards[1].balances.get(bucketed.account)
    page = await shards[1].statements.page(bucketed.account, limit=2)
    rest = await shards[1].statements.page(bucketed.account, cursor=page.next_cursor)

    assert ("0:1,1:0,2:2,3:0", Decimal(13)) == (balance.seq, balance.ledger)
    lines = [(line.bucket, line.seq, line.amount) for line in (*page.lines, *rest.lines)]
    assert [(2, 1, Decimal(5)), (0, 1, Decimal(7)), (2, 2, Decimal(1))] == lines
    assert rest.next_cursor is None
