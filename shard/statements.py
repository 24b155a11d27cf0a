"""Statements: an account's entries, oldest first, in pages or between two balances.

The order over several buckets is that of the time of posting, then bucket, then seq. A page that
is asked for later shows what was committed late with an earlier time, rather than leave it out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from psycopg.rows import TupleRow

from shard.connections import Readers
from shard.errors import LedgerError, Malformed
from shard.limits import (
    PAGE_ROWS_DEFAULT,
    PAGE_ROWS_MAX,
    STATEMENT_BUCKET_ROWS_MIN,
    STATEMENT_CHUNK_ROWS,
)
from shard.named_queries import QUERIES
from shard.ownership import Ownership
from shard.positions import (
    Position,
    Positions,
    cursor_malformed,
    read_cursor,
    seq_of,
    total_of,
    write_cursor,
)

_BEGINNING = date(1970, 1, 1)
_END = date(9999, 12, 31)
_ONE_DAY = timedelta(days=1)


class StatementBroken(LedgerError):
    """A statement does not add up; it must not be used."""


@dataclass(frozen=True, slots=True)
class EntryLine:
    """One entry: ``amount`` signed (credit +), figures after it in its own bucket.

    ``balance_after`` is the ledger balance over all buckets, counted in the order of the lines.
    """

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
    balance_after: Decimal


@dataclass(frozen=True, slots=True)
class EntryPage:
    """A page of entries; ``next_cursor`` continues it, None when it is the last so far."""

    lines: list[EntryLine]
    next_cursor: str | None
    currency: str


@dataclass(frozen=True, slots=True)
class StatementBounds:
    """What a statement lies between: business dates ``from_date`` <= date < ``to_date``.

    ``start`` is the position before its first entry, ``end`` that of its last one, both of one
    snapshot. ``last_date`` is the last business date it covers, at most the one that is open;
    ``available`` belongs to ``end``; None where the account has no floor.
    """

    account_no: int
    currency: str
    from_date: date
    to_date: date
    start: Positions
    end: Positions
    available: Decimal | None
    last_date: date

    @property
    def opening(self) -> Decimal:
        """The ledger balance before the first entry, in ``currency``."""
        return total_of(self.start)

    @property
    def closing(self) -> Decimal:
        """The ledger balance after the last entry, in ``currency``."""
        return total_of(self.end)

    @property
    def seq(self) -> str:
        """The position of the closing balance, as balances tell it."""
        return seq_of(self.end)


@dataclass(frozen=True, slots=True)
class EntryChunk:
    """Some lines of a statement, and the position after them."""

    lines: list[EntryLine]
    position: Positions


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
        currency, start = await self._start(account_no, from_date or _BEGINNING, cursor)
        rows = await self._rows(
            account_no, start, to_date or _END, bucket_rows=limit + 1, row_limit=limit + 1
        )
        if not rows:
            await self._check_served(account_no)
        chunk = _followed(start, rows[:limit])
        is_last = len(rows) <= limit
        places = [position.place for position in chunk.position.values()]
        return EntryPage(chunk.lines, None if is_last else write_cursor(places), currency)

    async def bounds(
        self, account_no: int, from_date: date | None, to_date: date | None
    ) -> StatementBounds:
        """What a statement lies between; without dates, of the month of the open business date.

        Raises ``Malformed`` for dates in the wrong order or in the future, ``NotFound``,
        ``NotOwner``.
        """
        rows = await self._readers.rows(
            QUERIES["entries_bounds"],
            {"account_no": account_no, "from_date": from_date, "to_date": to_date},
        )
        if not rows:
            raise await self._ownership.explain_absence(account_no, "account")
        currency, has_floor, headroom, today, first, end = rows[0][:6]
        if first > end:
            raise Malformed(f"The statement would end ({end}) before it begins ({first}).")
        if first > today:
            raise Malformed(f"The open business date is {today}; {first} has not begun.")
        held = sum((row[13] for row in rows if row[13]), Decimal(0))
        last = {row[6]: Position.of(row[6], *row[10:13]) for row in rows}
        return StatementBounds(
            account_no=account_no,
            currency=currency,
            from_date=first,
            to_date=end,
            start={row[6]: Position.of(row[6], *row[7:10]) for row in rows},
            end=last,
            available=total_of(last) - held + headroom if has_floor else None,
            last_date=min(end - _ONE_DAY, today),
        )

    async def chunk(self, bounds: StatementBounds, position: Positions) -> EntryChunk:
        """The next lines of a statement after ``position``; none at its end.

        Raises ``NotOwner`` when the account has moved, and ``StatementBroken``.
        """
        left = {b: p for b, p in position.items() if p.place.seq < bounds.end[b].place.seq}
        if not left:
            return EntryChunk([], position)
        bucket_rows = max(STATEMENT_CHUNK_ROWS // len(left), STATEMENT_BUCKET_ROWS_MIN)
        rows = await self._rows(
            bounds.account_no,
            left,
            bounds.to_date,
            bucket_rows=bucket_rows,
            row_limit=bucket_rows * len(left),
            end=bounds.end,
        )
        if not rows:
            await self._check_served(bounds.account_no)
            raise StatementBroken("Entries of a statement are missing.")
        return _followed(position, _before_horizon(rows, bounds.end))

    async def _check_served(self, account_no: int) -> None:
        """Tell an account without further entries from one that has moved away meanwhile."""
        if not await self._readers.rows(QUERIES["account"], (account_no,)):
            raise await self._ownership.explain_absence(account_no, "account")

    async def _start(
        self, account_no: int, from_date: date, cursor: str | None
    ) -> tuple[str, Positions]:
        places = read_cursor(cursor)
        rows = await self._readers.rows(
            QUERIES["entries_start"],
            {
                "account_no": account_no,
                "from_date": from_date,
                "buckets": [place.bucket for place in places],
                "dates": [place.business_date for place in places],
                "seqs": [place.seq for place in places],
            },
        )
        if not rows:
            raise await self._ownership.explain_absence(account_no, "account")
        start = {}
        for _, bucket, seq_in_cursor, *found in rows:
            start[bucket] = Position.of(bucket, *found)
            if seq_in_cursor not in (None, start[bucket].place.seq):
                raise cursor_malformed()
        if not start.keys() >= {place.bucket for place in places}:
            raise cursor_malformed()
        return rows[0][0], start

    async def _rows(
        self,
        account_no: int,
        after: Positions,
        to_date: date,
        *,
        bucket_rows: int,
        row_limit: int,
        end: Positions | None = None,
    ) -> list[TupleRow]:
        places = [position.place for position in after.values()]
        return await self._readers.rows(
            QUERIES["entries"],
            {
                "account_no": account_no,
                "to_date": to_date,
                "buckets": [place.bucket for place in places],
                "dates": [place.business_date for place in places],
                "seqs": [place.seq for place in places],
                "last_seqs": [end[b].place.seq if end else None for b in after],
                "bucket_rows": bucket_rows,
                "row_limit": row_limit,
            },
        )


def _followed(position: Positions, rows: Sequence[TupleRow]) -> EntryChunk:
    """Rows of entries as lines with the running balance, and the position after them."""
    lines = []
    balance = total_of(position)
    after = dict(position)
    for row in rows:
        balance += row[4]
        line = EntryLine(*(*row, balance))
        lines.append(line)
        after[line.bucket] = Position.of(
            line.bucket, line.business_date, line.seq, line.ledger_after
        )
    return EntryChunk(lines, after)


def _before_horizon(rows: Sequence[TupleRow], end: Positions) -> Sequence[TupleRow]:
    """The rows that nothing unread comes before.

    What was not read of a bucket comes after the last row that was: so the first bucket that is
    used up without being at its end is as far as the order is known.
    """
    read = Counter(row[1] for row in rows)
    for index, (seq, bucket, *_) in enumerate(rows):
        read[bucket] -= 1
        if not read[bucket] and seq < end[bucket].place.seq:
            return rows[: index + 1]
    return rows
