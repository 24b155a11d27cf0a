"""The rules of the reference ledger that look at one command or one account only."""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol

from shard.accounts import AccountStatus
from shard.commands import Command, Kind, Leg, Origin
from shard.money import CURRENCIES
from shard.outcomes import Outcome

FIRST_CUSTOMER_ACCOUNT = 1_000_000_000
HOLD_KINDS = {Kind.HOLD, Kind.INCREASE, Kind.CAPTURE, Kind.VOID, Kind.EXPIRE}
_WITHOUT_LEGS = {Kind.TOMBSTONE, *HOLD_KINDS} - {Kind.CAPTURE}
_LIMIT = Decimal(10) ** 14


class Judged(Protocol):
    """What is asked about an account."""

    currency: str
    status: AccountStatus
    credits_when_frozen: bool


def refusal_of(command: Command, leg: Leg, account: Judged | None) -> Outcome | None:
    """What an account speaks against one leg."""
    if leg.account_no < FIRST_CUSTOMER_ACCOUNT and command.origin is not Origin.SYSTEM:
        return Outcome.SYSTEM_ACCOUNT
    if account is None:
        return Outcome.ACCOUNT_UNKNOWN
    if account.status is AccountStatus.CLOSED:
        return Outcome.ACCOUNT_CLOSED
    if account.status is AccountStatus.FROZEN and command.kind not in {Kind.RETURN, Kind.FORCED}:
        takes = leg.amount < 0 or command.kind in {Kind.HOLD, Kind.INCREASE}
        is_its_own = command.origin is Origin.REVERSAL
        if takes or (leg.amount > 0 and not account.credits_when_frozen and not is_its_own):
            return Outcome.ACCOUNT_FROZEN
    return None if account.currency == command.currency else Outcome.CURRENCY_MISMATCH


def is_well_formed(command: Command) -> bool:
    """Whether its legs, amounts and terms fit each other."""
    amounts = [leg.amount for leg in command.legs] + [p.amount for p in command.parked]
    currency = CURRENCIES.get(command.currency)
    if command.kind in _WITHOUT_LEGS:
        legs_fit = not amounts
    else:
        legs_fit = (
            bool(amounts)
            and currency is not None
            and sum(amounts) == 0
            and all(amounts)
            and all(amount == round(amount, currency.scale) for amount in amounts)
            and any(leg.account_no == command.home for leg in command.legs)
        )
    return legs_fit and _terms_fit(command)


def _terms_fit(command: Command) -> bool:
    terms, kind = command.terms, command.kind
    if (kind in HOLD_KINDS) is not (terms is not None and terms.hold is not None):
        return False
    if terms is None:
        return True
    currency = CURRENCIES.get(command.currency)
    if currency is None:
        return False
    is_about_amount = kind in {Kind.HOLD, Kind.INCREASE, Kind.CAPTURE} or terms.reverses
    if is_about_amount and not (
        0 < command.amount < _LIMIT and command.amount == round(command.amount, currency.scale)
    ):
        return False
    if kind is Kind.HOLD:
        is_its_own = command.origin is Origin.CLIENT and terms.hold == command.reference
        return is_its_own and terms.expires_at is not None and _is_customer(command)
    if terms.reverses and kind is not Kind.ORDINARY:
        return False
    given = sum(
        leg.amount for leg in command.legs if leg.account_no == command.home and leg.amount < 0
    )
    return not (terms.reverses or kind is Kind.CAPTURE) or given == -command.amount


def _is_customer(command: Command) -> bool:
    return command.home >= FIRST_CUSTOMER_ACCOUNT
