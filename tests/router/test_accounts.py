"""Accounts: opened once, in bulk or one by one; frozen and closed wherever they live."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from router.accounts import Opening
from router.errors import AccountNoTaken, DirectoryUnavailable, ReferenceReused
from router.wiring import Bank
from shard.accounts import AccountKind, AccountStatus
from shard.errors import AmountMalformed, Malformed, NotFound, Refused, ShardUnavailable
from shard.ids import new_id
from shard.outcomes import Outcome
from tests.support.bank import account_no, open_account, settings_of
from tests.support.databases import Databases

NO_TEMPORAL = "127.0.0.1:1"
NOWHERE = "host=/nowhere dbname=ledger"


@pytest.fixture
async def lone_bank(servers: Databases) -> AsyncIterator[Bank]:
    """A bank without Temporal: accounts need none."""
    async with Bank(settings_of(servers, temporal_address=NO_TEMPORAL)) as bank:
        yield bank


def an_opening() -> Opening:
    """A customer's first account."""
    return Opening(f"C-{new_id().hex}", "first", "EUR", name="Ada", overdraft_limit=Decimal(50))


async def test_an_account_is_what_was_asked_for(lone_bank: Bank) -> None:
    """Currency, kind, limit and name arrive; its shard is the one that owns the number."""
    wanted = an_opening()
    opened = await lone_bank.accounts.open(wanted, actor="test")
    account = await lone_bank.accounts.get(opened.account.account_no)
    assert opened.is_new
    assert (account.customer, account.currency, account.kind, account.name) == (
        wanted.customer, "EUR", AccountKind.CUSTOMER, "Ada"
    )  # fmt: skip
    assert (account.status, account.overdraft_limit) == (AccountStatus.OPEN, Decimal(50))


async def test_opening_again_gives_the_same_account(lone_bank: Bank) -> None:
    """The customer's reference names the opening."""
    wanted = an_opening()
    first = await lone_bank.accounts.open(wanted, actor="test")
    again = await lone_bank.accounts.open(wanted, actor="test")
    assert (again.account, again.is_new) == (first.account, False)


async def test_a_number_that_was_reserved_and_not_opened_is_opened_by_the_same_request(
    lone_bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between directory and shard leaves nothing that the repetition cannot finish."""
    wanted = replace(an_opening(), account_no=account_no(2))

    async def crash(*_: object, **__: object) -> None:
        raise ShardUnavailable

    with monkeypatch.context() as patched:
        patched.setattr(lone_bank.shards[2].accounts, "open_many", crash)
        with pytest.raises(ShardUnavailable):
            await lone_bank.accounts.open(wanted, actor="test")
    opened = await lone_bank.accounts.open(wanted, actor="test")
    assert opened.account.account_no == wanted.account_no


async def test_the_same_reference_for_another_account_is_refused(lone_bank: Bank) -> None:
    """Another currency is another request."""
    wanted = an_opening()
    await lone_bank.accounts.open(wanted, actor="test")
    with pytest.raises(ReferenceReused):
        await lone_bank.accounts.open(replace(wanted, currency="USD"), actor="test")


async def test_a_number_that_the_directory_does_not_know_of_is_still_not_given_twice(
    lone_bank: Bank,
) -> None:
    """The shard has the last word about an account that is there."""
    there = await open_account(lone_bank.shards[1])
    with pytest.raises(AccountNoTaken):
        await lone_bank.accounts.open(replace(an_opening(), account_no=there), actor="test")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"currency": "XXX"}, AmountMalformed),
        ({"customer": ""}, Malformed),
        ({"customer": "C" * 65}, Malformed),
        ({"customer": "C\n1"}, Malformed),
        ({"overdraft_limit": None}, Malformed),
        ({"overdraft_limit": Decimal(-1)}, Malformed),
        ({"overdraft_limit": Decimal("0.001")}, Malformed),
        ({"overdraft_limit": Decimal("NaN")}, Malformed),
        ({"kind": AccountKind.SUSPENSE}, Malformed),
        ({"kind": AccountKind.CLEARING}, Malformed),
        ({"reference": "a b"}, Malformed),
    ],
)
async def test_openings_that_make_no_sense_are_malformed(
    lone_bank: Bank, changes: dict[str, Any], error: type[Exception]
) -> None:
    """They are refused before a number is taken."""
    with pytest.raises(error):
        await lone_bank.accounts.open(replace(an_opening(), **changes), actor="test")


async def test_many_accounts_are_opened_with_progress(lone_bank: Bank) -> None:
    """In bulk, in the order asked for, each customer's accounts on one shard."""
    run = new_id().hex
    wanted = [Opening(f"C-{run}-{n // 2}", f"R-{n}", "EUR") for n in range(1_200)]
    told: list[tuple[int, int]] = []
    numbers = await lone_bank.accounts.open_many(
        wanted, actor="test", progress=lambda done, total: told.append((done, total))
    )
    shards = [lone_bank.routes.owner_now(number) for number in numbers]
    customers = [(await lone_bank.accounts.get(number)).customer for number in numbers[::100]]
    assert len(set(numbers)) == 1_200
    assert told[-1] == (1_200, 1_200)
    assert shards[::2] == shards[1::2]
    assert customers == [opening.customer for opening in wanted[::100]]


async def test_opening_many_again_completes_what_is_missing(lone_bank: Bank) -> None:
    """A bulk that stopped half way is run again as it is."""
    run = new_id().hex
    wanted = [Opening(f"C-{run}-{n}", "R", "EUR") for n in range(60)]
    some = await lone_bank.accounts.open_many(wanted[:20], actor="test")
    everything = await lone_bank.accounts.open_many(wanted, actor="test")
    assert everything[:20] == some
    assert len(set(everything)) == 60


async def test_an_account_that_does_not_exist_is_not_found(lone_bank: Bank) -> None:
    """All readings say the same."""
    nobody = account_no(1)
    for reading in (lone_bank.accounts.get, lone_bank.accounts.balance):
        with pytest.raises(NotFound):
            await reading(nobody)


async def test_an_account_is_frozen_and_opened_again(lone_bank: Bank) -> None:
    """The new status is what the account says from then on."""
    account = await open_account(lone_bank.shards[3])
    accounts = lone_bank.accounts
    for status in (AccountStatus.FROZEN, AccountStatus.OPEN, AccountStatus.CLOSED):
        await accounts.change_status(account, status, actor="test", reason="test")
        assert (await accounts.get(account)).status is status


async def test_an_account_with_money_is_not_closed(lone_bank: Bank) -> None:
    """Closing needs a zero balance."""
    account = await open_account(lone_bank.shards[3], "0.01")
    with pytest.raises(Refused) as refused:
        await lone_bank.accounts.change_status(
            account, AccountStatus.CLOSED, actor="test", reason="test"
        )
    assert refused.value.outcome == Outcome.BALANCE_NOT_ZERO


async def test_entries_are_read_in_pages(lone_bank: Bank) -> None:
    """The cursor goes on where the page before ended."""
    account = await open_account(lone_bank.shards[2], "5.00")
    page = await lone_bank.accounts.entries(account, limit=1)
    assert [line.amount for line in page.lines] == [Decimal("5.0000")]
    assert page.next_cursor is None


async def test_while_the_directory_is_down_nothing_is_opened_and_all_else_works(
    servers: Databases,
) -> None:
    """The directory is never on the path of what exists already."""
    settings = settings_of(servers, directory_dsn=NOWHERE, temporal_address=NO_TEMPORAL)
    async with Bank(settings) as bank:
        account = await open_account(bank.shards[1])
        assert (await bank.accounts.get(account)).status is AccountStatus.OPEN
        with pytest.raises(DirectoryUnavailable):
            await bank.accounts.open(an_opening(), actor="test")


async def test_an_opening_on_a_shard_that_is_down_is_completed_later(servers: Databases) -> None:
    """The number stays reserved; the same request opens it once the shard is back."""
    dsns = dict(servers.shard_dsns) | {2: NOWHERE}
    wanted = replace(an_opening(), account_no=account_no(2))
    settings = settings_of(servers, shard_dsns=dsns, temporal_address=NO_TEMPORAL)
    async with Bank(settings) as bank:
        with pytest.raises(ShardUnavailable):
            await bank.accounts.open(wanted, actor="test")
    async with Bank(settings_of(servers, temporal_address=NO_TEMPORAL)) as bank:
        opened = await bank.accounts.open(wanted, actor="test")
        assert opened.account.account_no == wanted.account_no
