"""Which account numbers this shard may serve: its own and only truth."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from shard.connections import Readers
from shard.errors import NotFound, NotOwner
from shard.named_queries import QUERIES


class RangeState(StrEnum):
    """OWNED serves; FENCED only reads; RELEASED is given away; INCOMING is being copied here."""

    OWNED = "OWNED"
    FENCED = "FENCED"
    RELEASED = "RELEASED"
    INCOMING = "INCOMING"


@dataclass(frozen=True, slots=True)
class OwnedRange:
    """A half-open range ``[lo, hi)`` of account numbers as this shard knows it."""

    range_id: int
    lo: int
    hi: int
    epoch: int
    state: RangeState
    next_owner: int | None


class Ownership:
    """Reads the shard's ownership rows."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers

    async def ranges(self) -> list[OwnedRange]:
        """Every range this shard knows, ascending; the lowest is its system accounts."""
        rows = await self._readers.rows(QUERIES["owned_ranges"])
        return [
            OwnedRange(range_id, lo, hi, epoch, RangeState(state), next_owner)
            for range_id, lo, hi, epoch, state, next_owner in rows
        ]

    async def explain_absence(self, account_no: int, thing: str) -> NotFound | NotOwner:
        """Why a read found nothing: not here any more, or not there at all."""
        rows = await self._readers.rows(QUERIES["range_of"], (account_no, account_no))
        if not rows:
            return NotOwner(account_no, None, None)
        state, next_owner, epoch = rows[0]
        if state in (RangeState.OWNED, RangeState.FENCED):
            return NotFound(f"There is no such {thing}.")
        return NotOwner(account_no, next_owner, epoch)
