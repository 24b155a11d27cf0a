"""The business date moves behind a barrier: no posting is half way across."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from shard.commands import Origin
from shard.errors import Malformed
from shard.outcomes import Outcome
from shard.posting import post_batch
from tests.shard.own_server import OwnShard
from tests.support.bank import again, open_account, transfer
from tests.support.interleaving import holder, posting_connection

_ADVANCE = "SELECT ledger.advance_business_date_v1(%s, 3)"
_ONE_DAY = timedelta(days=1)


async def test_a_posting_that_waited_is_booked_on_the_new_date(own: OwnShard) -> None:
    """A posting that waits while the date advances carries the new date everywhere."""
    debtor, creditor = await open_account(own.shard, "100"), await open_account(own.shard)
    tomorrow = await own.shard.business_day.get() + _ONE_DAY
    command = transfer(debtor, creditor, "1")
    async with (
        posting_connection(own.database.dsn) as connection,
        holder(own.database.dsn) as advance,
    ):
        await advance.execute(_ADVANCE, (tomorrow,))
        task = advance.start(post_batch(connection, 0, None, [command]))
        await advance.until_blocks(task)
        await advance.commit()
        (answer,) = await task

    line = (await own.shard.statements.page(creditor)).lines[-1]
    record = await own.shard.transfers.get(debtor, Origin.CLIENT, command.reference)
    dates = {answer.business_date, line.business_date, line.value_date, record.business_date}
    assert {tomorrow} == dates


async def test_a_delivery_that_waited_for_its_date_is_booked(own: OwnShard) -> None:
    """A command for a date that opens while it waits is booked; before that it leaves no trace."""
    debtor, creditor = await open_account(own.shard, "100"), await open_account(own.shard)
    tomorrow = await own.shard.business_day.get() + _ONE_DAY
    command = replace(transfer(debtor, creditor, "1"), not_before=tomorrow)
    async with (
        posting_connection(own.database.dsn) as connection,
        holder(own.database.dsn) as advance,
    ):
        (early,) = await post_batch(connection, 0, None, [command])
        await advance.execute(_ADVANCE, (tomorrow,))
        task = advance.start(post_batch(connection, 0, None, [again(command)]))
        await advance.until_blocks(task)
        await advance.commit()
        (late,) = await task

    expected = [(Outcome.DATE_NOT_OPEN, False), (Outcome.POSTED, False)]
    assert expected == [(answer.outcome, answer.is_replay) for answer in (early, late)]


async def test_the_date_waits_for_postings_that_began_before_it(own: OwnShard) -> None:
    """The next date opens only when every posting of the old one is booked."""
    debtor, creditor = await open_account(own.shard, "100"), await open_account(own.shard)
    today = await own.shard.business_day.get()
    async with (
        posting_connection(own.database.dsn) as connection,
        holder(own.database.owner_dsn) as held,
    ):
        await held.lock_balance(debtor)
        posting = held.start(post_batch(connection, 0, None, [transfer(debtor, creditor, "1")]))
        await held.until_blocks(posting)
        advance = held.start(own.shard.business_day.advance(today + _ONE_DAY))
        await held.until_blocks(posting, advance)
        await held.rollback()
        (answer,) = await posting
        opened = await advance

    assert (today, today + _ONE_DAY) == (answer.business_date, opened)


async def test_the_same_date_again_changes_nothing(own: OwnShard) -> None:
    """Opening the date that is open already is no error; going back is one."""
    today = await own.shard.business_day.get()

    assert today == await own.shard.business_day.advance(today)
    with pytest.raises(Malformed):
        await own.shard.business_day.advance(today - _ONE_DAY)
    assert today == await own.shard.business_day.get()


async def test_a_month_that_was_not_prepared_gets_its_partition(own: OwnShard) -> None:
    """Advancing over months makes room for the entries of the month it arrives in."""
    debtor, creditor = await open_account(own.shard, "100"), await open_account(own.shard)
    far = await own.shard.business_day.get() + timedelta(days=200)

    await own.shard.business_day.advance(far)
    answer = await own.shard.lanes.post(transfer(debtor, creditor, "1"))

    assert (Outcome.POSTED, far) == (answer.outcome, answer.business_date)
