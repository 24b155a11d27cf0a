"""Reading what people type: money, accounts, references and dates, by the ledger's own rules.

Everything raises a leaf of ``Malformed``, which ends the command with exit code 2.
"""

from __future__ import annotations

import re
from datetime import date

from router.limits import CUSTOMER_CHARS_MAX
from shard.account_numbers import parse_account_no
from shard.errors import AccountNoMalformed, Malformed
from shard.money import CURRENCIES

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


class DateMalformed(Malformed):
    """A date is written YYYY-MM-DD."""


class CurrencyMalformed(Malformed):
    """A currency is an ISO 4217 code of three capital letters that this ledger keeps."""


class TextMalformed(Malformed):
    """A text is too long, or holds control characters."""


def read_account(text: str) -> int:
    """An account number."""
    try:
        return parse_account_no(text)
    except AccountNoMalformed as error:
        raise AccountNoMalformed(f"{text!r} is no account number. {error.detail}") from None


def read_currency(text: str) -> str:
    """A currency of this ledger."""
    if text not in CURRENCIES:
        raise CurrencyMalformed
    return text


def read_date(text: str | None) -> date | None:
    """A date, if there is one."""
    if text is None:
        return None
    try:
        return date.fromisoformat(text if _DATE.fullmatch(text) else "")
    except ValueError:
        raise DateMalformed(f"{text!r} is no date. A date is written YYYY-MM-DD.") from None


def read_text(text: str | None, name: str, chars_max: int = CUSTOMER_CHARS_MAX) -> str | None:
    """A text that people will read, if there is one."""
    if text is None:
        return None
    if not 1 <= len(text) <= chars_max or not text.isprintable():
        raise TextMalformed(f"A {name} has 1 to {chars_max} printable characters.")
    return text
