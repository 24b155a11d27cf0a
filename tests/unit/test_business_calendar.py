"""The bank's calendar."""

from __future__ import annotations

from datetime import date

import pytest

from router.business_calendar import (
    easter_sunday,
    first_business_day,
    is_business_day,
    next_business_day,
    target_closing_days,
)


@pytest.mark.parametrize(
    "easter",
    [
        date(1818, 3, 22),
        date(2000, 4, 23),
        date(2024, 3, 31),
        date(2025, 4, 20),
        date(2026, 4, 5),
        date(2027, 3, 28),
        date(2038, 4, 25),
    ],
)
def test_easter_falls_on_its_published_day(easter: date) -> None:
    """Known Easter Sundays, the earliest and the latest possible date among them."""
    assert easter_sunday(easter.year) == easter


def test_target_closes_on_six_days_a_year() -> None:
    """The list that the ECB publishes for 2026."""
    assert sorted(target_closing_days(2026)) == [
        date(2026, 1, 1),
        date(2026, 4, 3),
        date(2026, 4, 6),
        date(2026, 5, 1),
        date(2026, 12, 25),
        date(2026, 12, 26),
    ]


def test_the_bank_is_closed_on_weekends() -> None:
    """Friday is open, Saturday and Sunday are not, Monday is again."""
    days = [date(2026, 11, day) for day in (20, 21, 22, 23)]
    assert [is_business_day(day, ()) for day in days] == [True, False, False, True]


def test_the_next_business_day_passes_over_weekends_and_closing_days() -> None:
    """After Maundy Thursday 2026 the bank opens on the Tuesday after Easter."""
    assert next_business_day(date(2026, 4, 2), target_closing_days(2026)) == date(2026, 4, 7)


@pytest.mark.parametrize(
    ("day", "expected"),
    [(date(2026, 11, 20), date(2026, 11, 20)), (date(2026, 11, 21), date(2026, 11, 23))],
)
def test_a_bank_opens_first_on_the_day_itself_if_it_is_open(day: date, expected: date) -> None:
    """A business day is its own first business day."""
    assert first_business_day(day, ()) == expected


def test_a_calendar_without_business_days_is_an_error() -> None:
    """A search that finds nothing for a month must not go on for ever."""
    closed = [date.fromordinal(n) for n in range(date(2026, 1, 1).toordinal(), 739_900)]
    with pytest.raises(LookupError):
        next_business_day(date(2026, 1, 1), closed)
