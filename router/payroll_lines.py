"""One line of a payroll file: the command it becomes, and what its customer is told of it.

A line is named ``{message}:{line}`` with the line's number padded, so that references sort in
the order of the file. It is executed at once, whatever execution date the file asks for.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from router.iso20022.errors import IbanRefused
from router.iso20022.iban import Iban
from router.iso20022.pain001 import PaymentLine
from router.iso20022.pain002 import LineStatus
from router.iso20022.reasons import UNSPECIFIED, reason_of
from router.limits import PAYROLL_LINE_DIGITS, REMITTANCE_CHARS_MAX
from shard.account_numbers import is_system_account
from shard.commands import Command, Leg, MoneyState, Origin, ParkedAmount
from shard.errors import AccountNoMalformed
from shard.ids import new_id
from shard.money import format_amount
from shard.outcomes import MEANINGS, Outcome, is_refusal_by_business
from shard.references import request_hash
from shard.transfers import TransferRecord

_FORM: Final = "payroll/1"
_CHANNEL: Final = "pain.001"
_PLAIN_MESSAGE_ID = re.compile(r"[A-Za-z0-9._-]{1,35}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Payment:
    """A line that goes to a shard: from ``employer`` to ``payee``, under ``reference``."""

    employer: int
    payee: int
    reference: str
    line: PaymentLine


@dataclass(frozen=True, slots=True)
class Rejection:
    """A line that no shard needs to be asked about, with a code of ``iso20022.reasons``."""

    code: str
    detail: str


def file_reference(message_id: str) -> str:
    """The message id as a reference; ids outside the alphabet stand in by their hash.

    A colon is outside of it, too: it parts the file's name from the line's number.
    """
    if _PLAIN_MESSAGE_ID.fullmatch(message_id):
        return message_id
    return "h." + hashlib.blake2b(message_id.encode(), digest_size=16).hexdigest()


def line_prefix(file: str) -> str:
    """What the references of all lines of a file begin with."""
    return f"{file}:"


def line_reference(file: str, line_no: int) -> str:
    """The reference of one line."""
    return f"{line_prefix(file)}{line_no:0{PAYROLL_LINE_DIGITS}d}"


def read_line(line: PaymentLine, *, file: str, employer: int, iban: Iban) -> Payment | Rejection:
    """Decide what can be decided without a shard: whether the payee may be one of ours."""
    try:
        payee = iban.parse_account(line.creditor_account)
    except IbanRefused as error:
        return Rejection(error.code, error.detail)
    except AccountNoMalformed as error:
        return Rejection(Outcome.ACCOUNT_UNKNOWN, error.detail)
    if is_system_account(payee):
        return _rejected(Outcome.SYSTEM_ACCOUNT)
    if payee == employer:
        return Rejection(Outcome.MALFORMED, "Debtor and creditor are the same account.")
    return Payment(employer, payee, line_reference(file, line.line), line)


def unassigned() -> Rejection:
    """The rejection of a payee whose number lies in no range of this bank."""
    return _rejected(Outcome.ACCOUNT_UNKNOWN)


def command_of(payment: Payment, *, is_local: bool) -> Command:
    """The command for the employer's shard, by whether the payee lives there, too."""
    line, amount = payment.line, payment.line.amount
    debit = Leg(payment.employer, -amount, payment.payee)
    credit = Leg(payment.payee, amount, payment.employer)
    narrative = line.remittance[:REMITTANCE_CHARS_MAX] if line.remittance else None
    return Command(
        home=payment.employer,
        origin=Origin.PAYROLL,
        reference=payment.reference,
        transfer_id=new_id(),
        request_hash=_fingerprint(payment, narrative),
        currency=line.currency,
        amount=amount,
        creditor=payment.payee,
        legs=(debit, credit) if is_local else (debit,),
        parked=() if is_local else (ParkedAmount(new_id(), payment.payee, amount),),
        details={"channel": _CHANNEL, "end_to_end_id": line.end_to_end_id},
        narrative=narrative,
    )


def status_of_rejection(line: PaymentLine, rejection: Rejection) -> LineStatus:
    """What the customer is told of a line that went to no shard."""
    return LineStatus.of(line, "RJCT", reason_of(rejection.code), rejection.detail)


def status_of_record(line: PaymentLine, record: TransferRecord | None) -> LineStatus:
    """What the customer is told of a line that went to a shard, or is still to go there."""
    if record is None:
        return LineStatus.of(line, "PDNG", additional="Not executed yet.")
    if is_refusal_by_business(record.outcome):
        sentence = MEANINGS[record.outcome].sentence
        return LineStatus.of(line, "RJCT", reason_of(record.outcome), sentence)
    match record.money_state:
        case MoneyState.POSTED | MoneyState.DELIVERED:
            return LineStatus.of(line, "ACSC")
        case MoneyState.RETURNED | MoneyState.PARTIALLY_RETURNED:
            cause = record.return_code
            reason = UNSPECIFIED if cause is None else reason_of(cause)
            told = "" if cause is None else MEANINGS[cause].sentence
            return LineStatus.of(line, "RJCT", reason, f"{told} The money is back.".strip())
        case MoneyState.NEEDS_REPAIR:
            return LineStatus.of(line, "PDNG", additional="The bank is looking into it.")
        case _:
            return LineStatus.of(line, "ACSP")


def _fingerprint(payment: Payment, narrative: str | None) -> bytes:
    line = payment.line
    return request_hash(
        _FORM,
        {
            "debtor_account": str(payment.employer),
            "creditor_account": str(payment.payee),
            "amount": format_amount(line.amount, line.currency),
            "currency": line.currency,
            "end_to_end_id": line.end_to_end_id,
            "narrative": narrative,
        },
    )


def _rejected(outcome: Outcome) -> Rejection:
    return Rejection(outcome, MEANINGS[outcome].sentence)
