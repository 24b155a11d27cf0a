"""Postings that want the same rows in opposite order never wait for each other in a circle."""

from __future__ import annotations

import random
from collections.abc import Mapping
from decimal import Decimal

from shard.ids import new_id
from shard.outcomes import Outcome
from shard.posting import post_batch
from shard.shard import Shard
from tests.shard.own_server import OwnShard
from tests.support.bank import Figures, figures, open_account, transfer
from tests.support.databases import Databases
from tests.support.interleaving import free_buckets, holder, posting_connection

Shards = Mapping[int, Shard]


async def test_balances_are_locked_in_the_order_of_their_accounts(
    shards: Shards, servers: Databases
) -> None:
    """Of two transfers over the same two accounts, both first want the lower one."""
    low, high = await open_account(shards[1], "100"), await open_account(shards[1], "100")
    dsn, owner_dsn = servers.shard_dsns[1], servers.shard_owner_dsns[1]
    async with (
        posting_connection(dsn) as one,
        posting_connection(dsn) as other,
        holder(owner_dsn) as held,
    ):
        await held.lock_balance(low)
        up = held.start(post_batch(one, 0, None, [transfer(low, high, "1")]))
        await held.until_blocks(up)
        down = held.start(post_batch(other, 1, None, [transfer(high, low, "3")]))
        await held.until_blocks(up, down)

        assert [0] == await free_buckets(owner_dsn, high)
        await held.rollback()
        answers = [*await up, *await down]

    assert [Outcome.POSTED] * 2 == [answer.outcome for answer in answers]
    assert Figures(Decimal(102), 3) == await figures(shards[1], low)
    assert Figures(Decimal(98), 3) == await figures(shards[1], high)


async def test_a_batch_locks_in_order_whatever_the_planner_prefers(
    own: OwnShard, rng: random.Random
) -> None:
    """Also where the table is so small, and known to be, that reading all of it would be cheaper.

    Rows are laid out against their order, so that a scan of the table would meet the last first.
    """
    accounts = [await open_account(own.shard, limit=None) for _ in range(20)]
    waited_for = accounts[9]
    pairs = [(accounts[i], accounts[-1 - i]) for i in range(10)]
    rng.shuffle(pairs)
    async with (
        posting_connection(own.database.dsn) as one,
        holder(own.database.owner_dsn) as owner,
        holder(own.database.owner_dsn) as held,
    ):
        for account in reversed(accounts):
            await owner.execute(
                "UPDATE ledger.balance SET seq = seq WHERE account_no = %s", (account,)
            )
        await owner.commit()
        await owner.execute("ANALYZE ledger.balance")
        await owner.commit()
        await one.execute("SET enable_seqscan = on")
        await one.execute("SET random_page_cost = 1000")
        await held.lock_balance(waited_for)
        commands = [transfer(debtor, creditor, "1") for debtor, creditor in pairs]
        batch = held.start(post_batch(one, 0, None, commands))
        await held.until_blocks(batch)

        free = {
            account: await free_buckets(own.database.owner_dsn, account) for account in accounts
        }
        await held.rollback()
        answers = await batch

    assert {account: [0] if account > waited_for else [] for account in accounts} == free
    assert {Outcome.POSTED} == {answer.outcome for answer in answers}


async def test_references_are_claimed_in_their_order(shards: Shards, servers: Databases) -> None:
    """Two batches with the same keys in opposite order both first want the lower key."""
    debtor, creditor = await open_account(shards[1], "100"), await open_account(shards[1])
    first, second = transfer(debtor, creditor, "1", "K-1"), transfer(debtor, creditor, "2", "K-2")
    dsn, owner_dsn = servers.shard_dsns[1], servers.shard_owner_dsns[1]
    async with (
        holder(owner_dsn) as probe,
        posting_connection(dsn) as one,
        posting_connection(dsn) as other,
        holder(owner_dsn) as held,
    ):
        await held.claim(first)
        up = held.start(post_batch(one, 0, None, [first, second]))
        down = held.start(post_batch(other, 1, None, [second, first]))
        await held.until_blocks(up, down)

        await probe.execute("SET LOCAL lock_timeout = '5s'")
        await probe.claim(second)
        await probe.rollback()
        await held.rollback()
        answers = [*await up, *await down]

    assert [Outcome.POSTED] * 4 == [answer.outcome for answer in answers]
    assert [False, False, True, True] == sorted(answer.is_replay for answer in answers)
    assert Figures(Decimal(3), 2) == await figures(shards[1], creditor)


async def test_gathering_lanes_let_go_of_their_own_bucket(
    shards: Shards, servers: Databases
) -> None:
    """A lane that needs all buckets of an account holds none of them while it waits for one."""
    account, payee = await open_account(shards[1], buckets=4), await open_account(shards[1])
    equity = await open_account(shards[1], limit=None)
    dsn, owner_dsn = servers.shard_dsns[1], servers.shard_owner_dsns[1]
    async with (
        posting_connection(dsn) as one,
        posting_connection(dsn) as two,
        holder(owner_dsn) as held,
    ):
        await post_batch(one, 1, None, [transfer(equity, account, "100")])
        await post_batch(two, 2, None, [transfer(equity, account, "100")])
        await held.lock_balance(account, 0)
        gathers = [
            held.start(post_batch(connection, lane, None, [command]))
            for connection, lane, command in (
                (one, 1, transfer(account, payee, "120")),
                (two, 2, transfer(account, payee, "110")),
            )
        ]
        await held.until_blocks(*gathers)

        assert [1, 2, 3] == await free_buckets(owner_dsn, account)
        await held.rollback()
        answers = [answer for gather in gathers for answer in await gather]

    outcomes = [answer.outcome for answer in answers]
    assert [Outcome.INSUFFICIENT_FUNDS, Outcome.POSTED] == sorted(outcomes)


async def test_settlements_lock_items_in_their_order(own: OwnShard) -> None:
    """Settlements that name the same items in opposite order both first want the lower one."""
    debtor = await open_account(own.shard, "100")
    commands = [transfer(debtor, 2_000_000_001, "1") for _ in range(2)]
    await own.shard.lanes.post_many(commands)
    items = [command.parked[0].item_id for command in commands]
    settle = (
        "SELECT ledger.settle_v1(0, %s, %s, '{1,1}', '{2,2}', ARRAY[ledger.now(), ledger.now()])"
    )
    async with (
        holder(own.database.dsn) as one,
        holder(own.database.dsn) as other,
        holder(own.database.owner_dsn) as probe,
        holder(own.database.owner_dsn) as held,
    ):
        await held.execute(
            "SELECT FROM ledger.suspense_item WHERE item_id = %s FOR UPDATE", (min(items),)
        )
        up = held.start(one.execute(settle, (new_id(), sorted(items))))
        await held.until_blocks(up)
        down = held.start(other.execute(settle, (new_id(), sorted(items)[::-1])))
        await held.until_blocks(up, down)

        assert [(max(items),)] == await probe.execute(
            "SELECT item_id FROM ledger.suspense_item WHERE item_id = ANY (%s)"
            " FOR UPDATE SKIP LOCKED",
            (items,),
        )
        await probe.rollback()
        await held.rollback()
        closed = [await up]
        await one.commit()
        closed.append(await down)
        await other.commit()

    assert [[(2,)], [(0,)]] == closed
