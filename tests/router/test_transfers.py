"""Transfers from end to end: local, cross-shard, refused, repeated, followed, waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from router.errors import RefusalReplayed
from router.transfer_requests import TransferRequest
from router.wiring import Bank
from shard.accounts import AccountKind, AccountStatus, NewAccount
from shard.commands import MoneyState
from shard.errors import NotFound, RangeMoving, Refused, ShardUnavailable
from shard.ids import new_id
from shard.outcomes import Outcome
from tests.router.ranges import TestRange, new_range
from tests.support.bank import account_no, open_account, settings_of
from tests.support.databases import Databases

NO_TEMPORAL = "127.0.0.1:1"


@pytest.fixture
async def test_range(servers: Databases) -> AsyncIterator[TestRange]:
    """A range of this test's own, on shard 1."""
    async with new_range(servers, shard=1) as made:
        yield made


@pytest.fixture
async def lone_bank(servers: Databases, test_range: TestRange) -> AsyncIterator[Bank]:
    """A bank without Temporal, which read the map while the range was on shard 1."""
    async with Bank(settings_of(servers, temporal_address=NO_TEMPORAL)) as bank:
        yield bank


def request(debtor: int, creditor: int, amount: str = "20.00") -> TransferRequest:
    """A transfer under a fresh reference."""
    return TransferRequest(str(new_id()), debtor, creditor, Decimal(amount), "EUR", "Rent")


async def pair(bank: Bank, debtor_shard: int, creditor_shard: int) -> tuple[int, int]:
    """A debtor with 100.00 EUR and a creditor with nothing."""
    debtor = await open_account(bank.shards[debtor_shard], "100.00")
    return debtor, await open_account(bank.shards[creditor_shard])


async def ledger_of(bank: Bank, account: int) -> Decimal:
    """An account's booked money."""
    return (await bank.accounts.balance(account)).ledger


async def test_on_one_shard_money_moves_at_once(lone_bank: Bank) -> None:
    """A local transfer is booked on both sides when it is answered, Temporal or not."""
    debtor, creditor = await pair(lone_bank, 1, 1)
    submitted = await lone_bank.transfers.submit(request(debtor, creditor))
    assert (submitted.is_replay, submitted.record.money_state) == (False, MoneyState.POSTED)
    assert await ledger_of(lone_bank, debtor) == 80
    assert await ledger_of(lone_bank, creditor) == 20


async def test_the_view_of_a_fresh_transfer_is_what_the_shard_stored(lone_bank: Bank) -> None:
    """The answer is built from the request without reading back, so it must not differ."""
    wanted = request(*await pair(lone_bank, 1, 1))
    submitted = await lone_bank.transfers.submit(wanted)
    assert submitted.record == await lone_bank.transfers.get(wanted.debtor, wanted.reference)


async def test_between_shards_money_arrives(bank: Bank) -> None:
    """A cross-shard transfer is in transit when it is answered, and delivered soon after."""
    debtor, creditor = await pair(bank, 1, 2)
    submitted = await bank.transfers.submit(request(debtor, creditor))
    assert submitted.record.money_state is MoneyState.IN_TRANSIT
    arrived = await bank.transfers.wait(submitted.record, 30)
    assert arrived.money_state is MoneyState.DELIVERED
    assert await ledger_of(bank, creditor) == 20


async def test_money_for_an_account_that_does_not_exist_comes_back(bank: Bank) -> None:
    """The far side's refusal is no error of the request: the money returns, with the reason."""
    debtor = await open_account(bank.shards[1], "100.00")
    submitted = await bank.transfers.submit(request(debtor, account_no(3)))
    returned = await bank.transfers.wait(submitted.record, 30)
    assert returned.money_state is MoneyState.RETURNED
    assert returned.return_code is Outcome.ACCOUNT_UNKNOWN
    assert await ledger_of(bank, debtor) == 100


async def test_a_repeated_transfer_answers_as_it_stands_now(bank: Bank) -> None:
    """The same request again moves nothing and tells the present state."""
    wanted = request(*await pair(bank, 1, 2))
    first = await bank.transfers.submit(wanted)
    await bank.transfers.wait(first.record, 30)
    again = await bank.transfers.submit(wanted)
    assert (again.is_replay, again.record.money_state) == (True, MoneyState.DELIVERED)
    assert again.record.transfer_id == first.record.transfer_id
    assert await ledger_of(bank, wanted.debtor) == 80


async def test_a_reference_with_another_content_is_refused(lone_bank: Bank) -> None:
    """A reference names one request; the first one stays."""
    wanted = request(*await pair(lone_bank, 1, 1))
    await lone_bank.transfers.submit(wanted)
    with pytest.raises(Refused) as refused:
        await lone_bank.transfers.submit(replace(wanted, amount=Decimal("21.00")))
    assert refused.value.outcome == Outcome.REFERENCE_REUSED


async def test_a_refusal_is_stored_and_replayed(lone_bank: Bank) -> None:
    """Also after money has come in, the same reference stays refused."""
    debtor, creditor = await pair(lone_bank, 1, 1)
    wanted = request(debtor, creditor, "100.01")
    with pytest.raises(Refused) as first:
        await lone_bank.transfers.submit(wanted)
    await lone_bank.transfers.submit(
        request(await open_account(lone_bank.shards[1], "5.00"), debtor, "5.00")
    )
    with pytest.raises(RefusalReplayed) as again:
        await lone_bank.transfers.submit(wanted)
    assert (first.value.outcome, again.value.outcome) == (Outcome.INSUFFICIENT_FUNDS,) * 2
    assert type(first.value) is Refused


@pytest.mark.parametrize("status", [AccountStatus.FROZEN, AccountStatus.CLOSED])
async def test_a_debtor_that_is_not_open_cannot_pay(lone_bank: Bank, status: AccountStatus) -> None:
    """Frozen and closed accounts are told apart."""
    debtor = await open_account(lone_bank.shards[1])
    creditor = await open_account(lone_bank.shards[1])
    await lone_bank.accounts.change_status(debtor, status, actor="test", reason="test")
    with pytest.raises(Refused) as refused:
        await lone_bank.transfers.submit(request(debtor, creditor))
    assert refused.value.outcome == f"ACCOUNT_{status.value.upper()}"


@pytest.mark.parametrize("unknown", ["debtor", "creditor"])
async def test_an_unknown_account_on_the_debtors_shard_is_refused_at_once(
    lone_bank: Bank, unknown: str
) -> None:
    """Nothing is stored, so the reference is free once the account exists."""
    debtor, creditor = await pair(lone_bank, 1, 1)
    wanted = request(debtor, creditor)
    changes: dict[str, Any] = {unknown: account_no(1)}
    wrong = replace(wanted, **changes)
    with pytest.raises(Refused) as refused:
        await lone_bank.transfers.submit(wrong)
    assert refused.value.outcome == Outcome.ACCOUNT_UNKNOWN
    assert not (await lone_bank.transfers.submit(wanted)).is_replay


async def test_a_creditor_in_no_range_is_refused_before_any_money_leaves(lone_bank: Bank) -> None:
    """No shard could ever take the money."""
    debtor = await open_account(lone_bank.shards[1], "100.00")
    with pytest.raises(Refused) as refused:
        await lone_bank.transfers.submit(request(debtor, 9_999_999_999))
    assert refused.value.outcome == Outcome.ACCOUNT_UNKNOWN
    assert await ledger_of(lone_bank, debtor) == 100


async def test_a_transfer_that_was_never_asked_for_is_not_found(lone_bank: Bank) -> None:
    """Reading by a free reference answers NOT_FOUND."""
    with pytest.raises(NotFound):
        await lone_bank.transfers.get(await open_account(lone_bank.shards[1]), "never")


async def test_the_same_request_sent_fifty_times_at_once_moves_money_once(lone_bank: Bank) -> None:
    """One of them is the first, the others are repetitions of it."""
    wanted = request(*await pair(lone_bank, 1, 1))
    submitted = await asyncio.gather(*(lone_bank.transfers.submit(wanted) for _ in range(50)))
    assert sorted(each.is_replay for each in submitted) == [False] + [True] * 49
    assert await ledger_of(lone_bank, wanted.debtor) == 80


async def open_in(bank: Bank, test_range: TestRange, shard: int, offset: int = 0) -> int:
    """Open an account in the test's range, on the shard that owns it now."""
    number = test_range.lo + offset
    new = NewAccount(number, "EUR", AccountKind.EQUITY, None, None, b"test")
    assert await bank.shards[shard].accounts.open_many([new]) == [Outcome.POSTED]
    return number


async def test_a_debtor_that_moved_is_followed(lone_bank: Bank, test_range: TestRange) -> None:
    """The stale router is sent on by the former owner, with the same reference."""
    await test_range.move(1, 2, epoch=2)
    debtor = await open_in(lone_bank, test_range, 2)
    creditor = await open_account(lone_bank.shards[2])
    submitted = await lone_bank.transfers.submit(request(debtor, creditor))
    assert submitted.record.money_state is MoneyState.POSTED


async def test_a_creditor_that_moved_away_turns_the_transfer_into_a_cross_shard_one(
    bank: Bank, test_range: TestRange
) -> None:
    """What was local by the old map is parked by the new one; nothing is booked twice."""
    await bank.routes.refresh()
    debtor = await open_account(bank.shards[1], "100.00")
    assert bank.routes.owner_now(test_range.lo) == 1
    await test_range.move(1, 3, epoch=2)
    creditor = await open_in(bank, test_range, 3)
    submitted = await bank.transfers.submit(request(debtor, creditor))
    assert submitted.record.money_state is MoneyState.IN_TRANSIT
    arrived = await bank.transfers.wait(submitted.record, 30)
    assert arrived.money_state is MoneyState.DELIVERED
    assert await ledger_of(bank, debtor) == 80


async def test_a_transfer_waits_while_its_range_is_fenced(
    lone_bank: Bank, test_range: TestRange
) -> None:
    """A short move costs the client time and nothing else."""
    debtor = await open_in(lone_bank, test_range, 1)
    creditor = await open_in(lone_bank, test_range, 1, offset=1)
    await test_range.set(1, "FENCED", epoch=2)
    waiting = asyncio.create_task(lone_bank.transfers.submit(request(debtor, creditor)))
    await lone_bank.shards[1].ping()
    assert not waiting.done()
    await test_range.set(1, "OWNED", epoch=2)
    assert (await waiting).record.money_state is MoneyState.POSTED


async def test_a_fence_that_outlasts_the_budget_is_told(
    lone_bank: Bank, test_range: TestRange
) -> None:
    """RANGE_MOVING is retryable, and nothing happened."""
    debtor = await open_in(lone_bank, test_range, 1)
    creditor = await open_in(lone_bank, test_range, 1, offset=1)
    await test_range.set(1, "FENCED", epoch=2)
    with pytest.raises(RangeMoving):
        await lone_bank.transfers.submit(request(debtor, creditor), budget_s=0.1)
    await test_range.set(1, "OWNED", epoch=2)
    assert await ledger_of(lone_bank, creditor) == 0


async def test_a_shard_that_is_down_stops_only_its_own_accounts(servers: Databases) -> None:
    """Transfers from its accounts are unavailable; everything else goes on."""
    dsns = dict(servers.shard_dsns) | {2: "host=/nowhere dbname=ledger"}
    async with Bank(settings_of(servers, shard_dsns=dsns, temporal_address=NO_TEMPORAL)) as bank:
        debtor, creditor = await pair(bank, 1, 1)
        with pytest.raises(ShardUnavailable):
            await bank.transfers.submit(request(account_no(2), creditor))
        local = await bank.transfers.submit(request(debtor, creditor))
        assert local.record.money_state is MoneyState.POSTED


async def test_waiting_ends_with_the_time_given(bank: Bank) -> None:
    """A client that waits for no time at all is told that the money is in transit."""
    submitted = await bank.transfers.submit(request(*await pair(bank, 1, 3)))
    record = await bank.transfers.wait(submitted.record, 0)
    assert record.money_state is MoneyState.IN_TRANSIT
