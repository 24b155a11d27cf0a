"""Files of accounts to open: CSV with a header, or one JSON object a line; checked, then opened.

A file is copied first, so that what was checked is what is opened, and a pipe can be read twice.
"""

from __future__ import annotations

import asyncio
import codecs
import csv
import io
import json
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import IO, Final, TextIO

import orjson

from router.accounts import Opening, Progress, check_opening
from router.cli.arguments import read_currency, read_text
from router.cli.options import OPENABLE_KINDS
from router.cli.progress import Step
from router.limits import (
    NAME_CHARS_MAX,
    OPENING_FILE_BYTES_MAX,
    OPENING_FILE_CHUNK_LINES,
    OPENING_FILE_LINE_CHARS_MAX,
)
from router.wiring import Bank
from shard.accounts import AccountKind
from shard.errors import LedgerError, Malformed, Refused
from shard.money import parse_signed_limit
from shard.references import parse_reference

STDIN: Final = Path("-")
NO_FLOOR: Final = "none"
_NEEDED: Final = ("customer", "reference", "currency")
_FIELDS: Final = (*_NEEDED, "kind", "name", "overdraft_limit", "minimum_balance")
_ACTOR: Final = "cli"
_COPY_BYTES: Final = 1024**2

Write = Callable[[bytes], object]
"""Takes what is to be written next."""

Numbered = tuple[int, Opening]
"""The line of a file on which it ends, counted from 1, and what it asks for."""


class OpeningFormat(StrEnum):
    """How accounts are listed, before they are open and after."""

    CSV = "csv"
    NDJSON = "ndjson"


class FileMalformed(Malformed):
    """The file is no list of accounts to open."""


class OpeningFile:
    """A private copy of a file of openings."""

    def __init__(self, copy: IO[bytes]) -> None:
        self._copy = copy
        self.form = OpeningFormat.CSV
        self.count = 0
        """How many accounts it asks for."""

    async def check(self) -> None:
        """Read all of it; raises ``FileMalformed`` with the first line that is wrong."""
        self._copy.seek(0)
        first = await asyncio.to_thread(self._copy.read, OPENING_FILE_LINE_CHARS_MAX)
        match first.removeprefix(codecs.BOM_UTF8).lstrip()[:1]:
            case b"":
                raise FileMalformed("The file is empty.")
            case b"[":
                raise FileMalformed("It is a JSON array; write one JSON object a line instead.")
            case b"{":
                self.form = OpeningFormat.NDJSON
        self.count = await asyncio.to_thread(lambda: sum(1 for _ in self._openings()))

    def chunks(self) -> Iterator[list[Numbered]]:
        """What it asks for, a chunk at a time, after it was checked."""
        chunk: list[Numbered] = []
        for numbered in self._openings():
            chunk.append(numbered)
            if len(chunk) == OPENING_FILE_CHUNK_LINES:
                yield chunk
                chunk = []
        if chunk:
            yield chunk

    def _openings(self) -> Iterator[Numbered]:
        self._copy.seek(0)
        text = io.TextIOWrapper(self._copy, encoding="utf-8-sig", newline="")
        rows = _csv_rows(text) if self.form is OpeningFormat.CSV else _json_rows(text)
        try:
            for line, row in rows:
                try:
                    yield line, read_opening(row)
                except Malformed as error:
                    raise FileMalformed(f"Line {line}: {error.detail}") from None
        except UnicodeDecodeError:
            raise FileMalformed("The file is not in UTF-8.") from None
        finally:
            # The copy lives on.
            text.detach()


@asynccontextmanager
async def copied(source: Path) -> AsyncIterator[OpeningFile]:
    """A private copy of a file, or of stdin, that was checked from its beginning to its end.

    Raises ``FileMalformed``.
    """
    with tempfile.TemporaryFile(prefix="ledger-accounts-") as copy:
        try:
            if source == STDIN:
                await _in_background(lambda: _copy(sys.stdin.buffer, copy))
            else:
                await asyncio.to_thread(_copy_file, source, copy)
        except OSError as error:
            raise FileMalformed(f"{source} cannot be read: {error.strerror}.") from None
        file = OpeningFile(copy)
        await file.check()
        yield file


async def open_all(
    file: OpeningFile, bank: Bank, write: Write, step: Step, form: OpeningFormat
) -> None:
    """Open what a checked file asks for, and write the numbers chunk by chunk.

    Each opening is idempotent, so a run that broke off is completed by another one. Raises like
    ``Accounts.open_many``.
    """
    done = 0
    chunks = file.chunks()
    await asyncio.to_thread(write, _heading(form))
    while chunk := await asyncio.to_thread(next, chunks, None):
        numbers = await _open_chunk(bank, chunk, partial(_tell, step, done))
        done += len(chunk)
        step.at(done)
        await asyncio.to_thread(write, _listed(form, chunk, numbers))


def _tell(step: Step, done_before: int, done: int, _: int) -> None:
    step.at(done_before + done)


async def _open_chunk(bank: Bank, chunk: Sequence[Numbered], progress: Progress) -> list[int]:
    """The numbers of the accounts of one chunk; a refusal names its line."""
    openings = [opening for _, opening in chunk]
    try:
        return await bank.accounts.open_many(openings, actor=_ACTOR, progress=progress)
    except Refused:
        # One refusal undoes the reservations of many: one by one, the line is found.
        return [await _open_one(bank, line, opening) for line, opening in chunk]


def _listed(form: OpeningFormat, chunk: Sequence[Numbered], numbers: Sequence[int]) -> bytes:
    """Lines that tell the number of each account."""
    told = [
        (opening.customer, opening.reference, str(number))
        for (_, opening), number in zip(chunk, numbers, strict=True)
    ]
    if form is OpeningFormat.NDJSON:
        return b"".join(
            orjson.dumps(dict(zip(_TOLD, row, strict=True)), option=orjson.OPT_APPEND_NEWLINE)
            for row in told
        )
    return _csv_lines(told)


def _heading(form: OpeningFormat) -> bytes:
    """What stands before the lines."""
    return _csv_lines([_TOLD]) if form is OpeningFormat.CSV else b""


_TOLD: Final = ("customer", "reference", "account")


def _csv_lines(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


async def _open_one(bank: Bank, line: int, opening: Opening) -> int:
    try:
        (number,) = await bank.accounts.open_many([opening], actor=_ACTOR)
    except Refused as error:
        raise Refused(error.outcome, f"Line {line}: {error.detail}") from None
    return number


def read_opening(row: Mapping[str, str | None]) -> Opening:
    """What somebody asks for in these words; raises ``Malformed``."""
    for name in _NEEDED:
        if not row.get(name):
            raise Malformed(f"{name} is missing.")
    currency = read_currency(row["currency"] or "")
    kind = row.get("kind") or AccountKind.CUSTOMER.value
    if kind not in OPENABLE_KINDS:
        raise Malformed(f"{kind!r} is no kind of account.")
    limit = row.get("overdraft_limit", "0")
    opening = Opening(
        customer=row["customer"] or "",
        reference=parse_reference(row["reference"] or ""),
        currency=currency,
        kind=AccountKind(kind),
        name=read_text(row.get("name"), "name", NAME_CHARS_MAX),
        overdraft_limit=(
            None if limit in (None, NO_FLOOR) else parse_signed_limit(limit, currency)
        ),
        minimum_balance=parse_signed_limit(row.get("minimum_balance") or "0", currency),
    )
    check_opening(opening)
    return opening


def _csv_rows(text: TextIO) -> Iterator[tuple[int, dict[str, str | None]]]:
    """The rows of a CSV file by its header; an empty field is one that is not given."""
    reader = csv.reader(_bounded(text), strict=True)
    try:
        header = next(reader, [])
        _check_fields(header, 1)
        for row in reader:
            if row and len(row) != len(header):
                raise FileMalformed(f"Line {reader.line_num}: it has not {len(header)} fields.")
            if row:
                named = zip(header, row, strict=True)
                yield reader.line_num, {name: value for name, value in named if value}
    except csv.Error as error:
        raise FileMalformed(f"Line {reader.line_num}: {error}.") from None


def _json_rows(text: TextIO) -> Iterator[tuple[int, dict[str, str | None]]]:
    """The lines of an NDJSON file; null says that an account has no floor, and nothing else."""
    for number, line in enumerate(_bounded(text), start=1):
        if not line.strip():
            continue
        try:
            pairs = json.loads(line, object_pairs_hook=list, parse_float=_Number, parse_int=_Number)
        except (ValueError, RecursionError):
            raise FileMalformed(f"Line {number}: it is no JSON object.") from None
        if not isinstance(pairs, list) or not all(isinstance(each, tuple) for each in pairs):
            raise FileMalformed(f"Line {number}: it is no JSON object.")
        _check_fields([name for name, _ in pairs], number)
        for name, value in pairs:
            if type(value) is not str and not (value is None and name == "overdraft_limit"):
                raise FileMalformed(f"Line {number}: {name} is no string.")
        yield number, dict(pairs)


class _Number(str):
    """A JSON number, which is nothing that an opening has."""

    __slots__ = ()


def _check_fields(names: Sequence[str], line: int) -> None:
    for name in names:
        if name not in _FIELDS:
            message = f"Line {line}: {name[:64]!r} is not known; there are {', '.join(_FIELDS)}."
            raise FileMalformed(message)
    if len(set(names)) < len(names):
        raise FileMalformed(f"Line {line}: a field is named twice.")
    for name in _NEEDED:
        if name not in names:
            raise FileMalformed(f"Line {line}: {name} is missing.")


def _bounded(text: TextIO) -> Iterator[str]:
    """The lines of a text, none of which may be longer than any opening."""
    number = 0
    while line := text.readline(OPENING_FILE_LINE_CHARS_MAX + 1):
        number += 1
        if len(line) > OPENING_FILE_LINE_CHARS_MAX or "\0" in line:
            raise FileMalformed(f"Line {number}: it is too long, or no text.")
        yield line


def _copy_file(source: Path, copy: IO[bytes]) -> None:
    with source.open("rb") as original:
        _copy(original, copy)


def _copy(original: IO[bytes], copy: IO[bytes]) -> None:
    copied_bytes = 0
    while piece := original.read(_COPY_BYTES):
        copied_bytes += copy.write(piece)
        if copied_bytes > OPENING_FILE_BYTES_MAX:
            raise FileMalformed(f"A file has {OPENING_FILE_BYTES_MAX:,} bytes at most.")


async def _in_background(work: Callable[[], None]) -> None:
    """Run it in a thread that nobody waits for at the end: a terminal may stay silent for ever."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def finish(error: Exception | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        failure: Exception | None = None
        try:
            work()
        except (OSError, LedgerError) as error:
            failure = error
        loop.call_soon_threadsafe(finish, failure)

    threading.Thread(target=run, daemon=True).start()
    await done
