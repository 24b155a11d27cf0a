"""Reads a payment file to its end before anything of it is executed."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Container, Hashable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from pathlib import Path

from router.iso20022.errors import (
    ControlSumWrong,
    CountWrong,
    EndToEndIdRepeated,
    FileEmpty,
    PaymentInformationIdRepeated,
    SeveralCurrencies,
    SeveralDebtors,
)
from router.iso20022.pain001 import (
    FileHeader,
    PaymentLine,
    PaymentReader,
    open_payments,
    read_payments,
)

NOT_PROVIDED = "NOTPROVIDED"
"""What a customer writes who has no end-to-end id; it may stand in any number of payments."""


@dataclass(frozen=True, slots=True)
class FileSummary:
    """A payment file that was read wholly and contradicts itself nowhere.

    ``sha256`` (hexadecimal) covers its bytes; ``total`` of ``lines`` payments is in
    ``currency``; ``debtor_account`` is an IBAN or another number, as the file gives it.
    """

    header: FileHeader
    sha256: str
    size_bytes: int
    batches: int
    lines: int
    total: Decimal
    currency: str
    debtor_account: str


class Repetitions:
    """Remembers what was seen in eight bytes each: a million ids fit into 8 MB.

    Two different keys may share a hash, so what it suspects must be looked at again.
    """

    def __init__(self) -> None:
        self._shelves: defaultdict[int, array[int]] = defaultdict(lambda: array("q"))

    def add(self, key: Hashable) -> None:
        """Remember ``key``, perhaps once more."""
        digest = hash(key)
        self._shelves[digest & 0xFF].append(digest)

    def suspects(self) -> set[int]:
        """The hashes that were added more than once."""
        found: set[int] = set()
        for shelf in self._shelves.values():
            seen: set[int] = set()
            for digest in shelf:
                (found if digest in seen else seen).add(digest)
        return found


def check_file(path: Path) -> FileSummary:
    """Read a file wholly: every payment, all counts and sums, ids that must be unique.

    Blocks on the disk; takes about 10 bytes of memory a payment. Raises leaves of
    ``PaymentFileRefused``. What it accepts, ``read_payments`` reads without an error as long as
    the file stays the same (compare ``sha256``).
    """
    check = _Check()
    with open_payments(path) as reader:
        for _, lines in groupby(reader.payments(), key=lambda line: line.batch.number):
            check.add_batch(lines)
        summary = check.summary(reader)
    suspects = check.repetitions.suspects()
    if suspects:
        _find_repetition(path, suspects)
    return summary


class _Check:
    """What has to be remembered of a file while its payments pass."""

    def __init__(self) -> None:
        self.repetitions = Repetitions()
        self._first: PaymentLine | None = None
        self._batches = 0
        self._lines = 0
        self._total = Decimal(0)

    def add_batch(self, lines: Iterable[PaymentLine]) -> None:
        count, total, batch = 0, Decimal(0), None
        for line in lines:
            self._first = self._first or line
            _compare_with_first(self._first, line)
            if line.end_to_end_id != NOT_PROVIDED:
                self.repetitions.add(_end_to_end_key(line))
            count, total, batch = count + 1, total + line.amount, line.batch
        if batch is not None:
            self.repetitions.add(batch.payment_information_id)
            where = f"Payment information block {batch.payment_information_id!r}"
            _compare_count(where, batch.number_of_transactions, count)
            _compare_sum(where, batch.control_sum, total)
        self._batches, self._lines = self._batches + 1, self._lines + count
        self._total += total

    def summary(self, reader: PaymentReader) -> FileSummary:
        """Compare with the group header, once all payments have passed."""
        if self._first is None:
            raise FileEmpty
        header = reader.header
        _compare_count("The group header", header.number_of_transactions, self._lines)
        _compare_sum("The group header", header.control_sum, self._total)
        return FileSummary(
            header=header,
            sha256=reader.stream.sha256,
            size_bytes=reader.stream.bytes_read,
            batches=self._batches,
            lines=self._lines,
            total=self._total,
            currency=self._first.currency,
            debtor_account=self._first.batch.debtor_account,
        )


def _compare_with_first(first: PaymentLine, line: PaymentLine) -> None:
    if line.batch.debtor_account != first.batch.debtor_account:
        raise SeveralDebtors(line=line.line)
    if line.currency != first.currency:
        raise SeveralCurrencies(line=line.line)


def _compare_count(where: str, claimed: int | None, found: int) -> None:
    if claimed is not None and claimed != found:
        raise CountWrong(f"{where} announces {claimed} payments, the file holds {found}.")


def _compare_sum(where: str, claimed: Decimal | None, found: Decimal) -> None:
    if claimed is not None and claimed != found:
        raise ControlSumWrong(f"{where} announces a sum of {claimed}, the file holds {found}.")


def _end_to_end_key(line: PaymentLine) -> tuple[int, str]:
    return line.batch.number, line.end_to_end_id


def _find_repetition(path: Path, suspects: Container[int]) -> None:
    """Name the first id that stands twice; it reads the file again, for a refusal only."""
    lines: dict[tuple[int, str], int] = {}
    blocks: dict[str, int] = {}
    for line in read_payments(path):
        block = line.batch.payment_information_id
        if blocks.setdefault(block, line.batch.number) != line.batch.number:
            raise PaymentInformationIdRepeated(f"{block!r} names two blocks.", line=line.line)
        key = _end_to_end_key(line)
        if line.end_to_end_id == NOT_PROVIDED or hash(key) not in suspects:
            continue
        if key in lines:
            raise EndToEndIdRepeated(
                f"{line.end_to_end_id!r} is the end-to-end id of payment {lines[key]}, too.",
                line=line.line,
            )
        lines[key] = line.line
