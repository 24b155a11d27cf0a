"""What is held back of an account with several buckets stands in bucket 0, which is filled up."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import pytest

from shard.outcomes import Outcome
from shard.shard import Shard
from tests.support.bank import open_account, transfer
from tests.support.movements import (
    Teller,
    capture,
    forced,
    guarded,
    increase,
    place,
    reversal,
    void,
)

Shards = Mapping[int, Shard]
POSTED, SHORT = Outcome.POSTED, Outcome.INSUFFICIENT_FUNDS
H = "AUTH-1"


class Till:
    """An account with four buckets, and accounts that fund it and are paid by it."""

    def __init__(self, teller: Teller, account: int, equity: int, shop: int) -> None:
        self.teller, self.account, self.equity, self.shop = teller, account, equity, shop

    async def fund(self, *amounts: str) -> None:
        """Pay an amount into each bucket, through its lane."""
        for lane, amount in enumerate(amounts):
            if Decimal(amount):
                await self.teller.post(transfer(self.equity, self.account, amount), lane=lane)

    async def ledgers(self) -> list[Decimal]:
        """What stands in each bucket."""
        return [ledger for ledger, _ in await self.teller.buckets(self.account)]

    async def held(self) -> list[Decimal]:
        """What each bucket holds back."""
        return [held for _, held in await self.teller.buckets(self.account)]


async def _till(shards: Shards, teller: Teller, limit: str = "0") -> Till:
    shard = shards[1]
    account = await open_account(shard, buckets=4, limit=limit)
    equity = await open_account(shard, limit=None)
    return Till(teller, account, equity, await open_account(shard))


@pytest.fixture
async def till(shards: Shards, teller: Teller) -> Till:
    """Accounts without money or overdraft."""
    return await _till(shards, teller)


@pytest.mark.parametrize("lane", [0, 1, 3])
async def test_bucket_zero_is_filled_from_the_others(lane: int, till: Till) -> None:
    """A hold that all buckets together can bear is placed through whichever lane."""
    await till.fund("5", "10", "20", "1")

    assert [POSTED] == await till.teller.told(place(till.account, "30", H), lane=lane)
    assert [Decimal(30), 0, 0, 0] == await till.held()
    ledgers = await till.ledgers()
    assert (Decimal(36), Decimal(30)) == (sum(ledgers), ledgers[0])


async def test_a_hold_that_bucket_zero_can_bear_touches_no_other(till: Till) -> None:
    """Nothing is moved between buckets without need."""
    await till.fund("30", "10")

    assert [POSTED] == await till.teller.told(place(till.account, "30", H), lane=1)
    assert [Decimal(30), 10, 0, 0] == await till.ledgers()


async def test_levelling_is_exact_to_the_cent(till: Till) -> None:
    """One cent more than all buckets have is refused and moves nothing."""
    await till.fund("5", "10", "20", "1")

    told = await till.teller.told(
        place(till.account, "36.01", "A"),
        place(till.account, "36", H),
        place(till.account, "0.01", "B"),
        lane=2,
    )

    assert [SHORT, POSTED, SHORT] == told
    assert [Decimal(36), 0, 0, 0] == await till.ledgers()


async def test_levelling_moves_no_money_of_the_account(shards: Shards, till: Till) -> None:
    """The entries of a hold over several buckets sum to zero, and only one of them holds back."""
    await till.fund("5", "10", "20", "1")
    command = place(till.account, "30", H)
    await till.teller.post(command)

    page = await shards[1].statements.page(till.account, limit=100)
    lines = [line for line in page.lines if line.transfer_id == command.transfer_id]

    assert Decimal(0) == sum(line.amount for line in lines)
    assert [Decimal(30)] == [line.held_delta for line in lines if line.held_delta]
    assert {0, 1, 2} == {line.bucket for line in lines}


async def test_the_overdraft_counts_for_a_hold(shards: Shards, teller: Teller) -> None:
    """Bucket 0 is filled up to what it may be overdrawn by, and no further."""
    till = await _till(shards, teller, limit="7")
    await till.fund("5", "10")

    assert [SHORT, POSTED] == await teller.told(
        place(till.account, "22.01", "A"), place(till.account, "22", H), lane=1
    )


async def test_bucket_zero_that_is_overdrawn_is_filled_as_well(
    shards: Shards, teller: Teller
) -> None:
    """Where bucket 0 has used the overdraft, the others make good what the hold needs."""
    till = await _till(shards, teller, limit="7")
    await till.fund("0", "10")
    await teller.post(transfer(till.account, till.shop, "17"), lane=1)
    await till.fund("0", "0", "20")
    assert [Decimal(-7), 0, 20, 0] == await till.ledgers()

    told = await teller.told(
        place(till.account, "20.01", "A"), place(till.account, "20", H), lane=2
    )

    assert [SHORT, POSTED] == told
    assert [Decimal(13), 0, 0, 0] == await till.ledgers()


async def test_bucket_zero_below_its_floor_is_filled_as_well(till: Till) -> None:
    """Where a forced booking took bucket 0 below its floor, a hold finds what is left in all."""
    await till.fund("0", "100")
    await till.teller.post(forced(till.account, till.shop, "40"), lane=1)
    assert [Decimal(-40), 100, 0, 0] == await till.ledgers()

    told = await till.teller.told(
        place(till.account, "60.01", "A"), place(till.account, "60", H), lane=3
    )

    assert [SHORT, POSTED] == told
    assert [Decimal(60), 0, 0, 0] == await till.ledgers()


@pytest.mark.parametrize("lane", [0, 1, 2])
async def test_no_lane_spends_what_a_forced_booking_has_taken(lane: int, till: Till) -> None:
    """An account that is below its floor in all pays nothing, whatever single buckets hold."""
    await till.fund("0", "30")
    await till.teller.post(forced(till.account, till.shop, "50"), lane=1)

    told = await till.teller.told(
        transfer(till.account, till.shop, "0.01"), place(till.account, "0.01", H), lane=lane
    )

    assert [SHORT, SHORT] == told


async def test_what_a_forced_booking_has_left_can_be_spent_to_the_cent(till: Till) -> None:
    """Money in total is neither refused nor spent twice while bucket 0 is below its floor."""
    await till.fund("0", "30", "30")
    await till.teller.post(forced(till.account, till.shop, "50"), lane=1)

    told = await till.teller.told(
        transfer(till.account, till.shop, "10.01"),
        transfer(till.account, till.shop, "10"),
        transfer(till.account, till.shop, "0.01"),
        lane=1,
    )

    assert [SHORT, POSTED, SHORT] == told


async def test_a_batch_that_levels_goes_in_order(till: Till) -> None:
    """Holds, captures and payments of one batch build on each other across all buckets."""
    await till.fund("5", "10", "20", "1")

    told = await till.teller.told(
        place(till.account, "30", H),
        transfer(till.account, till.shop, "6.01"),
        capture(till.account, till.shop, "25", H),
        increase(till.account, "6.01", H),
        increase(till.account, "6", H),
        transfer(till.account, till.shop, "0.01"),
        void(till.account, H),
        transfer(till.account, till.shop, "11"),
        transfer(till.account, till.shop, "0.01"),
        lane=2,
    )

    assert [POSTED, SHORT, POSTED, SHORT, POSTED, SHORT, POSTED, POSTED, SHORT] == told
    assert [0, 0, 0, 0] == await till.ledgers()
    assert [0, 0, 0, 0] == await till.held()


async def test_a_capture_through_any_lane_comes_out_of_the_hold(till: Till) -> None:
    """What is captured leaves bucket 0, where it was held, whichever lane it goes through."""
    await till.fund("10", "10")
    await till.teller.post(place(till.account, "15", H), lane=1)

    assert [POSTED] == await till.teller.told(capture(till.account, till.shop, "15", H), lane=3)
    assert Decimal(5) == sum(await till.ledgers())
    assert [0, 0, 0, 0] == await till.held()


async def test_a_payment_beside_a_hold_finds_the_rest(till: Till) -> None:
    """A debit through any lane finds what is not held back, and nothing of what is."""
    await till.fund("10", "10", "10", "10")
    await till.teller.post(place(till.account, "25", H))

    told = await till.teller.told(
        transfer(till.account, till.shop, "15.01"),
        transfer(till.account, till.shop, "15"),
        lane=2,
    )

    assert [SHORT, POSTED] == told


async def test_a_reversal_gathers_what_its_creditor_has(till: Till) -> None:
    """A credit that went into one bucket is taken back from all of them where it was spent."""
    original = transfer(till.equity, till.account, "30")
    await till.teller.post(original, lane=2)
    await till.fund("5", "5")
    await till.teller.post(transfer(till.account, till.shop, "10"), lane=2)

    assert [POSTED] == await till.teller.told(reversal(original, "30"), lane=3)
    assert [0, 0, 0, 0] == await till.ledgers()


async def test_no_position_is_expected_of_several_buckets(till: Till) -> None:
    """The guard is refused on an account that has no single sequence."""
    await till.fund("10")

    told = await till.teller.told(*[guarded(till.account, till.shop, "1", seq) for seq in range(3)])

    assert [Outcome.SEQUENCE_MISMATCH] * 3 == told
