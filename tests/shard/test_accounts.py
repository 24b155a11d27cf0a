"""Accounts: opened once, changed by the rules, and each change told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

import pytest

from shard.account_numbers import clearing_account, suspense_account
from shard.accounts import AccountKind, AccountStatus, NewAccount
from shard.errors import NotFound, NotOwner, Refused
from shard.outcomes import Outcome
from shard.shard import Shard
from tests.support.bank import BUSINESS_DATE, account_no, hold, open_account, transfer
from tests.support.databases import Databases
from tests.support.interleaving import holder

Shards = Mapping[int, Shard]


def _new(number: int, **changes: object) -> NewAccount:
    account = NewAccount(
        number, "EUR", AccountKind.CUSTOMER, "C-7", Decimal("5.00"), b"request", name="Ada"
    )
    return replace(account, **changes)  # type: ignore[arg-type]  # the tests name the fields


async def _change(shard: Shard, number: int, status: AccountStatus) -> AccountStatus:
    account = await shard.accounts.change_status(number, status, actor="t", reason="why")
    return account.status


async def test_an_account_is_opened_once(shards: Shards) -> None:
    """The same request again changes nothing; another one finds the number taken."""
    number = account_no(1)

    first = await shards[1].accounts.open_many([_new(number)])
    other = _new(number, request_hash=b"other", name="Eve", overdraft_limit=None)
    later = await shards[1].accounts.open_many([_new(number), other])

    assert [Outcome.POSTED] == first
    assert [Outcome.POSTED, Outcome.ACCOUNT_EXISTS] == later
    account = await shards[1].accounts.get(number)
    assert ("Ada", Decimal(5), "C-7") == (account.name, account.overdraft_limit, account.customer)
    assert (AccountStatus.OPEN, BUSINESS_DATE) == (account.status, account.opened_on)


async def test_one_number_twice_in_a_call_is_one_account(shards: Shards) -> None:
    """Of two requests for one number in one call one wins, and the other is told."""
    number = account_no(1)
    other = _new(number, request_hash=b"other")

    outcomes = await shards[1].accounts.open_many([_new(number), other])

    assert {Outcome.POSTED, Outcome.ACCOUNT_EXISTS} == set(outcomes)


async def test_each_account_of_a_call_is_answered_for_itself(shards: Shards) -> None:
    """What cannot be opened here does not keep its neighbours from being opened."""
    here, abroad, strange = account_no(1), account_no(2), account_no(1)

    outcomes = await shards[1].accounts.open_many(
        [_new(abroad), _new(here), _new(strange, currency="XAU")]
    )

    assert [Outcome.NOT_OWNER, Outcome.POSTED, Outcome.MALFORMED] == outcomes
    with pytest.raises(NotFound):
        await shards[1].accounts.get(strange)


async def test_what_is_not_here_is_told_from_what_does_not_exist(shards: Shards) -> None:
    """A number of another shard is NOT_OWNER, an unused number of this shard is NOT_FOUND."""
    with pytest.raises(NotOwner):
        await shards[1].balances.get(account_no(2))
    with pytest.raises(NotFound):
        await shards[1].balances.get(account_no(1))


async def test_freezing_and_opening_again(shards: Shards, servers: Databases) -> None:
    """A status may go back and forth; each change is told once, the same one again is not."""
    number = await open_account(shards[1])

    for status in (AccountStatus.FROZEN, AccountStatus.FROZEN, AccountStatus.OPEN):
        assert status is await _change(shards[1], number, status)

    async with holder(servers.shard_dsns[1]) as look:
        events = await look.execute(
            "SELECT n, change, before, after, reason FROM ledger.account_event"
            " WHERE account_no = %s ORDER BY n",
            (number,),
        )
    assert [
        (1, "opened", None, "open", None),
        (2, "status", "open", "frozen", "why"),
        (3, "status", "frozen", "open", "why"),
    ] == events


async def test_closed_is_for_ever(shards: Shards) -> None:
    """A closed account is neither opened again nor frozen; closing it again is no error."""
    number = await open_account(shards[1])
    await _change(shards[1], number, AccountStatus.CLOSED)

    for status in (AccountStatus.OPEN, AccountStatus.FROZEN):
        with pytest.raises(Refused) as refused:
            await _change(shards[1], number, status)
        assert Outcome.ACCOUNT_CLOSED == refused.value.outcome
    assert AccountStatus.CLOSED is await _change(shards[1], number, AccountStatus.CLOSED)


@pytest.mark.parametrize("funds", ["0.01", "-0.01"])
async def test_an_account_with_money_is_not_closed(funds: str, shards: Shards) -> None:
    """Neither a credit nor a debit balance may stand when an account is closed."""
    number = await open_account(shards[1], "1", limit="1")
    other = await open_account(shards[1], limit=None)
    await shards[1].lanes.post(transfer(number, other, str(1 - Decimal(funds))))

    with pytest.raises(Refused) as refused:
        await _change(shards[1], number, AccountStatus.CLOSED)

    assert Outcome.BALANCE_NOT_ZERO == refused.value.outcome


async def test_buckets_that_cancel_do_not_stop_a_close(shards: Shards) -> None:
    """What counts for closing is the sum over all buckets."""
    number = await open_account(shards[1], "3", buckets=4)
    other = await open_account(shards[1], limit=None)
    await shards[1].lanes.post(transfer(number, other, "3"))

    assert AccountStatus.CLOSED is await _change(shards[1], number, AccountStatus.CLOSED)


async def test_an_account_with_an_open_hold_is_not_closed(
    shards: Shards, servers: Databases
) -> None:
    """Reserved money keeps its account open until the hold ends."""
    number = await open_account(shards[1])
    async with holder(servers.shard_owner_dsns[1]) as hand:
        await hand.execute(
            "INSERT INTO ledger.hold (account_no, reference, amount, captured, state, placed_at,"
            " expires_at) VALUES (%s, 'H-1', 1, 1, 'pending', now(), now())",
            (number,),
        )
        await hand.commit()

    with pytest.raises(Refused) as refused:
        await _change(shards[1], number, AccountStatus.CLOSED)

    assert Outcome.HOLDS_OPEN == refused.value.outcome


@pytest.mark.parametrize("status", [AccountStatus.FROZEN, AccountStatus.CLOSED])
async def test_system_accounts_keep_their_status(status: AccountStatus, shards: Shards) -> None:
    """Nobody freezes or closes the bank's own machinery by its number."""
    for number in (suspense_account(1, "GBP"), clearing_account(1, 2, "GBP")):
        with pytest.raises(Refused) as refused:
            await _change(shards[1], number, status)
        assert Outcome.SYSTEM_ACCOUNT == refused.value.outcome


async def test_money_that_is_held_cannot_be_spent(shards: Shards) -> None:
    """Available is the ledger balance less what is held, plus the overdraft."""
    number, other = await open_account(shards[1], "10", limit="2"), await open_account(shards[1])
    await shards[1].lanes.post(hold(number, "4"))
    commands = [transfer(number, other, "8.01"), transfer(number, other, "8")]

    answers = await shards[1].lanes.post_many(commands)
    balance = await shards[1].balances.get(number)

    assert [Outcome.INSUFFICIENT_FUNDS, Outcome.POSTED] == [a.outcome for a in answers]
    assert (Decimal(2), Decimal(4), Decimal(0)) == (
        balance.ledger, balance.held, balance.available
    )  # fmt: skip
