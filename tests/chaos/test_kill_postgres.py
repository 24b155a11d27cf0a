"""PostgreSQL is stopped at once under load: what was answered is there, the rest whole or not."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from deploy.embedded.postgres import PostgresServer
from router.wiring import Bank
from shard import lane as lane_module
from shard.commands import Answer, Command, Kind, MoneyState
from shard.errors import OutcomeUnknown
from shard.outcomes import MEANINGS, Outcome
from tests.support.bank import at_rest, open_account
from tests.support.databases import Databases
from tests.support.movement_load import MovementLoad, cents, held_amounts, ledger_moves

_FUNDS_CENTS = 200_00
_ACCOUNTS_PER_SHARD = 4
_ROUNDS, _ROUNDS_FULL = 2, 8
_ANSWERS_BETWEEN = 150
# As many as there are clients: each has seen the stop.
_LOST_EACH = 16


@pytest.fixture
def first(servers: Databases) -> PostgresServer:
    """The server of shard 1."""
    if not servers.servers:
        pytest.skip("this run's servers are not ours to stop")
    return servers.servers[1]


async def test_an_immediate_stop_loses_and_doubles_nothing(
    bank: Bank,
    first: PostgresServer,
    rng: random.Random,
    is_full: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every answer stays true; what had none is all there or not at all, and asked again it has
    one answer. Balances and holds are those that follow from the answers."""
    # The lanes would ask again for their clients; here the clients find out by themselves.
    monkeypatch.setattr(lane_module, "POST_RETRY_BUDGET_S", 0.0)
    load = MovementLoad(bank.shards, await _open_accounts(bank), rng)
    running = asyncio.create_task(load.run())
    for _ in range(_ROUNDS_FULL if is_full else _ROUNDS):
        await load.until(rng.randrange(50, _ANSWERS_BETWEEN))
        lost = len(load.unanswered)
        await first.stop("immediate")
        await load.until_lost(lost + _LOST_EACH)
        await first.start()
    await load.until(_ANSWERS_BETWEEN)
    load.is_over = True
    await running
    unanswered = [command for command, _ in load.unanswered]

    assert [] == await bank.shards[1].invariants.check()
    before = [await load.stored(command) for command in unanswered]
    repeated = await load.repeat([command for command, _ in load.answered])
    once = await load.repeat(unanswered)
    twice = await load.repeat(unanswered)
    await at_rest(bank)

    assert [_core(answer) for _, answer in load.answered] == [_core(each) for each in repeated]
    assert {True} == {answer.is_replay for answer in repeated}
    assert [_core(answer) for answer in once] == [_core(answer) for answer in twice]
    # What the stop left under a reference is its answer; what it did not leave is decided now.
    for (_, error), stored, answer in zip(load.unanswered, before, once, strict=True):
        assert (stored is not None) is answer.is_replay
        assert stored in {None, answer.outcome}
        assert stored is None or isinstance(error, OutcomeUnknown)
    commands = [command for command, _ in load.answered] + unanswered
    await _assert_books_follow(bank, load, commands, [*repeated, *once])


async def _open_accounts(bank: Bank) -> list[int]:
    return [
        await open_account(bank.shards[number], str(_FUNDS_CENTS // 100))
        for number in (1, 1, 2)
        for _ in range(_ACCOUNTS_PER_SHARD)
    ]


def _core(answer: Answer) -> tuple[object, ...]:
    return (answer.outcome, answer.transfer_id, answer.posted_at, answer.business_date)


async def _assert_books_follow(
    bank: Bank, load: MovementLoad, commands: Sequence[Command], answers: Sequence[Answer]
) -> None:
    """Each account has what was booked for it, and holds back what was left held."""
    booked = [
        command
        for command, answer in zip(commands, answers, strict=True)
        if answer.outcome is Outcome.POSTED
    ]
    assert {Kind.ORDINARY, Kind.HOLD, Kind.CAPTURE, Kind.VOID} <= {c.kind for c in booked}
    moves, held = ledger_moves(booked), held_amounts(booked)
    for account in load.accounts:
        balance = await bank.shards[account // 10**9].balances.get(account)
        expected = (_FUNDS_CENTS + moves[account], held[account])
        assert expected == (cents(balance.ledger), cents(balance.held)), account
    states = {answer.money_state for answer in answers}
    assert {MoneyState.NONE, MoneyState.POSTED} <= states
    refused = {a.outcome for a in answers} - {Outcome.POSTED}
    assert all(MEANINGS[outcome].is_stored_for_clients for outcome in refused)
