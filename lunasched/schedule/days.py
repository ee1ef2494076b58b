"""Days: the rule of a cron expression for them, sets of days, and the limits of a schedule.

A day is a number, as ``date.toordinal`` has it. Weekdays are 0 (Monday) to 6 (Sunday).
"""

from __future__ import annotations

from datetime import date
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from lunasched.dataclass import dataclass
from lunasched.formats import daycalendar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ALL_DAYS = frozenset(range(1, 32))
ALL_WEEKDAYS = frozenset(range(7))
WORKING_WEEK = frozenset(range(5))
"""Monday to Friday."""
LAST = -1
"""The ordinal of "the last Monday" in :attr:`DayRule.nth`."""
HOLIDAYS = "holidays"
"""The calendar whose days are no business days, where the machine has it."""

_LENGTHS = (0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def month_length(year: int, month: int) -> int:
    """Days in a month of the Gregorian calendar."""
    if month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0):
        return 29
    return _LENGTHS[month]


@dataclass(frozen=True, slots=True)
class DayRule:
    """The days of a month that match (crontab(5), with croniter's ``L`` and ``#``).

    The month side is ``days``, ``last_day``, ``before_last`` (days counted back from the last),
    ``near`` (the working day nearest to each, within its month) and ``last_working_day``; the week
    side is ``weekdays`` and ``nth`` (pairs of weekday and ordinal 1 to 5 or ``LAST``). With
    ``both`` a day must match either side, without it one of them is enough.
    """

    days: frozenset[int] = ALL_DAYS
    last_day: bool = False
    weekdays: frozenset[int] = ALL_WEEKDAYS
    nth: frozenset[tuple[int, int]] = frozenset()
    both: bool = True
    before_last: frozenset[int] = frozenset()
    near: frozenset[int] = frozenset()
    last_working_day: bool = False

    @property
    def every_day(self) -> bool:
        """True if no day is left out."""
        by_month, by_week = self.days >= ALL_DAYS, self.weekdays >= ALL_WEEKDAYS
        return (by_month and by_week) if self.both else (by_month or by_week)

    def matching(self, year: int, month: int) -> Sequence[int]:
        """The days of one month that match, ascending."""
        length = month_length(year, month)
        if self.days is ALL_DAYS and self.weekdays is ALL_WEEKDAYS and self.both:
            return range(1, length + 1)
        return _matching(self, date(year, month, 1).weekday(), length)

    def holds(self, day: int, weekday: int, length: int) -> bool:
        """Tell whether a day matches that is this weekday in a month of this length."""
        by_month = self._by_month(day, weekday, length)
        # One side decides alone: with AND if it fails, with OR if it holds.
        if by_month is not self.both:
            return by_month
        return self._by_week(day, weekday, length)

    def _by_month(self, day: int, weekday: int, length: int) -> bool:
        if day in self.days or (self.last_day and day == length):
            return True
        if length - day in self.before_last:
            return True
        targets = self.near | {length} if self.last_working_day else self.near
        return any(
            day == _working_day(target, (weekday + target - day) % 7, length)
            for target in targets
            if target <= length
        )

    def _by_week(self, day: int, weekday: int, length: int) -> bool:
        if weekday in self.weekdays:
            return True
        if not self.nth:
            return False
        if (weekday, (day + 6) // 7) in self.nth:
            return True
        return day + 7 > length and (weekday, LAST) in self.nth


def _working_day(day: int, weekday: int, length: int) -> int:
    """The working day nearest to a day of this weekday, in the same month."""
    if weekday < 5:
        return day
    if weekday == 5:
        return day - 1 if day > 1 else 3
    return day + 1 if day < length else day - 2


@lru_cache(maxsize=1024)
def _matching(rule: DayRule, first: int, length: int) -> tuple[int, ...]:
    days = range(1, length + 1)
    return tuple(day for day in days if rule.holds(day, (first + day - 1) % 7, length))


class DaySet(Protocol):
    """Some days of all time."""

    def holds(self, day: int) -> bool:
        """Tell whether a day is one of them."""
        ...


@dataclass(frozen=True, slots=True)
class RuledDays:
    """The days of a :class:`DayRule`, such as weekends, or the last Sunday of each month."""

    rule: DayRule

    def holds(self, day: int) -> bool:
        """Tell whether a day is one of them."""
        moment = date.fromordinal(day)
        length = month_length(moment.year, moment.month)
        return self.rule.holds(moment.day, moment.weekday(), length)


@dataclass(frozen=True, slots=True)
class Span:
    """The days from one to another, both included."""

    first: int
    last: int

    def holds(self, day: int) -> bool:
        """Tell whether a day is one of them."""
        return self.first <= day <= self.last


@dataclass(frozen=True, slots=True)
class YearlySpan:
    """The days from one to another of each year, (month, day), also over the end of the year."""

    first: tuple[int, int]
    last: tuple[int, int]

    def holds(self, day: int) -> bool:
        """Tell whether a day is one of them."""
        moment = date.fromordinal(day)
        place = (moment.month, moment.day)
        if self.first <= self.last:
            return self.first <= place <= self.last
        return place >= self.first or place <= self.last


@dataclass(frozen=True, slots=True)
class NamedDays:
    """The days of a calendar of the machine; ``version`` is another for other days."""

    name: str
    version: str

    def holds(self, day: int) -> bool:
        """Tell whether a day is one of them."""
        return day in daycalendar.calendar_days(self.name, date.fromordinal(day).year)


@dataclass(frozen=True, slots=True)
class BusinessDays:
    """Monday to Friday, less the calendar ``holidays`` of the machine where it has one."""

    holidays: NamedDays | None

    def holds(self, day: int) -> bool:
        """Tell whether a day is one of them."""
        if (day - 1) % 7 > 4:
            return False
        return self.holidays is None or not self.holidays.holds(day)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """The days of several sets."""

    sets: tuple[DaySet, ...]

    def holds(self, day: int) -> bool:
        """Tell whether a day is one of them."""
        return any(some.holds(day) for some in self.sets)


@dataclass(frozen=True, slots=True)
class DayAfter:
    """The days after those of a set: what begins late on one of these lasts into them."""

    days: DaySet

    def holds(self, day: int) -> bool:
        """Tell whether a day is one of them."""
        return self.days.holds(day - 1)


class Period(Enum):
    """What a :class:`Recurrence` counts; the values are the words of the grammar."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Recurrence:
    """The days of each ``count``-th day, week (from Monday) or month, from that of a day on."""

    count: int
    period: Period
    anchor: int

    def holds(self, day: int) -> bool:
        """Tell whether a day is one of them."""
        return (self._number(day) - self._number(self.anchor)) % self.count == 0

    def _number(self, day: int) -> int:
        if self.period is Period.DAY:
            return day
        if self.period is Period.WEEK:
            return (day - 1) // 7
        moment = date.fromordinal(day)
        return moment.year * 12 + moment.month


class Shift(Enum):
    """The way that a slot goes from a day on which it may not be; the values are the words."""

    NEXT = "next-business-day"
    PREVIOUS = "previous-business-day"


FARTHEST = 27
"""The most days by which a slot is shifted: it stays in its month or goes to the one beside it."""


@dataclass(frozen=True, slots=True)
class DaySpan:
    """The time from ``start`` up to ``end`` (µs since midnight, the end not included) of days.

    ``days`` is None for all of them.
    """

    start: int
    end: int
    days: DaySet | None = None

    def holds(self, day: int, time: int) -> bool:
        """Tell whether an instant of a day (µs since midnight) is within."""
        return self.start <= time < self.end and (self.days is None or self.days.holds(day))


@dataclass(frozen=True, slots=True)
class Limits:
    """What is taken from the slots of a rule, on its wall clock.

    A slot is on a day of each of ``only`` and of none of ``never``, and at no time of
    ``left_out``. With a ``shift`` one on another day goes to the nearest business day on which it
    may be, at most ``FARTHEST`` days away. After that it must be on a day of each of ``kept`` and
    of none of ``dropped``. ``begin`` and ``end`` are the first and the last instant (µs of the wall
    clock since 1970, both included), and ``count`` is the number of slots from ``begin`` on.
    """

    only: tuple[DaySet, ...] = ()
    never: tuple[DaySet, ...] = ()
    left_out: tuple[DaySpan, ...] = ()
    step: Recurrence | None = None
    shift: Shift | None = None
    business: BusinessDays = BusinessDays(None)
    kept: tuple[DaySet, ...] = ()
    dropped: tuple[DaySet, ...] = ()
    begin: int | None = None
    end: int | None = None
    count: int | None = None

    def allow(self, day: int) -> bool:
        """Tell whether a slot may be on a day, whatever its time."""
        if self.shift is not None and not self.business.holds(day):
            return False
        return _is_among(day, self.only, self.never)

    def moved(self, day: int) -> int | None:
        """The day on which a slot of a day of the rule is, or None."""
        found = self._shifted(day)
        if found is None or not _is_among(found, self.kept, self.dropped):
            return None
        return found

    def _shifted(self, day: int) -> int | None:
        if self.step is not None and not self.step.holds(day):
            return None
        if self.shift is None:
            return day if self.allow(day) else None
        way = 1 if self.shift is Shift.NEXT else -1
        for number in range(FARTHEST + 1):
            if self.allow(day + way * number):
                return day + way * number
        return None

    def calendars(self) -> tuple[NamedDays, ...]:
        """The calendars that these depend on, each once."""
        sets = [*self.only, *self.never, *self.kept, *self.dropped, self.business]
        sets += [span.days for span in self.left_out if span.days is not None]
        return tuple(dict.fromkeys(named for some in sets for named in _named(some)))

    def covering(self, day: int, time: int) -> DaySpan | None:
        """What leaves an instant of a day (µs since midnight) out, or None."""
        return next((span for span in self.left_out if span.holds(day, time)), None)


def _is_among(day: int, only: Sequence[DaySet], never: Sequence[DaySet]) -> bool:
    return all(some.holds(day) for some in only) and not any(some.holds(day) for some in never)


def _named(days: DaySet) -> Iterator[NamedDays]:
    if isinstance(days, NamedDays):
        yield days
    elif isinstance(days, BusinessDays) and days.holidays is not None:
        yield days.holidays
    elif isinstance(days, DayAfter):
        yield from _named(days.days)
    elif isinstance(days, AnyOf):
        for each in days.sets:
            yield from _named(each)
