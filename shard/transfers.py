"""Transfers as they stand: the stored command of a reference and its present state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from psycopg.rows import TupleRow

from shard.commands import Kind, MoneyState, Origin
from shard.connections import Readers
from shard.named_queries import QUERIES
from shard.outcomes import Outcome
from shard.ownership import Ownership


@dataclass(frozen=True, slots=True)
class TransferRecord:
    """One command under its reference; ``amount`` in ``currency``, times in UTC.

    ``outcome`` is what the shard ``booked_on`` decided; ``return_code`` why money came back.
    ``convoy`` is the one the parked amounts boarded first. ``legs`` are those of a transfer with
    several creditors, as the client gave them: ``account`` and signed ``amount`` each.
    """

    home: int
    origin: Origin
    reference: str
    transfer_id: UUID
    kind: Kind
    creditor: int | None
    amount: Decimal
    currency: str
    outcome: Outcome
    money_state: MoneyState
    return_code: Outcome | None
    business_date: date
    value_date: date
    posted_at: datetime
    booked_on: int
    delivered_at: datetime | None
    convoy: UUID | None
    narrative: str | None
    request_hash: bytes
    legs: Sequence[Mapping[str, str]] | None = None
    purpose: str | None = None
    end_to_end_id: str | None = None


class Transfers:
    """Reads the commands of one shard's accounts."""

    def __init__(self, readers: Readers, ownership: Ownership) -> None:
        self._readers = readers
        self._ownership = ownership

    async def get(self, home: int, origin: Origin, reference: str) -> TransferRecord:
        """The command of one reference; raises ``NotFound``, ``NotOwner``."""
        rows = await self._readers.rows(QUERIES["transfer"], (home, origin.value, reference))
        if not rows:
            raise await self._ownership.explain_absence(home, "transfer")
        return _record(rows[0])

    async def get_many(
        self, origin: Origin, keys: Sequence[tuple[int, str]]
    ) -> dict[tuple[int, str], TransferRecord]:
        """The commands known under (home, reference); what is unknown here is left out."""
        homes = [home for home, _ in keys]
        references = [reference for _, reference in keys]
        rows = await self._readers.rows(
            QUERIES["transfers_by_keys"],
            {"origin": origin.value, "homes": homes, "references": references},
        )
        found = [_record(row) for row in rows]
        return {(record.home, record.reference): record for record in found}

    async def by_reference_prefix(
        self, home: int, origin: Origin, prefix: str, after: str | None, limit: int
    ) -> list[TransferRecord]:
        """Commands whose reference starts with ``prefix``, after ``after``, by their bytes."""
        rows = await self._readers.rows(
            QUERIES["transfers_by_prefix"],
            {
                "home": home,
                "origin": origin.value,
                "prefix": prefix,
                "after": after or "",
                "row_limit": limit,
            },
        )
        return [_record(row) for row in rows]


def _record(row: TupleRow) -> TransferRecord:
    (home, origin, reference, transfer_id, kind, creditor, amount, currency, outcome, money_state,
     return_code, *rest) = row  # fmt: skip
    return TransferRecord(
        home,
        Origin(origin),
        reference,
        transfer_id,
        Kind(kind),
        creditor,
        amount,
        currency,
        Outcome(outcome),
        MoneyState(money_state),
        Outcome(return_code) if return_code is not None else None,
        *rest,
    )
