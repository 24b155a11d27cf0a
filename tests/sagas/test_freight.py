"""Freight carries a convoy's cargo in columns, with just the effect that the carriage has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest

from sagas import freight as freight_module
from sagas.carriage import Carriage, Carried
from sagas.control_points import ControlPoint
from sagas.deliveries import delivery_command, recall_command
from shard.accounts import AccountStatus
from shard.arrivals import Arrivals
from shard.cargo import Arrival, Cargo
from shard.commands import MoneyState
from shard.ids import new_id
from shard.outcomes import Outcome
from shard.suspense import Carrier
from tests.sagas.boarded import (
    LIMIT_S,
    PAID,
    UNPAID,
    WAYS,
    Boarded,
    Listener,
    abuse,
    board,
    board_many,
    carry,
    end_repair,
    freight_of,
    nothing,
    paid,
    told,
)
from tests.sagas.small_bank import FUNDS, SmallBank
from tests.support.bank import account_no
from tests.support.gates import Gate


async def test_everything_is_booked_and_settled(small_bank: SmallBank) -> None:
    """To several shards, in one go each."""
    creditors = [await small_bank.open_account(2 + n % 2, "0") for n in range(5)]
    boarded = await board(small_bank, *creditors)

    carried = await carry(boarded)

    assert Carried(delivered=5) == carried
    assert [MoneyState.DELIVERED] * 5 == await boarded.states()
    assert [PAID] * 5 == await paid(small_bank, *creditors)
    assert 0 == len(await boarded.cargo())


async def test_a_manifest_spares_the_reading(
    small_bank: SmallBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is known of a convoy is sorted by destination as it is."""
    creditors = [await small_bank.open_account(2 + n % 2, "0") for n in range(3)]
    boarded = await board(small_bank, *creditors)
    manifest = await boarded.cargo()
    with monkeypatch.context() as patch:
        patch.setattr(small_bank.shards[1].suspense, "cargo_of_convoy", nothing)
        groups = await freight_of(small_bank).by_destination(1, boarded.convoy, manifest)
    assert {2: 2, 3: 1} == {number: len(cargo) for number, cargo in groups.items()}
    assert {str(creditors[1])} == set(groups[3].targets)
    assert 3 == (await carry(boarded, manifest=manifest)).delivered


async def test_an_empty_convoy_goes_nowhere(small_bank: SmallBank) -> None:
    """Nothing is asked of any shard."""
    freight = freight_of(small_bank)
    assert {} == await freight.by_destination(1, new_id())
    assert {} == await freight.by_destination(1, new_id(), Cargo.of_rows([]))
    assert Carried() == await freight.carry(1, 2, new_id(), Cargo.of_rows([]), limit_s=LIMIT_S)


@pytest.mark.parametrize("way", WAYS)
async def test_each_item_ends_as_its_answer_says(small_bank: SmallBank, way: str) -> None:
    """Booked, refused, in need of a person, not yet to be decided: whichever way they are carried,
    also in the rounds that follow."""
    bank = small_bank
    creditors = [await bank.open_account(2, "0") for _ in range(6)]
    closed, frozen = creditors[1:3]
    await bank.set_status(closed, AccountStatus.CLOSED)
    await bank.set_status(frozen, AccountStatus.FROZEN)
    strange = account_no(3)
    bank.owners.assigned[strange] = 2
    boarded = await board(bank, *creditors, account_no(2), strange)
    items = await boarded.items()
    await abuse(bank, items[3])
    tombstone = recall_command(items[4], details={})
    await bank.shards[2].lanes.post(tombstone)

    carried = await WAYS[way](boarded)

    assert (2, 4, 1, 1) == told(carried)
    assert [items[3].item_id] == [item.item_id for item in carried.stuck]
    assert [items[7].item_id] == [item.item_id for item in carried.elsewhere]
    assert (False, False) == (carried.is_unreachable, carried.is_stopped)
    assert carried.failure == "NOT_OWNER"
    assert strange in bank.owners.learnt
    expected = [
        MoneyState.DELIVERED, MoneyState.IN_TRANSIT, MoneyState.IN_TRANSIT,
        MoneyState.NEEDS_REPAIR, MoneyState.IN_TRANSIT, MoneyState.DELIVERED,
        MoneyState.IN_TRANSIT, MoneyState.IN_TRANSIT,
    ]  # fmt: skip
    assert expected == await boarded.states()
    assert [PAID, *[UNPAID] * 4, PAID] == await paid(bank, *creditors)
    refusals = [item.last_refusal for item in await boarded.items()]
    assert [
        None, Outcome.ACCOUNT_CLOSED, Outcome.ACCOUNT_FROZEN, Outcome.REFERENCE_REUSED,
        Outcome.RECALLED, None, Outcome.ACCOUNT_UNKNOWN, None,
    ] == refusals  # fmt: skip

    del bank.owners.assigned[strange]
    bank.owners.learnt.clear()
    await end_repair(bank, items[3])
    again = await WAYS[way](boarded)
    assert (5, 1, 0, 0) == told(again)
    assert (1, 0, 0, 0) == told(await WAYS[way](boarded))
    left = [item.debtor for n, item in enumerate(items) if n not in {0, 5}]
    assert {Decimal(FUNDS)} == {await bank.ledger_of(debtor) for debtor in left}
    records = [await bank.transfer_record(item.debtor, item.reference) for item in items]
    assert [None, *refusals[1:3], Outcome.ACCOUNT_CLOSED, *refusals[4:7]] == [
        record.return_code for record in records[:7]
    ]


@pytest.mark.parametrize("way", WAYS)
async def test_what_comes_back_to_a_frozen_debtor_is_booked(
    small_bank: SmallBank, way: str
) -> None:
    """It was never anybody else's."""
    boarded = await board(small_bank, account_no(2))
    (debtor,) = (command.home for command in boarded.commands)
    await small_bank.set_status(debtor, AccountStatus.FROZEN)
    assert (0, 1, 0, 0) == told(await WAYS[way](boarded))
    assert (1, 0, 0, 0) == told(await WAYS[way](boarded))
    assert [MoneyState.RETURNED] == await boarded.states()
    assert Decimal(FUNDS) == await small_bank.ledger_of(debtor)


@pytest.mark.parametrize(
    "point",
    [
        ControlPoint.DELIVER_BEFORE,
        ControlPoint.DELIVER_AFTER_REPLY,
        ControlPoint.SETTLE_BEFORE,
        ControlPoint.SETTLE_AFTER_REPLY,
    ],
    ids=str,
)
async def test_two_of_the_same_convoy_pay_once(small_bank: SmallBank, point: ControlPoint) -> None:
    """One is held up anywhere while the other carries it to its end."""
    boarded, creditors = await board_many(small_bank, 2)
    gate = Gate(point)
    late = asyncio.create_task(carry(boarded, freight_of(small_bank, points=gate)))
    await gate.arrived()
    is_done = point is ControlPoint.SETTLE_AFTER_REPLY
    assert (0 if is_done else 2) == (await carry(boarded)).delivered
    gate.open()
    assert ((2, 0, 0, 0) if is_done else (0, 0, 2, 0)) == told(await late)
    assert [PAID] * 2 == await paid(small_bank, *creditors)
    assert [MoneyState.DELIVERED] * 2 == await boarded.states()


@asynccontextmanager
async def held_up(boarded: Boarded, point: ControlPoint) -> AsyncIterator[asyncio.Task[Carried]]:
    """A freight that waits at a point while the body of this runs; then it goes on."""
    gate = Gate(point)
    freight = freight_of(boarded.bank, points=gate)
    late = asyncio.create_task(carry(boarded, freight, destination=2))
    await gate.arrived()
    try:
        yield late
    finally:
        gate.open()
        await asyncio.gather(late, return_exceptions=True)


BEFORE_AND_AFTER = pytest.mark.parametrize(
    "point", [ControlPoint.DELIVER_BEFORE, ControlPoint.DELIVER_AFTER_REPLY], ids=str
)


@BEFORE_AND_AFTER
async def test_what_has_turned_round_is_not_turned_again(
    small_bank: SmallBank, point: ControlPoint
) -> None:
    """The refusal of the first attempt says nothing of the second one, which is on its way."""
    other = await small_bank.open_account(2, "0")
    boarded = await board(small_bank, account_no(2), other)
    async with held_up(boarded, point) as late:
        assert (1, 1, 0, 0) == told(await carry(boarded))
    assert (0, 0, 2, 0) == told(await late)
    assert [2, 1] == [item.attempt for item in await boarded.items()]
    assert (1, 0, 0, 0) == told(await carry(boarded))
    assert [MoneyState.RETURNED, MoneyState.DELIVERED] == await boarded.states()
    assert [PAID] == await paid(small_bank, other)
    assert Decimal(FUNDS) == await small_bank.ledger_of(boarded.commands[0].home)


@BEFORE_AND_AFTER
async def test_what_has_come_back_meanwhile_stays_there(
    small_bank: SmallBank, point: ControlPoint
) -> None:
    """A debtor who has his money again is not given it twice."""
    boarded = await board(small_bank, account_no(2))
    async with held_up(boarded, point) as late:
        await carry(boarded)
        assert (1, 0, 0, 0) == told(await carry(boarded))
    assert (0, 0, 1, 0) == told(await late)
    assert [MoneyState.RETURNED] == await boarded.states()
    assert Decimal(FUNDS) == await small_bank.ledger_of(boarded.commands[0].home)


@BEFORE_AND_AFTER
async def test_what_a_person_has_taken_in_hand_is_left_to_him(
    small_bank: SmallBank, point: ControlPoint
) -> None:
    """A refusal does not move it on; what was booked is settled, whoever holds it."""
    sound = await small_bank.open_account(2, "0")
    boarded = await board(small_bank, account_no(2), sound)
    item_ids = [command.parked[0].item_id for command in boarded.commands]
    async with held_up(boarded, point) as late:
        suspense = small_bank.shards[1].suspense
        assert 2 == await suspense.hand_over(item_ids, Carrier.REPAIR)
    assert (1, 0, 1, 0) == told(await late)
    refused, _ = await boarded.items()
    assert (1, Carrier.REPAIR) == (refused.attempt, refused.carrier)
    assert [MoneyState.IN_TRANSIT, MoneyState.DELIVERED] == await boarded.states()
    assert [PAID] == await paid(small_bank, sound)
    await boarded.end()


async def test_what_was_recalled_for_a_repair_is_not_sent_back(small_bank: SmallBank) -> None:
    """The tombstone arrives first; where the amount goes is for a person to say."""
    creditor = await small_bank.open_account(2, "0")
    boarded = await board(small_bank, creditor)
    (item,) = await boarded.items()
    async with held_up(boarded, ControlPoint.DELIVER_BEFORE) as late:
        await small_bank.shards[1].suspense.hand_over([item.item_id], Carrier.REPAIR)
        tombstone = recall_command(item, details={})
        recalled = await small_bank.shards[2].lanes.post(tombstone)
        assert Outcome.RECALLED is recalled.outcome
    assert (0, 0, 1, 0) == told(await late)
    (after,) = await boarded.items()
    assert (1, Carrier.REPAIR, None) == (after.attempt, after.carrier, after.last_refusal)
    assert [UNPAID] == await paid(small_bank, creditor)
    await end_repair(small_bank, after)
    await boarded.end()


async def test_a_stale_manifest_changes_nothing(small_bank: SmallBank) -> None:
    """All it names is settled, in a later attempt, or with a route; nothing of it happens again."""
    bank = small_bank
    creditors = [await bank.open_account(2, "0") for _ in range(2)]
    boarded = await board(bank, *creditors, account_no(2))
    manifest = await boarded.cargo()
    items = await boarded.items()
    await Carriage(bank.shards, bank.owners).carry(1, 2, [items[0], items[2]], limit_s=LIMIT_S)
    assert 1 == await bank.shards[1].suspense.hand_over([items[1].item_id], Carrier.ROUTE, 2)

    carried = await carry(boarded, manifest=manifest)

    # What a route holds may be delivered by anybody: there is but one delivery of it.
    assert (1, 0, 2, 0) == told(carried)
    assert [PAID] * 2 == await paid(bank, *creditors)
    assert [1, 1, 2] == [item.attempt for item in await boarded.items()]
    assert (0, 0, 3, 0) == told(await carry(boarded, manifest=manifest))
    await boarded.end()
    assert [PAID] * 2 == await paid(bank, *creditors)


async def test_a_large_cargo_goes_in_chunks(
    small_bank: SmallBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is delivered and settled by itself, whatever became of the one before."""
    monkeypatch.setattr(freight_module, "CHUNK_ITEMS", 2)
    sizes = []
    deliver = Arrivals.deliver

    async def counting(
        arrivals: Arrivals, source: int, cargo: Cargo, hashes: Sequence[bytes]
    ) -> list[Arrival]:
        sizes.append((len(cargo), len(hashes)))
        return await deliver(arrivals, source, cargo, hashes)

    monkeypatch.setattr(Arrivals, "deliver", counting)
    sound = [await small_bank.open_account(2, "0") for _ in range(4)]
    boarded = await board(small_bank, *sound[:3], account_no(2), sound[3])
    assert (4, 1, 0, 0) == told(await carry(boarded))
    assert [(2, 2), (2, 2), (1, 1)] == sizes
    assert [PAID] * 4 == await paid(small_bank, *sound)
    await boarded.end()


async def test_the_window_of_each_item_is_told_once(small_bank: SmallBank) -> None:
    """Those that were parked at once are told at once, and nothing of those that were refused."""
    boarded, _ = await board_many(small_bank, 3)
    other = await board(small_bank, await small_bank.open_account(2, "0"), account_no(2))
    listener = Listener()
    freight = freight_of(small_bank, observer=listener)

    for each in (boarded, other):
        await carry(each, freight)

    items = [*await boarded.items(), (await other.items())[0]]
    assert 4 == sum(count for _, count in listener.windows)
    assert len({item.parked_at for item in items}) == len(listener.windows)
    assert all(0 <= seconds < LIMIT_S for seconds, _ in listener.windows)
    assert 0 == listener.repairs
    await other.end()


async def test_the_figures_are_those_of_the_carriage(small_bank: SmallBank) -> None:
    """What is replayed is told as found, and an item for a person is counted once."""
    boarded, _ = await board_many(small_bank, 3)
    items = await boarded.items()
    await abuse(small_bank, items[1])
    await small_bank.shards[2].lanes.post(delivery_command(items[2], source=1, destination=2))
    listener = Listener()
    freight = freight_of(small_bank, observer=listener)
    assert (2, 0, 0, 1) == told(await carry(boarded, freight))
    assert (0, 0, 0, 0) == told(await carry(boarded, freight))
    assert (0, 1) == (listener.unanswered, listener.repairs)
    # The attempt that was there before, and the reference that somebody else has used.
    assert (2, 0) == tuple(map(sum, zip(*listener.found, strict=True)))
    await end_repair(small_bank, items[1])
    await boarded.end()
