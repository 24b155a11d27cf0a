"""Statements as JSON and as CSV (RFC 4180), written piece by piece."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import orjson

from router.documents import Document, entry_document, statement_foot, statement_head
from shard.statements import EntryLine, StatementBounds

_COLUMNS = (
    "record", "business_date", "value_date", "posted_at", "reference", "transfer_id",
    "counterparty", "narrative", "amount", "balance_after", "currency", "bucket", "seq",
)  # fmt: skip
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class JsonWriter:
    """One JSON object; its closing balance stands last."""

    def __init__(self) -> None:
        self._between = b""

    def head(self, bounds: StatementBounds) -> bytes:
        """Account, dates and opening balance."""
        return _json(statement_head(bounds))[:-1] + b',"entries":['

    def body(self, bounds: StatementBounds, lines: Sequence[EntryLine]) -> bytes:
        """Members of ``entries``."""
        written = b",".join(_json(entry_document(line, bounds.currency)) for line in lines)
        between, self._between = self._between, b","
        return between + written

    def foot(self, bounds: StatementBounds, entry_count: int) -> bytes:
        """Count and closing balance."""
        return b"]," + _json(statement_foot(bounds, entry_count))[1:]


class CsvWriter:
    """A line for the opening balance, one for each booking, and one for the closing balance."""

    def head(self, bounds: StatementBounds) -> bytes:
        """The names of the columns, and the opening balance."""
        opening = {
            "record": "opening",
            "business_date": bounds.from_date,
            "balance_after": statement_head(bounds)["opening_balance"],
            "currency": bounds.currency,
        }
        return _rows([dict(zip(_COLUMNS, _COLUMNS, strict=True)), opening])

    def body(self, bounds: StatementBounds, lines: Sequence[EntryLine]) -> bytes:
        """A line for each booking."""
        return _rows([_booking(line, bounds.currency) for line in lines])

    def foot(self, bounds: StatementBounds, entry_count: int) -> bytes:
        """The closing balance."""
        foot = statement_foot(bounds, entry_count)
        closing = {
            "record": "closing",
            "business_date": bounds.last_date,
            "balance_after": foot["closing_balance"],
            "currency": bounds.currency,
            "seq": foot["seq"],
        }
        return _rows([closing])


def _booking(line: EntryLine, currency: str) -> Document:
    document = entry_document(line, currency) | {"record": "entry", "currency": currency}
    narrative = line.narrative
    # A payer could write a formula that the payee's spreadsheet would execute.
    if narrative is not None and narrative.startswith(_FORMULA_STARTS):
        document["narrative"] = f"'{narrative}"
    document["posted_at"] = line.posted_at.isoformat().replace("+00:00", "Z")
    return document


def _rows(documents: Sequence[Document]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, extrasaction="ignore")
    writer.writerows(documents)
    return text.getvalue().encode()


def _json(document: Document) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_UTC_Z)
