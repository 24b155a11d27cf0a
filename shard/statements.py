"""Statements: an account's entries, oldest first, in pages that a cursor continues."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from shard.connections import Readers
from shard.errors import Malformed
from shard.limits import PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX
from shard.named_queries import QUERIES
from shard.ownership import Ownership

_CURSOR = re.compile(r"(\d{4}-\d\d-\d\d)\.(\d{1,17})\.(\d{1,3})\.(\d{1,18})", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BEGINNING = date(1970, 1, 1)
_END = date(9999, 12, 31)


@dataclass(frozen=True, slots=True)
class EntryLine:
    """One entry: ``amount`` signed (credit +), figures after it in its own bucket."""

    seq: int
    bucket: int
    transfer_id: UUID
    reference: str
    amount: Decimal
    held_delta: Decimal
    ledger_after: Decimal
    held_after: Decimal
    counterparty: int | None
    business_date: date
    value_date: date
    posted_at: datetime
    narrative: str | None


@dataclass(frozen=True, slots=True)
class EntryPage:
    """A page of entries; ``next_cursor`` continues it, None when it is the last so far."""

    lines: list[EntryLine]
    next_cursor: str | None
    currency: str


class Statements:
    """Reads the entries of one shard's accounts."""

    def __init__(self, readers: Readers, ownership: Ownership) -> None:
        self._readers = readers
        self._ownership = ownership

    async def page(
        self,
        account_no: int,
        *,
        from_date: date | None = None,
        to_date: date | None = None,
        cursor: str | None = None,
        limit: int = PAGE_ROWS_DEFAULT,
    ) -> EntryPage:
        """Entries with ``from_date <= business_date < to_date``, after the cursor.

        Raises ``Malformed`` for a bad cursor or limit, ``NotFound``, ``NotOwner``.
        """
        if not 1 <= limit <= PAGE_ROWS_MAX:
            raise Malformed(f"A page has 1 to {PAGE_ROWS_MAX} rows.", pointer="/limit")
        after_date, after_time, after_bucket, after_seq = _parse_cursor(cursor)
        account = await self._readers.rows(QUERIES["account"], (account_no,))
        if not account:
            raise await self._ownership.explain_absence(account_no, "account")
        found = await self._readers.rows(
            QUERIES["entries"],
            {
                "account_no": account_no,
                "from_date": from_date or _BEGINNING,
                "to_date": to_date or _END,
                "after_date": after_date,
                "after_time": after_time,
                "after_bucket": after_bucket,
                "after_seq": after_seq,
                "row_limit": limit + 1,
            },
        )
        lines = [EntryLine(*row) for row in found]
        is_last = len(lines) <= limit
        lines = lines[:limit]
        return EntryPage(lines, None if is_last else _cursor(lines[-1]), str(account[0][1]))


def _cursor(line: EntryLine) -> str:
    micros = (line.posted_at - _EPOCH) // timedelta(microseconds=1)
    return f"{line.business_date}.{micros}.{line.bucket}.{line.seq}"


def _parse_cursor(cursor: str | None) -> tuple[date, datetime, int, int]:
    if cursor is None:
        return _BEGINNING, _EPOCH, 0, 0
    match = _CURSOR.fullmatch(cursor)
    try:
        if match is None:
            raise ValueError
        after = _EPOCH + timedelta(microseconds=int(match[2]))
        return date.fromisoformat(match[1]), after, int(match[3]), int(match[4])
    except (ValueError, OverflowError):
        raise Malformed("The cursor is not one that was given out.", pointer="/cursor") from None
