"""Submitting one command: routed by what is known, followed where the account has gone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

from router.errors import AccountUnassigned, RoutesUnknown, refusal
from router.limits import LAST_TRY_S, MOVING_PAUSE_FIRST_S, MOVING_PAUSE_MAX_S, REQUEST_BUDGET_S
from router.patience import Patience
from router.routing import Routes
from router.suspense_gauge import SuspenseGauge
from router.transfer_requests import movement
from shard.commands import Answer, Command, Leg, ParkedAmount
from shard.errors import RangeMoving, Refused, Unavailable
from shard.outcomes import MEANINGS, Outcome

Routed: TypeAlias = tuple[int, Command]
"""The shard to ask, and the command for it."""


@dataclass(frozen=True, slots=True)
class Movement:
    """One debtor paying one creditor, as the shard ``source`` is to book it."""

    source: int
    legs: tuple[Leg, ...]
    parked: tuple[ParkedAmount, ...]


class Submission:
    """The way of one command to an answer that is not "not here" or "not now"."""

    def __init__(self, routes: Routes, suspense: SuspenseGauge) -> None:
        self._routes = routes
        self._suspense = suspense

    async def movement(self, debtor: int, creditor: int, amount: Decimal) -> Movement:
        """Where and how to book a payment, by what the range map says now."""
        source = await self._routes.owner_of(debtor)
        target = await self._routes.owner_of(creditor)
        legs, parked = movement(debtor, creditor, amount, is_local=source == target)
        return Movement(source, legs, parked)

    async def post(
        self, route: Callable[[], Awaitable[Routed]], *, budget_s: float = REQUEST_BUDGET_S
    ) -> tuple[Command, Answer]:
        """Post what ``route`` says, and again by what was learnt, for ``budget_s`` seconds.

        Raises ``RangeMoving`` or ``RoutesUnknown`` after that, ``Refused`` for an account that
        no range holds, ``SuspenseFull``, and what lanes raise.
        """
        routes = self._routes
        patience = Patience(budget_s, first_s=MOVING_PAUSE_FIRST_S, longest_s=MOVING_PAUSE_MAX_S)
        while True:
            try:
                shard, command = await route()
            except AccountUnassigned:
                raise refusal(Outcome.ACCOUNT_UNKNOWN) from None
            deadline = patience.deadline_for(LAST_TRY_S)
            if command.parked:
                with self._suspense.parking(shard, len(command.parked)):
                    answer = await routes.shards[shard].lanes.post(command, deadline)
            else:
                answer = await routes.shards[shard].lanes.post(command, deadline)
            if not MEANINGS[answer.outcome].is_retryable:
                return command, answer
            if answer.outcome is Outcome.NOT_OWNER:
                foreign = answer.foreign_account or command.home
                before = routes.range_map
                await routes.learn(foreign, answer.next_owner, answer.epoch)
                if routes.range_map is not before:
                    continue
            if not await patience.pause():
                raise out_of_patience(answer.outcome)


def refused(answer: Answer) -> Refused:
    """The error for an answer that is neither POSTED nor retryable."""
    is_stored = answer.outcome is not Outcome.REFERENCE_REUSED
    return refusal(answer.outcome, is_replay=answer.is_replay and is_stored)


def out_of_patience(outcome: Outcome) -> Unavailable | RangeMoving:
    """The error for a command that still has no answer when its budget is used up."""
    match outcome:
        case Outcome.RANGE_MOVING:
            return RangeMoving()
        case Outcome.NOT_OWNER:
            return RoutesUnknown()
        case _:
            return Unavailable(MEANINGS[outcome].sentence)
