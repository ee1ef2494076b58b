"""The rules that schedules are read into: one frozen value of one of six kinds.

Weekdays are numbered 0 (Monday) to 6 (Sunday) here, as in :mod:`datetime`; cron's 0/7 for
Sunday ends in the parser.
"""

from __future__ import annotations

from datetime import date
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

from lunasched.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

ALL_DAYS = frozenset(range(1, 32))
ALL_WEEKDAYS = frozenset(range(7))
ALL_MONTHS = tuple(range(1, 13))
ALL_HOURS = tuple(range(24))
ALL_MINUTES = tuple(range(60))
WEEKDAY_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
LAST = -1
"""The ordinal of "the last Monday" in :attr:`DayRule.nth`."""

_LENGTHS = (0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def month_length(year: int, month: int) -> int:
    """Days in a month of the Gregorian calendar."""
    if month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0):
        return 29
    return _LENGTHS[month]


class ScheduleKind(str, Enum):
    """The kinds of schedule; the values are what ``--json`` prints."""

    EVERY = "every"
    CALENDAR = "calendar"
    REBOOT = "reboot"
    SYSTEMD = "systemd"
    SEVERAL = "several"
    ON_DEMAND = "on demand"


class Crossing(Enum):
    """The behaviour where the wall clock jumps by less than three hours (cron(8))."""

    WILDCARD = "follows the wall clock: absent in a gap, both passes of a repeated hour"
    FIXED = "once right after a gap that held a slot, first pass only of a repeated hour"
    SYSTEMD = "absent in a gap, first pass only of a repeated hour"


@dataclass(frozen=True, slots=True)
class Reboot:
    """Once at every start of the service manager, the ``@reboot`` of crontab(5).

    ``delay`` is in seconds; with ``of_machine`` it counts from the boot of the machine, which is
    earlier by what the kernel takes, or for the manager of a user by much more.
    """

    text: str
    delay: int = 0
    of_machine: bool = False
    kind: ClassVar[ScheduleKind] = ScheduleKind.REBOOT


@dataclass(frozen=True, slots=True)
class Every:
    """A fixed interval in seconds, counted from the last start.

    With a ``boot`` the first start after a boot is that one, and the interval counts from there.
    """

    text: str
    seconds: int
    boot: Reboot | None = None
    kind: ClassVar[ScheduleKind] = ScheduleKind.EVERY


ON_DEMAND = "on demand"
"""The text of the schedule of a job that has none."""


@dataclass(frozen=True, slots=True)
class OnDemand:
    """No point in time: started by hand, or when its dependencies have succeeded."""

    text: str = ON_DEMAND
    kind: ClassVar[ScheduleKind] = ScheduleKind.ON_DEMAND


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


@dataclass(frozen=True, slots=True)
class Calendar:
    """A rule over wall-clock fields: cron expressions, ``at``, ``on``, ``@daily`` and so on.

    Every tuple is ascending; ``fractions`` are the slots within a minute in microseconds.
    ``wildcard`` tells a wildcard job from a fixed-time job (cron(8)). ``zone`` is the zone that the
    text itself names (which overrides the job's).
    """

    text: str
    hours: tuple[int, ...]
    minutes: tuple[int, ...]
    fractions: tuple[int, ...] = (0,)
    months: tuple[int, ...] = ALL_MONTHS
    days: DayRule = DayRule()
    wildcard: bool = False
    zone: str | None = None
    kind: ClassVar[ScheduleKind] = ScheduleKind.CALENDAR
    years: ClassVar[tuple[int, ...] | None] = None

    @property
    def crossing(self) -> Crossing:
        """The behaviour of the rule on the nights on which the clock changes."""
        return Crossing.WILDCARD if self.wildcard else Crossing.FIXED

    @property
    def seconds(self) -> tuple[int, ...]:
        """The seconds of a minute that match."""
        return tuple(fraction // 1_000_000 for fraction in self.fractions)

    def matching(self, year: int, month: int) -> Sequence[int]:
        """The days of one month that match."""
        return self.days.matching(year, month)


@dataclass(frozen=True, slots=True)
class SystemdCalendar:
    """A calendar event expression, with the meaning that systemd.time(7) gives it.

    ``expression`` is systemd's normalized form without its zone, ``line`` the same as a timer has
    it: with the end of each step that some systemd would take beyond it. ``zone`` is the zone that
    the expression itself names (which overrides the job's). ``fractions`` are microseconds within a
    minute; ``from_end`` counts ``day_numbers`` from the end of the month.
    """

    text: str
    expression: str
    line: str
    zone: str | None
    hours: tuple[int, ...]
    minutes: tuple[int, ...]
    fractions: tuple[int, ...]
    months: tuple[int, ...] = ALL_MONTHS
    years: tuple[int, ...] | None = None
    day_numbers: frozenset[int] = ALL_DAYS
    from_end: bool = False
    weekdays: frozenset[int] = ALL_WEEKDAYS
    kind: ClassVar[ScheduleKind] = ScheduleKind.SYSTEMD
    crossing: ClassVar[Crossing] = Crossing.SYSTEMD

    def matching(self, year: int, month: int) -> Sequence[int]:
        """The days of one month that match."""
        length = month_length(year, month)
        first = date(year, month, 1).weekday()
        return [
            day
            for day in range(1, length + 1)
            if (length + 1 - day if self.from_end else day) in self.day_numbers
            and (first + day - 1) % 7 in self.weekdays
        ]


Slotted = Calendar | SystemdCalendar
"""A rule with instants of its own, which the engine in ``elapse`` walks over."""


@dataclass(frozen=True, slots=True)
class Several:
    """Several rules with instants of their own, and a start at each boot, if there is a ``boot``.

    Where two of the rules have one instant, it is one slot.
    """

    text: str
    rules: tuple[Slotted, ...]
    boot: Reboot | None = None
    kind: ClassVar[ScheduleKind] = ScheduleKind.SEVERAL


Schedule = Every | Calendar | Reboot | SystemdCalendar | Several | OnDemand

UNTIMED = (Reboot, OnDemand)
"""The rules that have no instants."""


def named_zones(schedule: Schedule) -> tuple[str, ...]:
    """The time zones that a schedule names itself."""
    rules = schedule.rules if isinstance(schedule, Several) else (schedule,)
    return tuple(rule.zone for rule in rules if isinstance(rule, Slotted) and rule.zone is not None)
