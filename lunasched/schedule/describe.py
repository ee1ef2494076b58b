"""A schedule as one sentence in plain English."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lunasched.formats.measures import DAYS_TO_SECONDS, WEEK, split
from lunasched.schedule.rule import (
    ALL_DAYS,
    ALL_HOURS,
    ALL_MINUTES,
    ALL_MONTHS,
    ALL_WEEKDAYS,
    LAST,
    Calendar,
    DayRule,
    Every,
    OnDemand,
    Reboot,
    Schedule,
    Several,
    SystemdCalendar,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_ORDINALS = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth", LAST: "last"}
_UNITS = (WEEK, *DAYS_TO_SECONDS)
_MANY_TIMES = 6


def describe(schedule: Schedule) -> str:
    """Describe a schedule in one sentence."""
    if isinstance(schedule, Every):
        sentence = f"Every {_interval(schedule.seconds)}, counted from the last start."
        return sentence if schedule.boot is None else f"{sentence} {describe(schedule.boot)}"
    if isinstance(schedule, Several):
        sentences = [describe(rule) for rule in schedule.rules]
        sentences += [] if schedule.boot is None else [describe(schedule.boot)]
        return " ".join(sentences)
    if isinstance(schedule, Reboot):
        return f"Once {_after_boot(schedule)}."
    if isinstance(schedule, OnDemand):
        return "When it is started or its dependencies have succeeded."
    if isinstance(schedule, SystemdCalendar):
        zone = f" {schedule.zone}" if schedule.zone else ""
        return f"Whenever systemd's calendar event {schedule.expression}{zone} elapses."
    days = "" if schedule.hours == ALL_HOURS else "every day"
    if not schedule.days.every_day:
        days = _days(schedule.days)
    zone = f"in {schedule.zone}" if schedule.zone else ""
    parts = [_times(schedule), days, _months(schedule.months), zone]
    sentence = " ".join(part for part in parts if part)
    return sentence[0].upper() + sentence[1:] + "."


def _after_boot(schedule: Reboot) -> str:
    if not schedule.delay:
        return "at every boot"
    after = "boot" if schedule.of_machine else "start of systemd"
    return f"{_join(_counted(schedule.delay))} after every {after}"


def _interval(seconds: int) -> str:
    parts = _counted(seconds)
    return parts[0].removeprefix("1 ") if len(parts) == 1 else _join(parts)


def _counted(seconds: int) -> list[str]:
    """A span of time in words, a unit each."""
    return [
        f"{count} {unit.noun}{'s' if count > 1 else ''}"
        for count, unit in split(seconds, _UNITS)
        if count
    ]


def _times(rule: Calendar) -> str:
    hours, minutes, seconds = rule.hours, rule.minutes, rule.seconds
    if len(hours) * len(minutes) * len(seconds) <= _MANY_TIMES:
        return "at " + _join(
            f"{hour:02}:{minute:02}" + (f":{second:02}" if seconds != (0,) else "")
            for hour in hours
            for minute in minutes
            for second in seconds
        )
    parts = []
    if seconds != (0,):
        parts.append(_field(seconds, ALL_MINUTES, "second"))
    if minutes != ALL_MINUTES or seconds == (0,):
        parts.append(_field(minutes, ALL_MINUTES, "minute"))
    if hours != ALL_HOURS:
        parts.append(_field(hours, ALL_HOURS, "hour"))
    elif not parts[-1].startswith("every"):
        parts.append("every hour")
    text = " of ".join(parts)
    return text if text.startswith("every") else f"at {text}"


def _field(values: Sequence[int], everything: Sequence[int], name: str) -> str:
    size = len(everything)
    if tuple(values) == tuple(everything):
        return f"every {name}"
    step = values[1] - values[0] if len(values) > 1 else 0
    even = len(values) > 2 and list(values) == list(range(values[0], values[-1] + 1, step))
    if even and values[0] == 0 and size % step == 0 and values[-1] + step == size:
        return f"every {step} {name}s"
    if even and step == 1:
        return f"{name}s {values[0]} to {values[-1]}"
    if even:
        return f"every {step} {name}s from {name} {values[0]} to {values[-1]}"
    return f"{name}{'s' if len(values) > 1 else ''} {_join(str(value) for value in values)}"


def _days(days: DayRule) -> str:
    by_month, by_week = _by_month(days), _by_week(days)
    if not days.both:
        return " and ".join(part for part in (by_month, by_week) if part)
    if days.weekdays >= ALL_WEEKDAYS:
        return by_month
    if days.days >= ALL_DAYS:
        return by_week
    return f"{by_month} if that is a {_join(_weekday_names(days), 'or')}"


def _by_month(days: DayRule) -> str:
    parts = []
    if days.days:
        listed = sorted(days.days)
        word = "day" if len(listed) == 1 else "days"
        run = len(listed) > 2 and listed[-1] - listed[0] == len(listed) - 1
        text = f"{listed[0]} to {listed[-1]}" if run else _join(str(day) for day in listed)
        parts.append(f"on {word} {text} of the month")
    if days.last_day:
        parts.append("on the last day of the month")
    for number in sorted(days.before_last):
        unit = "day" if number == 1 else "days"
        parts.append(f"{number} {unit} before the last day of the month")
    for day in sorted(days.near):
        parts.append(f"on the working day (Monday to Friday) nearest to day {day} of the month")
    if days.last_working_day:
        parts.append("on the last working day (Monday to Friday) of the month")
    return " and ".join(parts)


def _by_week(days: DayRule) -> str:
    names = _weekday_names(days)
    if days.weekdays == frozenset(range(5)) and not days.nth:
        return "on every day from Monday to Friday"
    return f"on {_join(names)}"


def _weekday_names(days: DayRule) -> list[str]:
    names = [f"every {_WEEKDAYS[number]}" for number in sorted(days.weekdays)]
    if days.both and days.days < ALL_DAYS:
        names = [_WEEKDAYS[number] for number in sorted(days.weekdays)]
    order = sorted(days.nth, key=lambda pair: (pair[1] % 10, pair[0]))
    return names + [
        f"the {_ORDINALS[ordinal]} {_WEEKDAYS[weekday]} of the month" for weekday, ordinal in order
    ]


def _months(months: tuple[int, ...]) -> str:
    if months == ALL_MONTHS:
        return ""
    return f"in {_join(_MONTHS[month - 1] for month in months)}"


def _join(words: Iterable[str], conjunction: str = "and") -> str:
    listed = list(words)
    if len(listed) < 2:
        return "".join(listed)
    return f"{', '.join(listed[:-1])} {conjunction} {listed[-1]}"
