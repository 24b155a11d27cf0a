"""A streaming reader of pain.001: what a customer orders, payment by payment.

Versions .03, .08 and .09 are read; the few elements that matter here stand in the same places
in all of them. Batch booking, service level, charges and whatever else does not change who is
paid how much are allowed and not looked at. A file is never half taken: ``check_file`` (in
``file_check.py``) reads it to its end before anything is executed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

from router.iso20022.elements import (
    Elements,
    parse_count,
    parse_date,
    parse_sum,
    parse_time,
    text_of,
)
from router.iso20022.errors import (
    AmountInvalid,
    AmountNotPositive,
    AmountTooLarge,
    AmountTooPrecise,
    CreditorAccountMissing,
    CurrencyNotKept,
    DebtorAccountMissing,
    ElementMisplaced,
    ElementMissing,
    EndToEndIdMissing,
    FileTooLarge,
    FileUnreadable,
    NotAPaymentFile,
    PaymentFileRefused,
    PaymentMethodUnsupported,
    VersionUnsupported,
)
from router.iso20022.xml_stream import Element, XmlStream
from router.limits import (
    AMOUNT_INTEGER_DIGITS_MAX,
    ISO_ACCOUNT_CHARS_MAX,
    ISO_IDENTIFIER_CHARS_MAX,
    ISO_NAME_CHARS_MAX,
    ISO_REMITTANCE_BLOCKS_MAX,
    ISO_REMITTANCE_CHARS_MAX,
    PAYMENT_FILE_LINES_MAX,
)
from shard.money import CURRENCIES

NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:"
VERSIONS = ("pain.001.001.03", "pain.001.001.08", "pain.001.001.09")

_AMOUNT = re.compile(r"\+?([0-9]*)(?:\.([0-9]*))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class FileHeader:
    """The group header. ``created_at`` is naive where the file names no time zone."""

    version: str
    message_id: str
    created_at: datetime
    number_of_transactions: int
    control_sum: Decimal | None
    initiating_party: str | None


@dataclass(frozen=True, slots=True)
class PaymentBatch:
    """One payment information block, ``number`` 1-based; its sums are what the file claims."""

    number: int
    payment_information_id: str
    debtor_account: str
    debtor_name: str | None
    requested_execution_date: date
    number_of_transactions: int | None
    control_sum: Decimal | None


@dataclass(frozen=True, slots=True)
class PaymentLine:
    """One payment; ``line`` is 1-based over the whole file, ``amount`` is in ``currency``.

    ``creditor_account`` is an IBAN or another number, unchecked; ``creditor_name`` is empty
    where the file gives none.
    """

    line: int
    batch: PaymentBatch
    instruction_id: str | None
    end_to_end_id: str
    amount: Decimal
    currency: str
    creditor_name: str
    creditor_account: str
    remittance: str | None


def read_payments(path: Path) -> Iterator[PaymentLine]:
    """The payments of a file, one by one, in constant memory; it blocks on the disk.

    Checks each element on its way, but not the sums of headers (``check_file`` does). Raises
    leaves of ``PaymentFileRefused``, possibly after some payments.
    """
    with open_payments(path) as reader:
        yield from reader.payments()


@contextmanager
def open_payments(path: Path) -> Iterator[PaymentReader]:
    """Open a payment file; raises leaves of ``PaymentFileRefused``."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise FileUnreadable(f"The payment file cannot be opened: {error.strerror}.") from error
    with file:
        yield PaymentReader(XmlStream(file))


class PaymentReader:
    """Reads one file from its stream; ``header`` is known once the first payment is."""

    def __init__(self, stream: XmlStream) -> None:
        """Raises ``NotAPaymentFile`` or ``VersionUnsupported``."""
        self.stream = stream
        self._version = _version_of(stream.root_name)
        self._elements = Elements(NAMESPACE + self._version)
        self._message, self._group, self._block, self._payment = map(
            self._elements.full_name, ("CstmrCdtTrfInitn", "GrpHdr", "PmtInf", "CdtTrfTxInf")
        )
        self._header: FileHeader | None = None
        self._open_block: Element | None = None
        self._batch: PaymentBatch | None = None
        self._batches = 0
        self._lines = 0
        self._ready: list[PaymentLine] = []

    @property
    def header(self) -> FileHeader:
        """The group header; raises ``ElementMissing`` where the file has none before here."""
        if self._header is None:
            raise ElementMissing("The group header (GrpHdr) is missing.")
        return self._header

    def payments(self) -> Iterator[PaymentLine]:
        """The payments in order; raises leaves of ``PaymentFileRefused``."""
        for _ in self.stream.chunks(self._start, self._end):
            ready, self._ready = self._ready, []
            yield from ready

    def _start(self, element: Element) -> None:
        if element.name == self._payment:
            self._start_payment(element)
        elif element.name == self._group or element.name == self._block:
            self._check_place(element)
        elif self._open_block is not None and element.parent is self._open_block:
            raise ElementMisplaced(
                f"{element.local_name} stands behind the payments of its block.", row=element.row
            )

    def _end(self, element: Element) -> bool:
        if element.name == self._payment:
            self._end_payment(element)
        elif element.name == self._block:
            if self._open_block is None:
                raise ElementMissing("A payment information block is empty.", row=element.row)
            self._open_block = self._batch = None
            _forget(element)
        elif element.name == self._group:
            self._header = self._read_header(element)
        else:
            return False
        return True

    def _start_payment(self, payment: Element) -> None:
        block = payment.parent
        if block is None or block.name != self._block:
            raise ElementMisplaced(
                "A payment stands outside of a payment information block.", row=payment.row
            )
        if self._open_block is None:
            self._open_block, self._batch = block, self._read_batch(block)

    def _end_payment(self, payment: Element) -> None:
        self._lines += 1
        if self._lines > PAYMENT_FILE_LINES_MAX:
            raise FileTooLarge(f"A payment file has at most {PAYMENT_FILE_LINES_MAX:,} payments.")
        try:
            self._ready.append(self._read_line(payment))
        except PaymentFileRefused as refusal:
            refusal.line = self._lines
            refusal.row = refusal.row or payment.row
            raise
        _forget(payment)

    def _check_place(self, element: Element) -> None:
        """The message is the header and blocks, one after the other; no block hides elsewhere.

        Blocks that were read are forgotten, so the present one stands beside the header.
        """
        message = element.parent
        root = message.parent if message is not None else None
        is_in_message = (
            message is not None
            and root is not None
            and root.parent is None
            and message.name == self._message
            and root.children[0] is message
        )
        if message is None or not is_in_message:
            raise ElementMisplaced(
                f"{element.local_name} stands where it must not.", row=element.row
            )
        siblings = [child.name for child in message.children]
        if element.name == self._block and self._header is None:
            raise ElementMissing("The group header (GrpHdr) is missing.", row=element.row)
        if siblings not in ([self._group], [self._group, self._block]):
            raise ElementMisplaced("GrpHdr and PmtInf stand in a wrong order.", row=element.row)

    def _read_header(self, group: Element) -> FileHeader:
        elements = self._elements
        count = elements.get_text(group, "NbOfTxs", chars_max=ISO_IDENTIFIER_CHARS_MAX)
        total = elements.find_text(group, "CtrlSum", chars_max=ISO_IDENTIFIER_CHARS_MAX)
        created_at = elements.get_text(group, "CreDtTm", chars_max=ISO_IDENTIFIER_CHARS_MAX)
        return FileHeader(
            version=self._version,
            message_id=elements.get_text(group, "MsgId", chars_max=ISO_IDENTIFIER_CHARS_MAX),
            created_at=parse_time(created_at),
            number_of_transactions=parse_count(count),
            control_sum=None if total is None else parse_sum(total),
            initiating_party=elements.find_text(
                group, "InitgPty", "Nm", chars_max=ISO_NAME_CHARS_MAX
            ),
        )

    def _read_batch(self, block: Element) -> PaymentBatch:
        elements = self._elements
        self._batches += 1
        method = elements.get_text(block, "PmtMtd", chars_max=ISO_IDENTIFIER_CHARS_MAX)
        if method != "TRF":
            raise PaymentMethodUnsupported(row=block.row)
        count = elements.find_text(block, "NbOfTxs", chars_max=ISO_IDENTIFIER_CHARS_MAX)
        total = elements.find_text(block, "CtrlSum", chars_max=ISO_IDENTIFIER_CHARS_MAX)
        account = self._find_account(block, "DbtrAcct")
        if account is None:
            raise DebtorAccountMissing(row=block.row)
        return PaymentBatch(
            number=self._batches,
            payment_information_id=elements.get_text(
                block, "PmtInfId", chars_max=ISO_IDENTIFIER_CHARS_MAX
            ),
            debtor_account=account,
            debtor_name=elements.find_text(block, "Dbtr", "Nm", chars_max=ISO_NAME_CHARS_MAX),
            requested_execution_date=self._read_execution_date(block),
            number_of_transactions=None if count is None else parse_count(count),
            control_sum=None if total is None else parse_sum(total),
        )

    def _read_execution_date(self, block: Element) -> date:
        # A date by itself in .03; since .08 a choice of a date and a date with time.
        wanted = self._elements.get(block, "ReqdExctnDt")
        if len(wanted.children) == 1:
            wanted = wanted.children[0]
        return parse_date(text_of(wanted, ISO_IDENTIFIER_CHARS_MAX) or "")

    def _read_line(self, payment: Element) -> PaymentLine:
        if self._batch is None:
            raise ElementMisplaced(row=payment.row)
        elements = self._elements
        ids = elements.get(payment, "PmtId")
        end_to_end_id = elements.find_text(ids, "EndToEndId", chars_max=ISO_IDENTIFIER_CHARS_MAX)
        if end_to_end_id is None:
            raise EndToEndIdMissing
        account = self._find_account(payment, "CdtrAcct")
        if account is None:
            raise CreditorAccountMissing
        currency, amount = _read_amount(elements.get(payment, "Amt", "InstdAmt"))
        name = elements.find_text(payment, "Cdtr", "Nm", chars_max=ISO_NAME_CHARS_MAX)
        return PaymentLine(
            line=self._lines,
            batch=self._batch,
            instruction_id=elements.find_text(ids, "InstrId", chars_max=ISO_IDENTIFIER_CHARS_MAX),
            end_to_end_id=end_to_end_id,
            amount=amount,
            currency=currency,
            creditor_name=name or "",
            creditor_account=account,
            remittance=self._find_remittance(payment),
        )

    def _find_account(self, parent: Element, role: str) -> str | None:
        elements = self._elements
        identification = elements.find(parent, role, "Id")
        if identification is None:
            return None
        return elements.find_text(
            identification, "IBAN", chars_max=ISO_ACCOUNT_CHARS_MAX
        ) or elements.find_text(identification, "Othr", "Id", chars_max=ISO_ACCOUNT_CHARS_MAX)

    def _find_remittance(self, payment: Element) -> str | None:
        information = self._elements.find(payment, "RmtInf")
        if information is None:
            return None
        name = self._elements.full_name("Ustrd")
        blocks = [child for child in information.children if child.name == name]
        texts = [
            text_of(block, ISO_REMITTANCE_CHARS_MAX) for block in blocks[:ISO_REMITTANCE_BLOCKS_MAX]
        ]
        return " ".join(text for text in texts if text) or None


def _version_of(root_name: str) -> str:
    namespace, _, name = root_name.rpartition("}")
    message = namespace.removeprefix(NAMESPACE)
    if name != "Document" or not message.startswith("pain.001."):
        raise NotAPaymentFile
    if message not in VERSIONS:
        raise VersionUnsupported(f"Supported are {', '.join(VERSIONS)}.")
    return message


def _read_amount(element: Element) -> tuple[str, Decimal]:
    """Currency and amount, with exactly the decimals of the currency."""
    code = element.attributes.get("Ccy", "")
    currency = CURRENCIES.get(code)
    if currency is None:
        raise CurrencyNotKept(f"The currency {code[:ISO_ACCOUNT_CHARS_MAX]!r} is not kept here.")
    text = text_of(element, ISO_IDENTIFIER_CHARS_MAX) or ""
    match = _AMOUNT.fullmatch(text)
    if match is None or not (match[1] or match[2]):
        raise AmountInvalid(f"{text!r} is not an amount.")
    amount = Decimal(text)
    if not amount:
        raise AmountNotPositive
    if len(match[1].lstrip("0")) > AMOUNT_INTEGER_DIGITS_MAX:
        raise AmountTooLarge
    if len(match[2] or "") > currency.scale:
        raise AmountTooPrecise(f"{currency.code} has {currency.scale} decimals.")
    return currency.code, amount.quantize(Decimal(1).scaleb(-currency.scale))


def _forget(element: Element) -> None:
    """Drop an element that has just ended: the last child of its parent."""
    if element.parent is not None:
        element.parent.children.pop()
