"""What is taken from a schedule: ``at 09:00 except Sat,Sun,holidays from 2026-11-30 count 10``.

A schedule is followed by clauses, each a word and what it is about::

    except DAYS | except at HH:MM-HH:MM [on DAYS]
    only DAYS   | only at HH:MM-HH:MM [on DAYS]
    shift next-business-day | shift previous-business-day
    from DATE [HH:MM[:SS]]    until DATE [HH:MM[:SS]]    count NUMBER

and one that recurs every few days, weeks or months has a day from which these count.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

from lunasched.dataclass import dataclass
from lunasched.errors import CalendarError, ScheduleError
from lunasched.formats import daycalendar, numerals
from lunasched.formats.pattern import pattern
from lunasched.schedule.days import (
    HOLIDAYS,
    AnyOf,
    BusinessDays,
    DayAfter,
    DayRule,
    DaySet,
    DaySpan,
    Limits,
    NamedDays,
    Period,
    Recurrence,
    RuledDays,
    Shift,
    Span,
    YearlySpan,
    month_length,
)
from lunasched.schedule.phrase import is_days, parse_days, parse_phrase, parse_time
from lunasched.schedule.rule import Calendar, Limited, Several, SystemdCalendar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SECOND = 1_000_000
_DAY = 86_400 * _SECOND
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
COUNT_MAX = 10_000
"""The most slots that a schedule can be given: they are counted from its first one."""

_CLAUSE = pattern(r" (except|only|shift|from|until|count)(?= |$)", re.IGNORECASE)
_DATE = pattern(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_YEARLY = pattern(r"([0-9]{2})-([0-9]{2})")
_BUSINESS_DAYS = ("business-day", "business-days")
_STEPPED = pattern(
    r"(every )(other|[0-9]{1,4})(?:st|nd|rd|th)? (day|week|month)s?(?: on (.+?))?(?: at (.+))?",
    re.IGNORECASE,
)
_OF_MONTH = pattern(r"(?:the |day )?([0-9]{1,2})(?:st|nd|rd|th)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Clause:
    """One clause of a text, with the positions of its word and of what follows it."""

    word: str
    at: int
    value: str
    position: int


def split_clauses(text: str) -> tuple[str, tuple[Clause, ...]]:
    """The schedule in front, and the clauses that follow it."""
    found = list(_CLAUSE.finditer(text))
    if not found:
        return text, ()
    ends = [match.start() for match in found[1:]] + [len(text)]
    clauses = tuple(
        Clause(
            match[1].lower(),
            match.start(1),
            text[match.end() : end].strip(),
            min(match.end() + 1, len(text)),
        )
        for match, end in zip(found, ends, strict=True)
    )
    return text[: found[0].start()], clauses


def is_stepped(head: str, clauses: Iterable[Clause]) -> bool:
    """Tell whether a schedule recurs every few days, weeks or months on the calendar."""
    match = _STEPPED.fullmatch(head)
    if match is None:
        return False
    on_calendar = match[4] is not None or match[5] is not None
    return on_calendar or any(clause.word == "from" for clause in clauses)


def parse_stepped(text: str, head: str, clauses: tuple[Clause, ...]) -> Calendar | Several:
    """``every 2 weeks on Mon at 09:00``, without what it counts from; raises ``ScheduleError``."""
    match = _STEPPED.fullmatch(head)
    assert match is not None
    begin = _begin(text, match, clauses)
    period, on, at = Period(match[3].lower()), match[4], match[5]
    times = at or _time_of_day(begin % _DAY)
    day = date.fromordinal(begin // _DAY + _EPOCH_ORDINAL)
    if period is Period.DAY and on is not None:
        raise ScheduleError(
            "Every few days are all of them: 'on' has no place here, but 'except' and 'only' have.",
            text=text,
            position=match.start(4),
        )
    if period is Period.DAY:
        return parse_phrase(f"at {times}")
    if period is Period.WEEK:
        days = on or ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[day.weekday()]
        return _phrase(text, match, f"at {times} on {days}")
    rule = parse_phrase(f"at {times}")
    return _on_days(rule, _days_of_month(text, match, on, day))


def _phrase(text: str, match: re.Match[str], phrase: str) -> Calendar | Several:
    try:
        return parse_phrase(phrase)
    except ScheduleError as error:
        raise ScheduleError(error.message, text=text, position=match.start(3)) from None


def _begin(text: str, match: re.Match[str], clauses: tuple[Clause, ...]) -> int:
    found = [clause for clause in clauses if clause.word == "from"]
    if not found:
        raise ScheduleError(
            f"Every {match[2]} {match[3].lower()}s from when? Add 'from' and a date, as in "
            f"{match[0]} from 2027-01-04.",
            text=text,
            position=match.start(3),
        )
    return _moment(text, found[0], end=False)


def _time_of_day(time: int) -> str:
    minutes, seconds = divmod(time // _SECOND, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"


def _on_days(rule: Calendar | Several, days: DayRule) -> Calendar | Several:
    if isinstance(rule, Calendar):
        return replace(rule, days=days)
    rules = (replace(one, days=days) for one in rule.rules if isinstance(one, Calendar))
    return replace(rule, rules=tuple(rules))


def _days_of_month(text: str, match: re.Match[str], on: str | None, day: date) -> DayRule:
    """The days of ``on`` in a month, or that of the first date."""
    if on is None:
        if day.day > 28:
            raise ScheduleError(
                f"Some months have no day {day.day}: add 'on last day', or a day up to 28.",
                text=text,
                position=match.start(3),
            )
        return DayRule(days=frozenset({day.day}), both=True)
    if on.lower().removeprefix("the ") == "last day":
        return DayRule(days=frozenset(), last_day=True)
    number = _OF_MONTH.fullmatch(on)
    if number is None:
        return parse_days(text, match.start(4), match.end(4))
    if not 1 <= int(number[1]) <= 31:
        raise ScheduleError(
            "The day of a month goes from 1 to 31.", text=text, position=match.start(4)
        )
    return DayRule(days=frozenset({int(number[1])}))


def limited(
    text: str, rule: Calendar | SystemdCalendar | Several, head: str, clauses: tuple[Clause, ...]
) -> Calendar | Limited | Several:
    """A rule with the clauses that follow it; raises ``ScheduleError``."""
    limits = _read(text, head, clauses)
    if isinstance(rule, Several):
        if limits.count is not None:
            raise ScheduleError(
                "The slots of one rule can be counted, and these are several; write 'until'.",
                text=text,
                position=next(clause.at for clause in clauses if clause.word == "count"),
            )
        tail = text[len(head) :]
        rules = tuple(
            _limit(f"{one.text}{tail}", one, limits, text)
            for one in rule.rules
            if not isinstance(one, Limited)
        )
        return replace(rule, text=text, rules=rules)
    return _limit(text, rule, limits, text)


def _limit(
    text: str, rule: Calendar | SystemdCalendar, limits: Limits, whole: str
) -> Calendar | Limited:
    simple = _on_weekdays(rule, limits)
    if simple is not None:
        found: Calendar | Limited = replace(simple, text=text)
        left = bool(simple.days.weekdays)
    else:
        found = Limited(text, rule, limits)
        left = any(_times(rule, limits, everywhere=True))
    if not left:
        raise ScheduleError("Nothing is left of this schedule.", text=whole, position=0)
    if limits.left_out and any(fraction % _SECOND for fraction in rule.fractions):
        raise ScheduleError(
            "Times of day cannot be left out of a schedule with parts of a second.",
            text=whole,
            position=0,
        )
    return found


def _on_weekdays(rule: Calendar | SystemdCalendar, limits: Limits) -> Calendar | None:
    """The rule on some weekdays alone, where that is all and its own days can say it."""
    if not isinstance(rule, Calendar) or not rule.days.both or rule.days.nth:
        return None
    only, never = limits.only + limits.kept, limits.never + limits.dropped
    if replace(limits, only=(), never=(), kept=(), dropped=()) != Limits():
        return None
    weekdays = rule.days.weekdays
    for some, wanted in ((only, True), (never, False)):
        for days in some:
            if not isinstance(days, RuledDays) or days.rule.nth:
                return None
            weekdays = frozenset(n for n in weekdays if (n in days.rule.weekdays) is wanted)
    return replace(rule, days=replace(rule.days, weekdays=weekdays))


def _read(text: str, head: str, clauses: tuple[Clause, ...]) -> Limits:
    only: list[DaySet] = []
    never: list[DaySet] = []
    left_out: list[DaySpan] = []
    kept: list[DaySet] = []
    once: dict[str, Clause] = {}
    for clause in clauses:
        if not clause.value:
            raise ScheduleError(
                f"After {clause.word!r} comes {_EXPECTED[clause.word]}.",
                text=text,
                position=clause.position,
            )
        if clause.word in ("except", "only"):
            if clause.value.lower().startswith("at "):
                spans, days = _span(text, clause)
                left_out += spans
                kept += days
            else:
                sets = _days(text, clause.value, clause.position)
                if clause.word == "only":
                    only.append(sets[0] if len(sets) == 1 else AnyOf(tuple(sets)))
                else:
                    never += sets
            continue
        if clause.word in once:
            raise ScheduleError(f"{clause.word!r} is given twice.", text=text, position=clause.at)
        once[clause.word] = clause
    begin, end = (
        _moment(text, once[word], end=word == "until") if word in once else None
        for word in ("from", "until")
    )
    if begin is not None and end is not None and end < begin:
        raise ScheduleError("It ends before it begins.", text=text, position=once["until"].position)
    if "count" in once and begin is None:
        raise ScheduleError(
            "Slots are counted from a day on: add 'from' and a date.",
            text=text,
            position=once["count"].at,
        )
    return Limits(
        only=tuple(only),
        never=tuple(never),
        left_out=tuple(left_out),
        kept=tuple(kept),
        step=_step(head, clauses, begin),
        shift=_shift(text, once["shift"]) if "shift" in once else None,
        business=_business_days() if "shift" in once else BusinessDays(None),
        begin=begin,
        end=end,
        count=_count(text, once["count"]) if "count" in once else None,
    )


_EXPECTED = {
    "except": "what is left out: days, dates, a calendar, or 'at HH:MM-HH:MM'",
    "only": "what is kept: days, dates, a calendar, or 'at HH:MM-HH:MM'",
    "shift": "next-business-day or previous-business-day",
    "from": "a date, YYYY-MM-DD, with or without a time",
    "until": "a date, YYYY-MM-DD, with or without a time",
    "count": "a number of slots",
}


def _days(text: str, value: str, position: int) -> list[DaySet]:
    """``Sat,Sun``, ``last Fri``, ``2026-12-24..2027-01-02``, ``12-24..12-26``, a calendar."""
    found: list[DaySet] = []
    for item in value.split(","):
        at = position + len(item) - len(item.lstrip())
        found.append(_day_set(text, item.strip(), at))
        position += len(item) + 1
    return found


def _day_set(text: str, item: str, position: int) -> DaySet:
    if not item:
        raise ScheduleError("Days are missing here.", text=text, position=position)
    lower = item.lower()
    first, _, last = item.partition("..")
    if _DATE.match(item):
        low = _date(text, first, position)
        high = _date(text, last, position + len(first) + 2) if last else low
        if high < low:
            raise ScheduleError("The dates run backwards.", text=text, position=position)
        return Span(low, high)
    if _YEARLY.match(item):
        begin = _day_of_year(text, first, position)
        end = _day_of_year(text, last, position + len(first) + 2) if last else begin
        return YearlySpan(begin, end)
    if lower in _BUSINESS_DAYS:
        return _business_days()
    if is_days(lower.removeprefix("on ")):
        begin_at = position + len(item) - len(lower.removeprefix("on "))
        return RuledDays(parse_days(text, begin_at, position + len(item)))
    try:
        return NamedDays(item, daycalendar.calendar_version(item))
    except CalendarError as error:
        raise CalendarError(
            f"{item!r} is not a weekday, a date (YYYY-MM-DD) or a calendar: {error}",
            text=text,
            position=position,
        ) from None


def _business_days() -> BusinessDays:
    if not daycalendar.has_calendar(HOLIDAYS):
        return BusinessDays(None)
    return BusinessDays(NamedDays(HOLIDAYS, daycalendar.calendar_version(HOLIDAYS)))


def _date(text: str, item: str, position: int) -> int:
    match = _DATE.fullmatch(item)
    try:
        found = date(*(int(group) for group in match.groups())) if match else None
    except ValueError:
        found = None
    if found is None or not 1970 <= found.year < 2200:
        raise ScheduleError(
            f"{item!r} is not a date, YYYY-MM-DD, from 1970 to 2199.", text=text, position=position
        )
    return found.toordinal()


def _day_of_year(text: str, item: str, position: int) -> tuple[int, int]:
    match = _YEARLY.fullmatch(item)
    month, day = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= month <= 12 or not 1 <= day <= month_length(2000, month):
        raise ScheduleError(
            f"{item!r} is not a day of each year, MM-DD.", text=text, position=position
        )
    return month, day


def _moment(text: str, clause: Clause, *, end: bool) -> int:
    """A date and a time as µs of the wall clock; the end of the day where ``end`` has no time."""
    day_text, _, time_text = clause.value.replace("T", " ", 1).partition(" ")
    day = _date(text, day_text, clause.position) - _EPOCH_ORDINAL
    if not time_text.strip():
        return (day + 1) * _DAY - 1 if end else day * _DAY
    at = clause.position + len(clause.value) - len(time_text.lstrip())
    hour, minute, second = parse_time(text, time_text.strip().lower(), at)
    return day * _DAY + ((hour * 60 + minute) * 60 + second) * _SECOND


def _count(text: str, clause: Clause) -> int:
    number = numerals.whole(clause.value) if clause.value.isdecimal() else None
    if number is None or not 1 <= number <= COUNT_MAX:
        raise ScheduleError(
            f"A count goes from 1 to {COUNT_MAX}.", text=text, position=clause.position
        )
    return number


def _shift(text: str, clause: Clause) -> Shift:
    try:
        return Shift(clause.value.lower())
    except ValueError:
        raise ScheduleError(
            f"After 'shift' comes {_EXPECTED['shift']}.", text=text, position=clause.position
        ) from None


def _step(head: str, clauses: tuple[Clause, ...], begin: int | None) -> Recurrence | None:
    match = _STEPPED.fullmatch(head)
    if match is None or begin is None:
        return None
    count = 2 if match[2].lower() == "other" else int(match[2])
    return Recurrence(count, Period(match[3].lower()), begin // _DAY + _EPOCH_ORDINAL)


def _span(text: str, clause: Clause) -> tuple[list[DaySpan], list[DaySet]]:
    """The times that ``at HH:MM-HH:MM [on DAYS]`` leaves out, and days that alone are kept."""
    times, on, named = clause.value[3:].partition(" on ")
    start_text, dash, end_text = times.strip().partition("-")
    position = clause.position + clause.value.index(times.strip() or " ")
    if not dash:
        raise ScheduleError(
            "A time to be left out or kept has a begin and an end: at 22:00-06:00.",
            text=text,
            position=position,
        )
    start = _time(text, start_text.strip(), position)
    end = _time(text, end_text.strip(), position + len(start_text) + 1) or _DAY
    if start == end:
        raise ScheduleError("It begins when it ends.", text=text, position=position)
    days: DaySet | None = None
    if on:
        begin_at = clause.position + clause.value.index(" on ") + 4
        sets = _days(text, named, begin_at)
        days = sets[0] if len(sets) == 1 else AnyOf(tuple(sets))
    if clause.word == "except":
        if start < end:
            return [DaySpan(start, end, days)], []
        # It lasts into the next day.
        return [DaySpan(start, _DAY, days), DaySpan(0, end, days and _day_after(days))], []
    if start > end and days is not None:
        raise ScheduleError(
            "Times over midnight are of two days: say with 'except' what is left out of each.",
            text=text,
            position=position,
        )
    spans = [DaySpan(0, start), DaySpan(end, _DAY)] if start < end else [DaySpan(end, start)]
    return [span for span in spans if span.start < span.end], [] if days is None else [days]


def _day_after(days: DaySet) -> DaySet:
    if isinstance(days, RuledDays) and not days.rule.nth:
        weekdays = frozenset((number + 1) % 7 for number in days.rule.weekdays)
        return RuledDays(DayRule(weekdays=weekdays))
    return DayAfter(days)


def _time(text: str, item: str, position: int) -> int:
    """A time of day (µs); 24:00 is 0, as the end of a day."""
    if item == "24:00":
        return 0
    hour, minute, second = parse_time(text, item.lower(), position)
    return ((hour * 60 + minute) * 60 + second) * _SECOND


def pieces(rule: Limited) -> Iterator[Calendar | Limited]:
    """The rule as rules that have the same times on each of their days, and no count.

    Together they have the slots of the rule, but for its count. One on the same weekdays of all
    weeks is a plain rule.
    """
    for limits, base in _times(rule.base, replace(rule.limits, count=None)):
        simple = None if rule.limits.count else _on_weekdays(base, limits)
        if simple is None:
            yield Limited(rule.text, base, limits)
        elif simple.days.weekdays:
            yield simple


def _times(
    base: Calendar | SystemdCalendar, limits: Limits, *, everywhere: bool = False
) -> Iterator[tuple[Limits, Calendar | SystemdCalendar]]:
    """The times that are left, each with the days on which it is so.

    With ``everywhere`` only what is left out of all days counts.
    """
    always = [span for span in limits.left_out if span.days is None]
    some = [] if everywhere else [span for span in limits.left_out if span.days is not None]
    sets = list(dict.fromkeys(span.days for span in some if span.days is not None))
    for chosen in range(1 << len(sets)):
        on = [days for place, days in enumerate(sets) if chosen >> place & 1]
        off = [days for place, days in enumerate(sets) if not chosen >> place & 1]
        spans = always + [span for span in some if span.days in on]
        days = replace(
            limits,
            left_out=(),
            kept=limits.kept + tuple(on),
            dropped=limits.dropped + tuple(off),
        )
        for hours, minutes, fractions in _products(base, spans):
            yield days, replace(base, hours=hours, minutes=minutes, fractions=fractions)


_Product = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def _products(base: Calendar | SystemdCalendar, spans: list[DaySpan]) -> Iterator[_Product]:
    """The times of day of a rule outside of spans, as products of hours, minutes and fractions."""
    if not spans:
        yield base.hours, base.minutes, base.fractions
        return
    by_shape: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
    for hour in base.hours:
        by_fractions: dict[tuple[int, ...], list[int]] = {}
        for minute in base.minutes:
            before = (hour * 60 + minute) * 60 * _SECOND
            left = tuple(
                fraction
                for fraction in base.fractions
                if not any(span.start <= before + fraction < span.end for span in spans)
            )
            if left:
                by_fractions.setdefault(left, []).append(minute)
        for fractions, listed in by_fractions.items():
            by_shape.setdefault((tuple(listed), fractions), []).append(hour)
    for (minutes, fractions), hours in by_shape.items():
        yield tuple(hours), minutes, fractions
