"""What a client asks for when money is to move, checked, hashed and made into a command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from router.errors import NotOneShard, refusal
from router.limits import TRANSFER_LEGS_MAX
from router.telemetry import caller_trace_id
from shard.account_numbers import FIRST_CUSTOMER_ACCOUNT
from shard.commands import Answer, Command, Kind, Leg, Origin, ParkedAmount, Terms
from shard.errors import AmountMalformed, LedgerError, Malformed
from shard.ids import new_id
from shard.money import format_amount
from shard.outcomes import Outcome
from shard.references import request_hash
from shard.transfers import TransferRecord

_FORM: Final = "transfer/1"
_TOO_MUCH: Final = Decimal(10**14)


class TransferKind(StrEnum):
    """CHARGEBACK and CORRECTION are forced: booked past floors and freezes, and marked as such."""

    ORDINARY = "ordinary"
    CHARGEBACK = "chargeback"
    CORRECTION = "correction"


@dataclass(frozen=True, slots=True)
class RequestedLeg:
    """One signed change of one account: credit +, debit -, in the transfer's currency."""

    account: int
    amount: Decimal


@dataclass(frozen=True, slots=True)
class TransferRequest:
    """What a client asks for: ``amount`` (> 0) in ``currency`` from debtor to creditor.

    ``reference`` and ``narrative`` are as on the wire; ``value_date`` None is the business
    date on which it is booked. With several creditors or debtors ``legs`` tells them all, and
    ``creditor`` is None; ``debtor`` is the lowest account of those who pay, in whatever order
    they stand, and ``amount`` what they pay together. ``expected_seq`` is the position at which
    the debtor's account must stand.
    """

    reference: str
    debtor: int
    creditor: int | None
    amount: Decimal
    currency: str
    narrative: str | None = None
    value_date: date | None = None
    legs: tuple[RequestedLeg, ...] = ()
    kind: TransferKind = TransferKind.ORDINARY
    expected_seq: int | None = None


def request_of_legs(
    reference: str,
    legs: Sequence[RequestedLeg],
    currency: str,
    *,
    narrative: str | None = None,
    value_date: date | None = None,
    kind: TransferKind = TransferKind.ORDINARY,
    expected_seq: int | None = None,
) -> TransferRequest:
    """The request with these legs; one debtor and one creditor are an ordinary transfer.

    Raises ``Malformed`` with pointers into the legs.
    """
    _check_legs(legs, currency)
    payers = [leg for leg in legs if leg.amount < 0]
    is_plain = len(legs) == 2 and len(payers) == 1
    return TransferRequest(
        reference=reference,
        debtor=min(leg.account for leg in payers),
        creditor=next(leg.account for leg in legs if leg is not payers[0]) if is_plain else None,
        amount=-sum((leg.amount for leg in payers), Decimal(0)),
        currency=currency,
        narrative=narrative,
        value_date=value_date,
        legs=() if is_plain else tuple(legs),
        kind=kind,
        expected_seq=expected_seq,
    )


def checked(request: TransferRequest) -> bytes:
    """The request's hash; raises for what no shard needs to be asked about."""
    if request.legs or request.creditor is None:
        _check_legs(request.legs, request.currency)
        accounts = [leg.account for leg in request.legs]
    else:
        check_two_accounts(request.debtor, request.creditor)
        accounts = [request.debtor, request.creditor]
    amount = check_amount(request.amount, request.currency)
    check_customers(*accounts)
    fields = {
        "debtor_account": str(request.debtor),
        "creditor_account": None if request.creditor is None else str(request.creditor),
        "amount": amount,
        "currency": request.currency,
        "narrative": request.narrative,
        "value_date": request.value_date.isoformat() if request.value_date else None,
    }
    if request.legs:
        # In whatever order they stand, they are the same request.
        told = sorted(f"{leg['account']}={leg['amount']}" for leg in _told_legs(request))
        fields["legs"] = ",".join(told)
    if request.kind is not TransferKind.ORDINARY:
        fields["kind"] = request.kind.value
    if request.expected_seq is not None:
        fields["expected_seq"] = str(request.expected_seq)
    return request_hash(_FORM, fields)


def check_amount(amount: Decimal, currency: str, pointer: str = "/amount") -> str:
    """The amount as on the wire; raises ``AmountMalformed`` unless it is one in the currency."""
    wire_amount = format_amount(amount, currency)
    if not amount.is_finite() or not 0 < amount < _TOO_MUCH or Decimal(wire_amount) != amount:
        raise AmountMalformed(pointer=pointer)
    return wire_amount


def check_two_accounts(debtor: int, creditor: int) -> None:
    """Raise ``Malformed`` where one account is on both sides."""
    if debtor == creditor:
        message = "Debtor and creditor are the same account."
        raise Malformed(message, pointer="/creditor_account")


def check_customers(*accounts: int) -> None:
    """Raise ``Refused`` where an account is the system's own."""
    if min(accounts) < FIRST_CUSTOMER_ACCOUNT:
        raise refusal(Outcome.SYSTEM_ACCOUNT)


def _check_legs(legs: Sequence[RequestedLeg], currency: str) -> None:
    if not 2 <= len(legs) <= TRANSFER_LEGS_MAX:
        raise Malformed(f"A transfer has 2 to {TRANSFER_LEGS_MAX} legs.", pointer="/legs")
    for i, leg in enumerate(legs):
        check_amount(abs(leg.amount), currency, f"/legs/{i}/amount")
    if sum(leg.amount for leg in legs) != 0:
        raise Malformed("The legs do not sum to zero.", pointer="/legs")
    if len({leg.account for leg in legs}) < len(legs):
        raise Malformed("An account has one leg at most.", pointer="/legs")
    credited = sum((leg.amount for leg in legs if leg.amount > 0), Decimal(0))
    check_amount(credited, currency, "/legs")


def command_for(request: TransferRequest, fingerprint: bytes, owners: Mapping[int, int]) -> Command:
    """The command for the shard that owns the debtor; ``owners`` tells each account's shard.

    Raises ``NotOneShard`` for several debtors where not all legs share a shard.
    """
    here = owners[request.debtor]
    if request.legs or request.creditor is None:
        return _command(request, fingerprint, *_several(request, owners))
    is_local = owners[request.creditor] == here
    moved = movement(request.debtor, request.creditor, request.amount, is_local=is_local)
    return _command(request, fingerprint, *moved)


def _command(
    request: TransferRequest,
    fingerprint: bytes,
    legs: tuple[Leg, ...],
    parked: tuple[ParkedAmount, ...],
) -> Command:
    details: dict[str, Any] = {}
    if trace_id := caller_trace_id.get():
        details["trace_id"] = trace_id
    if request.legs:
        details["legs"] = _told_legs(request)
    if request.kind is not TransferKind.ORDINARY:
        details["purpose"] = request.kind.value
    return Command(
        home=request.debtor,
        origin=Origin.CLIENT,
        reference=request.reference,
        transfer_id=new_id(),
        request_hash=fingerprint,
        currency=request.currency,
        amount=request.amount,
        creditor=request.creditor,
        legs=legs,
        parked=parked,
        kind=Kind.ORDINARY if request.kind is TransferKind.ORDINARY else Kind.FORCED,
        value_date=request.value_date,
        details=details or None,
        narrative=request.narrative,
        terms=None if request.expected_seq is None else Terms(expected_seq=request.expected_seq),
    )


def movement(
    debtor: int, creditor: int, amount: Decimal, *, is_local: bool
) -> tuple[tuple[Leg, ...], tuple[ParkedAmount, ...]]:
    """Legs and parked amounts of one debtor paying one creditor."""
    debit = Leg(debtor, -amount, creditor)
    if is_local:
        return (debit, Leg(creditor, amount, debtor)), ()
    return (debit,), (ParkedAmount(new_id(), creditor, amount),)


def _several(
    request: TransferRequest, owners: Mapping[int, int]
) -> tuple[tuple[Leg, ...], tuple[ParkedAmount, ...]]:
    here = owners[request.debtor]
    payers = [leg for leg in request.legs if leg.amount < 0]
    away = [leg for leg in request.legs if owners[leg.account] != here]
    if away and (len(payers) > 1 or away[0] in payers):
        raise NotOneShard
    payer = payers[0].account if len(payers) == 1 else None
    payees = [leg.account for leg in request.legs if leg.amount > 0]
    payee = payees[0] if len(payees) == 1 else None
    legs = tuple(
        Leg(leg.account, leg.amount, payee if leg.amount < 0 else payer)
        for leg in sorted(request.legs, key=lambda each: each.amount > 0)
        if leg not in away
    )
    return legs, tuple(ParkedAmount(new_id(), leg.account, leg.amount) for leg in away)


def _told_legs(request: TransferRequest) -> list[dict[str, str]]:
    def wire(amount: Decimal) -> str:
        sign = "-" if amount < 0 else ""
        return sign + format_amount(abs(amount), request.currency)

    return [{"account": str(leg.account), "amount": wire(leg.amount)} for leg in request.legs]


def record_of(command: Command, answer: Answer) -> TransferRecord:
    """What the shard has just stored for a command, without asking it again."""
    if (
        answer.transfer_id is None
        or answer.business_date is None
        or answer.posted_at is None
        or answer.booked_on is None
    ):
        raise LedgerError("The shard answered POSTED and did not say what it booked.")
    details = command.details or {}
    return TransferRecord(
        home=command.home,
        origin=command.origin,
        reference=command.reference,
        transfer_id=answer.transfer_id,
        kind=command.kind,
        creditor=command.creditor,
        amount=command.amount,
        currency=command.currency,
        outcome=answer.outcome,
        money_state=answer.money_state,
        return_code=None,
        business_date=answer.business_date,
        value_date=command.value_date or answer.business_date,
        posted_at=answer.posted_at,
        booked_on=answer.booked_on,
        delivered_at=None,
        convoy=answer.convoy,
        narrative=command.narrative,
        request_hash=command.request_hash,
        legs=details.get("legs"),
        purpose=details.get("purpose"),
        end_to_end_id=details.get("end_to_end_id"),
    )
