"""Positions: how far into an account's entries a reader has come, bucket by bucket.

Entries are numbered within their bucket, and a posting to another bucket may commit late with an
earlier time. So a position is a vector: whoever goes on from it misses nothing and sees nothing
twice, whatever arrives meanwhile.
"""

from __future__ import annotations

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from shard.errors import Malformed

_EPOCH = date(1970, 1, 1)
# Bucket, days since 1970, seq in 48 bits as 16 and 32.
_PLACE = struct.Struct(">BHHI")
_LOW_BITS = 32
_HALF = 1 << _LOW_BITS


@dataclass(frozen=True, slots=True)
class Place:
    """The last entry that was seen of one bucket; ``seq`` 0: none yet."""

    bucket: int
    business_date: date
    seq: int


@dataclass(frozen=True, slots=True)
class Position:
    """A place, and the bucket's ledger balance there, in the account's currency."""

    place: Place
    ledger: Decimal

    @classmethod
    def of(
        cls, bucket: int, business_date: date | None, seq: int | None, ledger: Decimal | None
    ) -> Position:
        """A position as SQL tells it: nothing before the first entry."""
        return cls(Place(bucket, business_date or _EPOCH, seq or 0), ledger or Decimal(0))


Positions = Mapping[int, Position]
"""By bucket, ascending."""


def total_of(positions: Positions) -> Decimal:
    """The ledger balance over all buckets."""
    return sum((position.ledger for position in positions.values()), Decimal(0))


def seq_of(positions: Positions) -> str:
    """A position as balances tell it: a number, or a vector over several buckets."""
    if len(positions) == 1:
        (position,) = positions.values()
        return str(position.place.seq)
    return ",".join(f"{bucket}:{position.place.seq}" for bucket, position in positions.items())


def write_cursor(places: Iterable[Place]) -> str:
    """Places as a word that a client hands back."""
    packed = (
        _PLACE.pack(place.bucket, (place.business_date - _EPOCH).days, *divmod(place.seq, _HALF))
        for place in places
    )
    return urlsafe_b64encode(b"".join(packed)).decode().rstrip("=")


def read_cursor(cursor: str | None) -> list[Place]:
    """The places in a cursor, none for None; raises ``Malformed``."""
    if cursor is None:
        return []
    try:
        raw = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        places = [
            Place(bucket, _EPOCH + timedelta(days=days), high * _HALF + low)
            for bucket, days, high, low in _PLACE.iter_unpack(raw)
        ]
    except (ValueError, struct.error):
        raise cursor_malformed() from None
    # Another spelling of the same bytes, or buckets out of order, were not given out either.
    buckets = [place.bucket for place in places]
    if not places or buckets != sorted(set(buckets)) or write_cursor(places) != cursor:
        raise cursor_malformed()
    return places


def cursor_malformed() -> Malformed:
    """The refusal of a cursor that nobody gave out."""
    return Malformed("The cursor is not one that was given out.", pointer="/cursor")
