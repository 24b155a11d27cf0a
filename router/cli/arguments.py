"""Reading what people type: money, accounts, references and dates, by the ledger's own rules.

Everything raises a leaf of ``Malformed``, which ends the command with exit code 2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

from router.limits import CUSTOMER_CHARS_MAX
from sagas.wishes import WishMalformed
from sagas.wishes import read_wish as check_wish
from shard.account_numbers import parse_account_no
from shard.errors import AccountNoMalformed, AmountMalformed, Malformed
from shard.money import CURRENCIES, parse_amount, parse_plain_limit

_LEG = re.compile(r"([0-9]{1,18})=(-?)(.+)", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


class DateMalformed(Malformed):
    """A date is written YYYY-MM-DD."""


class CurrencyMalformed(Malformed):
    """A currency is an ISO 4217 code of three capital letters that this ledger keeps."""


class TimeMalformed(Malformed):
    """A time is written as in RFC 3339 with its zone, such as 2026-11-28T09:30:00Z."""


class PairMalformed(Malformed):
    """It is written NAME=VALUE, each name once."""


class ItemMalformed(Malformed):
    """An item is named by its id, as "ledger sagas list" shows it."""


class DecisionMalformed(Malformed):
    """A decision cannot be read."""


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


def read_time(text: str) -> datetime:
    """A time with its zone, in UTC."""
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is None or "T" not in text:
            raise TimeMalformed
        return time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise TimeMalformed from None


def read_plain_amount(text: str) -> Decimal:
    """An amount of zero or more, in the currency of an account that is not known yet."""
    try:
        return parse_plain_limit(text)
    except AmountMalformed:
        raise AmountMalformed(f"{text!r} is no amount.") from None


def read_leg(text: str, currency: str) -> tuple[int, Decimal]:
    """``ACCOUNT=AMOUNT``: an account and what it gets (or, with a minus sign, pays)."""
    match = _LEG.fullmatch(text)
    if match is None:
        raise PairMalformed(f"{text!r} is no leg. It is written ACCOUNT=AMOUNT, -AMOUNT to pay.")
    amount = parse_amount(match[3], currency)
    return read_account(match[1]), -amount if match[2] else amount


def read_pairs(texts: Sequence[str]) -> dict[str, str]:
    """``NAME=VALUE`` each."""
    pairs: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or name in pairs:
            raise PairMalformed
        pairs[name] = value
    return pairs


def read_text(text: str | None, name: str, chars_max: int = CUSTOMER_CHARS_MAX) -> str | None:
    """A text that people will read, if there is one."""
    if text is None:
        return None
    if not 1 <= len(text) <= chars_max or not text.isprintable():
        raise TextMalformed(f"A {name} has 1 to {chars_max} printable characters.")
    return text


def read_item(text: str) -> UUID:
    """An item's id."""
    try:
        return UUID(text)
    except ValueError:
        raise ItemMalformed(f"{text!r} is no item. {ItemMalformed.__doc__}") from None


def read_wish(words: Mapping[str, str | int]) -> Mapping[str, str | int]:
    """A decision in the words of the update; what is wrong with it is told before it is sent."""
    try:
        check_wish(words, now=datetime.now(UTC))
    except WishMalformed as error:
        raise DecisionMalformed(str(error)) from None
    return words
