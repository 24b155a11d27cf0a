"""Naming items on the command line, and the pages of the workflows that hold them."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from router.cli.saga_filters import read_age, read_name, read_wanted
from router.saga_reads import TemporalPlace, TransferName, WantedSagas, workflow_of
from shard.commands import Origin
from shard.errors import Malformed
from shard.repairs import ItemFilter
from shard.suspense import Carrier, ItemState
from tests.unit.test_saga_texts import ITEM_ID, outlook

NONE: dict[str, Any] = {
    "older_than": None,
    "shard": None,
    "destination": None,
    "state": None,
    "carrier": None,
    "currency": None,
    "least": None,
    "most": None,
    "limit": 50,
}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("45", 45), ("45s", 45), ("10m", 600), ("2h", 7_200), ("3d", 259_200)],
)
def test_an_age_is_read_in_seconds(text: str, seconds: float) -> None:
    """Without a unit it is seconds."""
    assert seconds == read_age(text)


@pytest.mark.parametrize(
    "text", ["", "m", "1.5h", "-1", "10 m", "10M", "1h30m", "\u0661", "1" * 10]
)
def test_what_is_no_age_is_malformed(text: str) -> None:
    """One number and one unit."""
    with pytest.raises(Malformed):
        read_age(text)


def test_without_words_all_open_items_are_wanted() -> None:
    """Whatever is not said is any."""
    assert WantedSagas() == read_wanted(**NONE)


def test_every_word_narrows_the_list() -> None:
    """Each of them ends up where the shards look, or where their answers are sorted out."""
    words: dict[str, Any] = {
        "older_than": "10m",
        "shard": 1,
        "destination": 2,
        "state": "needs_repair",
        "carrier": "route",
        "currency": "EUR",
        "least": "10.00",
        "most": "20",
        "limit": 7,
    }
    items = ItemFilter(
        600.0, ItemState.NEEDS_REPAIR, Carrier.ROUTE, "EUR", Decimal(10), Decimal(20)
    )

    assert WantedSagas(items, 1, 2, 7) == read_wanted(**words)


@pytest.mark.parametrize(
    "words",
    [
        {"older_than": "yesterday"},
        {"state": "delivered"},
        {"carrier": "pigeon"},
        {"currency": "eur"},
        {"least": "-1"},
        {"least": "2", "most": "1"},
    ],
    ids=str,
)
def test_a_word_that_means_nothing_is_malformed(words: dict[str, Any]) -> None:
    """A filter that was misread must not pass for an empty list."""
    with pytest.raises(Malformed):
        read_wanted(**{**NONE, **words})


def test_an_item_is_named_by_its_id_or_by_its_transfer() -> None:
    """One word is an item, two are an account and a reference."""
    named = TransferName(1_000_000_123, "PAY-17", Origin.PAYROLL)

    assert ITEM_ID == read_name(str(ITEM_ID), None)
    assert named == read_name("1000000123", "PAY-17", "payroll")


@pytest.mark.parametrize(
    "words",
    [("1000000123", None), ("x", "PAY-17"), ("1000000123", "a b"), ("1000000123", "a", "nobody")],
    ids=str,
)
def test_a_name_that_means_nothing_is_malformed(words: tuple[str, ...]) -> None:
    """An account alone names no item."""
    with pytest.raises(Malformed):
        read_name(*words)


@pytest.mark.parametrize(
    ("carrier", "workflow"),
    [
        (Carrier.CONVOY, f"convoy/1/{ITEM_ID}"),
        (Carrier.ROUTE, "route/1/2"),
        (Carrier.REPAIR, f"repair/1/{ITEM_ID}"),
    ],
)
def test_the_carrier_tells_the_workflow(carrier: Carrier, workflow: str) -> None:
    """Each kind has ids of its own."""
    assert workflow == workflow_of(1, outlook(carrier=carrier).saga.record)


def test_a_page_is_found_under_the_address_of_the_ui() -> None:
    """A workflow id is one part of the path, so its slashes are written otherwise."""
    place = TemporalPlace("127.0.0.1:7233", "my bank", "http://127.0.0.1:8233/")

    assert "http://127.0.0.1:8233/namespaces/my%20bank/workflows/route%2F1%2F2" == place.page(
        "route/1/2"
    )
    assert [None, None] == [replace(place, ui_url=url).page("route/1/2") for url in (None, "")]
