"""The slots that systemd 252 loses after a step that has no end.

From ``*:00/7`` systemd goes on from minute 56 to minute 63, carries that into the next hour and
resets the unit next below the largest that changed, and no other: at 23:56 that is the hour, the
minute stays 3, and the slot at 00:00 is lost. So are ``HH:00:00`` of ``*:*:00/7``, midnight on the
first of a month of ``00/7:00`` and the first days of January of ``*-*-01/7``. As this is what the
timer does, it is what ``calendar:`` means.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from lunasched.schedule.rule import month_length

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lunasched.schedule.rule import SystemdCalendar

MINUTE = 60_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()


@dataclass(slots=True)
class _WallTime:
    """A wall-clock time on its way to the next slot; ``fraction`` is µs within the minute."""

    year: int
    month: int
    day: int
    hour: int
    minute: int
    fraction: int

    def next_year(self) -> None:
        self.year, self.month, self.day = self.year + 1, 1, 1
        self.hour = self.minute = self.fraction = 0

    def next_month(self) -> None:
        if self.month == 12:
            self.next_year()
            return
        self.month, self.day = self.month + 1, 1
        self.hour = self.minute = self.fraction = 0

    def next_day(self) -> None:
        if self.day >= month_length(self.year, self.month):
            self.next_month()
            return
        self.day += 1
        self.hour = self.minute = self.fraction = 0

    def next_hour(self) -> None:
        if self.hour == 23:
            self.next_day()
            return
        self.hour += 1
        self.minute = self.fraction = 0


def next_wall_of_systemd(rule: SystemdCalendar, wall: int) -> int | None:
    """The wall-clock slot (µs) that systemd goes to from ``wall`` on, or None."""
    day, rest = divmod(wall, DAY)
    today = date.fromordinal(day + _EPOCH_ORDINAL)
    hour, rest = divmod(rest, HOUR)
    place = _WallTime(today.year, today.month, today.day, hour, *divmod(rest, MINUTE))
    while place.year < 2200:
        if _date_fits(rule, place) and _time_fits(rule, place):
            day = date(place.year, place.month, place.day).toordinal() - _EPOCH_ORDINAL
            return day * DAY + place.hour * HOUR + place.minute * MINUTE + place.fraction
    return None


def _date_fits(rule: SystemdCalendar, place: _WallTime) -> bool:
    """Tell whether the date matches; moves the place on where it does not."""
    if rule.years is not None and place.year not in rule.years:
        place.next_year()
        return False
    if place.month not in rule.months:
        place.next_month()
        return False
    length = month_length(place.year, place.month)
    days = rule.day_numbers if not rule.from_end else {length + 1 - n for n in rule.day_numbers}
    if place.day in days:
        matches = date(place.year, place.month, place.day).weekday() in rule.weekdays
        if not matches:
            place.next_day()
        return matches
    if any(place.day < day <= length for day in days):
        place.next_day()
        return False
    december = place.month == 12
    place.next_month()
    if december and rule.overflow.day is not None:
        place.day = rule.overflow.day
    return False


def _time_fits(rule: SystemdCalendar, place: _WallTime) -> bool:
    """Tell whether there is a time left in the day; moves the place to it, or to where to go on."""
    hour = _at_least(rule.hours, place.hour)
    if hour is None:
        last_day = place.day == month_length(place.year, place.month)
        place.next_day()
        if last_day and rule.overflow.hour is not None:
            place.hour = rule.overflow.hour
        return False
    if hour != place.hour:
        place.hour, place.minute, place.fraction = hour, 0, 0
    minute = _at_least(rule.minutes, place.minute)
    if minute is None:
        last_hour = place.hour == 23
        place.next_hour()
        if last_hour and rule.overflow.minute is not None:
            place.minute = rule.overflow.minute
        return False
    if minute != place.minute:
        place.minute, place.fraction = minute, 0
    fraction = _at_least(rule.fractions, place.fraction)
    if fraction is None:
        beyond = rule.overflow.fraction or 0
        if place.minute < 59:  # whole seconds are reset, microseconds never
            place.minute, place.fraction = place.minute + 1, beyond % 1_000_000
        else:
            place.next_hour()
            place.fraction = beyond
        return False
    place.fraction = fraction
    return True


def _at_least(values: Sequence[int], low: int) -> int | None:
    index = bisect_left(values, low)
    return values[index] if index < len(values) else None
