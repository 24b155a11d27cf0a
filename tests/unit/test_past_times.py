"""Points in the past: RFC 3339 times and business dates, and nothing like them."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.past_times import PastTimeMalformed, parse_past_time


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-21", date(2026, 11, 21)),
        ("2024-02-29", date(2024, 2, 29)),
        ("2026-11-21T09:30:00Z", datetime(2026, 11, 21, 9, 30, tzinfo=UTC)),
        ("2026-11-21t09:30:00.1z", datetime(2026, 11, 21, 9, 30, 0, 100_000, tzinfo=UTC)),
        ("2026-11-21T09:30:00.123456+01:00", datetime(2026, 11, 21, 8, 30, 0, 123_456, tzinfo=UTC)),
        ("2026-11-21T00:30:00+14:00", datetime(2026, 11, 20, 10, 30, tzinfo=UTC)),
    ],
)
def test_times_and_dates_are_read(text: str, expected: date) -> None:
    """A time is read with its zone and turned into UTC; a date stays one."""
    found = parse_past_time(text)

    assert (type(expected), expected) == (type(found), found)


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "2026", "2026-11", "20261121", "2026-W47-6", "21.11.2026", "2026-13-01",
        "2026-02-30", "2026-11-21T09:30:00", "2026-11-21 09:30:00Z", "2026-11-21T09:30Z",
        "2026-11-21T24:00:00Z", "2026-11-21T23:59:60Z", "2026-11-21T09:30:00 01:00",
        "2026-11-21T09:30:00+0100", "2026-11-21T09:30:00.1234567Z", "2026-11-21T09:30:00+24:00",
        "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-11-21\n", " 2026-11-21",
        "\u0662026-11-21", "1763717400", "infinity", "-2026-11-21",
    ],
)  # fmt: skip
def test_anything_else_is_malformed(text: str) -> None:
    """No zone is guessed, no form but the two is taken."""
    with pytest.raises(PastTimeMalformed):
        parse_past_time(text)


@given(st.text(max_size=40) | st.from_regex(r"[0-9T:Zz.+-]{0,35}", fullmatch=True))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever stands there ends in a date, in a time in UTC, or in the one error."""
    try:
        found = parse_past_time(text)
    except PastTimeMalformed:
        return
    assert not isinstance(found, datetime) or found.tzinfo is UTC


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_that_was_told_is_read_back(at: datetime) -> None:
    """Times as the API writes them can be asked for."""
    assert at == parse_past_time(at.isoformat().replace("+00:00", "Z"))
