"""Reading what people type to name items: which ones, how old, how much."""

from __future__ import annotations

import re
from typing import Final, TypeVar
from uuid import UUID

from router.cli.arguments import read_account, read_currency, read_item, read_plain_amount
from router.saga_reads import TransferName, WantedSagas
from shard.commands import Origin
from shard.errors import Malformed
from shard.references import parse_reference
from shard.repairs import ItemFilter
from shard.suspense import Carrier, ItemState

_AGE: Final = re.compile(r"([0-9]{1,9})([smhd]?)", re.ASCII)
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
_OPEN: Final = (ItemState.PARKED, ItemState.NEEDS_REPAIR)
_Word = TypeVar("_Word", Carrier, ItemState, Origin)


class AgeMalformed(Malformed):
    """An age is written in seconds, or like 10m, 2h or 3d."""


def read_age(text: str) -> float:
    """An age in seconds: ``45``, ``45s``, ``10m``, ``2h``, ``3d``."""
    match = _AGE.fullmatch(text)
    if match is None:
        raise AgeMalformed(f"{text!r} is no age. {AgeMalformed.__doc__}")
    return float(int(match[1]) * _SECONDS[match[2]])


def read_wanted(
    *,
    older_than: str | None,
    shard: int | None,
    destination: int | None,
    state: str | None,
    carrier: str | None,
    currency: str | None,
    least: str | None,
    most: str | None,
    limit: int,
) -> WantedSagas:
    """The items that these words want; raises leaves of ``Malformed``."""
    lower = None if least is None else read_plain_amount(least)
    upper = None if most is None else read_plain_amount(most)
    if lower is not None and upper is not None and lower > upper:
        raise Malformed("--amount-to is less than --amount-from.")
    items = ItemFilter(
        age_s=0.0 if older_than is None else read_age(older_than),
        state=_word(state, _OPEN, "state of an open item"),
        carrier=_word(carrier, tuple(Carrier), "carrier"),
        currency=None if currency is None else read_currency(currency),
        least=lower,
        most=upper,
    )
    return WantedSagas(items, source=shard, destination=destination, limit=limit)


def read_name(item: str, reference: str | None, origin: str = Origin.CLIENT) -> UUID | TransferName:
    """An item by its id, or what names its transfer."""
    return read_item(item) if reference is None else read_transfer(item, reference, origin)


def read_transfer(account: str, reference: str, origin: str) -> TransferName:
    """A transfer by its account, reference and origin."""
    spoken = _word(origin, tuple(Origin), "origin") or Origin.CLIENT
    return TransferName(read_account(account), parse_reference(reference), spoken)


def _word(text: str | None, known: tuple[_Word, ...], what: str) -> _Word | None:
    for word in known:
        if text == word.value:
            return word
    if text is None:
        return None
    raise Malformed(f"{text!r} is no {what}; there are: {', '.join(known)}.")
