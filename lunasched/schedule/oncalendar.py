"""Rules as ``OnCalendar=`` expressions that systemd evaluates exactly, on ordinary days.

Steps without an end (``00/7``) are written only where they divide the minute or the hour. systemd
252 lets others run over the end: from ``*:00/7`` it drops the slot at midnight, and with steps of
hours it gives up for good ("Infinite loop in calendar calculation") where midnight is skipped.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from lunasched.dataclass import dataclass
from lunasched.errors import ScheduleError
from lunasched.schedule.component import format_weekdays
from lunasched.schedule.days import (
    ALL_DAYS,
    ALL_WEEKDAYS,
    LAST,
    WORKING_WEEK,
    DayRule,
    month_length,
)
from lunasched.schedule.rule import Calendar, Slotted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_SECOND = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class _End:
    """Days counted from the end of the month, which is 1."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"~{self.first:02}" + (f"..{self.last:02}" if self.last > self.first else "")


@dataclass(frozen=True, slots=True)
class _Of:
    """Days in months of these lengths alone."""

    lengths: frozenset[int]
    days: frozenset[int]


_LAST_DAY = _End(1, 1)
_LAST_WEEK = _End(1, 7)
_MONDAY, _FRIDAY = frozenset({0}), frozenset({4})
_LENGTHS = (31, 30, 29, 28)

_Term = frozenset[int] | _End | _Of  # days of a month
_Dates = frozenset[tuple[int, int, int]]


def base_lines(
    rule: Calendar, *, years: range, without: _Dates = frozenset(), count_from_start: bool = False
) -> tuple[str, ...]:
    """The rule as expressions without a zone, one for each way in which a day can match.

    ``without`` are dates (year, month, day) on which none of them elapses; years are then named,
    and only those of ``years``. With ``count_from_start`` the end of a month is written as its
    date: after ``~`` systemd 252 may take a time that occurs twice for the wrong one, even for
    one in the past. Raises ScheduleError for a rule of days that no expression can say.
    """
    time = format_time(rule.hours, rule.minutes, rule.seconds)
    taken: dict[int, frozenset[int]] = {}
    for year, month, _ in without:
        taken[month] = taken.get(month, frozenset()) | {year}
    groups: dict[frozenset[int], list[int]] = {}
    for month in rule.months:
        groups.setdefault(taken.get(month, frozenset()), []).append(month)
    lines = [
        f"{prefix}{date} {time}"
        for gone, months in groups.items()
        for prefix, term in _day_terms(rule.days, rule)
        for date in _dates(
            term,
            months,
            tuple(year for year in years if year not in gone) if gone else None,
            count_from_start,
        )
    ]
    for year, month in sorted({(year, month) for year, month, _ in without}):
        days = [
            day
            for day in (rule.matching(year, month) if month in rule.months else ())
            if (year, month, day) not in without
        ]
        if days:
            lines.append(f"{year}-{month:02}-{numbers(days, 1, 31, open_end=False)} {time}")
    return tuple(lines)


def date_lines(
    rule: Slotted,
    time: str,
    years: range,
    between: tuple[int, int | None],
    without: frozenset[int],
) -> tuple[str, ...]:
    """The days of a rule within some years by their dates, each at ``time``.

    Of days outside ``between``, and of those of ``without`` (both since 1970), there is none.
    Months with the same days share a line, and so do years with the same months.
    """
    first, last = between
    shapes: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
    for year in years:
        by_days: dict[tuple[int, ...], list[int]] = {}
        for month in range(1, 13):
            before = (datetime(year, month, 1, tzinfo=timezone.utc) - _EPOCH).days - 1
            days = tuple(
                day
                for day in (rule.matching(year, month) if month in rule.months else ())
                if first <= before + day
                and (last is None or before + day <= last)
                and before + day not in without
            )
            if days:
                by_days.setdefault(days, []).append(month)
        for days, months in by_days.items():
            shapes.setdefault((tuple(months), days), []).append(year)
    return tuple(
        f"{numbers(found, 1970, 2199, open_end=False)}-{numbers(months, 1, 12, open_end=False)}-"
        f"{numbers(days, 1, 31, open_end=False)} {time}"
        for (months, days), found in shapes.items()
    )


def _dates(
    term: _Term, months: Sequence[int], years: Sequence[int] | None, count_from_start: bool
) -> list[str]:
    """``YEAR-MONTH-DAY`` for the days of a term."""
    if years is not None and not years:
        return []
    year_text = "*" if years is None else numbers(years, 1970, 2199, open_end=False)
    if isinstance(term, _Of):
        return _dates_by_length(dict.fromkeys(term.lengths, term.days), months, years)
    if isinstance(term, _End):
        if count_from_start:
            ends = {
                length: frozenset(range(length + 1 - term.last, length + 2 - term.first))
                for length in _LENGTHS
            }
            return _dates_by_length(ends, months, years)
        return [f"{year_text}-{numbers(months, 1, 12, open_end=False)}{term}"]
    longest = max(month_length(2000, month) for month in months)
    days = sorted(day for day in term if day <= longest)
    if not days:
        return []
    # Which days are meant shows on the whole rule: all 30 of an April are written 01..30.
    month_text = numbers(months, 1, 12, open_end=False)
    return [f"{year_text}-{month_text}-{numbers(days, 1, 31, open_end=False)}"]


def _dates_by_length(
    by_length: Mapping[int, frozenset[int]], months: Sequence[int], years: Sequence[int] | None
) -> list[str]:
    """``YEAR-MONTH-DAY`` for the days of months of each length."""
    found = []
    for length in _LENGTHS:
        if length not in by_length:
            continue
        # 2000 stands for leap years, 2001 for the others.
        fitting = [m for m in months if (2001 if length == 28 else 2000, m) in _BY_LENGTH[length]]
        if not fitting:
            continue
        if length > 29:
            year_text = "*" if years is None else numbers(years, 1970, 2199, open_end=False)
        elif years is None:
            year_text = "2000/4" if length == 29 else "2001/4,2002/4,2003/4"
        else:
            chosen = [year for year in years if month_length(year, 2) == length]
            if not chosen:
                continue
            year_text = numbers(chosen, 1970, 2199, open_end=False)
        days = numbers(sorted(by_length[length]), 1, 31, open_end=False)
        found.append(f"{year_text}-{numbers(fitting, 1, 12, open_end=False)}-{days}")
    return found


_BY_LENGTH = {
    length: {
        (year, month)
        for year in (2000, 2001)
        for month in range(1, 13)
        if month_length(year, month) == length
    }
    for length in (28, 29, 30, 31)
}


def format_time(hours: Sequence[int], minutes: Sequence[int], seconds: Sequence[int]) -> str:
    """``HOUR:MINUTE:SECOND`` for the product of three ascending sets."""
    hour = numbers(hours, 0, 23, open_end=False)
    return f"{hour}:{numbers(minutes, 0, 59)}:{numbers(seconds, 0, 59)}"


def numbers(values: Sequence[int], low: int, high: int, *, open_end: bool = True) -> str:
    """One field: ``*``, a value, a range, a step, or a list of values and ranges."""
    count = len(values)
    if count == high - low + 1:
        return "*"
    step = values[1] - values[0] if count > 2 else 0
    if step and values[-1] - values[0] == step * (count - 1) and _even(values, step):
        if step == 1:
            return f"{values[0]:02}..{values[-1]:02}"
        whole = values[0] - step < low and values[-1] + step > high
        if open_end and whole and (high + 1 - low) % step == 0:
            return f"{values[0]:02}/{step}"
        return f"{values[0]:02}..{values[-1]:02}/{step}"
    parts = []
    for _, run in groupby(enumerate(values), lambda pair: pair[1] - pair[0]):
        members = [value for _, value in run]
        if len(members) > 2:
            parts.append(f"{members[0]:02}..{members[-1]:02}")
        else:
            parts.extend(f"{value:02}" for value in members)
    return ",".join(parts)


def _even(values: Sequence[int], step: int) -> bool:
    return all(second - first == step for first, second in pairwise(values))


def _day_terms(days: DayRule, rule: Calendar) -> list[tuple[str, _Term]]:
    """Pairs of a weekday prefix and the days of the month within which it counts."""
    if days.every_day:
        return [("", ALL_DAYS)]
    by_month, by_week = _month_terms(days), _week_terms(days)
    if not days.both:
        return [(_prefix(weekdays), term) for weekdays, term in by_month + by_week]
    terms: list[tuple[str, _Term]] = []
    for these, within in by_week:
        for those, term in by_month:
            both: _Term
            if within == ALL_DAYS or term == ALL_DAYS:
                both = term if within == ALL_DAYS else within
            elif isinstance(within, frozenset) and isinstance(term, frozenset):
                both = within & term
            else:
                raise ScheduleError(
                    "No timer can say the n-th or last weekday of a month together with a set of "
                    "days of the month, where both must match; have the command look at one of "
                    "them (date +%d).",
                    text=rule.text,
                    position=0,
                )
            if both and these & those:
                terms.append((_prefix(these & those), both))
    return terms


_Terms = list[tuple[frozenset[int], _Term]]


def _month_terms(days: DayRule) -> _Terms:
    """Sets of weekdays with the days of a month within which each counts."""
    terms: _Terms = [(ALL_WEEKDAYS, days.days)] if days.days else []
    if days.days >= ALL_DAYS:
        return terms
    if days.last_day:
        terms.append((ALL_WEEKDAYS, _LAST_DAY))
    terms += [(ALL_WEEKDAYS, _End(n + 1, n + 1)) for n in sorted(days.before_last)]
    if days.last_working_day:
        terms += [(WORKING_WEEK, _LAST_DAY), (_FRIDAY, _End(2, 3))]
    for day in sorted(days.near):
        terms += _near_terms(day)
    return terms


def _near_terms(day: int) -> _Terms:
    """The working day nearest to a day: on it, the Friday before it or the Monday after it."""
    if day == 1:
        return [(WORKING_WEEK, frozenset({1})), (_MONDAY, frozenset({2, 3}))]
    # The Friday before the 31st is one in a month that has a 31st.
    longer = frozenset(length for length in _LENGTHS if length >= day)
    before: _Term = frozenset({day - 1})
    if day > 28:
        before = _Of(longer, frozenset({day - 1}))
    terms: _Terms = [(WORKING_WEEK, frozenset({day})), (_FRIDAY, before)]
    if day < 31:
        terms.append((_MONDAY, frozenset({day + 1})))
    if day >= 28:
        terms.append((_FRIDAY, _Of(frozenset({day}), frozenset({day - 2}))))
    return terms


def _week_terms(days: DayRule) -> _Terms:
    by_ordinals: dict[frozenset[int], set[int]] = {}
    for weekday in range(7):
        ordinals = frozenset(ordinal for day, ordinal in days.nth if day == weekday)
        if ordinals:
            by_ordinals.setdefault(ordinals - {LAST}, set()).add(weekday)
    terms: _Terms = []
    if days.weekdays:
        terms.append((days.weekdays, ALL_DAYS))
    for ordinals, weekdays in by_ordinals.items():
        within = {day for n in ordinals for day in range(7 * n - 6, min(7 * n, 31) + 1)}
        if within:
            terms.append((frozenset(weekdays), frozenset(within)))
    last = frozenset(weekday for weekday, ordinal in days.nth if ordinal == LAST)
    if last:
        terms.append((last, _LAST_WEEK))
    return terms


def _prefix(weekdays: frozenset[int]) -> str:
    return "" if weekdays >= ALL_WEEKDAYS else f"{format_weekdays(weekdays)} "


def dated_lines(instants: Iterable[int]) -> tuple[str, ...]:
    """Single instants (µs of UTC) as expressions in UTC, as few as they fit in."""
    times: dict[tuple[int, int, int], dict[int, dict[int, list[int]]]] = {}
    for instant in sorted(set(instants)):
        moment = _EPOCH + timedelta(microseconds=instant)
        hours = times.setdefault((moment.year, moment.month, moment.day), {})
        hours.setdefault(moment.hour, {}).setdefault(moment.minute, []).append(moment.second)
    lines = []
    for (year, month, day), hours in times.items():
        shapes: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
        for hour, minutes in hours.items():
            by_seconds: dict[tuple[int, ...], list[int]] = {}
            for minute, seconds in minutes.items():
                by_seconds.setdefault(tuple(seconds), []).append(minute)
            for members, listed in by_seconds.items():
                shapes.setdefault((tuple(listed), members), []).append(hour)
        lines += [
            f"{year}-{month:02}-{day:02} {format_time(matching, minutes, seconds)} UTC"
            for (minutes, seconds), matching in shapes.items()
        ]
    return tuple(lines)
