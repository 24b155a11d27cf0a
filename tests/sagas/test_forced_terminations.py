"""Workflows ended by hand, and money that nobody would take: it never stays where it is."""

from __future__ import annotations

import time
from decimal import Decimal
from uuid import UUID

import pytest
from temporalio.client import WorkflowExecutionStatus

from router.transfer_requests import TransferRequest
from router.wiring import Bank
from sagas.messages import ConvoyOrder
from sagas.starts import ensure_route, start_convoy
from sagas.sweeper import Sweeper
from sagas.worker import build_worker
from shard.accounts import AccountStatus
from shard.commands import MoneyState
from shard.ids import new_id
from shard.outcomes import Outcome
from tests.sagas.small_bank import SmallBank
from tests.support.bank import Figures, account_no, at_rest, figures, open_account
from tests.support.databases import SHARDS

AT_ONCE_S = -60.0
WAIT_S = 60.0
HOUR_S = 3600.0
PAID = Figures(Decimal("20.0000"), 1)


async def test_a_route_terminated_by_hand_is_started_again(small_bank: SmallBank) -> None:
    """Terminating a workflow strands no money: the sweeper asks about items, not workflows."""
    bank = small_bank
    creditor = await bank.open_account(2, "0")
    debtor, reference = await bank.park(creditor, route=2)
    route = await ensure_route(bank.client, 1, 2)
    await route.terminate("by hand")
    assert 2 in (await Sweeper(bank.client, bank.shards, AT_ONCE_S).sweep(1)).routes
    async with build_worker(bank.client, bank.shards, bank.owners):
        assert MoneyState.DELIVERED is (await bank.ended(debtor, reference)).money_state
        await (await ensure_route(bank.client, 1, 2)).result()
    assert PAID == await figures(bank.shards[2], creditor)


async def test_a_convoy_terminated_by_hand_is_followed_by_another(small_bank: SmallBank) -> None:
    """Its items get a new convoy; the id of the terminated one is never used again."""
    bank = small_bank
    creditor = await bank.open_account(2, "0")
    debtor, reference = await bank.park(creditor)
    item = await bank.item_of(debtor, reference)
    convoy = await start_convoy(bank.client, ConvoyOrder(1, str(item.convoy)), is_eager=False)
    await convoy.terminate("by hand")
    async with build_worker(bank.client, bank.shards, bank.owners):
        await Sweeper(bank.client, bank.shards, AT_ONCE_S).sweep(1)
        assert MoneyState.DELIVERED is (await bank.ended(debtor, reference)).money_state
    assert WorkflowExecutionStatus.TERMINATED is (await convoy.describe()).status
    assert PAID == await figures(bank.shards[2], creditor)


@pytest.mark.usefixtures("worker")
async def test_a_convoy_named_by_a_clock_that_is_ahead_is_not_waited_for(
    small_bank: SmallBank,
) -> None:
    """Its id says that it was made an hour from now: whoever made it, its items do not wait
    until then."""
    debtor, reference = await small_bank.park(await small_bank.open_account(2))
    item = await small_bank.item_of(debtor, reference)
    suspense = small_bank.shards[1].suspense
    assert 1 == await suspense.restamp([item.item_id], _id_of(time.time() + HOUR_S))
    await Sweeper(small_bank.client, small_bank.shards, straggler_age_s=0).sweep(1)
    assert MoneyState.DELIVERED is (await small_bank.ended(debtor, reference)).money_state


def _id_of(unix_s: float) -> UUID:
    """A UUIDv7 that was made at this time (RFC 9562)."""
    milliseconds = int(unix_s * 1000)
    return UUID(int=milliseconds << 80 | 7 << 76 | 0b10 << 62 | new_id().int & (1 << 62) - 1)


@pytest.mark.parametrize(
    "cause",
    [
        Outcome.ACCOUNT_UNKNOWN,
        Outcome.ACCOUNT_CLOSED,
        Outcome.ACCOUNT_FROZEN,
        Outcome.CURRENCY_MISMATCH,
    ],
)
async def test_money_that_was_refused_is_back_to_the_cent(bank: Bank, cause: Outcome) -> None:
    """The transfer is returned with the refusal's code; two entries, nothing in transit, and
    every shard's trial balance is zero."""
    debtor = await open_account(bank.shards[1], "100.00")
    creditor = await _creditor_that_refuses(bank, cause)
    request = TransferRequest(str(new_id()), debtor, creditor, Decimal("19.99"), "EUR")
    submitted = await bank.transfers.submit(request)
    record = await bank.transfers.wait(submitted.record, WAIT_S)
    assert (MoneyState.RETURNED, cause, None) == (
        record.money_state,
        record.return_code,
        record.delivered_at,
    )
    page = await bank.shards[1].statements.page(debtor)
    assert [Decimal("-19.99"), Decimal("19.99")] == [line.amount for line in page.lines[1:]]
    balance = await bank.shards[1].balances.get(debtor)
    assert (Decimal(100), Decimal(100), Decimal(0)) == (
        balance.ledger,
        balance.available,
        balance.in_transit,
    )
    await at_rest(bank)
    assert [Decimal(0)] * len(SHARDS) == [await _trial_balance(bank, shard) for shard in SHARDS]
    assert () == (await bank.check.run()).findings


async def _creditor_that_refuses(bank: Bank, cause: Outcome) -> int:
    """An account on shard 2 that cannot be paid in EUR."""
    if cause is Outcome.ACCOUNT_UNKNOWN:
        return account_no(2)
    if cause is Outcome.CURRENCY_MISMATCH:
        return await open_account(bank.shards[2], currency="USD")
    creditor = await open_account(bank.shards[2])
    status = AccountStatus.CLOSED if cause is Outcome.ACCOUNT_CLOSED else AccountStatus.FROZEN
    await bank.shards[2].accounts.change_status(creditor, status, actor="test", reason="test")
    return creditor


async def _trial_balance(bank: Bank, shard: int) -> Decimal:
    """Debits and credits of all EUR accounts of a shard."""
    lines = await bank.shards[shard].invariants.trial_balance()
    return sum((line.debit + line.credit for line in lines if line.currency == "EUR"), Decimal(0))
