"""Post a batch of commands: one round trip to ``ledger.post_batch_v1``, one answer each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, datetime
from uuid import UUID

from psycopg import DataError

from shard.array_literals import of_bytes, of_dates, of_ids, of_numbers, of_texts, of_words
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


def _command_arrays(commands: Sequence[Command]) -> tuple[str, ...]:
    return (
        of_numbers(c.home for c in commands),
        of_words(c.origin.value for c in commands),
        of_texts(c.reference for c in commands),
        of_words(c.kind.value for c in commands),
        of_ids(c.transfer_id for c in commands),
        of_bytes(c.request_hash for c in commands),
        of_texts(c.currency for c in commands),
        of_numbers(c.amount for c in commands),
        of_numbers(c.creditor for c in commands),
        of_dates(c.not_before for c in commands),
        of_dates(c.value_date for c in commands),
        of_texts(json.dumps(dict(c.details)) if c.details else None for c in commands),
        of_texts(c.narrative for c in commands),
    )


def _leg_arrays(commands: Sequence[Command]) -> tuple[str, ...]:
    legs = [(n, leg) for n, command in enumerate(commands, start=1) for leg in command.legs]
    items = [(n, item) for n, command in enumerate(commands, start=1) for item in command.parked]
    return (
        of_numbers(n for n, _ in legs),
        of_numbers(leg.account_no for _, leg in legs),
        of_numbers(leg.amount for _, leg in legs),
        of_numbers(leg.counterparty for _, leg in legs),
        of_numbers(n for n, _ in items),
        of_ids(item.item_id for _, item in items),
        of_numbers(item.target for _, item in items),
        of_numbers(item.amount for _, item in items),
    )


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
