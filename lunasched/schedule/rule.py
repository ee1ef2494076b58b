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
from lunasched.schedule.days import (
    ALL_DAYS,
    ALL_WEEKDAYS,
    DayRule,
    Limits,
    NamedDays,
    month_length,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

ALL_MONTHS = tuple(range(1, 13))
ALL_HOURS = tuple(range(24))
ALL_MINUTES = tuple(range(60))
WEEKDAY_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


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
    limits: ClassVar[Limits | None] = None

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
    limits: ClassVar[Limits | None] = None

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


@dataclass(frozen=True, slots=True)
class Limited:
    """A rule with some of its slots taken away, or moved to another day."""

    text: str
    base: Calendar | SystemdCalendar
    limits: Limits
    months: ClassVar[tuple[int, ...]] = ALL_MONTHS
    years: ClassVar[tuple[int, ...] | None] = None

    @property
    def kind(self) -> ScheduleKind:
        """The kind of the rule."""
        return self.base.kind

    @property
    def zone(self) -> str | None:
        """The zone that the text itself names."""
        return self.base.zone

    @property
    def crossing(self) -> Crossing:
        """The behaviour of the rule on the nights on which the clock changes."""
        return self.base.crossing

    @property
    def hours(self) -> tuple[int, ...]:
        """The hours of the rule, of which some may be left out on some days."""
        return self.base.hours

    @property
    def minutes(self) -> tuple[int, ...]:
        """The minutes of the rule."""
        return self.base.minutes

    @property
    def fractions(self) -> tuple[int, ...]:
        """The slots within a minute (µs)."""
        return self.base.fractions

    def matching(self, year: int, month: int) -> Sequence[int]:
        """The days of one month on which a slot may be."""
        return _limited_days(self.base, self.limits, year, month)


@lru_cache(maxsize=4096)
def _limited_days(
    base: Calendar | SystemdCalendar, limits: Limits, year: int, month: int
) -> tuple[int, ...]:
    first = date(year, month, 1).toordinal()
    months = [(year, month)]
    if limits.shift is not None:
        # A slot goes no farther than to the month beside its own.
        months += [divmod(year * 12 + month - 1 + step, 12) for step in (-1, 1)]
        months[1:] = [(there, number + 1) for there, number in months[1:]]
    moved = {
        limits.moved(date(there, number, day).toordinal())
        for there, number in months
        if number in base.months and (base.years is None or there in base.years)
        for day in base.matching(there, number)
    }
    days = range(1, month_length(year, month) + 1)
    return tuple(day for day in days if first + day - 1 in moved)


Slotted = Calendar | SystemdCalendar | Limited
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


Schedule = Every | Calendar | Reboot | SystemdCalendar | Limited | Several | OnDemand

UNTIMED = (Reboot, OnDemand)
"""The rules that have no instants."""


def named_zones(schedule: Schedule) -> tuple[str, ...]:
    """The time zones that a schedule names itself."""
    rules = schedule.rules if isinstance(schedule, Several) else (schedule,)
    return tuple(rule.zone for rule in rules if isinstance(rule, Slotted) and rule.zone is not None)


def named_calendars(schedule: Schedule) -> tuple[NamedDays, ...]:
    """The calendars of the machine that a schedule depends on, each once."""
    rules = schedule.rules if isinstance(schedule, Several) else (schedule,)
    found = [rule.limits.calendars() for rule in rules if isinstance(rule, Limited)]
    return tuple(dict.fromkeys(named for each in found for named in each))
