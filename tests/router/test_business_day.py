"""The business date of the whole bank, on servers of its own: a date never goes back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import date, timedelta

import pytest

from router.business_day import BusinessDay
from router.errors import BusinessDateRefused
from router.wiring import Bank, migrate_all
from shard.connections import connect
from shard.errors import Malformed, ShardUnavailable
from shard.shard import Shard
from tests.support.bank import findings, open_account, settings_of, transfer
from tests.support.databases import Databases, databases
from tests.support.options import PostgresChoice

FIRST_DAY = date(2026, 12, 23)
SECOND_DAY = date(2026, 12, 24)
AFTER_CHRISTMAS = date(2026, 12, 28)
FURTHEST = date(2027, 1, 6)


@pytest.fixture(scope="module")
async def own_servers(postgres: PostgresChoice) -> AsyncIterator[Databases]:
    """A bank for this file alone, just before Christmas 2026."""
    async with databases(postgres) as found:
        await migrate_all(settings_of(found), report=lambda *_: None, today=FIRST_DAY)
        yield found


async def set_date(servers: Databases, day: date) -> None:
    """Put all shards on a date, as no advance could."""
    for dsn in servers.shard_owner_dsns.values():
        async with await connect(dsn) as connection:
            await connection.execute("UPDATE ledger.shard_state SET business_date = %s", (day,))


@pytest.fixture
async def bank(own_servers: Databases) -> AsyncIterator[Bank]:
    """The bank on its first day, whatever a test before did; its books are right at the end."""
    await set_date(own_servers, FIRST_DAY)
    async with Bank(settings_of(own_servers, temporal_address="127.0.0.1:1")) as opened:
        yield opened
        assert await findings(opened.shards) == []


async def dates(bank: Bank) -> set[date]:
    """The different dates that shards are on."""
    return set((await bank.business_day.dates()).values())


async def test_a_new_bank_opens_on_the_same_day_everywhere(bank: Bank) -> None:
    """All shards begin with the date given to the migration."""
    assert await dates(bank) == {FIRST_DAY}


async def test_the_next_business_day_is_opened_on_all_shards(bank: Bank) -> None:
    """Without a date the calendar decides."""
    advance = await bank.business_day.advance()
    assert (advance.business_date, advance.changed_shards) == (SECOND_DAY, (1, 2, 3))
    assert await dates(bank) == {SECOND_DAY}


async def test_weekends_and_closing_days_are_passed_over(bank: Bank) -> None:
    """After Christmas Eve 2026, a Thursday, comes Monday the 28th."""
    await bank.business_day.advance()
    await bank.business_day.advance()
    assert await dates(bank) == {AFTER_CHRISTMAS}


async def test_a_given_date_may_lie_further_ahead(bank: Bank) -> None:
    """A bank that was closed for longer says to which day it opens."""
    await bank.business_day.advance(AFTER_CHRISTMAS)
    assert await dates(bank) == {AFTER_CHRISTMAS}


async def test_the_date_already_open_changes_nothing(bank: Bank) -> None:
    """Running an advance again is no error."""
    await bank.business_day.advance(SECOND_DAY)
    again = await bank.business_day.advance(SECOND_DAY)
    assert (again.business_date, again.changed_shards) == (SECOND_DAY, ())


async def test_the_date_does_not_go_back(bank: Bank) -> None:
    """A day that was closed stays closed."""
    await bank.business_day.advance(SECOND_DAY)
    with pytest.raises(BusinessDateRefused):
        await bank.business_day.advance(FIRST_DAY)
    assert await dates(bank) == {SECOND_DAY}


@pytest.mark.parametrize("closed", [date(2026, 12, 25), date(2026, 12, 27)])
async def test_a_day_on_which_the_bank_is_closed_is_refused(bank: Bank, closed: date) -> None:
    """Closing days and weekends are no business days."""
    with pytest.raises(BusinessDateRefused):
        await bank.business_day.advance(closed)


async def test_a_day_two_weeks_ahead_is_opened(bank: Bank) -> None:
    """The bound itself is allowed: no series of holidays is longer."""
    await bank.business_day.advance(FURTHEST)
    assert await dates(bank) == {FURTHEST}


@pytest.mark.parametrize("wanted", [FURTHEST + timedelta(days=1), date(2062, 12, 24)])
async def test_a_day_further_ahead_is_refused(bank: Bank, wanted: date) -> None:
    """A typing error could not be taken back; the refusal names the last day allowed."""
    with pytest.raises(Malformed) as refused:
        await bank.business_day.advance(wanted)
    assert str(FURTHEST) in str(refused.value)
    assert await dates(bank) == {FIRST_DAY}


@pytest.mark.parametrize("wanted", [None, date(2037, 1, 2)])
async def test_a_day_beyond_the_calendar_is_refused(
    bank: Bank, own_servers: Databases, wanted: date | None
) -> None:
    """Where no closing days are known every weekday would count as open."""
    await set_date(own_servers, date(2036, 12, 31))
    with pytest.raises(Malformed) as refused:
        await bank.business_day.advance(wanted)
    assert "2036" in str(refused.value)
    assert await dates(bank) == {date(2036, 12, 31)}


async def test_the_last_days_of_the_calendar_are_opened(bank: Bank, own_servers: Databases) -> None:
    """A year is known to its end, also behind its last closing day."""
    await set_date(own_servers, date(2036, 12, 30))
    await bank.business_day.advance()
    assert await dates(bank) == {date(2036, 12, 31)}


async def test_an_advance_that_stopped_half_way_is_completed(bank: Bank) -> None:
    """Running it again brings the shards that were left behind to the same date."""
    await bank.shards[2].business_day.advance(SECOND_DAY)
    advance = await bank.business_day.advance()
    assert (advance.business_date, advance.changed_shards) == (SECOND_DAY, (1, 3))
    assert await dates(bank) == {SECOND_DAY}


async def test_while_a_shard_is_down_no_date_is_moved(bank: Bank, own_servers: Databases) -> None:
    """The advance asks all shards before it moves the first one."""
    dead = Shard(3, "host=/nowhere dbname=ledger")
    await dead.open()
    shards: Mapping[int, Shard] = {**bank.shards, 3: dead}
    with pytest.raises(ShardUnavailable):
        await BusinessDay(bank.directory, shards).advance()
    await dead.close()
    assert await dates(bank) == {FIRST_DAY}


async def test_what_is_booked_after_an_advance_carries_the_new_date(bank: Bank) -> None:
    """The open date is read under the barrier."""
    debtor = await open_account(bank.shards[1], "10.00")
    creditor = await open_account(bank.shards[1])
    await bank.business_day.advance()
    answer = await bank.shards[1].lanes.post(transfer(debtor, creditor, "1.00"))
    assert answer.business_date == SECOND_DAY


async def test_a_shard_added_later_opens_on_the_date_of_the_others(
    bank: Bank, own_servers: Databases
) -> None:
    """Migrating again asks the shards for their date, not the clock."""
    await bank.business_day.advance(AFTER_CHRISTMAS)
    async with await connect(own_servers.shard_owner_dsns[3]) as connection:
        await connection.execute("DELETE FROM ledger.shard_state")
    await migrate_all(settings_of(own_servers), report=lambda *_: None, today=FIRST_DAY)
    assert await dates(bank) == {AFTER_CHRISTMAS}
