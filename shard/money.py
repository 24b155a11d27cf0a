"""Money: ``Decimal`` in Python, a decimal string on the wire, ``NUMERIC(18,4)`` in SQL.

Currencies and their decimals follow ISO 4217; a unit test compares this table with the
``iso4217`` package and with the table ``ledger.currency``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from shard.errors import AmountMalformed

_AMOUNT = re.compile(r"(0|[1-9][0-9]{0,13})(?:\.([0-9]{1,4}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Currency:
    """A currency the ledger keeps books in: ISO 4217 code, our stable index, its decimals."""

    code: str
    index: int
    scale: int


_LISTED = (
    ("EUR", 1, 2), ("USD", 2, 2), ("GBP", 3, 2), ("CHF", 4, 2), ("JPY", 5, 0), ("SEK", 6, 2),
    ("NOK", 7, 2), ("DKK", 8, 2), ("PLN", 9, 2), ("CZK", 10, 2), ("HUF", 11, 2), ("BHD", 12, 3),
    ("KWD", 13, 3), ("CLF", 14, 4),
)  # fmt: skip
CURRENCIES: dict[str, Currency] = {code: Currency(code, i, scale) for code, i, scale in _LISTED}


def currency_of(code: str) -> Currency:
    """The currency of an ISO 4217 code; raises ``AmountMalformed`` for one not kept here."""
    try:
        return CURRENCIES[code]
    except KeyError:
        raise AmountMalformed(f"The currency {code!r} is not kept in this ledger.") from None


def parse_plain_limit(text: str) -> Decimal:
    """Read an amount that may be zero, in a currency that is not known yet."""
    if not _AMOUNT.fullmatch(text):
        raise AmountMalformed
    return Decimal(text)


def parse_signed_limit(text: str, currency: str) -> Decimal:
    """Read an amount that may be zero, such as an overdraft limit in ``currency``."""
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise AmountMalformed
    if len(match[2] or "") > currency_of(currency).scale:
        raise AmountMalformed(f"{currency} has {currency_of(currency).scale} decimals.")
    return Decimal(text)


def parse_amount(text: str, currency: str) -> Decimal:
    """Read a positive amount in ``currency``: no sign, exponent, float or excess decimals."""
    amount = parse_signed_limit(text, currency)
    if not amount:
        raise AmountMalformed("An amount must be more than zero.")
    return amount


def format_amount(amount: Decimal, currency: str) -> str:
    """Write an amount with exactly the decimals of ``currency``: ``"1250.00"``."""
    return f"{amount:.{currency_of(currency).scale}f}"
