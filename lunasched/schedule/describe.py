"""A schedule as one sentence in plain English."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from lunasched.formats.measures import DAYS_TO_SECONDS, WEEK, split
from lunasched.schedule.days import (
    ALL_DAYS,
    ALL_WEEKDAYS,
    LAST,
    AnyOf,
    BusinessDays,
    DayAfter,
    DayRule,
    DaySet,
    DaySpan,
    Limits,
    NamedDays,
    Recurrence,
    RuledDays,
    Shift,
    Span,
    YearlySpan,
)
from lunasched.schedule.rule import (
    ALL_HOURS,
    ALL_MINUTES,
    ALL_MONTHS,
    Calendar,
    Every,
    Limited,
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
_DAY = 86_400_000_000
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()


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
        return _systemd(schedule)
    if isinstance(schedule, Limited):
        return _limited(schedule)
    days = "" if schedule.hours == ALL_HOURS else "every day"
    if not schedule.days.every_day:
        days = _days(schedule.days)
    zone = f"in {schedule.zone}" if schedule.zone else ""
    parts = [_times(schedule), days, _months(schedule.months), zone]
    sentence = " ".join(part for part in parts if part)
    return sentence[0].upper() + sentence[1:] + "."


def _systemd(schedule: SystemdCalendar) -> str:
    """A calendar event of systemd's, in the words for a cron expression where they can say it."""
    zone = f"in {schedule.zone}" if schedule.zone else ""
    if any(fraction % 1_000_000 for fraction in schedule.fractions):
        said = f"Whenever systemd's calendar event {schedule.expression} elapses"
        return f"{said} {zone}." if zone else f"{said}."
    days = "" if schedule.hours == ALL_HOURS else "every day"
    by_month, weekdays = _day_numbers(schedule), schedule.weekdays
    if weekdays < ALL_WEEKDAYS:
        rule = DayRule(weekdays=weekdays)
        names = _join((_WEEKDAYS[number] for number in sorted(weekdays)), "or")
        days = f"{by_month} if that is a {names}" if by_month else _by_week(rule)
    elif by_month:
        days = by_month
    years = ""
    if schedule.years is not None:
        years = f"in {_runs(schedule.years)}"
    parts = [_times(schedule), days, _months(schedule.months), years, zone]
    sentence = " ".join(part for part in parts if part)
    return sentence[0].upper() + sentence[1:] + "."


def _day_numbers(schedule: SystemdCalendar) -> str:
    """The days of a month, counted from either of its ends; empty for all of them."""
    numbers = tuple(sorted(schedule.day_numbers))
    if schedule.day_numbers >= ALL_DAYS:
        return ""
    if not schedule.from_end:
        return _by_month(DayRule(days=schedule.day_numbers))
    if numbers == (1,):
        return "on the last day of the month"
    if numbers == tuple(range(1, len(numbers) + 1)):
        return f"on the last {len(numbers)} days of the month"
    counted = _join(str(number - 1) if number > 1 else "0" for number in numbers)
    return f"{counted} days before the last day of the month"


def _runs(numbers: Sequence[int]) -> str:
    """Ascending numbers as words, those in a row as a range."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return _join(f"{run[0]} to {run[-1]}" if len(run) > 2 else _join(map(str, run)) for run in runs)


def _limited(schedule: Limited) -> str:
    limits = schedule.limits
    step = None if limits.step is None else _step(limits.step)
    parts = [describe(schedule.base).removesuffix(".") + ("" if step is None else f", {step}")]
    if limits.only or limits.kept:
        parts.append(_join(f"only {_day_set(days)}" for days in limits.only + limits.kept))
    never = [_day_set(days) for days in limits.never]
    never += [_day_span(span) for span in limits.left_out]
    if never:
        parts.append(f"except {_join(never)}")
    if limits.shift is not None:
        way = "next" if limits.shift is Shift.NEXT else "last"
        before = "" if limits.shift is Shift.NEXT else " before"
        parts.append(
            f"and otherwise on the {way} business day{before} ({_business(limits.business)})"
        )
    return ", ".join(parts) + _bounds(limits) + "."


def _step(step: Recurrence) -> str:
    if step.count == 1:
        return f"every {step.period.value}"
    return f"every {step.count} {step.period.value}s"


def _bounds(limits: Limits) -> str:
    parts = []
    if limits.begin is not None:
        parts.append(f"from {_wall(limits.begin)}")
    if limits.end is not None:
        parts.append(f"until {_wall(limits.end)}")
    if limits.count is not None:
        parts.append(f"{limits.count} time{'s' if limits.count > 1 else ''}")
    return f", {', '.join(parts)}" if parts else ""


def _wall(wall: int) -> str:
    day, time = divmod(wall, _DAY)
    if time in (0, _DAY - 1):
        return _date(day + _EPOCH_ORDINAL)
    return f"{_date(day + _EPOCH_ORDINAL)} {_clock(time)}"


def _clock(time: int) -> str:
    minutes, seconds = divmod(time // 1_000_000, 60)
    text = f"{minutes // 60:02}:{minutes % 60:02}"
    return f"{text}:{seconds:02}" if seconds else text


def _date(day: int) -> str:
    moment = date.fromordinal(day)
    return f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}"


def _day_set(days: DaySet) -> str:
    if isinstance(days, RuledDays):
        return _by_week(days.rule)
    if isinstance(days, Span):
        if days.first == days.last:
            return f"on {_date(days.first)}"
        return f"from {_date(days.first)} to {_date(days.last)}"
    if isinstance(days, YearlySpan):
        first, last = (f"{day} {_MONTHS[month - 1]}" for month, day in (days.first, days.last))
        return f"on {first}" if days.first == days.last else f"from {first} to {last}"
    if isinstance(days, NamedDays):
        return f"on the days of the calendar {days.name}"
    if isinstance(days, BusinessDays):
        return f"on business days ({_business(days)})"
    if isinstance(days, AnyOf):
        return _join((_day_set(each) for each in days.sets), "or")
    raise TypeError(type(days))


def _business(days: BusinessDays) -> str:
    if days.holidays is None:
        return "Monday to Friday"
    return f"Monday to Friday without the calendar {days.holidays.name}"


def _day_span(span: DaySpan) -> str:
    end = "24:00" if span.end == _DAY else _clock(span.end)
    times = f"from {_clock(span.start)} to {end}"
    if span.days is None:
        return times
    if isinstance(span.days, DayAfter):
        return f"{times} on the day after each {_day_set(span.days.days)}"
    return f"{times} {_day_set(span.days)}"


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


def _times(rule: Calendar | SystemdCalendar) -> str:
    hours, minutes = rule.hours, rule.minutes
    seconds = tuple(fraction // 1_000_000 for fraction in rule.fractions)
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
