"""Payment files for tests: written by a foreign library, or by hand where they must be wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

from router.iso20022.demo_file import Party, Salary, write_payroll_file
from router.iso20022.iban import Iban

EMPLOYER = Party(1_000_000_001, "Acme Works")
EXECUTION_DATE = date(2026, 11, 30)
IBANS = Iban()
VERSIONS = ("pain.001.001.03", "pain.001.001.08", "pain.001.001.09")

OWN_IBAN = IBANS.iban_of(EMPLOYER.account_no)
DEBTOR_BY_NUMBER = "<Othr><Id>1000000001</Id></Othr>"
DEBTOR_BY_IBAN = f"<IBAN>{OWN_IBAN}</IBAN>"


def salaries(count: int) -> Iterator[Salary]:
    """``count`` employees with account numbers from 2,000,000,001 and salaries from 1,000.01."""
    for n in range(1, count + 1):
        yield Salary(Party(2_000_000_000 + n, f"Employee {n}"), 1000 + Decimal(n) / 100)


def sepaxml_file(path: Path, count: int, version: str = VERSIONS[-1]) -> Path:
    """A payroll of ``count`` salaries, written by ``sepaxml``."""
    write_payroll_file(
        path,
        EMPLOYER,
        salaries(count),
        execution_date=EXECUTION_DATE,
        ibans=IBANS,
        version=version,
    )
    return path


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment of a file written by hand; ``extra`` stands at its end."""

    end_to_end_id: str = "E-1"
    amount: str = "100.00"
    currency: str = "EUR"
    account: str = "<Othr><Id>2000000001</Id></Othr>"
    name: str = "Employee 1"
    extra: str = ""

    def text(self) -> str:
        """The element ``CdtTrfTxInf``."""
        return (
            f"<CdtTrfTxInf><PmtId><EndToEndId>{self.end_to_end_id}</EndToEndId></PmtId>"
            f'<Amt><InstdAmt Ccy="{self.currency}">{self.amount}</InstdAmt></Amt>'
            f"<Cdtr><Nm>{self.name}</Nm></Cdtr><CdtrAcct><Id>{self.account}</Id></CdtrAcct>"
            f"{self.extra}</CdtTrfTxInf>\n"
        )


@dataclass(frozen=True, slots=True)
class Block:
    """A payment information block of a file written by hand; no counts unless given."""

    payments: tuple[Payment, ...] = (Payment(),)
    block_id: str = "B-1"
    count: str = ""
    total: str = ""
    debtor: str = DEBTOR_BY_NUMBER
    method: str = "TRF"
    execution_date: str = "<Dt>2026-11-30</Dt>"
    extra: str = ""

    def text(self) -> str:
        """The element ``PmtInf``."""
        count = f"<NbOfTxs>{self.count}</NbOfTxs>" if self.count else ""
        total = f"<CtrlSum>{self.total}</CtrlSum>" if self.total else ""
        return (
            f"<PmtInf><PmtInfId>{self.block_id}</PmtInfId><PmtMtd>{self.method}</PmtMtd>"
            f"<BtchBookg>true</BtchBookg>{count}{total}"
            f"<ReqdExctnDt>{self.execution_date}</ReqdExctnDt><Dbtr><Nm>Acme</Nm></Dbtr>"
            f"<DbtrAcct><Id>{self.debtor}</Id></DbtrAcct><DbtrAgt><FinInstnId/></DbtrAgt>\n"
            f"{''.join(payment.text() for payment in self.payments)}{self.extra}</PmtInf>\n"
        )


def header_text(blocks: tuple[Block, ...], *, count: str | None = None, total: str = "") -> str:
    """The element ``GrpHdr``; the true number of payments unless ``count`` is given."""
    counted = str(sum(len(block.payments) for block in blocks)) if count is None else count
    control_sum = f"<CtrlSum>{total}</CtrlSum>" if total else ""
    return (
        "<GrpHdr><MsgId>M-1</MsgId><CreDtTm>2026-11-20T08:30:00Z</CreDtTm>"
        f"<NbOfTxs>{counted}</NbOfTxs>{control_sum}<InitgPty><Nm>Acme</Nm></InitgPty></GrpHdr>\n"
    )


def document_text(
    *blocks: Block,
    version: str = VERSIONS[-1],
    prologue: str = '<?xml version="1.0" encoding="UTF-8"?>\n',
    header: str | None = None,
    count: str | None = None,
    total: str = "",
    extra: str = "",
) -> str:
    """A whole pain.001 document, valid unless told otherwise."""
    blocks = blocks or (Block(),)
    group = header_text(blocks, count=count, total=total) if header is None else header
    return (
        f'{prologue}<Document xmlns="urn:iso:std:iso:20022:tech:xsd:{version}">'
        f"<CstmrCdtTrfInitn>{group}{''.join(block.text() for block in blocks)}{extra}"
        "</CstmrCdtTrfInitn></Document>\n"
    )
