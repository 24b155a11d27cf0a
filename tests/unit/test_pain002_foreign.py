"""Status reports read by a foreign library, generated from ISO's schemas."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from router.iso20022.file_check import check_file
from router.iso20022.pain001 import PaymentLine, read_payments
from router.iso20022.pain002 import LineStatus, Status, write_status_report
from tests.support.payroll_files import (
    VERSIONS,
    Block,
    Payment,
    document_text,
)

pytest.importorskip("pyiso20022", reason="pyiso20022 holds the schemas of pain.002 as classes")

STATUSES: tuple[Status, ...] = ("ACSC", "ACSP", "PDNG", "RJCT")


def status_of(line: PaymentLine) -> LineStatus:
    """All statuses in turn, each with what may stand beside it."""
    status = STATUSES[line.line % len(STATUSES)]
    if status in {"RJCT", "PDNG"}:
        return LineStatus.of(line, status, "AC04", "The account is closed. " * 10)
    return LineStatus.of(line, status)


def schema_classes(version: str) -> Any:
    """The library's class ``Document`` of one version."""
    name = version.replace(".", "_")
    return pytest.importorskip(f"pyiso20022.pain.{name}.{name}").Document


@pytest.mark.parametrize(
    ("version", "answer"), list(zip(VERSIONS, ("03", "08", "10"), strict=True))
)
async def test_a_report_fits_the_schema(tmp_path: Path, version: str, answer: str) -> None:
    """Names, order and types of all elements are those of the schema."""
    parsers = pytest.importorskip("xsdata.formats.dataclass.parsers")
    serializers = pytest.importorskip("xsdata.formats.dataclass.serializers")
    day = "2026-11-30" if version.endswith("03") else "<Dt>2026-11-30</Dt>"
    by_iban = "<IBAN>DE46990000011000000001</IBAN>"
    payments = tuple(
        Payment(f"E-{n}", account=by_iban if n % 2 else Payment().account) for n in range(9)
    )
    order, report = tmp_path / "order.xml", tmp_path / "report.xml"
    blocks = [Block(payments, block_id=name, execution_date=day) for name in ("B-1", "B-2")]
    text = document_text(*blocks, version=version)
    order.write_text(text.replace("<PmtId>", "<PmtId><InstrId>I</InstrId>"))
    await write_status_report(
        report,
        check_file(order).header,
        (status_of(line) for line in read_payments(order)),
        message_id="R-1",
        created_at=datetime(2026, 11, 30, 9, 15, tzinfo=UTC),
    )
    # The parser refuses unknown names and warns of wrong types; the serializer writes in the
    # order of the schema.
    document = parsers.XmlParser().from_path(report, schema_classes(f"pain.002.001.{answer}"))
    again = etree.fromstring(serializers.XmlSerializer().render(document).encode())
    tags = [element.tag for element in etree.parse(report).getroot().iter()]
    assert tags == [element.tag for element in again.iter()]
