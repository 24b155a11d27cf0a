"""One entry, and a statement over it that is read from no shard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import cast
from uuid import UUID

from router.iso20022.iban import Iban
from router.routing import Routes
from router.statements import Statement
from shard.positions import Place, Position
from shard.statements import EntryChunk, EntryLine, StatementBounds

TRANSFER_ID = UUID("0193a4f2-7c1e-7000-8000-000000000001")
POSTED_AT = datetime(2026, 11, 21, 9, 30, 0, 123456, tzinfo=UTC)
BUSINESS_DATE = date(2026, 11, 21)

ENTRY = EntryLine(
    seq=41,
    bucket=0,
    transfer_id=TRANSFER_ID,
    reference="PAY-17",
    amount=Decimal("-20.0000"),
    held_delta=Decimal("0.0000"),
    ledger_after=Decimal("980.0000"),
    held_after=Decimal("30.0000"),
    counterparty=3_000_000_456,
    business_date=BUSINESS_DATE,
    value_date=BUSINESS_DATE,
    posted_at=POSTED_AT,
    narrative="Rent",
    balance_after=Decimal("980.0000"),
)
BOUNDS = StatementBounds(
    account_no=2_000_000_123,
    currency="EUR",
    from_date=date(2026, 11, 1),
    to_date=date(2026, 12, 1),
    last_date=BUSINESS_DATE,
    start={0: Position(Place(0, date(2026, 10, 30), 40), Decimal("1000.0000"))},
    end={0: Position(Place(0, BUSINESS_DATE, 41), Decimal("980.0000"))},
    available=Decimal("950.0000"),
)


@dataclass(slots=True)
class ScriptedStatements:
    """One statement over ``chunks``, unless it is told to ``fail``."""

    bounds: StatementBounds = BOUNDS
    chunks: list[list[EntryLine]] = field(default_factory=lambda: [[ENTRY]])
    fail: Exception | None = None
    fail_midway: Exception | None = None
    asked: list[tuple[int, date | None, date | None]] = field(default_factory=list)

    async def open(
        self, account_no: int, from_date: date | None = None, to_date: date | None = None
    ) -> Statement:
        """Remember and answer."""
        self.asked.append((account_no, from_date, to_date))
        if self.fail is not None:
            raise self.fail
        self._left = iter(self.chunks)
        return Statement(cast(Routes, self), Iban(), self.bounds)

    async def follow(self, account_no: int, ask: object) -> EntryChunk:
        """The next chunk; the last one ends where the statement does."""
        lines = next(self._left, None)
        if lines is None:
            if self.fail_midway is not None:
                raise self.fail_midway
            return EntryChunk([], self.bounds.end)
        return EntryChunk(lines, {})

    _left: Iterator[list[EntryLine]] = field(default_factory=lambda: iter(()))
