"""Posting a chunk of payroll lines until every line has an answer that stays."""

from __future__ import annotations

from collections.abc import Sequence

from router.errors import SuspenseFull
from router.limits import (
    MOVING_PAUSE_FIRST_S,
    MOVING_PAUSE_MAX_S,
    PAYROLL_PATIENCE_S,
    PAYROLL_ROOM_WAIT_S,
)
from router.patience import Patience
from router.payroll_lines import Payment, command_of
from router.routing import Routes
from router.submission import out_of_patience
from router.suspense_gauge import SuspenseGauge
from shard.commands import Answer, Command
from shard.errors import LedgerError
from shard.outcomes import MEANINGS, Outcome


async def post_payments(
    routes: Routes, suspense: SuspenseGauge, employer: int, payments: Sequence[Payment]
) -> list[Answer]:
    """Post lines on the employer's shard, wherever it moves meanwhile; the order is not kept.

    A shard that fails is asked again for ``PAYROLL_PATIENCE_S``: the references make it safe.
    Then its own error is raised, or ``RangeMoving``, ``RoutesUnknown``. Lines that find too much
    money between shards wait for room; ``SuspenseFull`` is raised when none of them has found
    any for ``PAYROLL_ROOM_WAIT_S``.
    """
    patience, patience_for_room = _patience(PAYROLL_PATIENCE_S), _patience(PAYROLL_ROOM_WAIT_S)
    final: list[Answer] = []
    left = list(payments)
    while left:
        try:
            answers = await _post_once(routes, suspense, employer, left)
        except SuspenseFull:
            if not await patience_for_room.pause():
                raise
            patience = _patience(PAYROLL_PATIENCE_S)
            continue
        except LedgerError as error:
            if not error.retryable or not await patience.pause():
                raise
            continue
        patience_for_room = _patience(PAYROLL_ROOM_WAIT_S)
        posted, held_back = left[: len(answers)], left[len(answers) :]
        open_ended = [
            (payment, answer)
            for payment, answer in zip(posted, answers, strict=True)
            if MEANINGS[answer.outcome].is_retryable
        ]
        final += [each for each in answers if not MEANINGS[each.outcome].is_retryable]
        left = [payment for payment, _ in open_ended] + held_back
        if open_ended and not await _learn(routes, open_ended) and not await patience.pause():
            raise out_of_patience(open_ended[0][1].outcome)
    return final


def _patience(budget_s: float) -> Patience:
    return Patience(budget_s, first_s=MOVING_PAUSE_FIRST_S, longest_s=MOVING_PAUSE_MAX_S)


async def _post_once(
    routes: Routes, suspense: SuspenseGauge, employer: int, payments: Sequence[Payment]
) -> list[Answer]:
    """The answers to the first lines, as many as there is room for; raises ``SuspenseFull``."""
    source = await routes.owner_of(employer)
    commands = [
        command_of(payment, is_local=await routes.owner_of(payment.payee) == source)
        for payment in payments
    ]
    count, parking = _with_room(suspense, source, commands)
    try:
        return await routes.shards[source].lanes.post_many(commands[:count])
    finally:
        suspense.end(source, parking)


def _with_room(suspense: SuspenseGauge, shard: int, commands: Sequence[Command]) -> tuple[int, int]:
    """How many commands, from the first one on, may be posted, and what they park."""
    parking = 0
    for count, command in enumerate(commands):
        amounts = len(command.parked)
        if amounts and not suspense.begin(shard, amounts):
            if not count:
                raise SuspenseFull
            return count, parking
        parking += amounts
    return len(commands), parking


async def _learn(routes: Routes, open_ended: Sequence[tuple[Payment, Answer]]) -> bool:
    """Take note of owners that the answers name; tell whether that changed the map."""
    before = routes.range_map
    for payment, answer in open_ended:
        if answer.outcome is Outcome.NOT_OWNER and routes.range_map is before:
            foreign = answer.foreign_account or payment.employer
            await routes.learn(foreign, answer.next_owner, answer.epoch)
    return routes.range_map is not before
