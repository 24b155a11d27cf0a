"""Points in the past, as people and programs write them."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

from shard.errors import Malformed

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII,
)


class PastTimeMalformed(Malformed):
    """It is a time of RFC 3339 such as 2026-11-21T09:30:00Z, or a business date YYYY-MM-DD."""


def parse_past_time(text: str) -> datetime | date:
    """A time with its zone (RFC 3339, in UTC then), or a business date, which stands for its end.

    Raises ``PastTimeMalformed``. In a URL the plus sign of an offset is written ``%2B``.
    """
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        pass  # A 30th of February has the right form, too.
    raise PastTimeMalformed
