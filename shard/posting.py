"""Post a batch of commands: one round trip to ``ledger.post_batch_v1``, one answer each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from psycopg import DataError
from psycopg.types.json import Jsonb

from shard.commands import Answer, Command, MoneyState
from shard.connections import Connection
from shard.named_queries import QUERIES
from shard.outcomes import Outcome

_POST_BATCH = QUERIES["post_batch"]
_OUTCOMES = {outcome.value: outcome for outcome in Outcome}
_MONEY_STATES = {state.value: state for state in MoneyState}


async def post_batch(
    connection: Connection, lane: int, convoy: UUID | None, commands: Sequence[Command]
) -> list[Answer]:
    """Book ``commands`` in one transaction and answer each, in their order.

    The connection is in autocommit mode: when this returns, what is POSTED is on disk. Raises
    the driver's errors; then nothing of the batch is booked, or it is unknown whether all is.
    """
    parameters = (lane, convoy, *_command_arrays(commands), *_leg_arrays(commands))
    try:
        cursor = await connection.execute(_POST_BATCH, parameters, prepare=True)
    except UnicodeError as error:
        # The driver lets it through; nothing was sent, and to a caller it is bad data like NUL.
        raise DataError(f"a text cannot be encoded: {error}") from error
    return [_answer(convoy, *row) for row in await cursor.fetchall()]


def _command_arrays(commands: Sequence[Command]) -> tuple[list[Any], ...]:
    return (
        [c.home for c in commands],
        [c.origin.value for c in commands],
        [c.reference for c in commands],
        [c.kind.value for c in commands],
        [c.transfer_id for c in commands],
        [c.request_hash for c in commands],
        [c.currency for c in commands],
        [c.amount for c in commands],
        [c.creditor for c in commands],
        [c.not_before for c in commands],
        [c.value_date for c in commands],
        [Jsonb(dict(c.details)) if c.details else None for c in commands],
        [c.narrative for c in commands],
    )


def _leg_arrays(commands: Sequence[Command]) -> tuple[list[Any], ...]:
    leg_command: list[int] = []
    account: list[int] = []
    leg_amount: list[Decimal] = []
    counterparty: list[int | None] = []
    item_command: list[int] = []
    item_id: list[UUID] = []
    target: list[int] = []
    item_amount: list[Decimal] = []
    for number, command in enumerate(commands, start=1):
        for leg in command.legs:
            leg_command.append(number)
            account.append(leg.account_no)
            leg_amount.append(leg.amount)
            counterparty.append(leg.counterparty)
        for parked in command.parked:
            item_command.append(number)
            item_id.append(parked.item_id)
            target.append(parked.target)
            item_amount.append(parked.amount)
    return (
        leg_command, account, leg_amount, counterparty, item_command, item_id, target, item_amount
    )  # fmt: skip


def _answer(
    convoy: UUID | None,
    outcome: str,
    is_replay: bool,
    transfer_id: UUID,
    money_state: str,
    business_date: date,
    posted_at: datetime,
    booked_on: int,
    foreign_account: int | None,
    next_owner: int | None,
    epoch: int | None,
) -> Answer:
    is_parked_now = money_state == MoneyState.IN_TRANSIT and not is_replay
    return Answer(
        _OUTCOMES[outcome],
        is_replay,
        transfer_id,
        _MONEY_STATES[money_state],
        business_date,
        posted_at,
        booked_on,
        foreign_account,
        next_owner,
        epoch,
        convoy if is_parked_now else None,
    )
