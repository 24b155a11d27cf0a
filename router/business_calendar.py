"""The bank's calendar: weekends, and closing days kept in the directory.

A new bank begins with the closing days of TARGET, the Eurosystem's settlement system: New
Year, Good Friday, Easter Monday, 1 May, 25 and 26 December (ECB, "long-term calendar for
TARGET closing days", 14 December 2000).
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, timedelta

from router.limits import CALENDAR_SEARCH_DAYS

_SATURDAY = 5


def easter_sunday(year: int) -> date:
    """Easter Sunday of a Gregorian year (rule of Meeus, Jones and Butcher)."""
    century, year_of_century = divmod(year, 100)
    leap_centuries, century_rest = divmod(century, 4)
    leaps, leap_rest = divmod(year_of_century, 4)
    golden = year % 19
    moon_correction = (century - (century + 8) // 25 + 1) // 3
    epact = (19 * golden + century - leap_centuries - moon_correction + 15) % 30
    weekday = (32 + 2 * century_rest + 2 * leaps - epact - leap_rest) % 7
    late = (golden + 11 * epact + 22 * weekday) // 451
    month, day = divmod(epact + weekday - 7 * late + 114, 31)
    return date(year, month, day + 1)


def target_closing_days(year: int) -> dict[date, str]:
    """The closing days of TARGET in one year, with their names."""
    easter = easter_sunday(year)
    return {
        date(year, 1, 1): "New Year's Day",
        easter - timedelta(days=2): "Good Friday",
        easter + timedelta(days=1): "Easter Monday",
        date(year, 5, 1): "Labour Day",
        date(year, 12, 25): "Christmas Day",
        date(year, 12, 26): "Christmas Holiday",
    }


def is_business_day(day: date, closing_days: Collection[date]) -> bool:
    """Tell whether the bank is open on a day."""
    return day.weekday() < _SATURDAY and day not in closing_days


def next_business_day(day: date, closing_days: Collection[date]) -> date:
    """The first open day after ``day``; raises ``LookupError`` on a calendar without any."""
    for ahead in range(1, CALENDAR_SEARCH_DAYS + 1):
        following = day + timedelta(days=ahead)
        if is_business_day(following, closing_days):
            return following
    message = f"the calendar knows no business day within {CALENDAR_SEARCH_DAYS} days of {day}"
    raise LookupError(message)


def first_business_day(day: date, closing_days: Collection[date]) -> date:
    """The day itself if the bank is open on it, else the next open one."""
    return next_business_day(day - timedelta(days=1), closing_days)
