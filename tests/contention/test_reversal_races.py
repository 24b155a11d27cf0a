"""Reversals of one credit at the same moment never take back more than it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import pytest

from shard.commands import Command
from shard.outcomes import Outcome
from shard.posting import post_batch
from shard.shard import Shard
from tests.shard.own_server import OwnShard
from tests.support.bank import account_no, again, open_account, transfer
from tests.support.databases import Databases
from tests.support.interleaving import free_buckets, holder, posting_connection
from tests.support.movements import delivery, reversal, reversal_abroad

Shards = Mapping[int, Shard]
POSTED, SHORT = Outcome.POSTED, Outcome.INSUFFICIENT_FUNDS
EXCEEDED = Outcome.REVERSAL_EXCEEDED
_LOCK_CAPS = (
    "SELECT r.account_no FROM ledger.reversed_credit AS r WHERE r.account_no = ANY (%s)"
    " ORDER BY r.account_no FOR UPDATE SKIP LOCKED"
)


@dataclass(frozen=True, slots=True)
class Cast:
    """A payer, and a payee who has 100.00 of his own."""

    payer: int
    payee: int

    def original(self, amount: str) -> Command:
        """A payment."""
        return transfer(self.payer, self.payee, amount)


async def _cast(shards: Shards, buckets: int = 1) -> Cast:
    shard = shards[1]
    return Cast(
        await open_account(shard, limit=None), await open_account(shard, "100", buckets=buckets)
    )


@pytest.mark.parametrize("buckets", [1, 4])
@pytest.mark.parametrize(
    ("first", "second", "told"), [("30", "30", EXCEEDED), ("20", "10.01", EXCEEDED),
                                  ("20", "10", POSTED)],
)  # fmt: skip
async def test_the_second_reversal_sees_the_first(
    first: str, second: str, told: Outcome, buckets: int, shards: Shards, servers: Databases
) -> None:
    """Through lanes with buckets of their own, too: reversals of a credit meet at its cap."""
    cast = await _cast(shards, buckets)
    original = cast.original("30")
    dsn = servers.shard_dsns[1]
    async with posting_connection(dsn) as connection, holder(dsn) as held:
        await held.post(original)
        await held.commit()
        answer = await held.post(reversal(original, first))
        task = held.start(post_batch(connection, 1, None, [reversal(original, second)]))
        await held.until_blocks(task)
        await held.commit()
        (other,) = await task

    assert (POSTED, told) == (answer.outcome, other.outcome)
    back = Decimal(first) + (Decimal(second) if told is POSTED else 0)
    assert 130 - back == (await shards[1].balances.get(cast.payee)).ledger


async def test_lanes_that_share_no_bucket_meet_at_the_cap(
    shards: Shards, servers: Databases
) -> None:
    """Where each lane has buckets of its own on both sides, a cap is locked before it is read."""
    payer = await open_account(shards[1], limit=None, buckets=4)
    payee = await open_account(shards[1], buckets=4)
    original = transfer(payer, payee, "30")
    dsn, owner_dsn = servers.shard_dsns[1], servers.shard_owner_dsns[1]
    async with (
        posting_connection(dsn) as one,
        posting_connection(dsn) as other,
        holder(owner_dsn) as held,
    ):
        for lane, connection in enumerate((one, other)):
            await post_batch(connection, lane, None, [transfer(payer, payee, "100")])
        await post_batch(one, 0, None, [original])
        await post_batch(one, 0, None, [reversal(original, "1")])
        await held.execute(_LOCK_CAPS, ([payee],))
        tasks = [
            held.start(post_batch(connection, lane, None, [reversal(original, "29")]))
            for lane, connection in enumerate((one, other))
        ]
        await held.until_blocks(*tasks)

        assert [0, 1, 2, 3] == await free_buckets(owner_dsn, payee)
        await held.rollback()
        answers = [answer for task in tasks for answer in await task]

    assert [POSTED, EXCEEDED] == sorted(answer.outcome for answer in answers)
    assert Decimal(200) == (await shards[1].balances.get(payee)).ledger


async def test_a_reversal_that_gave_up_used_nothing_up(shards: Shards, servers: Databases) -> None:
    """What was rolled back leaves the whole cap to who waited."""
    cast = await _cast(shards)
    original = cast.original("30")
    dsn = servers.shard_dsns[1]
    async with posting_connection(dsn) as connection, holder(dsn) as held:
        await held.post(original)
        await held.commit()
        await held.post(reversal(original, "30"))
        task = held.start(post_batch(connection, 1, None, [reversal(original, "30")]))
        await held.until_blocks(task)
        await held.rollback()
        (answer,) = await task

    assert POSTED is answer.outcome


async def test_one_reversal_sent_twice_at_once_is_one(shards: Shards, servers: Databases) -> None:
    """The same request through two lanes is taken back once, and replayed."""
    cast = await _cast(shards)
    original = cast.original("30")
    command = reversal(original, "10")
    dsn = servers.shard_dsns[1]
    async with posting_connection(dsn) as connection, holder(dsn) as held:
        await held.post(original)
        await held.commit()
        await held.post(command)
        task = held.start(post_batch(connection, 1, None, [again(command)]))
        await held.until_blocks(task)
        await held.commit()
        (answer,) = await task

    assert (POSTED, True) == (answer.outcome, answer.is_replay)
    assert Decimal(120) == (await shards[1].balances.get(cast.payee)).ledger


async def test_two_reversals_of_a_delivery(own: OwnShard) -> None:
    """A credit from another shard is taken back once as well."""
    payee, debtor = await open_account(own.shard, "100"), account_no(2)
    delivered = delivery(1, 2, payee, "30")
    dsn = own.database.dsn
    async with posting_connection(dsn) as connection, holder(dsn) as held:
        await held.post(delivered)
        await held.commit()
        first = reversal_abroad(delivered, debtor, "30")
        async with posting_connection(dsn) as other, holder(own.database.owner_dsn) as lock:
            await lock.lock_balance(payee)
            one = lock.start(post_batch(other, 0, first.transfer_id, [first]))
            await lock.until_blocks(one)
            second = reversal_abroad(delivered, debtor, "30")
            two = lock.start(post_batch(connection, 1, second.transfer_id, [second]))
            await lock.until_blocks(one, two)
            await lock.rollback()
            answers = [*await one, *await two]

    assert [POSTED, EXCEEDED] == [answer.outcome for answer in answers]


@pytest.mark.parametrize("is_noted", [False, True], ids=["first reversals", "later ones"])
async def test_batches_with_reversals_in_opposite_order(
    is_noted: bool, shards: Shards, servers: Databases
) -> None:
    """Both first want the cap that sorts first: they wait in a line, not in a circle."""
    casts = [await _cast(shards) for _ in "ab"]
    originals = [cast.original("30") for cast in casts]
    dsn, owner_dsn = servers.shard_dsns[1], servers.shard_owner_dsns[1]
    async with (
        posting_connection(dsn) as one,
        posting_connection(dsn) as other,
        holder(owner_dsn) as held,
    ):
        await post_batch(one, 0, None, originals)
        if is_noted:
            await post_batch(one, 0, None, [reversal(each, "1") for each in originals])
        await held.lock_balance(casts[0].payer)
        up = held.start(post_batch(one, 0, None, [reversal(each, "20") for each in originals]))
        await held.until_blocks(up)
        down = held.start(
            post_batch(other, 1, None, [reversal(each, "20") for each in originals[::-1]])
        )
        await held.until_blocks(up, down)
        await held.rollback()
        answers = [*await up, *await down]

    assert [POSTED, POSTED, EXCEEDED, EXCEEDED] == [answer.outcome for answer in answers]


async def test_the_caps_are_locked_in_their_order(shards: Shards, servers: Databases) -> None:
    """While a batch waits for the lower of two caps, it holds neither the upper nor a balance."""
    casts = sorted([await _cast(shards) for _ in "ab"], key=lambda cast: cast.payee)
    originals = [cast.original("30") for cast in casts]
    dsn, owner_dsn = servers.shard_dsns[1], servers.shard_owner_dsns[1]
    payees = [cast.payee for cast in casts]
    async with (
        posting_connection(dsn) as one,
        posting_connection(dsn) as other,
        holder(owner_dsn) as probe,
        holder(owner_dsn) as held,
    ):
        await post_batch(one, 0, None, originals)
        await post_batch(one, 0, None, [reversal(each, "1") for each in originals])
        await held.execute(_LOCK_CAPS, (payees[:1],))
        tasks = [
            held.start(post_batch(connection, lane, None, [reversal(each, "20") for each in order]))
            for connection, lane, order in ((one, 0, originals), (other, 1, originals[::-1]))
        ]
        await held.until_blocks(*tasks)

        assert [0] == await free_buckets(owner_dsn, payees[0])
        assert [(payees[1],)] == await probe.execute(_LOCK_CAPS, (payees,))
        await probe.rollback()
        await held.rollback()
        answers = [answer for task in tasks for answer in await task]

    assert [POSTED, POSTED, EXCEEDED, EXCEEDED] == sorted(answer.outcome for answer in answers)


async def test_a_reversal_and_a_debit_of_the_creditor(shards: Shards, servers: Databases) -> None:
    """A reversal that waited for a debit takes back only what that has left, or nothing."""
    cast = await _cast(shards)
    original = cast.original("30")
    dsn = servers.shard_dsns[1]
    async with posting_connection(dsn) as connection, holder(dsn) as held:
        await held.post(original)
        await held.commit()
        await held.post(transfer(cast.payee, cast.payer, "100.01"))
        task = held.start(
            post_batch(connection, 1, None, [reversal(original, "30"), reversal(original, "29.99")])
        )
        await held.until_blocks(task)
        await held.commit()
        answers = await task

    assert [SHORT, POSTED] == [answer.outcome for answer in answers]


async def test_a_reversal_and_a_freeze_of_the_creditor(shards: Shards, servers: Databases) -> None:
    """A freeze that is answered stops the reversal that waited, and its cap stays whole."""
    cast = await _cast(shards)
    original = cast.original("30")
    change = "SELECT ledger.change_account_v1(%s, %s, NULL, NULL, NULL, NULL, 't', 't')::text"
    dsn = servers.shard_dsns[1]
    async with posting_connection(dsn) as connection, holder(dsn) as held:
        await held.post(original)
        await held.commit()
        await held.execute(change, (cast.payee, "frozen"))
        task = held.start(post_batch(connection, 1, None, [reversal(original, "30")]))
        await held.until_blocks(task)
        await held.commit()
        (refused,) = await task
        await held.execute(change, (cast.payee, "open"))
        await held.commit()
        (booked,) = await post_batch(connection, 1, None, [reversal(original, "30")])

    assert [Outcome.ACCOUNT_FROZEN, POSTED] == [refused.outcome, booked.outcome]
