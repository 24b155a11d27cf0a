"""Which form of an answer ``Accept`` asks for."""

from __future__ import annotations

import pytest

from router.http.media_types import preferred

JSON, CSV, XML = OFFERED = ("application/json", "text/csv", "application/xml")


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ([], JSON),
        ([""], JSON),
        (["*/*"], JSON),
        (["text/csv"], CSV),
        (["Text/CSV; charset=utf-8"], CSV),
        (["text/*"], CSV),
        (["application/*"], JSON),
        (["application/xml, application/json;q=0.9"], XML),
        (["application/xml;q=0.5, text/csv;q=0.501"], CSV),
        (["text/html", "application/xml"], XML),
        (["application/*;q=0.9, application/json;q=0.1, */*;q=0.2"], XML),
        (["*/*, application/json;q=0"], CSV),
        (["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], XML),
        (["text/html"], None),
        (["application/json;q=0"], None),
        (["*/*;q=0.000"], None),
        (["nonsense"], None),
        (["text/csv;q=nonsense"], CSV),
        (["text/csv;q=1.5"], CSV),
        ([",,;,"], None),
    ],
)
def test_the_form_rated_highest_is_taken(accept: list[str], expected: str | None) -> None:
    """By quality, of the most specific range that fits; of equals the first that is offered."""
    assert expected == preferred(accept, OFFERED)
