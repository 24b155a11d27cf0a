"""Convoys on real servers: from the debit on one shard to the credit on another."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import psycopg
import pytest
from temporalio.api.enums.v1 import EventType

from sagas.control_points import ControlPoint
from sagas.convoys import Convoys
from sagas.messages import ConvoyOrder
from sagas.starts import convoy_workflow_id, start_convoy
from sagas.terminus import Terminus
from sagas.worker import build_worker
from shard.accounts import AccountStatus
from shard.commands import MoneyState
from shard.ids import new_id
from shard.outcomes import Outcome
from shard.suspense import Redirection
from tests.sagas.small_bank import FUNDS, SmallBank, eventually
from tests.support.bank import account_no
from tests.support.databases import Databases
from tests.support.gates import Gate


@pytest.mark.usefixtures("convoys")
async def test_a_transfer_between_shards_arrives(small_bank: SmallBank) -> None:
    """What one account paid is what the other was paid."""
    debtor, creditor = await small_bank.open_account(1), await small_bank.open_account(2)
    reference = await small_bank.transfer(debtor, creditor, "20.00")
    assert (await small_bank.ended(debtor, reference)).money_state is MoneyState.DELIVERED
    assert (Decimal("980.00"), Decimal("1020.00")) == (
        await small_bank.ledger_of(debtor),
        await small_bank.ledger_of(creditor),
    )


@pytest.mark.usefixtures("convoys")
@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (AccountStatus.CLOSED, Outcome.ACCOUNT_CLOSED),
        (AccountStatus.FROZEN, Outcome.ACCOUNT_FROZEN),
    ],
)
async def test_a_refused_transfer_returns_to_its_debtor(
    small_bank: SmallBank, status: AccountStatus, cause: Outcome
) -> None:
    """The money comes back, and the transfer says why."""
    debtor, creditor = await small_bank.open_account(1), await small_bank.open_account(2, "0")
    await small_bank.set_status(creditor, status)
    record = await small_bank.ended(debtor, await small_bank.transfer(debtor, creditor))
    assert (MoneyState.RETURNED, cause) == (record.money_state, record.return_code)
    assert await small_bank.ledger_of(debtor) == Decimal(FUNDS)


@pytest.mark.usefixtures("convoys")
async def test_a_transfer_to_nobody_returns_to_its_debtor(small_bank: SmallBank) -> None:
    """A creditor that was never opened is a refusal like any other, stored where it would live."""
    debtor = await small_bank.open_account(1)
    record = await small_bank.ended(debtor, await small_bank.transfer(debtor, account_no(2)))
    assert (MoneyState.RETURNED, Outcome.ACCOUNT_UNKNOWN) == (
        record.money_state,
        record.return_code,
    )


@pytest.mark.usefixtures("convoys")
async def test_a_debtor_frozen_meanwhile_gets_its_own_money_back(small_bank: SmallBank) -> None:
    """Freezing does not part anybody from what was never somebody else's."""
    debtor, reference = await small_bank.park(account_no(2))
    await small_bank.set_status(debtor, AccountStatus.FROZEN)
    item = await small_bank.item_of(debtor, reference)
    await start_convoy(small_bank.client, ConvoyOrder(1, str(item.convoy)), is_eager=True)
    assert (await small_bank.ended(debtor, reference)).money_state is MoneyState.RETURNED
    assert await small_bank.ledger_of(debtor) == Decimal(FUNDS)


@pytest.mark.usefixtures("convoys")
async def test_money_that_can_go_nowhere_waits_for_a_person(
    small_bank: SmallBank, servers: Databases
) -> None:
    """When the return is refused as well, nobody guesses: the item needs repair."""
    debtor, reference = await small_bank.park(account_no(2))
    item = await small_bank.item_of(debtor, reference)
    # No call closes an account with money in transit; only a fault could.
    await _execute(
        servers, "UPDATE ledger.account SET status = 'closed' WHERE account_no = %s", debtor
    )
    await start_convoy(small_bank.client, ConvoyOrder(1, str(item.convoy)), is_eager=True)
    record = await small_bank.ended(debtor, reference)
    # Repaired by hand, so that no later test finds it: reopened, and returned once more.
    await _execute(
        servers, "UPDATE ledger.account SET status = 'open' WHERE account_no = %s", debtor
    )
    await _execute(
        servers,
        "UPDATE ledger.suspense_item SET state = 'parked', carrier = 'convoy', convoy = %s,"
        " settled_at = NULL, settled_on = NULL WHERE item_id = %s",
        again := new_id(),
        item.item_id,
    )
    repair = Redirection(item.item_id, item.attempt + 1, debtor, Outcome.ACCOUNT_CLOSED)
    assert await small_bank.shards[1].suspense.redirect([repair]) == 1
    handle = await start_convoy(small_bank.client, ConvoyOrder(1, str(again)), is_eager=True)
    assert (await handle.result()).delivered == 1
    assert (MoneyState.NEEDS_REPAIR, Outcome.ACCOUNT_CLOSED) == (
        record.money_state,
        record.return_code,
    )


@pytest.mark.usefixtures("convoys")
async def test_many_transfers_in_all_directions_arrive(small_bank: SmallBank) -> None:
    """Each account pays as much as it is paid, so in the end all are where they began."""
    accounts = [await small_bank.open_account(shard) for shard in (1, 2, 3, 1, 2, 3)]
    pairs = [
        (debtor, creditor)
        for debtor in accounts
        for creditor in accounts
        if small_bank.shard_of(debtor) is not small_bank.shard_of(creditor)
    ] * 10
    references = await asyncio.gather(*(small_bank.transfer(a, b, "1.00") for a, b in pairs))
    for (debtor, _), reference in zip(pairs, references, strict=True):
        assert (await small_bank.ended(debtor, reference)).money_state is MoneyState.DELIVERED
    assert [Decimal(FUNDS)] * 6 == [await small_bank.ledger_of(account) for account in accounts]


@pytest.mark.usefixtures("convoys")
async def test_a_convoy_that_arrives_costs_temporal_one_task(small_bank: SmallBank) -> None:
    """Local activities leave nothing but markers: no timer, no activity, no second task."""
    debtor, creditor = await small_bank.open_account(1), await small_bank.open_account(2)
    record = await small_bank.ended(debtor, await small_bank.transfer(debtor, creditor))
    handle = small_bank.client.get_workflow_handle(convoy_workflow_id(1, str(record.convoy)))
    await handle.result()
    kinds = [event.event_type async for event in handle.fetch_history_events()]
    expected = [
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
        EventType.EVENT_TYPE_MARKER_RECORDED,
        EventType.EVENT_TYPE_MARKER_RECORDED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
    ]
    assert expected == kinds


@pytest.mark.usefixtures("convoys")
async def test_a_convoy_starts_without_a_round_trip_to_the_server(small_bank: SmallBank) -> None:
    """The server grants eager starts to the process that hosts the worker."""
    order = ConvoyOrder(1, str(new_id()))
    handle = await start_convoy(small_bank.client, order, is_eager=True)
    assert vars(handle)["__temporal_eagerly_started"]


@pytest.mark.usefixtures("convoys")
async def test_starting_a_convoy_again_is_success(small_bank: SmallBank) -> None:
    """Whether it runs or has ended: another start finds the first, and its result."""
    order = ConvoyOrder(1, str(new_id()))
    first = await start_convoy(small_bank.client, order, is_eager=True)
    second = await start_convoy(small_bank.client, order, is_eager=True)
    assert await first.result() == await second.result()
    third = await start_convoy(small_bank.client, order, is_eager=False)
    assert await first.result() == await third.result()


async def test_items_that_boarded_before_temporal_answered_depart_with_it(
    small_bank: SmallBank,
) -> None:
    """Convoys that wait for Temporal leave when it is connected; no sweeper is needed."""
    convoys = Convoys(small_bank.shards, hosts_worker=True)
    debtor, creditor = await small_bank.open_account(1), await small_bank.open_account(2)
    small_bank.board(convoys)
    reference = await small_bank.transfer(debtor, creditor)
    async with build_worker(small_bank.client, small_bank.shards, small_bank.owners):
        convoys.connect(small_bank.client)
        assert (await small_bank.ended(debtor, reference)).money_state is MoneyState.DELIVERED
        await convoys.close()


async def test_a_convoy_makes_room_when_it_has_ended(
    small_bank: SmallBank, convoys: Convoys
) -> None:
    """Nothing stays in flight for ever."""
    debtor, creditor = await small_bank.open_account(1), await small_bank.open_account(2)
    await small_bank.ended(debtor, await small_bank.transfer(debtor, creditor))

    async def in_flight() -> int:
        return convoys.travelling

    assert await eventually(in_flight, lambda count: count == 0) == 0


async def test_a_convoy_that_is_not_full_keeps_its_distance(
    small_bank: SmallBank, terminus: Terminus
) -> None:
    """While one travels, the next one fills; once its time has come it leaves all the same."""
    bank, gate, now = small_bank, Gate(ControlPoint.DELIVER_BEFORE), 0.0
    convoys = Convoys(bank.shards, hosts_worker=True, terminus=terminus, clock=lambda: now)
    debtor, creditor = await bank.open_account(1), await bank.open_account(2)
    bank.board(convoys)

    async def travelling() -> int:
        return convoys.travelling

    async with build_worker(
        bank.client, bank.shards, bank.owners, control_points=gate, terminus=terminus
    ):
        convoys.connect(bank.client)
        first = await bank.transfer(debtor, creditor)
        await gate.arrived()
        second = await bank.transfer(debtor, creditor)
        convoys.connect(bank.client)
        assert (1, 0) == (convoys.travelling, convoys.waiting)
        now = 1.0
        assert 2 == await eventually(travelling, lambda count: count == 2)
        gate.open()
        for reference in (first, second):
            ended = await bank.ended(debtor, reference)
            assert ended.money_state is MoneyState.DELIVERED
        await convoys.close()


async def test_a_batch_that_hangs_holds_up_its_own_convoy_only(
    small_bank: SmallBank, convoys: Convoys
) -> None:
    """What boards after it leaves a moment later, although nothing else happens meanwhile."""
    bank = small_bank
    debtor, creditor = await bank.open_account(1), await bank.open_account(2)
    first, second = convoys.board(1), convoys.board(1)
    convoys.boarded(first, 1, None)
    reference = await bank.transfer(debtor, creditor)
    try:
        ended = await bank.ended(debtor, reference)
        assert (first, MoneyState.DELIVERED) == (second, ended.money_state)
        assert 1 == convoys.waiting
    finally:
        convoys.boarded(second, 0, None)


async def _execute(servers: Databases, statement: str, *parameters: object) -> None:
    async with await psycopg.AsyncConnection.connect(servers.shard_owner_dsns[1]) as connection:
        await connection.execute(statement.encode(), parameters)
