"""Status reports: what a bank answers, payment by payment."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from lxml import etree

from router.iso20022.errors import ReportIncomplete
from router.iso20022.file_check import check_file
from router.iso20022.pain001 import read_payments
from router.iso20022.pain002 import (
    GroupStatus,
    LineStatus,
    ReportSummary,
    Status,
    group_status_of,
    write_status_report,
)
from router.limits import PAYMENT_REPORT_CHUNK_LINES
from tests.support.payroll_files import (
    EXECUTION_DATE,
    OWN_IBAN,
    VERSIONS,
    Block,
    Payment,
    document_text,
    sepaxml_file,
)

NOW = datetime(2026, 11, 30, 9, 15, tzinfo=UTC)
ISO = "urn:iso:std:iso:20022:tech:xsd:"

EXPECTED = f"""\
<?xml version="1.0" encoding="UTF-8"?>
<Document xmlns="{ISO}pain.002.001.10"><CstmrPmtStsRpt>
<GrpHdr><MsgId>R-1</MsgId><CreDtTm>2026-11-30T09:15:00+00:00</CreDtTm></GrpHdr>
<OrgnlGrpInfAndSts><OrgnlMsgId>M-1</OrgnlMsgId><OrgnlMsgNmId>pain.001.001.09</OrgnlMsgNmId>\
<OrgnlCreDtTm>2026-11-20T08:30:00+00:00</OrgnlCreDtTm><OrgnlNbOfTxs>3</OrgnlNbOfTxs>\
<OrgnlCtrlSum>350.50</OrgnlCtrlSum><GrpSts>PART</GrpSts>\
<NbOfTxsPerSts><DtldNbOfTxs>2</DtldNbOfTxs><DtldSts>ACSC</DtldSts>\
<DtldCtrlSum>300.00</DtldCtrlSum></NbOfTxsPerSts>\
<NbOfTxsPerSts><DtldNbOfTxs>1</DtldNbOfTxs><DtldSts>RJCT</DtldSts>\
<DtldCtrlSum>50.50</DtldCtrlSum></NbOfTxsPerSts></OrgnlGrpInfAndSts>
<OrgnlPmtInfAndSts><OrgnlPmtInfId>B-1</OrgnlPmtInfId><OrgnlNbOfTxs>2</OrgnlNbOfTxs>\
<OrgnlCtrlSum>150.50</OrgnlCtrlSum><PmtInfSts>PART</PmtInfSts>\
<NbOfTxsPerSts><DtldNbOfTxs>1</DtldNbOfTxs><DtldSts>ACSC</DtldSts>\
<DtldCtrlSum>100.00</DtldCtrlSum></NbOfTxsPerSts>\
<NbOfTxsPerSts><DtldNbOfTxs>1</DtldNbOfTxs><DtldSts>RJCT</DtldSts>\
<DtldCtrlSum>50.50</DtldCtrlSum></NbOfTxsPerSts>
<TxInfAndSts><OrgnlEndToEndId>E-1</OrgnlEndToEndId><TxSts>ACSC</TxSts>\
<OrgnlTxRef><Amt><InstdAmt Ccy="EUR">100.00</InstdAmt></Amt>\
<CdtrAcct><Id><Othr><Id>2000000001</Id></Othr></Id></CdtrAcct></OrgnlTxRef></TxInfAndSts>
<TxInfAndSts><OrgnlInstrId>I-2</OrgnlInstrId><OrgnlEndToEndId>E&lt;2&gt;</OrgnlEndToEndId>\
<TxSts>RJCT</TxSts><StsRsnInf><Rsn><Cd>AC04</Cd></Rsn>\
<AddtlInf>The account is closed.</AddtlInf></StsRsnInf>\
<OrgnlTxRef><Amt><InstdAmt Ccy="EUR">50.50</InstdAmt></Amt>\
<CdtrAcct><Id><IBAN>{OWN_IBAN}</IBAN></Id></CdtrAcct></OrgnlTxRef></TxInfAndSts>
</OrgnlPmtInfAndSts>
<OrgnlPmtInfAndSts><OrgnlPmtInfId>B-2</OrgnlPmtInfId><OrgnlNbOfTxs>1</OrgnlNbOfTxs>\
<OrgnlCtrlSum>200.00</OrgnlCtrlSum><PmtInfSts>ACSC</PmtInfSts>\
<NbOfTxsPerSts><DtldNbOfTxs>1</DtldNbOfTxs><DtldSts>ACSC</DtldSts>\
<DtldCtrlSum>200.00</DtldCtrlSum></NbOfTxsPerSts>
<TxInfAndSts><OrgnlEndToEndId>E-1</OrgnlEndToEndId><TxSts>ACSC</TxSts>\
<OrgnlTxRef><Amt><InstdAmt Ccy="EUR">200.00</InstdAmt></Amt>\
<CdtrAcct><Id><Othr><Id>2000000001</Id></Othr></Id></CdtrAcct></OrgnlTxRef></TxInfAndSts>
</OrgnlPmtInfAndSts>
</CstmrPmtStsRpt></Document>
"""


def answered(order: Path, *, rejected_every: int = 3) -> Iterator[LineStatus]:
    """Each payment of the order settled, but every third rejected."""
    for line in read_payments(order):
        if line.line % rejected_every == 0:
            yield LineStatus.of(line, "RJCT", "AC01", "The account does not exist.")
        else:
            yield LineStatus.of(line, "ACSC")


async def report_on(order: Path, report: Path) -> ReportSummary:
    """The report on an order of which every third payment is rejected."""
    header = check_file(order).header
    return await write_status_report(
        report, header, answered(order), message_id="R-1", created_at=NOW
    )


def values(report: Path, name: str) -> list[str]:
    """The texts of all elements of that name, in order."""
    root = etree.parse(report).getroot()
    return [element.text or "" for element in root.iter(f"{{*}}{name}")]


def files_in(folder: Path) -> set[Path]:
    """Everything that lies in the folder."""
    return set(folder.iterdir())


async def test_a_report_reads_like_this(tmp_path: Path) -> None:
    """The whole text of a report on two blocks, with a rejection and a hostile id."""
    escaped = Payment("E&lt;2&gt;", "50.50", account=f"<IBAN>{OWN_IBAN}</IBAN>")
    first, second = Block((Payment(), escaped)), Block((Payment(amount="200"),), block_id="B-2")
    order = tmp_path / "order.xml"
    order.write_text(
        document_text(first, second).replace(
            "<PmtId><EndToEndId>E&", "<PmtId><InstrId>I-2</InstrId><EndToEndId>E&"
        )
    )
    lines = list(read_payments(order))
    statuses = [
        LineStatus.of(lines[0], "ACSC"),
        LineStatus.of(lines[1], "RJCT", "AC04", "The account is closed."),
        LineStatus.of(lines[2], "ACSC"),
    ]
    report = tmp_path / "report.xml"
    summary = await write_status_report(
        report, check_file(order).header, statuses, message_id="R-1", created_at=NOW
    )
    assert report.read_text() == EXPECTED
    assert summary == ReportSummary("PART", {"ACSC": 2, "RJCT": 1})


@pytest.mark.parametrize(
    ("version", "answer"), list(zip(VERSIONS, ("03", "08", "10"), strict=True))
)
async def test_an_order_and_its_report_agree(tmp_path: Path, version: str, answer: str) -> None:
    """A foreign file goes in, the report names each of its payments in the fitting version."""
    count = PAYMENT_REPORT_CHUNK_LINES + 100
    order = sepaxml_file(tmp_path / "order.xml", count, version)
    report = tmp_path / "report.xml"
    await report_on(order, report)
    root = etree.parse(report).getroot()
    assert etree.QName(root).namespace == f"{ISO}pain.002.001.{answer}"
    assert values(report, "OrgnlMsgId") == [check_file(order).header.message_id]
    assert values(report, "OrgnlMsgNmId") == [version]
    assert values(report, "OrgnlEndToEndId") == [
        f"SALARY-{EXECUTION_DATE:%Y%m}-{n:06d}" for n in range(1, count + 1)
    ]
    assert values(report, "TxSts") == [
        "RJCT" if n % 3 == 0 else "ACSC" for n in range(1, count + 1)
    ]
    assert values(report, "InstdAmt") == [str(line.amount) for line in read_payments(order)]
    assert values(report, "IBAN") == [line.creditor_account for line in read_payments(order)]


async def test_a_report_may_come_from_a_database(tmp_path: Path) -> None:
    """Statuses that arrive one by one give the same report as those at hand."""
    order = sepaxml_file(tmp_path / "order.xml", PAYMENT_REPORT_CHUNK_LINES + 1)

    async def arriving() -> AsyncIterator[LineStatus]:
        for line in answered(order):
            yield line

    at_hand, arrived = tmp_path / "at-hand.xml", tmp_path / "arrived.xml"
    first = await report_on(order, at_hand)
    second = await write_status_report(
        arrived, check_file(order).header, arriving(), message_id="R-1", created_at=NOW
    )
    assert (first, at_hand.read_bytes()) == (second, arrived.read_bytes())


@pytest.mark.parametrize("missing", [1, -1])
async def test_a_report_answers_every_payment(tmp_path: Path, missing: int) -> None:
    """A report with too few or too many statuses is not written and leaves nothing behind."""
    order = sepaxml_file(tmp_path / "order.xml", 4)
    header, statuses = check_file(order).header, list(answered(order))
    changed = statuses[:-1] if missing > 0 else [*statuses, statuses[0]]
    with pytest.raises(ReportIncomplete):
        await write_status_report(
            tmp_path / "report.xml", header, changed, message_id="R-1", created_at=NOW
        )
    assert files_in(tmp_path) == {order}


async def test_a_report_that_fails_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads the report sees a whole one: the earlier until the later is complete."""
    order, report = sepaxml_file(tmp_path / "order.xml", 3), tmp_path / "report.xml"
    await report_on(order, report)
    before = report.read_bytes()
    monkeypatch.setattr("os.fsync", _fail)
    with pytest.raises(OSError, match="disk"):
        await report_on(order, report)
    assert (before, {order, report}) == (report.read_bytes(), files_in(tmp_path))


async def test_a_report_is_for_its_owner_only(tmp_path: Path) -> None:
    """Salaries are nobody else's business."""
    report = tmp_path / "report.xml"
    await report_on(sepaxml_file(tmp_path / "order.xml", 3), report)
    assert oct(report.stat().st_mode & 0o777) == oct(0o600)


async def test_long_information_is_told_in_pieces(tmp_path: Path) -> None:
    """ISO 20022 takes 105 characters at once, and any number of times."""
    order, report = tmp_path / "order.xml", tmp_path / "report.xml"
    order.write_text(document_text())
    (line,) = read_payments(order)
    words = " ".join(["information"] * 30)
    await write_status_report(
        report,
        check_file(order).header,
        [LineStatus.of(line, "RJCT", "MS03", words)],
        message_id="R-1",
        created_at=NOW,
    )
    pieces = values(report, "AddtlInf")
    assert (" ".join(pieces), True) == (words, max(map(len, pieces)) <= 105)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"ACSC": 3}, "ACSC"),
        ({"RJCT": 3}, "RJCT"),
        ({"PDNG": 3}, "PDNG"),
        ({"ACSP": 3}, "ACSP"),
        ({"ACSC": 2, "RJCT": 0}, "ACSC"),
        ({"ACSC": 2, "ACSP": 1}, "ACSP"),
        ({"ACSC": 2, "RJCT": 1}, "PART"),
        ({"ACSC": 2, "PDNG": 1}, "PART"),
        ({"ACSP": 1, "RJCT": 1}, "PART"),
        ({"ACSC": 1, "ACSP": 1, "PDNG": 1, "RJCT": 1}, "PART"),
    ],
)
def test_the_group_has_the_status_of_its_payments(
    counts: dict[Status, int], expected: GroupStatus
) -> None:
    """One status where all agree, in settlement while some are, partly where some failed."""
    assert expected == group_status_of(counts)


def test_a_rejection_has_a_reason() -> None:
    """A customer is never told a bare no."""
    with pytest.raises(ValueError, match="needs a reason"):
        LineStatus("B-1", None, "E-1", Decimal(1), "EUR", "2000000001", "RJCT")


def _fail(_descriptor: int) -> None:
    raise OSError("The disk is full.")
