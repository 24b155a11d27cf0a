"""Payroll: a payment file in, every line executed once, a status report beside it.

The file is copied once. The copy is read to its end before anything is executed, and it alone
is registered at the employer's account, executed and reported: what was checked is what is paid.
Each line has a reference of its own, and every answer to it, refusals included, is stored under
it; so a run that was interrupted is completed by submitting the file again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from router.accounts import Accounts
from router.errors import PaymentFileKnown, ReferenceReused, refusal
from router.iso20022.file_check import FileSummary, check_file
from router.iso20022.iban import Iban
from router.iso20022.pain001 import PaymentLine, read_payments
from router.iso20022.pain002 import LineStatus, Status, is_report_of, write_status_report
from router.limits import (
    PAYROLL_CHUNK_LINES,
    PAYROLL_POLL_PAUSE_S,
    PAYROLL_REPORT_ROWS,
    PAYROLL_WAIT_S,
)
from router.patience import Patience
from router.payroll_lines import (
    Payment,
    Rejection,
    file_reference,
    line_prefix,
    read_line,
    status_of_record,
    status_of_rejection,
    unassigned,
)
from router.payroll_posting import post_payments
from router.payroll_spool import spooled
from router.routing import Routes
from router.suspense_gauge import SuspenseGauge
from shard.accounts import AccountStatus
from shard.commands import MoneyState, Origin
from shard.errors import NotFound, Unavailable
from shard.ids import new_id
from shard.outcomes import Outcome
from shard.payment_files import Registration
from shard.shard import Shard
from shard.transfers import TransferRecord

Progress = Callable[[int, int], None]
"""Told (lines done, lines in all)."""


@dataclass(frozen=True, slots=True)
class PayrollResult:
    """What became of a file: lines by ISO status, and where the report stands.

    ``booked_now`` lines were booked by this very run. Lines in ``ACSP`` or ``PDNG`` are not at
    their end yet; ``Payroll.status`` renews the report.
    """

    message_id: str
    employer: int
    lines: int
    report: Path
    statuses: Mapping[Status, int]
    booked_now: int
    was_known: bool

    @property
    def is_final(self) -> bool:
        """Tell whether every line is settled or rejected."""
        return not self.statuses.get("ACSP", 0) and not self.statuses.get("PDNG", 0)


@dataclass(frozen=True, slots=True)
class _File:
    """A checked file; its lines are read from ``spool``, never again from ``path``."""

    path: Path
    spool: Path
    summary: FileSummary
    employer: int
    reference: str

    @property
    def report(self) -> Path:
        return report_path(self.path)


def report_path(path: Path) -> Path:
    """Where the status report of a payment file is written: beside it."""
    return path.with_suffix(".pain002.xml")


class Payroll:
    """The use cases around payment files."""

    def __init__(
        self, routes: Routes, accounts: Accounts, suspense: SuspenseGauge, iban: Iban
    ) -> None:
        self._routes = routes
        self._accounts = accounts
        self._suspense = suspense
        self._iban = iban

    async def submit(
        self, path: Path, *, progress: Progress | None = None, wait_s: float = PAYROLL_WAIT_S
    ) -> PayrollResult:
        """Execute a file, or complete it; then wait up to ``wait_s`` for its money to arrive.

        Raises leaves of ``PaymentFileRefused`` and ``IbanRefused`` (nothing was executed),
        ``Refused`` for the employer's account, ``ReferenceReused`` for another file under the
        same message id, ``PaymentFileKnown`` for a file already executed and reported, and
        ``Unavailable`` or ``OutcomeUnknown``: then submit the file again.
        """
        async with self._checked(path) as file:
            return await self._submit(file, progress, wait_s)

    async def status(self, path: Path) -> PayrollResult:
        """How a file that was submitted stands now; writes its report anew.

        Raises leaves of ``PaymentFileRefused``, ``NotFound`` for a file that was never
        submitted, ``ShardUnavailable``.
        """
        async with self._checked(path) as file:
            if await anext(self._records(file), None) is None:
                raise NotFound("No line of this payment file was executed here.")
            statuses = await self._report(file)
            return _result(file, statuses, booked_now=0, was_known=True)

    async def status_of(self, employer: int, message_id: str) -> Mapping[MoneyState, int]:
        """The executed lines of a file by where their money is, without the file at hand."""
        counts: dict[MoneyState, int] = {}
        async for record in self._records_under(employer, file_reference(message_id)):
            counts[record.money_state] = counts.get(record.money_state, 0) + 1
        if not counts:
            raise NotFound("This account has no payment file of that message id.")
        return counts

    async def _submit(self, file: _File, progress: Progress | None, wait_s: float) -> PayrollResult:
        await self._check_employer(file)
        was_reported = await asyncio.to_thread(
            is_report_of, file.report, file.summary.header.message_id
        )
        was_known = await self._register(file)
        booked_now = await self._execute(file, progress)
        if was_known and was_reported and not booked_now:
            raise PaymentFileKnown(
                f"{file.summary.header.message_id!r} was executed before; see {file.report}."
            )
        await self._wait_for_delivery(file, wait_s)
        statuses = await self._report(file)
        return _result(file, statuses, booked_now=booked_now, was_known=was_known)

    @asynccontextmanager
    async def _checked(self, path: Path) -> AsyncIterator[_File]:
        async with spooled(path) as spool:
            summary = await asyncio.to_thread(check_file, spool)
            employer = self._iban.parse_account(summary.debtor_account)
            reference = file_reference(summary.header.message_id)
            yield _File(path, spool, summary, employer, reference)

    async def _check_employer(self, file: _File) -> None:
        """A file whose employer cannot pay at all is refused as a whole."""
        account = await self._accounts.get(file.employer)
        if account.status is AccountStatus.CLOSED:
            raise refusal(Outcome.ACCOUNT_CLOSED)
        if account.status is AccountStatus.FROZEN:
            raise refusal(Outcome.ACCOUNT_FROZEN)
        if account.currency != file.summary.currency:
            raise refusal(Outcome.CURRENCY_MISMATCH)

    async def _register(self, file: _File) -> bool:
        """Take the message id for this very file; tell whether it had it before."""
        summary = file.summary
        registration = await self._routes.follow(
            file.employer,
            lambda shard: shard.payment_files.register(
                file.employer,
                file.reference,
                file_hash=bytes.fromhex(summary.sha256),
                line_count=summary.lines,
                control_sum=summary.total,
                currency=summary.currency,
            ),
        )
        if registration is Registration.OTHER:
            raise ReferenceReused(
                f"Another file was submitted under the message id {summary.header.message_id!r}."
            )
        return registration is Registration.KNOWN

    async def _execute(self, file: _File, progress: Progress | None) -> int:
        """Post every line that may be ours; the number booked by this run."""
        done = booked = 0
        async for chunk in _chunks(file.spool):
            sorted_lines = [self._sort(file, line) for line in chunk]
            payments = [each for each in sorted_lines if isinstance(each, Payment)]
            answers = await post_payments(self._routes, self._suspense, file.employer, payments)
            booked += sum(
                1 for each in answers if each.outcome is Outcome.POSTED and not each.is_replay
            )
            done += len(chunk)
            if progress:
                progress(done, file.summary.lines)
        return booked

    def _sort(self, file: _File, line: PaymentLine) -> Payment | Rejection:
        sorted_line = read_line(line, file=file.reference, employer=file.employer, iban=self._iban)
        if isinstance(sorted_line, Payment) and not self._routes.has_owner(sorted_line.payee):
            return unassigned()
        return sorted_line

    async def _wait_for_delivery(self, file: _File, wait_s: float) -> None:
        """Wait until no line of the file is in transit, or ``wait_s`` are over."""
        patience = Patience(wait_s, first_s=PAYROLL_POLL_PAUSE_S, longest_s=PAYROLL_POLL_PAUSE_S)
        arrived_up_to: str | None = None
        while True:
            try:
                async for record in self._records(file, after=arrived_up_to):
                    if record.money_state is MoneyState.IN_TRANSIT:
                        break
                    arrived_up_to = record.reference
                else:
                    return
            except Unavailable:
                # The report will raise it, if the shard does not come back in time.
                pass
            if not await patience.pause():
                return

    async def _report(self, file: _File) -> Mapping[Status, int]:
        header = file.summary.header
        summary = await write_status_report(
            file.report,
            header,
            self._statuses(file),
            message_id=new_id().hex,
            created_at=datetime.now(UTC),
        )
        return summary.lines

    async def _statuses(self, file: _File) -> AsyncIterator[LineStatus]:
        """The lines' statuses in the order of the file, which is also that of the references."""
        records = self._records(file)
        record = await anext(records, None)
        async for chunk in _chunks(file.spool):
            for line in chunk:
                sorted_line = self._sort(file, line)
                if isinstance(sorted_line, Rejection):
                    yield status_of_rejection(line, sorted_line)
                elif record is not None and record.reference == sorted_line.reference:
                    yield status_of_record(line, record)
                    record = await anext(records, None)
                else:
                    yield status_of_record(line, None)

    def _records(self, file: _File, after: str | None = None) -> AsyncIterator[TransferRecord]:
        return self._records_under(file.employer, file.reference, after)

    async def _records_under(
        self, employer: int, reference: str, after: str | None = None
    ) -> AsyncIterator[TransferRecord]:
        """What the employer's shard recorded of a file's lines, by reference."""
        prefix = line_prefix(reference)
        last = after or prefix

        async def read_page(shard: Shard) -> list[TransferRecord]:
            page = await shard.transfers.by_reference_prefix(
                employer, Origin.PAYROLL, prefix, last, PAYROLL_REPORT_ROWS
            )
            if not page:
                # Nothing recorded, or recorded elsewhere by now? The account tells.
                await shard.accounts.get(employer)
            return page

        while True:
            page = await self._routes.follow(employer, read_page)
            for record in page:
                yield record
            if len(page) < PAYROLL_REPORT_ROWS:
                return
            last = page[-1].reference


async def _chunks(path: Path) -> AsyncIterator[list[PaymentLine]]:
    """The lines of a file, read in a thread."""
    lines = read_payments(path)
    while chunk := await asyncio.to_thread(list, islice(lines, PAYROLL_CHUNK_LINES)):
        yield chunk


def _result(
    file: _File, statuses: Mapping[Status, int], *, booked_now: int, was_known: bool
) -> PayrollResult:
    return PayrollResult(
        message_id=file.summary.header.message_id,
        employer=file.employer,
        lines=file.summary.lines,
        report=file.report,
        statuses=statuses,
        booked_now=booked_now,
        was_known=was_known,
    )
