"""Wrong and hostile payment files: each is refused with an error of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from router import limits
from router.iso20022 import errors, file_check, pain001, xml_stream
from router.iso20022.errors import PaymentFileRefused
from router.iso20022.file_check import check_file
from tests.support.payroll_files import (
    DEBTOR_BY_IBAN,
    Block,
    Payment,
    document_text,
    header_text,
)

LAUGHS = "".join(
    f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "lol" * 10}">' for n in range(10)
)  # fmt: skip
GROUP = header_text((Block(),))
TWO = (Payment("A"), Payment("B"))


def with_doctype(subset: str) -> str:
    """A document with a document type."""
    return document_text(prologue=f"<!DOCTYPE Document [{subset}]>")


def with_amount(amount: str, currency: str = "EUR") -> str:
    """A document whose second payment has this amount."""
    return document_text(Block((Payment(), Payment("E-2", amount=amount, currency=currency))))


XML = [
    ("empty", "", errors.FileEmpty),
    ("blank", " \n\t", errors.FileEmpty),
    ("text", "Dear bank, please pay.", errors.XmlMalformed),
    ("zip", b"PK\x03\x04\x14\x00\x00\x00", errors.XmlMalformed),
    ("tag-not-closed", document_text().replace("</Nm>", "", 1), errors.XmlMalformed),
    ("two-documents", document_text() * 2, errors.XmlMalformed),
    ("text-after-document", document_text() + "x", errors.XmlMalformed),
    ("not-utf-8", document_text().encode().replace(b"Acme", b"\xff\xfe"), errors.XmlMalformed),
    ("unknown-encoding", '<?xml version="1.0" encoding="x-y"?><a/>', errors.XmlMalformed),
    ("zero-byte", document_text().replace("Acme", "\0"), errors.XmlMalformed),
    ("undefined-prefix", document_text(extra="<z:a/>"), errors.XmlMalformed),
    ("undefined-entity", document_text(extra="<a>&pound;</a>"), errors.XmlMalformed),
    ("broken-off-in-head", document_text()[:60], errors.FileBrokenOff),
    ("broken-off-in-header", document_text()[:200], errors.FileBrokenOff),
    ("broken-off-before-end", document_text().removesuffix("</Document>\n"), errors.FileBrokenOff),
    ("doctype", with_doctype(""), errors.DoctypeForbidden),
    ("doctype-utf-16", with_doctype("").encode("utf-16"), errors.DoctypeForbidden),
    ("external-doctype", '<!DOCTYPE a SYSTEM "http://127.0.0.1/a.dtd"><a/>',
     errors.DoctypeForbidden),
    ("external-entity", with_doctype('<!ENTITY x SYSTEM "file:///etc/passwd">'),
     errors.DoctypeForbidden),
    ("parameter-entity", with_doctype('<!ENTITY % x SYSTEM "file:///etc/passwd"> %x;'),
     errors.DoctypeForbidden),
    ("billion-laughs", with_doctype(LAUGHS).replace("Acme", "&l9;"), errors.DoctypeForbidden),
    ("billion-laughs-in-attribute", f'<!DOCTYPE a [{LAUGHS}]><a b="&l9;"/>',
     errors.DoctypeForbidden),
    ("entity-loop", f"<!DOCTYPE a [<!ENTITY x '&y;'><!ENTITY y '&x;'>]>{'<a>&x;</a>'}",
     errors.DoctypeForbidden),
    ("long-doctype", with_doctype(f"<!-- {'x' * 70_000} -->"), errors.DoctypeForbidden),
    ("too-deep", document_text(extra="<a>" * 300 + "</a>" * 300), errors.XmlTooDeep),
    ("deep-from-the-start", "<a>" * 100_000, errors.NotAPaymentFile),
    ("long-before-document", document_text(prologue=f"<!--{'x' * 70_000}-->"),
     errors.NotAPaymentFile),
    ("endless-text", document_text(Block((Payment(name="x" * 1_300_000),))),
     errors.ElementTooLong),
    ("endless-attribute", document_text(extra=f"<a b='{'x' * 11_000_000}'/>"),
     errors.ElementTooLong),
    ("endless-children", document_text(Block((Payment(extra="<a/>" * 20_001),))),
     errors.ElementTooLong),
    ("endless-names", document_text(extra="".join(f"<a{n}/>" for n in range(2_001))),
     errors.TooManyNames),
    ("endless-attribute-names",
     document_text(extra="<a " + " ".join(f"a{n}='1'" for n in range(2_001)) + "/>"),
     errors.TooManyNames),
    ("endless-prefixes",
     document_text(extra="".join(f'<a xmlns:p{n}="urn:x"/>' for n in range(2_001))),
     errors.TooManyNames),
    ("endless-comments", document_text(extra="<!-- x -->" * 150_000), errors.ElementTooLong),
]  # fmt: skip

DOCUMENT = [
    ("html", "<html><body/></html>", errors.NotAPaymentFile),
    ("no-namespace", "<Document/>", errors.NotAPaymentFile),
    ("status-report", document_text(version="pain.002.001.10"), errors.NotAPaymentFile),
    ("direct-debit", document_text(version="pain.008.001.08"), errors.NotAPaymentFile),
    ("other-root", document_text().replace("Document", "Letter"), errors.NotAPaymentFile),
    ("version-2", document_text(version="pain.001.001.02"), errors.VersionUnsupported),
    ("version-12", document_text(version="pain.001.001.12"), errors.VersionUnsupported),
    ("no-message", '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"/>',
     errors.FileEmpty),
    ("no-header", document_text(header=""), errors.ElementMissing),
    ("two-headers", document_text(header=GROUP * 2), errors.ElementMisplaced),
    ("header-last", document_text(header="", extra=GROUP), errors.ElementMissing),
    ("header-in-payment", document_text(Block((Payment(extra=GROUP),))), errors.ElementMisplaced),
    ("no-blocks", document_text().partition("<PmtInf>")[0] + "</CstmrCdtTrfInitn></Document>",
     errors.FileEmpty),
    ("no-payments", document_text(Block(())), errors.ElementMissing),
    ("block-after-envelope", document_text(Block(extra="</PmtInf><SplmtryData/><PmtInf>")),
     errors.ElementMisplaced),
    ("block-in-block", document_text(Block(extra=Block(block_id="B-2").text())),
     errors.ElementMisplaced),
    ("block-in-payment", document_text(Block((Payment(extra=Block().text()),))),
     errors.ElementMisplaced),
    ("payment-in-payment", document_text(Block((Payment(extra=Payment("E-2").text()),))),
     errors.ElementMisplaced),
    ("payment-outside", document_text(extra=Payment().text()), errors.ElementMisplaced),
    ("two-messages", document_text().replace(
        "</CstmrCdtTrfInitn>",
        f"</CstmrCdtTrfInitn><CstmrCdtTrfInitn>{Block().text()}</CstmrCdtTrfInitn>"),
     errors.ElementMisplaced),
    ("two-whole-messages", document_text().replace(
        "</CstmrCdtTrfInitn>",
        f"</CstmrCdtTrfInitn><CstmrCdtTrfInitn>{GROUP}{Block().text()}</CstmrCdtTrfInitn>"),
     errors.ElementMisplaced),
    ("message-wrapped", document_text().replace("<CstmrCdtTrfInitn>", "<x><CstmrCdtTrfInitn>")
     .replace("</CstmrCdtTrfInitn>", "</CstmrCdtTrfInitn></x>"), errors.ElementMisplaced),
    ("head-after-payments", document_text(Block(extra="<ChrgBr>SLEV</ChrgBr>")),
     errors.ElementMisplaced),
    ("other-namespace-inside", document_text().replace("<PmtInf>", '<PmtInf xmlns="urn:x">'),
     errors.FileEmpty),
]  # fmt: skip

FIELDS = [
    ("no-message-id", document_text().replace("<MsgId>M-1</MsgId>", ""), errors.ElementMissing),
    ("blank-message-id", document_text().replace("M-1", " "), errors.ElementMissing),
    ("long-message-id", document_text().replace("M-1", "M" * 36), errors.TextTooLong),
    ("two-message-ids", document_text().replace("<MsgId>", "<MsgId>X</MsgId><MsgId>"),
     errors.ElementMisplaced),
    ("element-in-text", document_text().replace("M-1", "M<b/>1"), errors.ElementMisplaced),
    ("time-is-none", document_text().replace("2026-11-20T08", "2026-02-30T08"),
     errors.ValueInvalid),
    ("time-without-day", document_text().replace("2026-11-20T08:30:00Z", "08:30"),
     errors.ValueInvalid),
    ("count-is-none", document_text(count="one"), errors.ValueInvalid),
    ("count-negative", document_text(count="-1"), errors.ValueInvalid),
    ("count-endless", document_text(count="1" * 16), errors.ValueInvalid),
    ("sum-is-none", document_text(total="NaN"), errors.ValueInvalid),
    ("sum-with-exponent", document_text(total="1e2"), errors.ValueInvalid),
    ("date-is-none", document_text(Block(execution_date="<Dt>tomorrow</Dt>")),
     errors.ValueInvalid),
    ("date-of-february", document_text(Block(execution_date="<Dt>2026-02-29</Dt>")),
     errors.ValueInvalid),
    ("date-without-hyphens", document_text(Block(execution_date="20261130")),
     errors.ValueInvalid),
    ("date-missing", document_text(Block(execution_date="")), errors.ValueInvalid),
    ("two-dates", document_text(Block(execution_date="<Dt>2026-11-30</Dt>" * 2)),
     errors.ElementMisplaced),
    ("no-debtor-account", document_text(Block(debtor="")), errors.DebtorAccountMissing),
    ("no-block-id", document_text(Block(block_id="")), errors.ElementMissing),
    ("cheque", document_text(Block(method="CHK")), errors.PaymentMethodUnsupported),
    ("no-method", document_text(Block(method="")), errors.ElementMissing),
]  # fmt: skip

PAYMENTS = [
    ("no-end-to-end-id", document_text(Block((Payment(), Payment("")))),
     errors.EndToEndIdMissing),
    ("long-end-to-end-id", document_text(Block((Payment(), Payment("E" * 36)))),
     errors.TextTooLong),
    ("no-creditor-account", document_text(Block((Payment(), Payment("E-2", account="")))),
     errors.CreditorAccountMissing),
    ("long-account", document_text(
        Block((Payment(), Payment("E-2", account=f"<Othr><Id>{'1' * 35}</Id></Othr>")))),
     errors.TextTooLong),
    ("long-name", document_text(Block((Payment(), Payment("E-2", name="N" * 141)))),
     errors.TextTooLong),
    ("long-remittance", document_text(Block(
        (Payment(), Payment("E-2", extra=f"<RmtInf><Ustrd>{'r' * 141}</Ustrd></RmtInf>")))),
     errors.TextTooLong),
    ("amount-empty", with_amount(""), errors.AmountInvalid),
    ("amount-a-word", with_amount("ten"), errors.AmountInvalid),
    ("amount-nan", with_amount("NaN"), errors.AmountInvalid),
    ("amount-infinite", with_amount("INF"), errors.AmountInvalid),
    ("amount-exponent", with_amount("1e3"), errors.AmountInvalid),
    ("amount-comma", with_amount("1,00"), errors.AmountInvalid),
    ("amount-arabic", with_amount("\u0661\u0662"), errors.AmountInvalid),
    ("amount-negative", with_amount("-1.00"), errors.AmountInvalid),
    ("amount-dot", with_amount("."), errors.AmountInvalid),
    ("amount-zero", with_amount("0.00"), errors.AmountNotPositive),
    ("amount-too-precise", with_amount("1.001"), errors.AmountTooPrecise),
    ("amount-sen", with_amount("1.5", "JPY"), errors.AmountTooPrecise),
    ("amount-15-digits", with_amount("100000000000000"), errors.AmountTooLarge),
    ("amount-equivalent", document_text(Block((Payment(), Payment("E-2"),))).replace(
        '<InstdAmt Ccy="EUR">100.00</InstdAmt></Amt><Cdtr><Nm>Employee 1</Nm></Cdtr>',
        "<EqvtAmt/></Amt><Cdtr/>").replace("<EqvtAmt/></Amt><Cdtr/>",
        '<InstdAmt Ccy="EUR">100.00</InstdAmt></Amt><Cdtr/>', 1),
     errors.ElementMissing),
    ("currency-unknown", with_amount("1.00", "EURO"), errors.CurrencyNotKept),
    ("currency-not-kept", with_amount("1.00", "XAU"), errors.CurrencyNotKept),
    ("currency-empty", with_amount("1.00", ""), errors.CurrencyNotKept),
    ("several-currencies", with_amount("1.00", "USD"), errors.SeveralCurrencies),
    ("several-debtors", document_text(Block(), Block(block_id="B-2", debtor=DEBTOR_BY_IBAN)),
     errors.SeveralDebtors),
    ("end-to-end-id-twice", document_text(Block((Payment(), Payment()))),
     errors.EndToEndIdRepeated),
    ("block-id-twice", document_text(Block(), Block()), errors.PaymentInformationIdRepeated),
]  # fmt: skip

HEADERS = [
    ("group-count", document_text(count="2"), errors.CountWrong),
    ("group-count-zero", document_text(count="0"), errors.CountWrong),
    ("group-sum", document_text(total="100.01"), errors.ControlSumWrong),
    ("group-sum-by-a-hair", document_text(total="100.00000000000000001"),
     errors.ControlSumWrong),
    ("block-count", document_text(Block(TWO, count="3")), errors.CountWrong),
    ("block-sum", document_text(Block(TWO, total="199.99")), errors.ControlSumWrong),
    ("block-sums-swapped", document_text(
        Block(TWO, total="100"), Block(block_id="B-2", total="200"), total="300"),
     errors.ControlSumWrong),
]  # fmt: skip


def refusal_of(folder: Path, text: str | bytes) -> PaymentFileRefused:
    """The error that the file meets."""
    path = folder / "order.xml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(PaymentFileRefused) as caught:
        check_file(path)
    return caught.value


@pytest.mark.parametrize(
    ("text", "error"),
    [pytest.param(*case, id=name) for name, *case in XML + DOCUMENT + FIELDS + HEADERS],
)
def test_a_wrong_file_is_refused(
    tmp_path: Path, text: str | bytes, error: type[PaymentFileRefused]
) -> None:
    """Each way to be wrong has its own error."""
    refusal = refusal_of(tmp_path, text)
    assert error is type(refusal), repr(refusal)


@pytest.mark.parametrize(
    ("text", "error"), [pytest.param(*case, id=name) for name, *case in PAYMENTS]
)
def test_a_wrong_payment_is_named_by_its_line(
    tmp_path: Path, text: str, error: type[PaymentFileRefused]
) -> None:
    """The error says which payment is wrong; in all these files it is the second."""
    refusal = refusal_of(tmp_path, text)
    assert (error, 2) == (type(refusal), refusal.line), repr(refusal)


def test_a_refusal_says_where(tmp_path: Path) -> None:
    """The message for people holds payment and row; rows count from one."""
    refusal = refusal_of(tmp_path, with_amount("1.001"))
    assert str(refusal) == "EUR has 2 decimals. (payment 2, row 5)"
    assert refusal.detail == str(refusal)


def test_a_syntax_error_says_where(tmp_path: Path) -> None:
    """Row and column of the first fault come with the parser's own words."""
    refusal = refusal_of(tmp_path, document_text().replace("</CdtrAcct>", "</Cdtr>"))
    assert (refusal.row, refusal.line) == (4, None)
    assert "mismatched tag" in str(refusal)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A missing file and a folder are refused like any other file that cannot be read."""
    for path in (tmp_path / "missing.xml", tmp_path):
        with pytest.raises(errors.FileUnreadable):
            check_file(path)


def test_a_file_with_too_many_bytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading ends at the limit, whatever follows."""
    monkeypatch.setattr(xml_stream, "PAYMENT_FILE_BYTES_MAX", 500)
    assert errors.FileTooLarge is type(refusal_of(tmp_path, document_text()))


def test_a_file_with_too_many_payments_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The payment after the last allowed one ends the reading."""
    monkeypatch.setattr(pain001, "PAYMENT_FILE_LINES_MAX", 1)
    refusal = refusal_of(tmp_path, document_text(Block(TWO)))
    assert errors.FileTooLarge is type(refusal)


def test_a_shared_hash_is_no_repetition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids that only look alike to the short memory are compared letter by letter."""
    monkeypatch.setattr(file_check, "hash", lambda key: 7, raising=False)
    path = tmp_path / "order.xml"
    without_id = (Payment("NOTPROVIDED"), Payment("NOTPROVIDED"))
    path.write_text(document_text(Block((*TWO, *without_id))))
    assert check_file(path).lines == 4


def test_every_error_of_the_tree_can_happen() -> None:
    """Each class is met by a case above or by a test that names it."""
    met = {error for _, _, error in XML + DOCUMENT + FIELDS + PAYMENTS + HEADERS}
    met |= {errors.FileUnreadable, errors.FileTooLarge}
    assert met == set(PaymentFileRefused.__subclasses__())


def test_every_error_has_its_own_code() -> None:
    """A program tells errors apart by their codes, a bank by ISO's."""
    classes = PaymentFileRefused.__subclasses__()
    assert len({error.code for error in classes}) == len(classes)
    assert all(len(error.iso_reason) == 4 for error in classes)


def test_limits_leave_room_for_the_largest_payroll() -> None:
    """A million payments of the largest usual size fit into the largest file."""
    assert limits.PAYMENT_FILE_LINES_MAX * 1_500 < limits.PAYMENT_FILE_BYTES_MAX
