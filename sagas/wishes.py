"""What an operator asks for in an update: one JSON object, read word by word.

Whoever types it into a web page is told in a sentence what is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from unicodedata import normalize

from sagas.limits import (
    ATTEMPT_MAX,
    PERSON_CHARS_MAX,
    REASON_CHARS_MAX,
    WAIT_DAYS_MAX,
)
from shard.account_numbers import is_system_account, parse_account_no
from shard.errors import Malformed
from shard.repair_choice import RepairChoice

_NEEDED: Final = ("choice", "reason", "maker", "checker")
_SEEN: Final = "attempt"
_EXTRA: Final = {RepairChoice.REDIRECT: "account", RepairChoice.WAIT: "until"}
_CHOICES: Final = ", ".join(RepairChoice)
_INSTANT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)


class WishMalformed(ValueError):
    """What was asked for cannot be read; the message is a sentence for whoever typed it."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be done with an item, and who says so.

    ``account`` is the number of another account as text, with ``redirect`` only; ``until`` a time
    in UTC (RFC 3339), with ``wait`` only. ``maker`` and ``checker`` are two persons. ``attempt``
    (>= 1) is the one they have seen, where they say so: for any other their decision is not meant.
    """

    choice: RepairChoice
    reason: str
    maker: str
    checker: str
    account: str | None = None
    until: str | None = None
    attempt: int | None = None


def read_wish(told: object, *, now: datetime) -> Wish:
    """Read what was typed; raises ``WishMalformed``. ``now`` bounds how long a wait may be."""
    if not isinstance(told, Mapping):
        raise WishMalformed(
            'Give one JSON object, such as {"choice": "return", "reason": "...", '
            '"maker": "...", "checker": "..."}.'
        )
    choice = _choice(told.get("choice"))
    extra = _EXTRA.get(choice)
    known = {*_NEEDED, _SEEN, extra} - {None}
    for name in told:
        if name not in known:
            raise WishMalformed(f'"{name}" has no meaning with the choice {choice}.')
    return Wish(
        choice=choice,
        reason=_words(told, "reason", REASON_CHARS_MAX),
        maker=_words(told, "maker", PERSON_CHARS_MAX),
        checker=_other_than(_words(told, "checker", PERSON_CHARS_MAX), told),
        account=_account(told.get("account")) if choice is RepairChoice.REDIRECT else None,
        until=_until(told.get("until"), now) if choice is RepairChoice.WAIT else None,
        attempt=_attempt(told[_SEEN]) if _SEEN in told else None,
    )


def _choice(told: object) -> RepairChoice:
    try:
        return RepairChoice(told)  # type: ignore[arg-type]  # anything may have been typed
    except ValueError:
        raise WishMalformed(f'"choice" is one of {_CHOICES}.') from None


def _words(told: Mapping[object, object], name: str, chars_max: int) -> str:
    words = told.get(name)
    if not isinstance(words, str) or not words.strip():
        raise WishMalformed(f'"{name}" is missing.')
    words = words.strip()
    if len(words) > chars_max:
        raise WishMalformed(f'"{name}" is one line of at most {chars_max} characters.')
    # Two names that look alike would be two persons; and what is no character cannot be kept.
    if not words.isprintable():
        raise WishMalformed(f'"{name}" is one line of characters that can be seen.')
    return words


def _other_than(checker: str, told: Mapping[object, object]) -> str:
    if _as_read(checker) == _as_read(_words(told, "maker", PERSON_CHARS_MAX)):
        raise WishMalformed("Maker and checker must be two persons.")
    return checker


def _as_read(name: str) -> str:
    """A name as people tell it from others: whatever its letters' case, width and distance."""
    return " ".join(normalize("NFKC", name).casefold().split())


def _attempt(told: object) -> int:
    # In JSON and in Python alike, true is no number.
    if not isinstance(told, int) or isinstance(told, bool) or not 1 <= told <= ATTEMPT_MAX:
        raise WishMalformed('"attempt" is the number of the attempt that you have seen, such as 1.')
    return told


def _account(told: object) -> str:
    try:
        if not isinstance(told, str):
            raise WishMalformed('"account" is the number of an account, in quotes.')
        number = parse_account_no(told)
    except Malformed as error:
        raise WishMalformed(f'"account": {error.detail}') from None
    if is_system_account(number):
        raise WishMalformed("An item cannot be delivered to a system account.")
    return told


def _until(told: object, now: datetime) -> str:
    if not isinstance(told, str) or not _INSTANT.fullmatch(told):
        raise WishMalformed('"until" is a time with its zone, such as 2026-11-28T09:00:00Z.')
    try:
        until = datetime.fromisoformat(told).astimezone(UTC)
    except (ValueError, OverflowError):
        raise WishMalformed('"until" is no time that exists.') from None
    if not now < until <= now + timedelta(days=WAIT_DAYS_MAX):
        raise WishMalformed(f'"until" lies ahead, by at most {WAIT_DAYS_MAX} days.')
    return until.isoformat()
