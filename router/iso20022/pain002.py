"""A streaming writer of pain.002: the bank's answer to a pain.001 file, payment by payment.

The schema wants counts and statuses of the group and of each block before the payments, so
the payments pass through temporary files beside the report: what a header says is always
counted from what follows it. The report appears under its name when it is complete.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tempfile
import textwrap
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import IO, Literal, get_args

from lxml import etree

from router.iso20022.errors import ReportIncomplete
from router.iso20022.pain001 import NAMESPACE, FileHeader, PaymentLine
from router.limits import (
    ISO_INFORMATION_CHARS_MAX,
    PAYMENT_REPORT_CHUNK_LINES,
    XML_HEAD_BYTES_MAX,
)
from shard.money import format_amount

Status = Literal["ACSC", "ACSP", "PDNG", "RJCT"]
"""Settled, in settlement, pending, rejected: ISO 20022 payment transaction statuses."""

GroupStatus = Literal["ACSC", "ACSP", "PDNG", "RJCT", "PART"]
"""As ``Status``, and partly accepted."""

REPORT_VERSIONS: Mapping[str, str] = MappingProxyType(
    {
        "pain.001.001.03": "pain.002.001.03",
        "pain.001.001.08": "pain.002.001.08",
        "pain.001.001.09": "pain.002.001.10",
    }
)
"""The version of the answer that ISO published together with the version of the order."""

_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[a-zA-Z0-9]{1,30}", re.ASCII)
_BLOCK_END = b"</OrgnlPmtInfAndSts>\n"
_DOCUMENT_END = b"</CstmrPmtStsRpt></Document>\n"


@dataclass(frozen=True, slots=True)
class LineStatus:
    """What became of one payment; ids, account and amount are those of the order.

    ``reason`` is an ISO external status reason code (``reasons.py``) and must be given for
    ``RJCT``; ``additional`` is for a person to read.
    """

    payment_information_id: str
    instruction_id: str | None
    end_to_end_id: str
    amount: Decimal
    currency: str
    creditor_account: str
    status: Status
    reason: str | None = None
    additional: str | None = None

    def __post_init__(self) -> None:
        if self.status == "RJCT" and self.reason is None:
            raise ValueError("A rejected payment needs a reason.")

    @classmethod
    def of(
        cls,
        line: PaymentLine,
        status: Status,
        reason: str | None = None,
        additional: str | None = None,
    ) -> LineStatus:
        """The status of a payment as it was read from its file."""
        return cls(
            payment_information_id=line.batch.payment_information_id,
            instruction_id=line.instruction_id,
            end_to_end_id=line.end_to_end_id,
            amount=line.amount,
            currency=line.currency,
            creditor_account=line.creditor_account,
            status=status,
            reason=reason,
            additional=additional,
        )


@dataclass(frozen=True, slots=True)
class ReportSummary:
    """What a written report says of the whole file."""

    group_status: GroupStatus
    lines: Mapping[Status, int]


async def write_status_report(
    path: Path,
    header: FileHeader,
    lines: AsyncIterable[LineStatus] | Iterable[LineStatus],
    *,
    message_id: str,
    created_at: datetime,
) -> ReportSummary:
    """Answer the file that began with ``header`` at ``path``, in the version that fits it.

    ``lines`` come in the order of the file. ``message_id`` (at most 35 characters) names the
    report, ``created_at`` has a time zone. A report that stood at ``path`` is replaced. Raises
    ``ReportIncomplete`` and leaves no trace where ``lines`` are not as many as the header
    announces.
    """
    # Salaries are confidential: these files have no name, and the report itself is readable by
    # its owner only.
    with (
        tempfile.TemporaryFile(dir=path.parent) as payments,
        tempfile.TemporaryFile(dir=path.parent) as blocks,
    ):
        report = _Report(payments, blocks)
        async for chunk in _chunks(lines):
            await asyncio.to_thread(report.add, chunk)
        await asyncio.to_thread(report.write, path, header, message_id, created_at)
        return report.summary()


def is_report_of(path: Path, message_id: str) -> bool:
    """Tell whether at ``path`` stands a report on the file of this message id. Blocks."""
    parser = etree.XMLPullParser(
        events=("end",), tag="{*}OrgnlMsgId", resolve_entities=False, no_network=True
    )
    try:
        with path.open("rb") as file:
            parser.feed(file.read(XML_HEAD_BYTES_MAX))
    except (OSError, etree.XMLSyntaxError):
        return False
    found = [each for _, each in parser.read_events() if isinstance(each, etree._Element)]
    return any(element.text == message_id for element in found)


def group_status_of(counts: Mapping[Status, int]) -> GroupStatus:
    """One status for several payments: their own if they agree, ``PART`` where some failed.

    Payments of which some are settled and all others are on their way are ``ACSP``.
    """
    present = [status for status, count in counts.items() if count]
    if len(present) == 1:
        return present[0]
    return "ACSP" if set(present) == {"ACSC", "ACSP"} else "PART"


async def _chunks(
    lines: AsyncIterable[LineStatus] | Iterable[LineStatus],
) -> AsyncIterator[list[LineStatus]]:
    if isinstance(lines, AsyncIterable):
        chunk: list[LineStatus] = []
        async for line in lines:
            chunk.append(line)
            if len(chunk) == PAYMENT_REPORT_CHUNK_LINES:
                yield chunk
                chunk = []
        yield chunk
    else:
        iterator = iter(lines)
        while chunk := await asyncio.to_thread(list, islice(iterator, PAYMENT_REPORT_CHUNK_LINES)):
            yield chunk


class _Tally:
    """Counts and sums by status, of a block or of the whole file."""

    def __init__(self) -> None:
        self.counts: Counter[Status] = Counter()
        self._sums: dict[Status, Decimal] = {}

    def add(self, line: LineStatus) -> None:
        self.counts[line.status] += 1
        self._sums[line.status] = self._sums.get(line.status, Decimal(0)) + line.amount

    def describe(self, parent: etree._Element, status_name: str) -> None:
        """Append what ISO 20022 calls the original numbers, and the status."""
        _append(parent, "OrgnlNbOfTxs", str(self.counts.total()))
        _append(parent, "OrgnlCtrlSum", f"{sum(self._sums.values(), Decimal(0)):f}")
        _append(parent, status_name, group_status_of(self.counts))
        for status in get_args(Status):
            if self.counts[status]:
                detail = etree.SubElement(parent, "NbOfTxsPerSts")
                _append(detail, "DtldNbOfTxs", str(self.counts[status]))
                _append(detail, "DtldSts", status)
                _append(detail, "DtldCtrlSum", f"{self._sums[status]:f}")


class _Report:
    """A report in the making: the present block's payments, and the blocks before it."""

    def __init__(self, payments: IO[bytes], blocks: IO[bytes]) -> None:
        self._payments = payments
        self._blocks = blocks
        self._block_id: str | None = None
        self._block_tally = _Tally()
        self._tally = _Tally()

    def add(self, lines: Iterable[LineStatus]) -> None:
        for line in lines:
            if line.payment_information_id != self._block_id:
                self._end_block()
                self._block_id = line.payment_information_id
            self._payments.write(etree.tostring(_payment(line)) + b"\n")
            self._block_tally.add(line)
            self._tally.add(line)

    def summary(self) -> ReportSummary:
        counts = MappingProxyType(dict(self._tally.counts))
        return ReportSummary(group_status_of(counts), counts)

    def write(self, path: Path, header: FileHeader, message_id: str, created_at: datetime) -> None:
        answered, expected = self._tally.counts.total(), header.number_of_transactions
        if answered != expected:
            raise ReportIncomplete(f"{answered} of {expected} payments are answered.")
        self._end_block()
        self._blocks.seek(0)
        namespace = NAMESPACE + REPORT_VERSIONS[header.version]
        opening = f'<?xml version="1.0" encoding="UTF-8"?>\n<Document xmlns="{namespace}">'
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            part = Path(file.name)
            try:
                file.write(opening.encode() + b"<CstmrPmtStsRpt>\n")
                file.write(_heads(header, self._tally, message_id, created_at))
                shutil.copyfileobj(self._blocks, file)
                file.write(_DOCUMENT_END)
                file.flush()
                os.fsync(file.fileno())
                part.replace(path)
            except BaseException:
                part.unlink(missing_ok=True)
                raise

    def _end_block(self) -> None:
        if self._block_id is None:
            return
        block = etree.Element("OrgnlPmtInfAndSts")
        _append(block, "OrgnlPmtInfId", self._block_id)
        self._block_tally.describe(block, "PmtInfSts")
        self._blocks.write(etree.tostring(block).removesuffix(_BLOCK_END.strip()) + b"\n")
        self._payments.seek(0)
        shutil.copyfileobj(self._payments, self._blocks)
        self._blocks.write(_BLOCK_END)
        self._payments.seek(0)
        self._payments.truncate()
        self._block_id, self._block_tally = None, _Tally()


def _heads(header: FileHeader, tally: _Tally, message_id: str, created_at: datetime) -> bytes:
    report = etree.Element("GrpHdr")
    _append(report, "MsgId", message_id)
    _append(report, "CreDtTm", created_at.isoformat(timespec="seconds"))
    group = etree.Element("OrgnlGrpInfAndSts")
    _append(group, "OrgnlMsgId", header.message_id)
    _append(group, "OrgnlMsgNmId", header.version)
    _append(group, "OrgnlCreDtTm", header.created_at.isoformat())
    tally.describe(group, "GrpSts")
    return etree.tostring(report) + b"\n" + etree.tostring(group) + b"\n"


def _payment(line: LineStatus) -> etree._Element:
    # Elements carry no namespace here: they inherit the document's when they stand in it.
    payment = etree.Element("TxInfAndSts")
    if line.instruction_id is not None:
        _append(payment, "OrgnlInstrId", line.instruction_id)
    _append(payment, "OrgnlEndToEndId", line.end_to_end_id)
    _append(payment, "TxSts", line.status)
    if line.reason is not None:
        information = etree.SubElement(payment, "StsRsnInf")
        _append(etree.SubElement(information, "Rsn"), "Cd", line.reason)
        for text in textwrap.wrap(line.additional or "", ISO_INFORMATION_CHARS_MAX):
            _append(information, "AddtlInf", text)
    order = etree.SubElement(payment, "OrgnlTxRef")
    amount = etree.SubElement(etree.SubElement(order, "Amt"), "InstdAmt", Ccy=line.currency)
    amount.text = format_amount(line.amount, line.currency)
    account = etree.SubElement(etree.SubElement(order, "CdtrAcct"), "Id")
    if _IBAN.fullmatch(line.creditor_account):
        _append(account, "IBAN", line.creditor_account)
    else:
        _append(etree.SubElement(account, "Othr"), "Id", line.creditor_account)
    return payment


def _append(parent: etree._Element, name: str, text: str) -> None:
    etree.SubElement(parent, name).text = text
