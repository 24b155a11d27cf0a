"""Which of several forms of an answer a client prefers (RFC 9110, section 12.5.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence

_QUALITY = re.compile(r"[qQ][ \t]*=[ \t]*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", re.ASCII)
_ANYTHING = "*/*"


def preferred(accept: Sequence[str], offered: Sequence[str]) -> str | None:
    """The offered media type that the ``Accept`` headers rate highest; None if none will do.

    Of those rated alike the one that is offered first; without headers the first of all.
    """
    ranges = [part for header in accept for part in header.split(",") if part.strip()]
    if not ranges:
        return offered[0]
    rated = dict(map(_rated, ranges))
    ratings = {media_type: _rating(media_type, rated) for media_type in offered}
    best = max(offered, key=lambda media_type: ratings[media_type])
    return best if ratings[best] else None


def _rated(media_range: str) -> tuple[str, float]:
    """A media range and its quality; one that cannot be read counts as 1."""
    name, *parameters = media_range.split(";")
    for parameter in parameters:
        quality = _QUALITY.fullmatch(parameter.strip())
        if quality is not None:
            return name.strip().lower(), float(quality[1])
    return name.strip().lower(), 1.0


def _rating(media_type: str, rated: dict[str, float]) -> float:
    """By the most specific range that holds the media type."""
    for media_range in (media_type, f"{media_type.partition('/')[0]}/*", _ANYTHING):
        if media_range in rated:
            return rated[media_range]
    return 0.0
