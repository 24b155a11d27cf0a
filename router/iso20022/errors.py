"""Why a payment file or an IBAN was refused: the leaves below ``Malformed`` of the ledger.

    Malformed
    |- PaymentFileRefused
    |  |- FileUnreadable         |- FileEmpty              |- FileTooLarge
    |  |- XmlMalformed           the file is not well-formed XML
    |  |- FileBrokenOff          |- DoctypeForbidden       |- XmlTooDeep
    |  |- ElementTooLong         a payment or header without end
    |  |- TooManyNames
    |  |- NotAPaymentFile        |- VersionUnsupported
    |  |- ElementMissing         |- ElementMisplaced       |- TextTooLong
    |  |- ValueInvalid           a date, time, count or sum that is none
    |  |- EndToEndIdMissing      |- EndToEndIdRepeated     |- PaymentInformationIdRepeated
    |  |- AmountInvalid          |- AmountNotPositive      |- AmountTooLarge
    |  |- AmountTooPrecise       |- CurrencyNotKept        |- SeveralCurrencies
    |  |- DebtorAccountMissing   |- CreditorAccountMissing |- SeveralDebtors
    |  |- PaymentMethodUnsupported
    |  |- ControlSumWrong        |- CountWrong
    |- IbanRefused
       |- IbanMalformed          |- IbanCheckDigitsWrong
       |- IbanOfAnotherBank      |- IbanWithoutAccount
    LedgerError
    |- ReportIncomplete

``iso_reason`` is the code of ISO 20022's external status reason code set that fits; a bank's
answer to its customer names it.
"""

from __future__ import annotations

from typing import ClassVar

from shard.errors import LedgerError, Malformed


class PaymentFileRefused(Malformed):
    """The payment file cannot be taken; nothing of it was executed.

    ``line`` is the number of the payment (1-based over the whole file), ``row`` and
    ``column`` the place in the text; each is ``None`` where it is not known.
    """

    code = "PAYMENT_FILE_REFUSED"
    iso_reason: ClassVar[str] = "FF01"

    def __init__(
        self,
        detail: str | None = None,
        *,
        line: int | None = None,
        row: int | None = None,
        column: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.line = line
        self.row = row
        self.column = column

    def __str__(self) -> str:
        places = (("payment", self.line), ("row", self.row), ("column", self.column))
        place = ", ".join(f"{name} {number}" for name, number in places if number is not None)
        return f"{super().__str__()} ({place})" if place else super().__str__()


class FileUnreadable(PaymentFileRefused):
    """The payment file cannot be opened or read."""

    code = "FILE_UNREADABLE"


class FileEmpty(PaymentFileRefused):
    """The payment file holds no payment."""

    code = "FILE_EMPTY"


class FileTooLarge(PaymentFileRefused):
    """The payment file has more bytes or payments than the bank takes at once."""

    code = "FILE_TOO_LARGE"


class XmlMalformed(PaymentFileRefused):
    """The payment file is not well-formed XML."""

    code = "XML_MALFORMED"
    iso_reason = "FF02"


class FileBrokenOff(PaymentFileRefused):
    """The payment file breaks off in the middle."""

    code = "FILE_BROKEN_OFF"


class DoctypeForbidden(PaymentFileRefused):
    """A payment file carries no document type and no entities."""

    code = "DOCTYPE_FORBIDDEN"
    iso_reason = "FF02"


class XmlTooDeep(PaymentFileRefused):
    """The elements of the payment file are nested too deeply."""

    code = "XML_TOO_DEEP"
    iso_reason = "FF02"


class ElementTooLong(PaymentFileRefused):
    """A payment or a header of the file does not come to an end."""

    code = "ELEMENT_TOO_LONG"


class TooManyNames(PaymentFileRefused):
    """The payment file has more names of elements than any version of ISO 20022."""

    code = "TOO_MANY_NAMES"
    iso_reason = "FF02"


class NotAPaymentFile(PaymentFileRefused):
    """The file is not an ISO 20022 customer credit transfer initiation (pain.001)."""

    code = "NOT_A_PAYMENT_FILE"


class VersionUnsupported(PaymentFileRefused):
    """This version of pain.001 is not supported."""

    code = "VERSION_UNSUPPORTED"


class ElementMissing(PaymentFileRefused):
    """An element that a payment file must have is missing."""

    code = "ELEMENT_MISSING"
    iso_reason = "CH21"


class ElementMisplaced(PaymentFileRefused):
    """An element stands where it must not, or twice where it may stand once."""

    code = "ELEMENT_MISPLACED"
    iso_reason = "CH17"


class TextTooLong(PaymentFileRefused):
    """A text is longer than ISO 20022 allows."""

    code = "TEXT_TOO_LONG"
    iso_reason = "CH16"


class ValueInvalid(PaymentFileRefused):
    """A date, time, count or sum cannot be read."""

    code = "VALUE_INVALID"
    iso_reason = "CH16"


class EndToEndIdMissing(PaymentFileRefused):
    """A payment has no end-to-end id."""

    code = "END_TO_END_ID_MISSING"
    iso_reason = "FF08"


class EndToEndIdRepeated(PaymentFileRefused):
    """Two payments of one payment information block have the same end-to-end id."""

    code = "END_TO_END_ID_REPEATED"
    iso_reason = "DU04"


class PaymentInformationIdRepeated(PaymentFileRefused):
    """Two payment information blocks have the same id."""

    code = "PAYMENT_INFORMATION_ID_REPEATED"
    iso_reason = "DU02"


class AmountInvalid(PaymentFileRefused):
    """An amount is a decimal number with its currency."""

    code = "AMOUNT_INVALID"
    iso_reason = "AM12"


class AmountNotPositive(PaymentFileRefused):
    """An amount must be more than zero."""

    code = "AMOUNT_NOT_POSITIVE"
    iso_reason = "AM01"


class AmountTooLarge(PaymentFileRefused):
    """An amount has more integer digits than the ledger keeps."""

    code = "AMOUNT_TOO_LARGE"
    iso_reason = "AM02"


class AmountTooPrecise(PaymentFileRefused):
    """An amount has more decimals than its currency."""

    code = "AMOUNT_TOO_PRECISE"
    iso_reason = "CH20"


class CurrencyNotKept(PaymentFileRefused):
    """The currency is unknown or not kept in this ledger."""

    code = "CURRENCY_NOT_KEPT"
    iso_reason = "AM03"


class SeveralCurrencies(PaymentFileRefused):
    """A payroll file pays in one currency."""

    code = "SEVERAL_CURRENCIES"
    iso_reason = "AM03"


class DebtorAccountMissing(PaymentFileRefused):
    """A payment information block names no debtor account."""

    code = "DEBTOR_ACCOUNT_MISSING"
    iso_reason = "AC02"


class CreditorAccountMissing(PaymentFileRefused):
    """A payment names no creditor account."""

    code = "CREDITOR_ACCOUNT_MISSING"
    iso_reason = "AC03"


class SeveralDebtors(PaymentFileRefused):
    """A payroll file has one debtor account: its funds, its answer and its owner are one."""

    code = "SEVERAL_DEBTORS"
    iso_reason = "AC02"


class PaymentMethodUnsupported(PaymentFileRefused):
    """Only credit transfers (payment method TRF) are executed."""

    code = "PAYMENT_METHOD_UNSUPPORTED"
    iso_reason = "AG03"


class ControlSumWrong(PaymentFileRefused):
    """The control sum of a header is not the sum of its payments."""

    code = "CONTROL_SUM_WRONG"
    iso_reason = "AM10"


class CountWrong(PaymentFileRefused):
    """The number of transactions in a header is not the number of its payments."""

    code = "COUNT_WRONG"
    iso_reason = "AM18"


class IbanRefused(Malformed):
    """The IBAN does not name an account of this bank."""

    code = "IBAN_REFUSED"
    iso_reason: ClassVar[str] = "AC01"


class IbanMalformed(IbanRefused):
    """The text is not an IBAN."""

    code = "IBAN_MALFORMED"


class IbanCheckDigitsWrong(IbanRefused):
    """The check digits of the IBAN are wrong."""

    code = "IBAN_CHECK_DIGITS_WRONG"


class IbanOfAnotherBank(IbanRefused):
    """The IBAN belongs to another bank."""

    code = "IBAN_OF_ANOTHER_BANK"
    iso_reason = "CNOR"


class IbanWithoutAccount(IbanRefused):
    """The number cannot be an account with an IBAN: those have ten digits, the first not zero."""

    code = "IBAN_WITHOUT_ACCOUNT"


class ReportIncomplete(LedgerError):
    """A status report must answer every payment of its file; it was not written."""

    code = "REPORT_INCOMPLETE"
