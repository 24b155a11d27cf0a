"""What a client asks for: frozen data that is sent again as it is when an answer is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, TypeAlias

import orjson


@dataclass(frozen=True, slots=True)
class TransferOrder:
    """One debtor pays one creditor ``amount`` (> 0) in ``currency`` (ISO 4217).

    ``reference`` names it for ever. ``value_date`` None is the business date it is booked on.
    ``kind`` ``chargeback`` or ``correction`` is booked past floors and freezes. ``expected_seq``
    books only if the debtor's account is at that position.
    """

    reference: str
    debtor_account: str
    creditor_account: str
    amount: Decimal
    currency: str
    narrative: str | None = None
    value_date: date | None = None
    kind: str | None = None
    expected_seq: int | None = None

    def members(self) -> dict[str, Any]:
        """The body of the request; what is absent is left out."""
        return present(
            reference=self.reference,
            debtor_account=self.debtor_account,
            creditor_account=self.creditor_account,
            amount=money(self.amount),
            currency=self.currency,
            narrative=self.narrative,
            value_date=self.value_date,
            kind=self.kind,
            expected_seq=self.expected_seq,
        )


@dataclass(frozen=True, slots=True)
class Leg:
    """One signed change of one account: credit +, debit -."""

    account: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class LegsOrder:
    """Several legs under one reference, in ``currency``; they sum to zero."""

    reference: str
    currency: str
    legs: Sequence[Leg]
    narrative: str | None = None
    value_date: date | None = None
    kind: str | None = None
    expected_seq: int | None = None

    def members(self) -> dict[str, Any]:
        """The body of the request; what is absent is left out."""
        return present(
            reference=self.reference,
            currency=self.currency,
            legs=[{"account": leg.account, "amount": money(leg.amount)} for leg in self.legs],
            narrative=self.narrative,
            value_date=self.value_date,
            kind=self.kind,
            expected_seq=self.expected_seq,
        )


Order: TypeAlias = TransferOrder | LegsOrder


def money(amount: Decimal) -> str:
    """A decimal string without exponent, as the wire wants it."""
    return f"{amount:f}"


def body_of(members: dict[str, Any]) -> bytes:
    """The request as JSON; times are written in UTC."""
    return orjson.dumps(members, option=orjson.OPT_UTC_Z)


def optional_money(amount: Decimal | None) -> str | None:
    """The same, or nothing."""
    return None if amount is None else money(amount)


def present(**members: Any) -> dict[str, Any]:
    """The members that are not None: what is absent is not sent."""
    return {name: value for name, value in members.items() if value is not None}
