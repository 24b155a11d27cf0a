"""Two who change one hold, or its account, at the same moment: one comes first, and both know."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from shard.accounts import AccountStatus
from shard.commands import Command
from shard.errors import Refused
from shard.holds import HoldState
from shard.outcomes import Outcome
from shard.posting import post_batch
from shard.shard import Shard
from tests.support.bank import again, open_account, transfer
from tests.support.databases import Databases
from tests.support.interleaving import Holder, holder, posting_connection
from tests.support.movements import capture, expire, increase, place, void

Shards = Mapping[int, Shard]
POSTED, SHORT = Outcome.POSTED, Outcome.INSUFFICIENT_FUNDS
NOT_OPEN, EXCEEDED = Outcome.HOLD_NOT_OPEN, Outcome.HOLD_EXCEEDED
DUE = Outcome.HOLD_EXPIRED
H = "AUTH-1"
# Later than any posting of the same accounts by the real clock.
NOW = datetime(2031, 1, 1, 12, tzinfo=UTC)
SOON, LATER = NOW + timedelta(minutes=1), NOW + timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Cast:
    """An account with 100.00 and a shop."""

    account: int
    shop: int

    def all_of_it(self) -> Command:
        """A capture that leaves nothing held."""
        return capture(self.account, self.shop, "30", H)

    def a_part(self) -> Command:
        """A capture that leaves ten."""
        return capture(self.account, self.shop, "20", H)

    def the_last(self) -> Command:
        """A capture that lets go of what it leaves."""
        return capture(self.account, self.shop, "20", H, is_final=True)

    def void(self) -> Command:
        """The release."""
        return void(self.account, H)

    def expire(self) -> Command:
        """The end of its time."""
        return expire(self.account, H)

    def extend(self) -> Command:
        """More, for longer."""
        return increase(self.account, "5", H, expires_at=LATER)

    def more(self) -> Command:
        """All the rest of the account."""
        return increase(self.account, "70", H)

    def spend(self) -> Command:
        """A debit of all that is not held."""
        return transfer(self.account, self.shop, "70")

    def hold(self) -> Command:
        """A second hold of all that is not held."""
        return place(self.account, "70", "AUTH-2", expires_at=LATER)


@dataclass(frozen=True, slots=True)
class Race:
    """Who is first and who waits, what the second is told, and what stands after both.

    The clock of the second stands at ``second_at``: by then the hold may be due.
    """

    first: Callable[[Cast], Command]
    second: Callable[[Cast], Command]
    told: Outcome
    ledger: str
    held: str
    state: HoldState
    second_at: datetime = NOW


PENDING, CAPTURED = HoldState.PENDING, HoldState.CAPTURED
VOIDED, EXPIRED = HoldState.VOIDED, HoldState.EXPIRED

RACES = {
    "double capture": Race(Cast.all_of_it, Cast.all_of_it, NOT_OPEN, "70", "0", CAPTURED),
    "two parts that are too much": Race(Cast.a_part, Cast.a_part, EXCEEDED, "80", "10", PENDING),
    "final capture, then another": Race(Cast.the_last, Cast.a_part, NOT_OPEN, "80", "0", CAPTURED),
    "capture, then expiry": Race(Cast.all_of_it, Cast.expire, NOT_OPEN, "70", "0", CAPTURED, SOON),
    "part, then expiry": Race(Cast.a_part, Cast.expire, POSTED, "80", "0", EXPIRED, SOON),
    "expiry, then capture": Race(Cast.expire, Cast.a_part, NOT_OPEN, "100", "0", EXPIRED, SOON),
    "part, then one too late": Race(Cast.a_part, Cast.a_part, DUE, "80", "10", PENDING, SOON),
    "capture, then void": Race(Cast.all_of_it, Cast.void, NOT_OPEN, "70", "0", CAPTURED),
    "part, then void": Race(Cast.a_part, Cast.void, POSTED, "80", "0", VOIDED),
    "void, then capture": Race(Cast.void, Cast.a_part, NOT_OPEN, "100", "0", VOIDED),
    "double void": Race(Cast.void, Cast.void, NOT_OPEN, "100", "0", VOIDED),
    "increase, then expiry": Race(Cast.extend, Cast.expire, NOT_OPEN, "100", "35", PENDING, SOON),
    "expiry, then increase": Race(Cast.expire, Cast.extend, NOT_OPEN, "100", "0", EXPIRED, SOON),
    "increase, then capture": Race(Cast.more, Cast.all_of_it, POSTED, "70", "70", PENDING),
    "hold, then debit": Race(Cast.hold, Cast.spend, SHORT, "100", "100", PENDING),
    "debit, then hold": Race(Cast.spend, Cast.hold, SHORT, "30", "30", PENDING),
    "hold, then increase": Race(Cast.hold, Cast.more, SHORT, "100", "100", PENDING),
    "increase, then debit": Race(Cast.more, Cast.spend, SHORT, "100", "100", PENDING),
    "void, then debit": Race(Cast.void, Cast.spend, POSTED, "30", "0", VOIDED),
}


@pytest.fixture
async def cast(shards: Shards) -> Cast:
    """The accounts of one test."""
    return Cast(await open_account(shards[1], "100"), await open_account(shards[1]))


async def _set_clock(held: Holder, at: datetime) -> None:
    await held.execute("SELECT set_config('ledger.clock', %s, false)", (at.isoformat(),))


@pytest.mark.parametrize("race", RACES.values(), ids=RACES.keys())
async def test_the_second_is_judged_by_what_the_first_has_left(
    race: Race, shards: Shards, servers: Databases, cast: Cast
) -> None:
    """Who waited for the account finds the hold as the other one has left it."""
    dsn = servers.shard_dsns[1]
    first_at = SOON if race.first is Cast.expire else NOW
    async with posting_connection(dsn) as connection, holder(dsn) as first:
        await _set_clock(first, NOW)
        await first.post(place(cast.account, "30", H, expires_at=SOON))
        await first.commit()
        clock = "SELECT set_config('ledger.clock', %s, false)"
        await connection.execute(clock, (race.second_at.isoformat(),))
        await _set_clock(first, first_at)
        told = await first.post(race.first(cast))
        task = first.start(post_batch(connection, 1, None, [race.second(cast)]))
        await first.until_blocks(task)
        await first.commit()
        (answer,) = await task

    balance = await shards[1].balances.get(cast.account)
    assert (POSTED, race.told) == (told.outcome, answer.outcome)
    assert (Decimal(race.ledger), Decimal(race.held)) == (balance.ledger, balance.held)
    assert race.state is (await shards[1].holds.get(cast.account, H)).state


async def test_when_the_first_gives_up_the_second_captures(
    shards: Shards, servers: Databases, cast: Cast
) -> None:
    """A capture that was rolled back has captured nothing."""
    dsn = servers.shard_dsns[1]
    async with posting_connection(dsn) as connection, holder(dsn) as first:
        await first.post(place(cast.account, "30", H))
        await first.commit()
        await first.post(cast.all_of_it())
        task = first.start(post_batch(connection, 1, None, [cast.all_of_it()]))
        await first.until_blocks(task)
        await first.rollback()
        (answer,) = await task

    assert POSTED is answer.outcome
    assert Decimal(70) == (await shards[1].balances.get(cast.account)).ledger


async def test_one_capture_sent_twice_at_once_is_one(
    shards: Shards, servers: Databases, cast: Cast
) -> None:
    """The same request through two lanes waits for its key, and is a replay."""
    dsn = servers.shard_dsns[1]
    async with posting_connection(dsn) as connection, holder(dsn) as first:
        await first.post(place(cast.account, "30", H))
        await first.commit()
        command = cast.a_part()
        await first.post(command)
        task = first.start(post_batch(connection, 1, None, [again(command)]))
        await first.until_blocks(task)
        await first.commit()
        (answer,) = await task

    assert (POSTED, True) == (answer.outcome, answer.is_replay)
    assert Decimal(80) == (await shards[1].balances.get(cast.account)).ledger


async def test_captures_of_a_bucketed_account_meet_in_one_bucket(
    shards: Shards, servers: Databases, cast: Cast
) -> None:
    """Lanes that have buckets of their own still wait for each other at a hold."""
    account = await open_account(shards[1], "100", buckets=4)
    dsn = servers.shard_dsns[1]
    async with posting_connection(dsn) as connection, holder(dsn) as first:
        await first.post(place(account, "30", H))
        await first.commit()
        await first.post(capture(account, cast.shop, "30", H))
        second = capture(account, cast.shop, "30", H)
        task = first.start(post_batch(connection, 3, None, [second]))
        await first.until_blocks(task)
        await first.commit()
        (answer,) = await task

    assert NOT_OPEN is answer.outcome
    assert Decimal(70) == (await shards[1].balances.get(account)).ledger


async def test_two_levelling_holds_do_not_wait_in_a_circle(
    shards: Shards, servers: Databases, cast: Cast
) -> None:
    """Holds that need all buckets lock them in one order: one is placed, the other is short."""
    account = await open_account(shards[1], buckets=4)
    equity = await open_account(shards[1], limit=None)
    dsn = servers.shard_dsns[1]
    async with (
        posting_connection(dsn) as one,
        posting_connection(dsn) as two,
        holder(servers.shard_owner_dsns[1]) as held,
    ):
        for lane in range(4):
            await post_batch(one, lane, None, [transfer(equity, account, "10")])
        await held.lock_balance(account, 2)
        tasks = [
            held.start(post_batch(connection, lane, None, [place(account, "30", f"H-{lane}")]))
            for connection, lane in ((one, 1), (two, 3))
        ]
        await held.until_blocks(*tasks)
        await held.rollback()
        answers = [answer for task in tasks for answer in await task]

    assert [SHORT, POSTED] == sorted(answer.outcome for answer in answers)
    assert Decimal(30) == (await shards[1].balances.get(account)).held


# --- against changes of the account

_CHANGE = (
    "SELECT ledger.change_account_v1(%s, %s::text::ledger.account_status, NULL, NULL, NULL, NULL,"
    " 't', 't')::text"
)


@dataclass(frozen=True, slots=True)
class Freeze:
    """What waits for a freeze of its account, and what it is told."""

    command: Callable[[Cast], Command]
    told: Outcome


FREEZES = {
    "capture": Freeze(Cast.a_part, Outcome.ACCOUNT_FROZEN),
    "increase": Freeze(Cast.extend, Outcome.ACCOUNT_FROZEN),
    "hold": Freeze(Cast.hold, Outcome.ACCOUNT_FROZEN),
    "debit": Freeze(Cast.spend, Outcome.ACCOUNT_FROZEN),
    "void": Freeze(Cast.void, POSTED),
}


@pytest.mark.parametrize("case", FREEZES.values(), ids=FREEZES.keys())
async def test_a_freeze_stops_who_waited_for_the_account(
    case: Freeze, shards: Shards, servers: Databases, cast: Cast
) -> None:
    """Once a freeze is answered nothing leaves and nothing is held; a release still is."""
    dsn = servers.shard_dsns[1]
    async with posting_connection(dsn) as connection, holder(dsn) as change:
        await change.post(place(cast.account, "30", H))
        await change.commit()
        await change.execute(_CHANGE, (cast.account, "frozen"))
        task = change.start(post_batch(connection, 0, None, [case.command(cast)]))
        await change.until_blocks(task)
        await change.commit()
        (answer,) = await task

    assert case.told is answer.outcome


async def _refused(work: Awaitable[object]) -> Outcome:
    with pytest.raises(Refused) as refused:
        await work
    return Outcome(refused.value.outcome)


async def test_a_close_sees_the_hold_that_came_first(shards: Shards, servers: Databases) -> None:
    """An account is not closed over a hold that was decided before."""
    account = await open_account(shards[1], limit="50")
    async with holder(servers.shard_dsns[1]) as first:
        await first.post(place(account, "30", H))
        close = first.start(
            shards[1].accounts.change_status(account, AccountStatus.CLOSED, actor="t", reason="t")
        )
        await first.until_blocks(close)
        await first.commit()
        refusal = await _refused(close)

    assert Outcome.HOLDS_OPEN == refusal


async def test_a_close_sees_the_void_that_came_first(shards: Shards, servers: Databases) -> None:
    """A close that waited for the release of the last hold closes."""
    account = await open_account(shards[1], limit="50")
    async with holder(servers.shard_dsns[1]) as first:
        await first.post(place(account, "30", H))
        await first.commit()
        await first.post(void(account, H))
        close = first.start(
            shards[1].accounts.change_status(account, AccountStatus.CLOSED, actor="t", reason="t")
        )
        await first.until_blocks(close)
        await first.commit()
        closed = await close

    assert AccountStatus.CLOSED is closed.status


@pytest.mark.parametrize("command", [Cast.hold, Cast.spend], ids=["hold", "debit"])
async def test_a_lower_limit_stops_who_waited(
    command: Callable[[Cast], Command], shards: Shards, servers: Databases
) -> None:
    """A floor that is answered binds what waited for it."""
    cast = Cast(await open_account(shards[1], limit="70"), await open_account(shards[1]))
    lower = "SELECT ledger.change_account_v1(%s, NULL, NULL, 69, NULL, NULL, 't', 't')::text"
    dsn = servers.shard_dsns[1]
    async with posting_connection(dsn) as connection, holder(dsn) as change:
        assert [("POSTED",)] == await change.execute(lower, (cast.account,))
        task = change.start(post_batch(connection, 0, None, [command(cast)]))
        await change.until_blocks(task)
        await change.commit()
        (answer,) = await task

    assert SHORT is answer.outcome


async def test_a_floor_is_not_raised_over_a_hold_that_came_first(
    shards: Shards, servers: Databases, cast: Cast
) -> None:
    """What was held a moment before is not available to a higher floor."""
    raised = "SELECT ledger.change_account_v1(%s, NULL, NULL, NULL, 71, NULL, 't', 't')::text"
    dsn = servers.shard_dsns[1]
    async with holder(dsn) as other, holder(dsn) as first:
        await first.post(place(cast.account, "30", H))
        task = first.start(other.execute(raised, (cast.account,)))
        await first.until_blocks(task)
        await first.commit()

        assert [("INSUFFICIENT_FUNDS",)] == await task
