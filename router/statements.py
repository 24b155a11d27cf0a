"""Statements: opening balance, bookings with the running balance, closing balance.

The end is read first and never passed, so a statement agrees with itself however much is booked
while it is written. It is written piece by piece in flat memory, and only a statement that adds
up is ever finished: what does not is cut off in the middle, which no reader takes for the whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol

from router.iso20022.camt053 import Camt053Writer
from router.iso20022.iban import Iban
from router.routing import Routes
from router.statement_texts import CsvWriter, JsonWriter
from shard.shard import Shard
from shard.statements import EntryChunk, EntryLine, StatementBounds, StatementBroken


class StatementFormat(StrEnum):
    """The forms a statement can have."""

    JSON = "json"
    CSV = "csv"
    CAMT_053 = "camt.053"


@dataclass(frozen=True, slots=True)
class Form:
    """How a format is called where files and HTTP meet it."""

    media_type: str
    suffix: str


FORMS: Mapping[StatementFormat, Form] = MappingProxyType(
    {
        StatementFormat.JSON: Form("application/json", ".json"),
        StatementFormat.CSV: Form("text/csv", ".csv"),
        StatementFormat.CAMT_053: Form("application/xml", ".xml"),
    }
)


class StatementWriter(Protocol):
    """One form of a statement, piece by piece."""

    def head(self, bounds: StatementBounds) -> bytes:
        """What stands before the bookings."""

    def body(self, bounds: StatementBounds, lines: Sequence[EntryLine]) -> bytes:
        """Some bookings."""

    def foot(self, bounds: StatementBounds, entry_count: int) -> bytes:
        """What stands after ``entry_count`` bookings."""


class Statement:
    """One statement, whose ``bounds`` are known and whose bookings are still to be read."""

    def __init__(self, routes: Routes, iban: Iban, bounds: StatementBounds) -> None:
        self.bounds = bounds
        self.entry_count = 0
        self._routes = routes
        self._iban = iban

    async def chunks(self) -> AsyncIterator[list[EntryLine]]:
        """Its bookings in their order; what only holds or frees money is none.

        Raises ``StatementBroken`` at the end if they do not lead from the opening to the
        closing balance, and what reading raises.
        """
        self.entry_count = 0
        balance, chunk = self.bounds.opening, EntryChunk([], self.bounds.start)
        while (chunk := await self._after(chunk)).lines:
            bookings = [line for line in chunk.lines if line.amount]
            balance += sum(line.amount for line in bookings)
            self.entry_count += len(bookings)
            if bookings:
                yield bookings
        if (balance, chunk.position) != (self.bounds.closing, self.bounds.end):
            raise StatementBroken

    async def written(self, form: StatementFormat) -> AsyncIterator[bytes]:
        """The statement in one of its forms; raises like ``chunks``, before the last piece."""
        writer = self._writer(form)
        yield writer.head(self.bounds)
        async for lines in self.chunks():
            # Some hundred entries take longer to write than others should wait for the loop.
            yield await asyncio.to_thread(writer.body, self.bounds, lines)
        yield writer.foot(self.bounds, self.entry_count)

    async def _after(self, chunk: EntryChunk) -> EntryChunk:
        async def read(shard: Shard) -> EntryChunk:
            return await shard.statements.chunk(self.bounds, chunk.position)

        return await self._routes.follow(self.bounds.account_no, read)

    def _writer(self, form: StatementFormat) -> StatementWriter:
        match form:
            case StatementFormat.JSON:
                return JsonWriter()
            case StatementFormat.CSV:
                return CsvWriter()
            case StatementFormat.CAMT_053:
                return Camt053Writer(self._iban, created_at=datetime.now(UTC))


class Statements:
    """The use case around statements."""

    def __init__(self, routes: Routes, iban: Iban) -> None:
        self._routes = routes
        self._iban = iban

    async def open(
        self, account_no: int, from_date: date | None = None, to_date: date | None = None
    ) -> Statement:
        """Fix what a statement of ``from_date`` <= business date < ``to_date`` lies between.

        Without dates it covers the month of the open business date so far. Raises ``Malformed``
        for dates in the wrong order or in the future, ``NotFound``, ``ShardUnavailable``.
        """
        bounds = await self._routes.follow(
            account_no, lambda s: s.statements.bounds(account_no, from_date, to_date)
        )
        return Statement(self._routes, self._iban, bounds)
