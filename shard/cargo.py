"""Cargo: parked items in columns, on the way that nearly all of them take.

A convoy's items are read, delivered and settled by the hundred. Their values are never looked at
in between, so they stay what the server sent: texts, which go into array literals as they are.
Items become objects only where something else than a booking became of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from operator import itemgetter
from typing import Any

from psycopg.rows import TupleRow

from shard.commands import Answer, Command, Kind, Origin
from shard.money import format_amount

_ORDINARY, _FORCED, _RETURN = Kind.ORDINARY.value, Kind.FORCED.value, Kind.RETURN.value


@dataclass(frozen=True, slots=True)
class Cargo:
    """Items of one source shard, one place in every column each, as their server writes them.

    The fields are the columns of the query ``cargo_of_convoy``, in its order. ``amounts`` (> 0)
    have the decimals of their currency; ``kinds`` are those of the items' deliveries;
    ``parked_at`` is in seconds since 1970 (UTC).
    """

    item_ids: Sequence[str]
    attempts: Sequence[str]
    targets: Sequence[str]
    debtors: Sequence[str]
    transfer_ids: Sequence[str]
    kinds: Sequence[str]
    currencies: Sequence[str]
    amounts: Sequence[str]
    business_dates: Sequence[str]
    value_dates: Sequence[str]
    references: Sequence[str]
    trace_ids: Sequence[str | None]
    narratives: Sequence[str | None]
    parked_at: Sequence[float]

    @classmethod
    def of_rows(cls, rows: Sequence[TupleRow]) -> Cargo:
        """The items of these rows."""
        return cls(*(zip(*rows, strict=True) if rows else [()] * len(fields(cls))))

    def __len__(self) -> int:
        return len(self.item_ids)

    @property
    def delivery_references(self) -> list[str]:
        """The references of the present attempts at their targets."""
        attempts = zip(self.item_ids, self.attempts, strict=True)
        return [f"{item_id}:{attempt}" for item_id, attempt in attempts]

    def part(self, places: Sequence[int]) -> Cargo:
        """The items in these places, one at least, in this order."""
        if len(places) == len(self) and all(at == i for i, at in enumerate(places)):
            return self
        if len(places) == 1:
            return self.chunk(places[0], places[0] + 1)
        pick = itemgetter(*places)
        columns: list[Any] = [pick(getattr(self, field.name)) for field in fields(self)]
        return Cargo(*columns)

    def chunk(self, start: int, end: int) -> Cargo:
        """The items from place ``start`` to the one before ``end``."""
        if start == 0 and end >= len(self):
            return self
        return Cargo(*(getattr(self, field.name)[start:end] for field in fields(self)))


def rows_parked(command: Command, answer: Answer) -> list[TupleRow]:
    """The rows of what a command has parked just now, as ``cargo_of_convoy`` would read them.

    But ``parked_at`` is that of the command's entries.
    """
    if answer.business_date is None or answer.posted_at is None:
        raise ValueError("What was booked was booked at some time.")
    kind = _ORDINARY
    if command.kind is Kind.FORCED:
        kind = _FORCED
    elif command.origin is Origin.REVERSAL:
        kind = _RETURN
    home, currency = command.home, command.currency
    debtor, transfer_id = str(home), str(command.transfer_id)
    business_date = str(answer.business_date)
    value_date = business_date if command.value_date is None else str(command.value_date)
    trace_id = command.details.get("trace_id") if command.details else None
    parked_at = answer.posted_at.timestamp()
    return [
        (
            str(item.item_id),
            "1",
            str(item.target),
            debtor,
            transfer_id,
            _RETURN if item.target == home else kind,
            currency,
            format_amount(item.amount, currency),
            business_date,
            value_date,
            command.reference,
            trace_id,
            command.narrative,
            parked_at,
        )
        for item in command.parked
    ]


@dataclass(frozen=True, slots=True)
class Arrival:
    """The one answer that the items in some places of a cargo got.

    The answer names no transfer, as each item has its own.
    """

    places: Sequence[int]
    answer: Answer
