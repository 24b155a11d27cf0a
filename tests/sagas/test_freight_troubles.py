"""Freight whose shards do not answer, or answer with errors: nobody is paid twice, or forgotten."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import psycopg
import pytest

from sagas import freight as freight_module
from sagas.carriage import Carried
from sagas.control_points import ControlPoint
from shard.arrivals import Arrivals
from shard.cargo import Arrival, Cargo
from shard.commands import MoneyState
from shard.errors import LedgerError, OutcomeUnknown, Overloaded, ShardUnavailable
from tests.sagas.boarded import (
    LIMIT_S,
    PAID,
    SHORT_S,
    UNPAID,
    WAYS,
    Listener,
    board,
    board_many,
    carry,
    freight_of,
    nothing,
    paid,
    told,
    unreachable,
)
from tests.sagas.small_bank import SmallBank
from tests.support.bank import account_no
from tests.support.gates import Action, Strike
from tests.support.interleaving import holder


async def test_a_reply_lost_after_the_commit_is_found_at_once(small_bank: SmallBank) -> None:
    """The carriage sends the same attempts, finds them booked, and settles them: once."""
    boarded, creditors = await board_many(small_bank, 3)
    listener = Listener()
    strike = Strike(ControlPoint.DELIVER_AFTER_COMMIT, Action.LOSE, nothing)
    small_bank.shards[2].watched_by(strike)

    carried = await carry(boarded, freight_of(small_bank, observer=listener))

    await strike.struck()
    assert (3, 0, 0, 0) == told(carried)
    assert [(3, 0)] == listener.found
    assert [PAID] * 3 == await paid(small_bank, *creditors)
    assert [MoneyState.DELIVERED] * 3 == await boarded.states()
    assert (0, 0, 0, 0) == told(await carry(boarded))


async def test_a_destination_that_is_down_is_unreachable(
    small_bank: SmallBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was sent, so nobody needs to wonder."""
    monkeypatch.setattr(freight_module, "CHUNK_ITEMS", 2)
    boarded, creditors = await board_many(small_bank, 3)
    listener = Listener()
    async with unreachable(2) as dead:
        shards = {**small_bank.shards, 2: dead}
        carried = await carry(boarded, freight_of(small_bank, shards=shards, observer=listener))
    assert ((0, 0, 3, 0), True, True) == (
        told(carried), carried.is_unreachable, carried.is_stopped
    )  # fmt: skip
    assert (carried.failure or "").startswith("Shard 2: ")
    assert (0, []) == (listener.unanswered, listener.found)
    assert [UNPAID] * 3 == await paid(small_bank, *creditors)
    assert 3 == (await carry(boarded)).delivered


async def test_a_destination_that_nobody_knows_is_unreachable(small_bank: SmallBank) -> None:
    """A shard that is not among those of this process."""
    boarded, _ = await board_many(small_bank, 1)
    freight = freight_of(small_bank, shards={1: small_bank.shards[1]})
    carried = await carry(boarded, freight)
    assert ((0, 0, 1, 0), True) == (told(carried), carried.is_unreachable)
    assert 1 == (await carry(boarded)).delivered


async def test_a_destination_that_hangs_is_unreachable(small_bank: SmallBank) -> None:
    """What was sent may still be booked, and then it is found."""
    boarded, creditors = await board_many(small_bank, 2)
    listener = Listener()
    freight = freight_of(small_bank, observer=listener)
    async with holder(small_bank.owner_dsns[2]) as held:
        await held.lock_balance(creditors[0])
        carried = await carry(boarded, freight, limit_s=SHORT_S)
        # The delivery that was given up still waits there, and goes on once it may.
        assert 1 == len(await held.blocked())
        await held.commit()
        assert 2 == (await carry(boarded, freight)).delivered
    assert ((0, 0, 2, 0), True, True) == (
        told(carried), carried.is_unreachable, carried.is_stopped
    )  # fmt: skip
    assert carried.failure == "Shard 2: no answer in time"
    assert (2, [(2, 0)]) == (listener.unanswered, listener.found)
    assert [PAID] * 2 == await paid(small_bank, *creditors)


Deliver = Callable[[Arrivals, int, Cargo, Sequence[bytes]], Awaitable[list[Arrival]]]


def raising(error: Exception, *, after: Deliver | None = None) -> Deliver:
    """A delivery that fails, perhaps after all has been done."""

    async def deliver(
        arrivals: Arrivals, source: int, cargo: Cargo, hashes: Sequence[bytes]
    ) -> list[Arrival]:
        if after is not None:
            await after(arrivals, source, cargo, hashes)
        raise error

    return deliver


@pytest.mark.parametrize(
    ("error", "is_unreachable"), [(ShardUnavailable(), True), (Overloaded(), False)], ids=str
)
async def test_what_a_destination_cannot_do_now_waits(
    small_bank: SmallBank,
    monkeypatch: pytest.MonkeyPatch,
    error: LedgerError,
    is_unreachable: bool,
) -> None:
    """One that is busy is not one that is gone; neither is asked for the next chunk."""
    boarded, creditors = await board_many(small_bank, 3)
    asked: list[int] = []

    async def noting(
        _: Arrivals, source: int, cargo: Cargo, hashes: Sequence[bytes]
    ) -> list[Arrival]:
        asked.append(len(cargo))
        return []

    with monkeypatch.context() as patch:
        patch.setattr(freight_module, "CHUNK_ITEMS", 2)
        patch.setattr(Arrivals, "deliver", raising(error, after=noting))
        carried = await carry(boarded)
    assert ((0, 0, 3, 0), is_unreachable, True, [2]) == (
        told(carried), carried.is_unreachable, carried.is_stopped, asked
    )  # fmt: skip
    assert [UNPAID] * 3 == await paid(small_bank, *creditors)
    assert 3 == (await carry(boarded)).delivered


@pytest.mark.parametrize("is_booked", [True, False], ids=["booked", "lost"])
@pytest.mark.parametrize("error", [OutcomeUnknown(), LedgerError("poison")], ids=repr)
async def test_whatever_else_becomes_of_a_delivery_the_carriage_finds_out(
    small_bank: SmallBank, monkeypatch: pytest.MonkeyPatch, error: LedgerError, is_booked: bool
) -> None:
    """By objects, with the same references: everybody is paid once."""
    boarded, creditors = await board_many(small_bank, 3)
    with monkeypatch.context() as patch:
        after = Arrivals.deliver if is_booked else None
        patch.setattr(Arrivals, "deliver", raising(error, after=after))
        carried = await carry(boarded)
    assert Carried(delivered=3) == carried
    assert [PAID] * 3 == await paid(small_bank, *creditors)


async def test_the_carriage_gets_only_what_has_not_changed(
    small_bank: SmallBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is settled or in a later attempt by then is none of this delivery's."""
    boarded = await board(small_bank, account_no(2), await small_bank.open_account(2, "0"))
    manifest = await boarded.cargo()
    await carry(boarded)
    with monkeypatch.context() as patch:
        patch.setattr(Arrivals, "deliver", raising(OutcomeUnknown()))
        carried = await carry(boarded, manifest=manifest)
    assert ((0, 0, 2, 0), ()) == (told(carried), carried.elsewhere)
    assert [2, 1] == [item.attempt for item in await boarded.items()]
    assert (1, 0, 0, 0) == told(await carry(boarded))


_POISON = """
CREATE FUNCTION ledger.poison() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.{column} = {number} THEN
        RAISE EXCEPTION 'this was planted' USING ERRCODE = 'LG999';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER poison BEFORE {event} ON ledger.{table}
FOR EACH ROW EXECUTE FUNCTION ledger.poison()
"""


@asynccontextmanager
async def poisoned(
    dsn: str, event: str, table: str, *, column: str, number: int
) -> AsyncIterator[None]:
    """A shard that fails at rows with this number."""
    plant = _POISON.format(event=event, table=table, column=column, number=number)
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(plant.encode())
        try:
            yield
        finally:
            await connection.execute("DROP FUNCTION ledger.poison() CASCADE")


@pytest.mark.parametrize("way", WAYS)
async def test_a_poisonous_item_harms_only_itself(small_bank: SmallBank, way: str) -> None:
    """All others arrive; it waits until its poison is gone."""
    boarded, creditors = await board_many(small_bank, 4)
    dsn, bad = small_bank.owner_dsns[2], creditors[2]
    async with poisoned(dsn, "INSERT", "transfer", column="account_no", number=bad):
        carried = await WAYS[way](boarded)
    assert ((3, 0, 1, 0), False, False) == (
        told(carried), carried.is_unreachable, carried.is_stopped
    )  # fmt: skip
    assert "this was planted" in (carried.failure or "")
    assert [PAID, PAID, UNPAID, PAID] == await paid(small_bank, *creditors)
    assert (1, 0, 0, 0) == told(await WAYS[way](boarded))
    assert [PAID] * 4 == await paid(small_bank, *creditors)


@pytest.mark.parametrize("way", WAYS)
async def test_an_item_that_cannot_be_settled_harms_only_itself(
    small_bank: SmallBank, way: str
) -> None:
    """All others are settled; it is booked, and waits."""
    boarded, creditors = await board_many(small_bank, 4)
    dsn, bad = small_bank.owner_dsns[1], creditors[2]
    async with poisoned(dsn, "UPDATE", "suspense_item", column="target", number=bad):
        carried = await WAYS[way](boarded)
    assert ((3, 0, 1, 0), False, False) == (
        told(carried), carried.is_unreachable, carried.is_stopped
    )  # fmt: skip
    assert "this was planted" in (carried.failure or "")
    expected = [MoneyState.DELIVERED] * 4
    expected[2] = MoneyState.IN_TRANSIT
    assert expected == await boarded.states()
    assert [PAID] * 4 == await paid(small_bank, *creditors)
    assert (1, 0, 0, 0) == told(await WAYS[way](boarded))
    assert [PAID] * 4 == await paid(small_bank, *creditors)


async def test_a_settlement_whose_reply_is_lost_is_done_once(small_bank: SmallBank) -> None:
    """What it has closed is found closed: it counts as waiting until the next look."""
    boarded, creditors = await board_many(small_bank, 2)
    strike = Strike(ControlPoint.SETTLE_AFTER_COMMIT, Action.LOSE, nothing)
    small_bank.shards[1].watched_by(strike)
    carried = await carry(boarded)
    await strike.struck()
    assert ((0, 0, 2, 0), False) == (told(carried), carried.is_unreachable)
    assert [MoneyState.DELIVERED] * 2 == await boarded.states()
    assert Carried() == await carry(boarded)
    assert [PAID] * 2 == await paid(small_bank, *creditors)


async def test_a_source_that_is_down_leaves_its_items_waiting(small_bank: SmallBank) -> None:
    """They are booked, and it is not the destination that did not answer; then they are found."""
    boarded, creditors = await board_many(small_bank, 2)
    refused = await board(small_bank, account_no(2))
    cargo, stuck = await boarded.cargo(), await refused.cargo()
    async with unreachable(1) as dead:
        freight = freight_of(small_bank, shards={**small_bank.shards, 1: dead})
        carried = await freight.carry(1, 2, boarded.convoy, cargo, limit_s=LIMIT_S)
        left = await freight.carry(1, 2, refused.convoy, stuck, limit_s=LIMIT_S)
    for each, count in ((carried, 2), (left, 1)):
        assert ((0, 0, count, 0), False, True) == (
            told(each), each.is_unreachable, each.is_stopped
        )  # fmt: skip
        assert (each.failure or "").startswith("Shard 1: ")
    assert [PAID] * 2 == await paid(small_bank, *creditors)
    assert (2, 0, 0, 0) == told(await carry(boarded))
    assert (0, 1, 0, 0) == told(await carry(refused))
    assert [PAID] * 2 == await paid(small_bank, *creditors)
    await refused.end()


async def test_a_source_that_is_down_is_told_also_when_the_carriage_must_find_out(
    small_bank: SmallBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards that do not answer are reported, not raised."""
    boarded, creditors = await board_many(small_bank, 2)
    cargo = await boarded.cargo()
    deliver = raising(OutcomeUnknown(), after=Arrivals.deliver)
    async with unreachable(1) as dead:
        freight = freight_of(small_bank, shards={**small_bank.shards, 1: dead})
        try:
            with monkeypatch.context() as patch:
                patch.setattr(Arrivals, "deliver", deliver)
                carried = await freight.carry(1, 2, boarded.convoy, cargo, limit_s=LIMIT_S)
        finally:
            assert 2 == (await carry(boarded)).delivered
    assert ((0, 0, 2, 0), True) == (told(carried), carried.is_stopped)
    assert [PAID] * 2 == await paid(small_bank, *creditors)
