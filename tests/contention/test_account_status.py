"""A change of status and a posting never pass each other unseen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import pytest

from shard.accounts import AccountStatus
from shard.errors import Refused
from shard.outcomes import Outcome
from shard.posting import post_batch
from shard.shard import Shard
from tests.support.bank import Figures, figures, open_account, transfer
from tests.support.databases import Databases
from tests.support.interleaving import holder, posting_connection

Shards = Mapping[int, Shard]
_CHANGE = (
    "SELECT ledger.change_account_v1(%s, %s::text::ledger.account_status, NULL, NULL, NULL, NULL,"
    " 't', 't')::text"
)


@dataclass(frozen=True, slots=True)
class Race:
    """A status that is reached first, and what the waiting transfer is told."""

    status: AccountStatus
    is_debtor: bool
    outcome: Outcome


RACES = (
    Race(AccountStatus.FROZEN, True, Outcome.ACCOUNT_FROZEN),
    Race(AccountStatus.FROZEN, False, Outcome.ACCOUNT_FROZEN),
    Race(AccountStatus.CLOSED, False, Outcome.ACCOUNT_CLOSED),
)


@pytest.mark.parametrize("race", RACES, ids=str)
async def test_a_change_that_is_answered_stops_who_waited(
    race: Race, shards: Shards, servers: Databases
) -> None:
    """A transfer that waits for the balance row of an account is judged by its new status."""
    payer, empty = await open_account(shards[1], "100"), await open_account(shards[1])
    changed = payer if race.is_debtor else empty
    dsn = servers.shard_dsns[1]
    async with posting_connection(dsn) as connection, holder(dsn) as change:
        told = await change.execute(_CHANGE, (changed, race.status.value))
        task = change.start(post_batch(connection, 0, None, [transfer(payer, empty, "1")]))
        await change.until_blocks(task)
        await change.commit()
        (answer,) = await task

    assert [("POSTED",)] == told
    assert race.outcome is answer.outcome
    assert Figures(Decimal(100), 1) == await figures(shards[1], payer)


async def test_a_debit_that_came_first_is_booked(shards: Shards, servers: Databases) -> None:
    """A freeze is answered only when every debit that was decided before it is booked."""
    payer, payee = await open_account(shards[1], "100"), await open_account(shards[1])
    accounts = shards[1].accounts
    async with (
        posting_connection(servers.shard_dsns[1]) as connection,
        holder(servers.shard_owner_dsns[1]) as held,
    ):
        await held.lock_balance(payee)
        debit = held.start(post_batch(connection, 0, None, [transfer(payer, payee, "1")]))
        await held.until_blocks(debit)
        freeze = held.start(
            accounts.change_status(payer, AccountStatus.FROZEN, actor="t", reason="t")
        )
        await held.until_blocks(debit, freeze)
        await held.rollback()
        account = await freeze
        booked = await figures(shards[1], payer)
        (answer,) = await debit

    assert AccountStatus.FROZEN is account.status
    assert Outcome.POSTED is answer.outcome
    assert Figures(Decimal(99), 2) == booked


async def test_a_close_sees_the_credit_that_came_first(shards: Shards, servers: Databases) -> None:
    """An account is not closed over a credit that was decided before."""
    payer, payee = await open_account(shards[1], "100"), await open_account(shards[1])
    third = await open_account(shards[1])
    assert payer < payee < third
    accounts = shards[1].accounts
    async with (
        posting_connection(servers.shard_dsns[1]) as connection,
        holder(servers.shard_owner_dsns[1]) as held,
    ):
        await held.lock_balance(third)
        incoming = [transfer(payer, payee, "1"), transfer(payer, third, "1")]
        credit = held.start(post_batch(connection, 0, None, incoming))
        await held.until_blocks(credit)
        close = held.start(
            accounts.change_status(payee, AccountStatus.CLOSED, actor="t", reason="t")
        )
        await held.until_blocks(credit, close)
        await held.rollback()
        await credit
        with pytest.raises(Refused) as refused:
            await close

    assert Outcome.BALANCE_NOT_ZERO == refused.value.outcome


async def test_a_close_sees_the_money_that_has_just_left(
    shards: Shards, servers: Databases
) -> None:
    """An account is not closed over a cross-shard debit that was decided before."""
    payer = await open_account(shards[1], "100")
    abroad = await open_account(shards[2])
    accounts = shards[1].accounts
    async with (
        posting_connection(servers.shard_dsns[1]) as connection,
        holder(servers.shard_owner_dsns[1]) as held,
    ):
        await held.lock_balance(payer)
        command = transfer(payer, abroad, "100")
        debit = held.start(post_batch(connection, 0, command.transfer_id, [command]))
        await held.until_blocks(debit)
        close = held.start(
            accounts.change_status(payer, AccountStatus.CLOSED, actor="t", reason="t")
        )
        await held.until_blocks(debit, close)
        await held.rollback()
        (answer,) = await debit
        with pytest.raises(Refused) as refused:
            await close

    assert Outcome.POSTED is answer.outcome
    assert Outcome.MONEY_IN_TRANSIT == refused.value.outcome


async def test_two_who_close_at_once_are_both_told_so(shards: Shards, servers: Databases) -> None:
    """Of two equal changes of status one changes, and both are told that it is so."""
    account = await open_account(shards[1])
    dsn = servers.shard_dsns[1]
    async with holder(dsn) as other, holder(dsn) as first:
        answers = await first.execute(_CHANGE, (account, "closed"))
        second = first.start(other.execute(_CHANGE, (account, "closed")))
        await first.until_blocks(second)
        await first.commit()
        answers += await second
        await other.commit()
        events = await other.execute(
            "SELECT after FROM ledger.account_event WHERE account_no = %s ORDER BY n", (account,)
        )

    assert [("POSTED",), ("POSTED",)] == answers
    assert [("open",), ("closed",)] == events
