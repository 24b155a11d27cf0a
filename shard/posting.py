"""Post a batch of commands: one round trip to ``ledger.post_batch_v2``, one answer each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from psycopg import DatabaseError, DataError

from shard.array_literals import of_bytes, of_dates, of_ids, of_numbers, of_texts, of_words
from shard.commands import Answer, Command, MoneyState, Terms
from shard.connections import Connection
from shard.named_queries import QUERIES
from shard.outcomes import Outcome

_POST_BATCH = QUERIES["post_batch"]
_OUTCOMES = {outcome.value: outcome for outcome in Outcome}
_ATOMIC_ABORTED = "LG301"
_MONEY_STATES = {state.value: state for state in MoneyState}


async def post_batch(
    connection: Connection,
    lane: int,
    convoy: UUID | None,
    commands: Sequence[Command],
    *,
    is_atomic: bool = False,
) -> list[Answer]:
    """Book ``commands`` in one transaction and answer each, in their order.

    The connection is in autocommit mode: when this returns, what is POSTED is on disk. Raises
    the driver's errors; then nothing of the batch is booked, or it is unknown whether all is.
    With ``is_atomic`` either every command is booked or none: then those that were refused have
    their outcome, and the others ``ATOMIC_ABORTED``. What was booked before stays so, and is
    told as a replay.
    """
    parameters = (lane, convoy, *_command_arrays(commands), *_leg_arrays(commands), is_atomic)
    try:
        cursor = await connection.execute(_POST_BATCH, parameters, prepare=True)
    except UnicodeError as error:
        # The driver lets it through; nothing was sent, and to a caller it is bad data like NUL.
        raise DataError(f"a text cannot be encoded: {error}") from error
    except DatabaseError as error:
        if error.sqlstate == _ATOMIC_ABORTED:
            return [_unbooked(row) for row in json.loads(error.diag.message_detail or "[]")]
        raise
    return [_answer(convoy, *row) for row in await cursor.fetchall()]


def _unbooked(row: dict[str, Any]) -> Answer:
    """What a command of an atomic batch is told that was undone."""
    outcome = _OUTCOMES[row["outcome"]]
    if row["is_replay"]:
        return Answer(
            outcome,
            True,
            UUID(row["transfer_id"]),
            _MONEY_STATES[row["money_state"]],
            date.fromisoformat(row["business_date"]),
            datetime.fromisoformat(row["posted_at"]),
            row["booked_on"],
        )
    if outcome is Outcome.POSTED:
        outcome = Outcome.ATOMIC_ABORTED
    owner = (row["foreign_account"], row["next_owner"], row["epoch"])
    return Answer(outcome, False, None, MoneyState.NONE, None, None, None, *owner)


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
        of_texts(_terms(c.terms) if c.terms is not None else None for c in commands),
    )


def _terms(terms: Terms) -> str:
    """The terms as the shard reads them (``functions/22_terms.sql``), absent ones left out."""
    told: dict[str, object] = {
        "hold": terms.hold,
        "expires_at": terms.expires_at.isoformat() if terms.expires_at is not None else None,
        "creditor": terms.creditor,
        "is_final": terms.is_final or None,
        "expected_seq": terms.expected_seq,
    }
    original = terms.reverses
    if original is not None:
        told["reverses"] = {
            "id": str(original.transfer_id),
            "home": original.home,
            "origin": original.origin.value,
            "reference": original.reference,
            "date": original.business_date.isoformat(),
        }
    return json.dumps({name: value for name, value in told.items() if value is not None})


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
