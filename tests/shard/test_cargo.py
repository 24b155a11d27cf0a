"""Cargo: what a lane tells of the amounts it has parked is what their shard would read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from datetime import date
from decimal import Decimal
from uuid import UUID

import pytest
from psycopg.rows import TupleRow

from sagas.control_points import ControlPoint
from shard import lane as lane_module
from shard.cargo import Cargo, rows_parked
from shard.commands import Answer, Command, Kind, Leg, MoneyState, Origin, ParkedAmount
from shard.errors import Malformed, OutcomeUnknown
from shard.ids import new_id
from shard.outcomes import Outcome
from shard.suspense import Carrier, Redirection
from tests.shard.own_server import OwnShard
from tests.shard.parked import NOON
from tests.support.bank import account_no, again, open_account, transfer
from tests.support.gates import Action, Strike
from tests.support.interleaving import holder

Shape = Callable[[Command], Command]
FUNDS = "100000"
TEXTS = (
    "",
    " ",
    'He said "so"',
    "back\\slash and \\N",
    "a, b",
    "{a,b}",
    "NULL",
    "null",
    "it's\ttwo\nlines",
    "Zoë: 東京 🏦",
)


class Platform:
    """A ``Boarding`` that notes what it is told."""

    keeps_cargo = True

    def __init__(self) -> None:
        self.convoy = new_id()
        self.told: list[tuple[UUID, int, Sequence[TupleRow] | None]] = []
        self.is_told = asyncio.Event()

    def board(self) -> UUID:
        return self.convoy

    def boarded(self, convoy: UUID, items: int, parked: Sequence[TupleRow] | None) -> None:
        self.told.append((convoy, items, parked))
        self.is_told.set()

    @property
    def rows(self) -> Sequence[TupleRow] | None:
        """What its one batch has parked."""
        ((convoy, _, rows),) = self.told
        assert convoy == self.convoy
        return rows


@pytest.fixture
def platform(own: OwnShard) -> Platform:
    """Where everything on the own shard boards from now on."""
    own.shard.lanes.boarding = platform = Platform()
    return platform


def parked_for(*amounts: str) -> Shape:
    """Several amounts for accounts on two other shards."""

    def shape(command: Command) -> Command:
        values = [Decimal(amount) for amount in amounts]
        parked = [ParkedAmount(new_id(), account_no(2 + n % 2), v) for n, v in enumerate(values)]
        total = sum(values, Decimal(0))
        legs = (Leg(command.home, -total),)
        return replace(command, amount=total, legs=legs, parked=tuple(parked))

    return shape


def for_its_debtor(command: Command) -> Command:
    """An amount that is on its way back from the beginning."""
    return replace(command, parked=(ParkedAmount(new_id(), command.home, command.amount),))


def saying(text: str) -> Shape:
    """With that narrative."""
    return lambda command: replace(command, narrative=text)


SHAPES: dict[str, tuple[str, Shape]] = {
    "ordinary": ("EUR", lambda c: c),
    "forced": ("EUR", lambda c: replace(c, kind=Kind.FORCED)),
    "a reversal": ("EUR", lambda c: replace(c, origin=Origin.REVERSAL)),
    "a forced reversal": ("EUR", lambda c: replace(c, kind=Kind.FORCED, origin=Origin.REVERSAL)),
    "a payroll": ("EUR", lambda c: replace(c, origin=Origin.PAYROLL)),
    "several items": ("EUR", parked_for("1", "2.50", "0.01", "17.00")),
    "for its debtor": ("EUR", for_its_debtor),
    "forced for its debtor": ("EUR", lambda c: replace(for_its_debtor(c), kind=Kind.FORCED)),
    "no decimals": ("JPY", parked_for("1", "1E+3", "70")),
    "three decimals": ("KWD", parked_for("1", "0.001", "2.50")),
    "four decimals": ("CLF", parked_for("1", "0.0001")),
    "a value date": ("EUR", lambda c: replace(c, value_date=date(2026, 11, 27))),
    "a trace": ("EUR", lambda c: replace(c, details={"trace_id": "4bf92f3577b34da6a3ce929d0e0e"})),
    "no trace": ("EUR", lambda c: replace(c, details={"channel": "web", "purpose": "SALA"})),
    **{f"narrative {text!r}": ("EUR", saying(text)) for text in TEXTS},
}


def columns(cargo: Cargo, *, but: str = "parked_at") -> dict[str, tuple[object, ...]]:
    """The columns by name, without one."""
    return {f.name: tuple(getattr(cargo, f.name)) for f in fields(Cargo) if f.name != but}


async def assert_told_is_read(own: OwnShard, platform: Platform) -> Cargo:
    """Compare what was told with what stands in suspense, and close it; what was told."""
    assert platform.rows is not None
    told = Cargo.of_rows(sorted(platform.rows))
    read = await own.shard.suspense.cargo_of_convoy(platform.convoy)
    assert columns(read) == columns(told)
    assert len(read) == await own.shard.suspense.settle_cargo(read, 2, NOON)
    return told


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
async def test_what_is_told_is_what_would_be_read(
    own: OwnShard, platform: Platform, shape: tuple[str, Shape]
) -> None:
    """Field by field and to the letter, whatever was parked."""
    currency, shaped = shape
    debtor = await open_account(own.shard, FUNDS, currency=currency)
    command = shaped(transfer(debtor, account_no(2), "20", currency=currency))

    answer = await own.shard.lanes.post(command)

    assert Outcome.POSTED is answer.outcome
    told = await assert_told_is_read(own, platform)
    assert len(command.parked) == len(told)
    assert answer.posted_at is not None
    assert {answer.posted_at.timestamp()} == set(told.parked_at)


async def test_of_a_batch_what_was_parked_just_now_is_told(
    own: OwnShard, platform: Platform
) -> None:
    """Not what stays here, nor what was refused."""
    rich, poor = await open_account(own.shard, FUNDS), await open_account(own.shard)
    parked = [transfer(rich, account_no(2), "1", narrative=text) for text in TEXTS]
    refused, local = transfer(poor, account_no(2), "1"), transfer(rich, poor, "1")

    answers = await own.shard.lanes.post_many(
        [refused, *parked, local, transfer(rich, account_no(3), "5")]
    )

    assert [Outcome.INSUFFICIENT_FUNDS] == [
        answer.outcome for answer in answers if answer.outcome is not Outcome.POSTED
    ]
    assert len(parked) + 1 == len(await assert_told_is_read(own, platform))


async def test_what_was_parked_before_is_not_told_again(own: OwnShard, platform: Platform) -> None:
    """A lane cannot know of a repetition which convoy its items have boarded."""
    debtor = await open_account(own.shard, FUNDS)
    command = transfer(debtor, account_no(2), "1")
    await own.shard.lanes.post(command)
    await assert_told_is_read(own, platform)
    platform.told.clear()

    assert (await own.shard.lanes.post(again(command))).is_replay

    assert platform.rows is None


async def test_parking_nothing_is_told_to_nobody(own: OwnShard, platform: Platform) -> None:
    """A batch without amounts for other shards boards nothing."""
    debtor, creditor = await open_account(own.shard, FUNDS), await open_account(own.shard)
    await own.shard.lanes.post(transfer(debtor, creditor, "1"))
    assert [] == platform.told


@pytest.mark.parametrize("is_parked", [True, False], ids=["parked", "local"])
async def test_a_command_that_failed_leaves_open_what_was_parked(
    own: OwnShard, platform: Platform, is_parked: bool
) -> None:
    """Unless it would have parked nothing anyway."""
    debtor, creditor = await open_account(own.shard, FUNDS), await open_account(own.shard)
    sound = transfer(debtor, account_no(2), "1")
    bad = transfer(debtor, account_no(2) if is_parked else creditor, "1", narrative="\0")

    posting = [own.shard.lanes.post_many([each]) for each in (sound, bad)]
    booked, failed = await asyncio.gather(*posting, return_exceptions=True)

    assert isinstance(booked, list)
    assert isinstance(failed, Malformed)
    assert 1 == len(platform.told)
    if is_parked:
        assert platform.rows is None
    else:
        assert 1 == len(await assert_told_is_read(own, platform))


async def _nothing() -> None:
    """No second process takes part."""


async def test_nothing_is_told_of_a_batch_whose_outcome_is_unknown(
    own: OwnShard, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its items may stand in the convoy, and must be read there."""
    monkeypatch.setattr(lane_module, "POST_RETRY_BUDGET_S", 0.0)
    debtor = await open_account(own.shard, FUNDS)
    own.shard.watched_by(Strike(ControlPoint.DEBIT_AFTER_COMMIT, Action.LOSE, _nothing))

    with pytest.raises(OutcomeUnknown):
        await own.shard.lanes.post(transfer(debtor, account_no(2), "1"))

    assert [(platform.convoy, 1, None)] == platform.told
    assert 1 == len(await own.shard.suspense.cargo_of_convoy(platform.convoy))


async def test_what_is_found_booked_after_a_lost_reply_is_not_left_out(
    own: OwnShard, platform: Platform
) -> None:
    """The lane asks again and finds its own booking, whose items stand in the convoy."""
    debtor = await open_account(own.shard, FUNDS)
    own.shard.watched_by(Strike(ControlPoint.DEBIT_AFTER_COMMIT, Action.LOSE, _nothing))

    answer = await own.shard.lanes.post(transfer(debtor, account_no(2), "1"))

    assert (Outcome.POSTED, False) == (answer.outcome, answer.is_replay)
    read = await own.shard.suspense.cargo_of_convoy(platform.convoy)
    assert 1 == len(read)
    assert platform.rows is None


async def test_nothing_is_told_of_a_batch_that_somebody_does_not_wait_for(
    own: OwnShard, platform: Platform
) -> None:
    """Whoever gave up has no answer from which it could be told."""
    debtor = await open_account(own.shard, FUNDS)
    async with holder(own.database.owner_dsn) as held:
        await held.lock_balance(debtor)
        posting = held.start(own.shard.lanes.post(transfer(debtor, account_no(2), "1")))
        await held.until_blocks(posting)
        posting.cancel()
        await asyncio.gather(posting, return_exceptions=True)
        await held.commit()
        async with asyncio.timeout(20.0):
            await platform.is_told.wait()
    assert [(platform.convoy, 1, None)] == platform.told


async def test_an_answer_without_a_time_tells_of_no_cargo() -> None:
    """What was booked has a business date and a time; all else is a fault."""
    command = transfer(account_no(1), account_no(2), "1")
    answer = Answer(Outcome.POSTED, False, None, MoneyState.IN_TRANSIT, None, None, None)
    with pytest.raises(ValueError, match="booked at some time"):
        rows_parked(command, answer)


async def test_only_what_is_the_convoys_own_is_read(own: OwnShard, platform: Platform) -> None:
    """Not what is handed over, nor what is closed; an item that turned round is a return."""
    debtor = await open_account(own.shard, FUNDS)
    commands = [transfer(debtor, account_no(2), "1") for _ in range(4)]
    await own.shard.lanes.post_many(commands)
    back, routed, settled, stays = [command.parked[0] for command in commands]
    suspense = own.shard.suspense
    await suspense.redirect([Redirection(back.item_id, 1, debtor, Outcome.ACCOUNT_CLOSED)])
    await suspense.hand_over([routed.item_id], Carrier.ROUTE, 2)
    cargo = await suspense.cargo_of_convoy(platform.convoy)
    place = cargo.item_ids.index(str(settled.item_id))
    await suspense.settle_cargo(cargo.chunk(place, place + 1), 2, NOON)

    read = await suspense.cargo_of_convoy(platform.convoy)

    expected = sorted([
        (str(back.item_id), "2", str(debtor), "return"),
        (str(stays.item_id), "1", str(stays.target), "ordinary"),
    ])  # fmt: skip
    assert expected == [*zip(read.item_ids, read.attempts, read.targets, read.kinds, strict=True)]
    items = await suspense.of_convoy(platform.convoy)
    assert [item.delivery_reference for item in items] == read.delivery_references
    assert [item.parked_at.timestamp() for item in items] == list(read.parked_at)


async def test_a_stale_cargo_settles_nothing(own: OwnShard, platform: Platform) -> None:
    """Neither what is closed nor what is in a later attempt."""
    debtor = await open_account(own.shard, FUNDS)
    commands = [transfer(debtor, account_no(2), "1") for _ in range(3)]
    await own.shard.lanes.post_many(commands)
    suspense = own.shard.suspense
    stale = await suspense.cargo_of_convoy(platform.convoy)
    back = commands[1].parked[0]
    await suspense.redirect([Redirection(back.item_id, 1, debtor, Outcome.ACCOUNT_CLOSED)])
    await suspense.settle_cargo(stale.chunk(0, 1), 2, NOON)
    assert 1 == await suspense.settle_cargo(stale, 2, NOON)

    left = await suspense.cargo_of_convoy(platform.convoy)

    assert ([str(back.item_id)], ["2"]) == (list(left.item_ids), list(left.attempts))
    assert 1 == await suspense.settle_cargo(left, 1, NOON)


def numbered(count: int) -> Cargo:
    """A cargo in which every place says which one it is."""
    width = len(fields(Cargo))
    return Cargo.of_rows(
        [tuple(f"{row}.{column}" for column in range(width)) for row in range(count)]
    )


@pytest.mark.parametrize(
    "places", [[0], [3], [1, 2], [3, 0, 2], [0, 1, 2, 3], [3, 2, 1, 0], [2, 2]], ids=str
)
def test_a_part_has_the_places_asked_for_in_that_order(places: list[int]) -> None:
    """In every column alike."""
    part = numbered(4).part(places)
    width = len(fields(Cargo))
    rows = [*zip(*columns(part, but="").values(), strict=True)]
    assert [tuple(f"{place}.{column}" for column in range(width)) for place in places] == rows
    assert len(places) == len(part)


@pytest.mark.parametrize(("start", "end"), [(0, 2), (2, 4), (2, 9), (0, 4), (0, 9), (4, 8)])
def test_a_chunk_ends_with_the_cargo(start: int, end: int) -> None:
    """From one place to the one before another, or to the last one."""
    places = list(range(4))[start:end]
    assert [f"{place}.0" for place in places] == list(numbered(4).chunk(start, end).item_ids)
    assert len(places) == len(numbered(4).chunk(start, end))


def test_no_rows_are_an_empty_cargo() -> None:
    """All of its columns are there, and nothing in them."""
    empty = Cargo.of_rows([])
    assert (0, [], 0) == (len(empty), empty.delivery_references, len(empty.chunk(0, 500)))
    assert {()} == set(columns(empty, but="").values())
    assert not empty
