"""Payment files as foreign software writes them, read payment by payment."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib import resources
from itertools import islice
from pathlib import Path

import pytest
from lxml import etree

from router.iso20022.demo_file import Party, Salary, write_payroll_file
from router.iso20022.file_check import check_file
from router.iso20022.pain001 import FileHeader, PaymentBatch, PaymentLine, read_payments
from tests.support.payroll_files import (
    DEBTOR_BY_IBAN,
    EMPLOYER,
    EXECUTION_DATE,
    IBANS,
    OWN_IBAN,
    VERSIONS,
    Block,
    Payment,
    document_text,
    salaries,
    sepaxml_file,
)

Text = str | bytes


def written(folder: Path, text: Text) -> Path:
    """The text as a file."""
    path = folder / "order.xml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def only_payment(folder: Path, text: Text) -> PaymentLine:
    """The one payment of a file."""
    (line,) = read_payments(written(folder, text))
    return line


@pytest.mark.parametrize("version", VERSIONS)
def test_a_file_of_foreign_software_is_read_to_the_cent(tmp_path: Path, version: str) -> None:
    """What ``sepaxml`` was told to pay is what comes out, in every version."""
    path = sepaxml_file(tmp_path / "payroll.xml", 250, version)
    expected = [
        (n, s.employee.account_no, s.employee.name, s.amount, "EUR", f"SALARY-202611-{n:06d}")
        for n, s in enumerate(salaries(250), start=1)
    ]
    assert expected == [
        (
            line.line,
            IBANS.parse_account(line.creditor_account),
            line.creditor_name,
            line.amount,
            line.currency,
            line.end_to_end_id,
        )
        for line in read_payments(path)
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_file_of_foreign_software_is_summed_up(tmp_path: Path, version: str) -> None:
    """The summary counts, sums and hashes what was read."""
    path = sepaxml_file(tmp_path / "payroll.xml", 250, version)
    summary = check_file(path)
    assert (summary.header.version, summary.header.initiating_party) == (version, EMPLOYER.name)
    assert (summary.lines, summary.batches, summary.currency) == (250, 1, "EUR")
    assert summary.total == sum(salary.amount for salary in salaries(250))
    assert summary.debtor_account == OWN_IBAN
    assert summary.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert summary.size_bytes == path.stat().st_size


@pytest.mark.parametrize("version", ["pain.001.001.03", "pain.001.001.09"])
def test_test_files_are_valid(tmp_path: Path, version: str) -> None:
    """What tests read, foreign or by hand, fits ISO's schema (``sepaxml`` ships two)."""
    folder = resources.files("sepaxml") / "schemas"
    with resources.as_file(folder / f"{version}.xsd") as schema_path:
        schema = etree.XMLSchema(file=str(schema_path))
    day = "2026-11-30" if version.endswith("03") else "<Dt>2026-11-30</Dt>"
    by_hand = written(tmp_path, document_text(Block(execution_date=day), version=version))
    foreign = sepaxml_file(tmp_path / "payroll.xml", 3, version)
    schema.assertValid(etree.parse(by_hand))
    schema.assertValid(etree.parse(foreign))


def test_every_field_is_read(tmp_path: Path) -> None:
    """Header, block and payment carry each field that a later part uses."""
    extra = "<RmtInf><Ustrd>Salary</Ustrd><Ustrd>and bonus</Ustrd></RmtInf>"
    block = Block((Payment(extra=extra),), count="1", total="100.0", debtor=DEBTOR_BY_IBAN)
    text = document_text(block, total="100").replace("<PmtId>", "<PmtId><InstrId> I-1 </InstrId>")
    assert check_file(written(tmp_path, text)).header == FileHeader(
        version="pain.001.001.09",
        message_id="M-1",
        created_at=datetime(2026, 11, 20, 8, 30, tzinfo=UTC),
        number_of_transactions=1,
        control_sum=Decimal(100),
        initiating_party="Acme",
    )
    assert only_payment(tmp_path, text) == PaymentLine(
        line=1,
        batch=PaymentBatch(
            number=1,
            payment_information_id="B-1",
            debtor_account=OWN_IBAN,
            debtor_name="Acme",
            requested_execution_date=date(2026, 11, 30),
            number_of_transactions=1,
            control_sum=Decimal(100),
        ),
        instruction_id="I-1",
        end_to_end_id="E-1",
        amount=Decimal("100.00"),
        currency="EUR",
        creditor_name="Employee 1",
        creditor_account="2000000001",
        remittance="Salary and bonus",
    )


def test_what_does_not_matter_here_is_let_through(tmp_path: Path) -> None:
    """Service level, charges, agents, purposes and foreign envelopes change nothing."""
    plain = document_text()
    rich = document_text(
        Block((Payment(extra="<Purp><Cd>SALA</Cd></Purp>"),)),
        extra='<SplmtryData><Envlp><x xmlns="urn:x"><PmtInf/></x></Envlp></SplmtryData>',
    ).replace(
        "<ReqdExctnDt>",
        "<PmtTpInf><SvcLvl><Cd>SEPA</Cd></SvcLvl></PmtTpInf><ReqdExctnDt>",
    )
    assert only_payment(tmp_path, plain) == only_payment(tmp_path, rich)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(document_text(prologue="").encode("utf-16"), id="utf-16-undeclared"),
        pytest.param(
            document_text(prologue='<?xml version="1.0" encoding="UTF-16"?>').encode("utf-16"),
            id="utf-16",
        ),
        pytest.param(b"\xef\xbb\xbf" + document_text().encode(), id="byte-order-mark"),
        pytest.param(
            document_text(prologue='<?xml version="1.0" encoding="ISO-8859-1"?>').encode("latin-1"),
            id="latin-1",
        ),
        pytest.param(document_text(prologue=""), id="no-declaration"),
        pytest.param(document_text(prologue=f"<!--{'x' * 5000}-->"), id="comment-first"),
        pytest.param(
            document_text()
            .replace("<", "<p:")
            .replace("<p:/", "</p:")
            .replace("<p:?", "<?")
            .replace("xmlns=", "xmlns:p="),
            id="prefixed",
        ),
    ],
)
def test_the_same_file_in_another_dress_is_the_same(tmp_path: Path, text: Text) -> None:
    """Encodings and prefixes of XML are its own affair."""
    expected = only_payment(tmp_path, document_text())
    assert expected == only_payment(tmp_path, text)


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("100", "EUR", "100.00"),
        ("100.5", "EUR", "100.50"),
        ("0100.50", "EUR", "100.50"),
        ("+100.50", "EUR", "100.50"),
        (".5", "EUR", "0.50"),
        ("7.", "EUR", "7.00"),
        (" 7.00\n", "EUR", "7.00"),
        ("99999999999999.99", "EUR", "99999999999999.99"),
        ("100<!-- no comment -->00.00", "EUR", "10000.00"),
        ("1&#48;0.00", "EUR", "100.00"),
        ("<![CDATA[100.00]]>", "EUR", "100.00"),
        ("100", "JPY", "100"),
        ("1.234", "KWD", "1.234"),
    ],
)
def test_an_amount_is_read_as_xml_schema_means_it(
    tmp_path: Path, amount: str, currency: str, expected: str
) -> None:
    """Each notation of a decimal gives one amount with the currency's decimals."""
    text = document_text(Block((Payment(amount=amount, currency=currency),)))
    assert expected == str(only_payment(tmp_path, text).amount)


@pytest.mark.parametrize(
    ("written_date", "version"),
    [
        ("2026-11-30", "pain.001.001.03"),
        ("<Dt>2026-11-30</Dt>", "pain.001.001.08"),
        ("<DtTm>2026-11-30T23:59:59+14:00</DtTm>", "pain.001.001.09"),
        ("<Dt>2026-11-30Z</Dt>", "pain.001.001.09"),
    ],
)
def test_the_execution_date_is_read_in_its_forms(
    tmp_path: Path, written_date: str, version: str
) -> None:
    """The day is the one that is written, a plain date or a choice of two."""
    text = document_text(Block(execution_date=written_date), version=version)
    line = only_payment(tmp_path, text)
    assert line.batch.requested_execution_date == date(2026, 11, 30)


def test_blocks_follow_each_other(tmp_path: Path) -> None:
    """Lines are counted over the file, blocks keep their own head, ids repeat between blocks."""
    first = Block((Payment("A"), Payment("B")), block_id="B-1", count="2", total="200")
    second = Block((Payment("A"),), block_id="B-2", execution_date="<Dt>2026-12-31</Dt>")
    path = written(tmp_path, document_text(first, second, total="300.00"))
    assert [
        (1, 1, "B-1", "A", date(2026, 11, 30)),
        (2, 1, "B-1", "B", date(2026, 11, 30)),
        (3, 2, "B-2", "A", date(2026, 12, 31)),
    ] == [
        (
            line.line,
            line.batch.number,
            line.batch.payment_information_id,
            line.end_to_end_id,
            line.batch.requested_execution_date,
        )
        for line in read_payments(path)
    ]
    assert check_file(path).batches == 2


def test_payments_without_an_id_of_their_own_may_be_many(tmp_path: Path) -> None:
    """``NOTPROVIDED`` is the standard's word for no id."""
    payments = (Payment("NOTPROVIDED"), Payment("NOTPROVIDED"))
    assert check_file(written(tmp_path, document_text(Block(payments)))).lines == 2


def test_a_creditor_may_be_nameless(tmp_path: Path) -> None:
    """The schema does not ask for a name, and the account decides who is paid."""
    assert only_payment(tmp_path, document_text(Block((Payment(name=""),)))).creditor_name == ""


def test_a_file_may_be_read_by_changing_threads(tmp_path: Path) -> None:
    """An asyncio program reads chunk by chunk, each in some thread of its pool."""
    path = sepaxml_file(tmp_path / "payroll.xml", 1_000)
    payments, read = read_payments(path), 0
    for _ in range(10):
        # A pool of its own for each chunk: never the thread of the chunk before.
        with ThreadPoolExecutor(max_workers=1) as pool:
            read += len(pool.submit(list, islice(payments, 100)).result())
    assert read == 1_000


def test_reading_may_stop_early(tmp_path: Path) -> None:
    """Whoever needs some payments only closes the file by closing the iterator."""
    path = sepaxml_file(tmp_path / "payroll.xml", 20)
    payments = read_payments(path)
    assert [1, 2] == [line.line for line in islice(payments, 2)]


def test_the_demo_file_tells_its_progress(tmp_path: Path) -> None:
    """A progress bar is moved along the way and ends at the number of payments."""
    seen: list[int] = []
    count = write_payroll_file(
        tmp_path / "payroll.xml",
        EMPLOYER,
        salaries(1_200),
        execution_date=EXECUTION_DATE,
        ibans=IBANS,
        on_progress=seen.append,
    )
    assert (count, seen) == (1_200, [500, 1_000, 1_200])


def test_the_demo_file_has_no_parts_of_cents(tmp_path: Path) -> None:
    """A salary that cannot be paid exactly is an error, not rounded."""
    salary = Salary(Party(2_000_000_001, "Employee"), Decimal("0.005"))
    with pytest.raises(ValueError, match="whole cents"):
        write_payroll_file(
            tmp_path / "payroll.xml",
            EMPLOYER,
            [salary],
            execution_date=EXECUTION_DATE,
            ibans=IBANS,
        )
