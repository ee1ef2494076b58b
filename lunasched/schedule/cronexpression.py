"""Cron expressions: five fields, six with seconds, and the ``@`` names (crontab(5)).

The reading is Vixie cron's. Of the extensions of others ``L`` (last day), ``L-3``, ``LW``
(last working day), ``15W`` (nearest working day), ``L5`` (last Friday), ``5#2`` (second Friday) and
a sixth field of seconds are taken; what a timer cannot say exactly is refused with the reason.
Positions in errors index the whole schedule text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lunasched.dataclass import dataclass
from lunasched.errors import ScheduleError
from lunasched.formats import numerals
from lunasched.formats.pattern import pattern
from lunasched.schedule.days import ALL_DAYS, ALL_WEEKDAYS, LAST, DayRule
from lunasched.schedule.rule import (
    ALL_MONTHS,
    Calendar,
    Reboot,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            ("jan", "january"),
            ("feb", "february"),
            ("mar", "march"),
            ("apr", "april"),
            ("may",),
            ("jun", "june"),
            ("jul", "july"),
            ("aug", "august"),
            ("sep", "september"),
            ("oct", "october"),
            ("nov", "november"),
            ("dec", "december"),
        ),
        start=1,
    )
    for name in names
}
WEEKDAYS: dict[str, int] = {
    name: number
    for number, names in enumerate(
        (
            ("mon", "monday"),
            ("tue", "tuesday"),
            ("wed", "wednesday"),
            ("thu", "thursday"),
            ("fri", "friday"),
            ("sat", "saturday"),
            ("sun", "sunday"),
        )
    )
    for name in names
}
"""Weekday names, lower case, to 0 (Monday) to 6 (Sunday)."""

_NUMBERED_WEEKDAYS = {name: number + 1 for name, number in WEEKDAYS.items()}


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    names: Mapping[str, int]


_MINUTE = _Field("minute", 0, 59, {})
_HOUR = _Field("hour", 0, 23, {})
_DAY = _Field("day of month", 1, 31, {})
_MONTH = _Field("month", 1, 12, _MONTHS)
_WEEKDAY = _Field("day of week", 0, 7, _NUMBERED_WEEKDAYS)
_SECOND = _Field("second", 0, 59, {})

_ITEM = pattern(r"(?:(\*)|([a-z0-9]+)(?:-([a-z0-9]+))?)(?:/([0-9]{1,18}))?")
_NEAR = pattern(r"([0-9]{1,18})w")
_BEFORE_LAST = pattern(r"l-([0-9]{1,18})")
_QUARTZ = frozenset("1234567")
_NTH = pattern(r"([a-z0-9]+)#([a-z0-9]+)")
_MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FIELD_COUNT = "a cron expression has five fields: minute, hour, day, month, weekday"


def parse_cron(text: str, start: int) -> Calendar | Reboot:
    """Read the cron expression in ``text[start:]``; raises ScheduleError."""
    expression = text[start:].lower()
    if expression.startswith("@"):
        if expression in ("@reboot", "@boot"):
            return Reboot(text, of_machine=expression == "@boot")
        if expression not in _MACROS:
            known = ", ".join([*_MACROS, "@reboot"])
            raise ScheduleError(
                f"{text[start:]!r} is not one of {known}.", text=text, position=start
            )
        return _calendar(text, _MACROS[expression].split(" "), [start] * 5)
    fields = expression.split(" ") if expression else []
    positions = []
    position = start
    for field in fields:
        positions.append(position)
        position += len(field) + 1
    if len(fields) == 7:
        instead = seconds_last(fields[:6])
        any_year = fields[6] in ("*", "?") and fields[0].isdecimal() and _is_valid(instead)
        raise ScheduleError(
            "A cron expression with a year field is not supported; "
            + (
                f"without it, and with the seconds last, this is {instead!r}."
                if any_year
                else "say it as calendar:YEAR-MONTH-DAY HOUR:MINUTE:SECOND."
            ),
            text=text,
            position=positions[6],
        )
    if len(fields) not in (5, 6):
        raise ScheduleError(
            f"This has {len(fields)} fields, and {_FIELD_COUNT} (a sixth may hold seconds).",
            text=text,
            position=positions[6] if len(fields) > 6 else len(text),
        )
    try:
        return _calendar(text, fields, positions)
    except ScheduleError as error:
        instead = seconds_last(fields) if len(fields) == 6 and fields[0].isdecimal() else ""
        if not instead or not _is_valid(instead):
            raise
        raise ScheduleError(
            f"{error.message} Seconds are the last of six fields here; where they are the first, "
            f"as for Spring and Quartz, write {instead!r}.",
            text=text,
            position=error.position,
        ) from None


def _is_valid(expression: str) -> bool:
    fields = expression.split()
    try:
        _calendar(expression, fields, [0] * len(fields))
    except ScheduleError:
        return False
    return True


def _calendar(text: str, fields: list[str], positions: list[int]) -> Calendar:
    minute, hour, day, month, weekday = fields[:5]
    months = _values(_MONTH, text, month, positions[3])
    days = _day_rule(text, day, weekday, positions[2], positions[4])
    seconds = _values(_SECOND, text, fields[5], positions[5]) if len(fields) > 5 else (0,)
    rule = Calendar(
        text=text,
        hours=_values(_HOUR, text, hour, positions[1]),
        minutes=_values(_MINUTE, text, minute, positions[0]),
        fractions=tuple(second * 1_000_000 for second in seconds),
        months=ALL_MONTHS if len(months) == 12 else months,
        days=days,
        wildcard=minute.startswith("*") or hour.startswith("*"),
    )
    _check_dates(rule, positions[2])
    return rule


def seconds_last(fields: list[str]) -> str:
    """The six fields with the first one last, or without it if it is 0."""
    minute_first, seconds = fields[1:6], fields[0]
    return " ".join(minute_first if seconds.strip("0") == "" else [*minute_first, seconds])


def _check_dates(rule: Calendar, position: int) -> None:
    # 2000 and 2001 are a leap year and an ordinary one; where no month of either has a day,
    # weekdays (days 1-28 hold each of them) cannot be the reason unless with a fifth or a set
    # of days: those are looked up over a whole cycle of the Gregorian calendar.
    years = range(2000, 2002) if rule.days.every_day else range(2000, 2400)
    if any(rule.matching(year, month) for year in years for month in rule.months):
        return
    raise ScheduleError("No such date exists in any year.", text=rule.text, position=position)


def _day_rule(text: str, day: str, weekday: str, day_at: int, weekday_at: int) -> DayRule:
    day = "*" if day == "?" else day
    weekday = "*" if weekday == "?" else weekday
    both = day.startswith("*") or weekday.startswith("*")
    if day == "*" and weekday == "*":
        return DayRule()
    last_day = last_working_day = False
    days: set[int] = set()
    near: set[int] = set()
    before_last: set[int] = set()
    for item, position in _items(day, day_at):
        if item == "l":
            last_day = True
        elif item == "lw":
            last_working_day = True
        elif match := _NEAR.fullmatch(item):
            near.add(_number(_DAY, text, match[1], position))
        elif match := _BEFORE_LAST.fullmatch(item):
            before_last.add(_before_last(text, match[1], position + match.start(1)))
        elif reason := _day_reason(item):
            raise ScheduleError(reason, text=text, position=position)
        else:
            days.update(_item_values(_DAY, text, item, position))
    weekdays: set[int] = set()
    nth: set[tuple[int, int]] = set()
    for item, position in _items(weekday, weekday_at):
        special = _nth_weekday(text, item, position)
        if special is not None:
            nth.add(special)
        else:
            weekdays.update((n + 6) % 7 for n in _item_values(_WEEKDAY, text, item, position))
    return DayRule(
        days=ALL_DAYS if len(days) == 31 else frozenset(days),
        last_day=last_day,
        weekdays=ALL_WEEKDAYS if len(weekdays) == 7 else frozenset(weekdays),
        nth=frozenset(pair for pair in nth if pair[0] not in weekdays),
        both=both,
        before_last=frozenset(before_last),
        near=frozenset(near),
        last_working_day=last_working_day,
    )


def _before_last(text: str, word: str, position: int) -> int:
    number = numerals.whole(word)
    if number is None or not 1 <= number <= 27:
        raise ScheduleError(
            "The days before the last go from L-1 to L-27.", text=text, position=position
        )
    return number


def _day_reason(item: str) -> str | None:
    """The way out for forms of other programs in the day of month, or None."""
    if match := re.fullmatch(r"w([0-9]{1,2})", item):
        return f"The working day nearest to the {match[1]}. is {match[1]}W."
    if match := re.fullmatch(r"[0-9]{1,2}-l", item):
        return f"A range to the last day is {item[:-2]}-31: days that a month lacks do not count."
    if item.startswith("l") or item.endswith("w"):
        return (
            "Of L and W there are L (the last day), L-3 (three days before it), LW (the last "
            "working day) and 15W (the working day nearest to the 15th)."
        )
    return None


def _nth_weekday(text: str, item: str, position: int) -> tuple[int, int] | None:
    """``5#2`` and ``L5`` as weekday and ordinal; None for an ordinary item."""
    day = item.removesuffix("l")
    if item == "l" or (day != item and (day in _NUMBERED_WEEKDAYS or day in _QUARTZ)):
        reason = "Which last weekday of the month? Write L5 for the last Friday."
        if day:
            reason = f"The last such day of the month is written L{day}."
        if day in _QUARTZ:
            reason += f" For Quartz, where 1 is Sunday, {item.upper()} is L{int(day) - 1}."
        raise ScheduleError(reason, text=text, position=position)
    match = _NTH.fullmatch(item)
    if match:
        weekday = _number(_WEEKDAY, text, match[1], position)
        ordinal, at = match[2], position + match.start(2)
        if ordinal == "l":
            return (weekday + 6) % 7, LAST
        if ordinal not in ("1", "2", "3", "4", "5"):
            raise ScheduleError(
                "A weekday occurs one to five times in a month: #1 to #5.", text=text, position=at
            )
        return (weekday + 6) % 7, int(ordinal)
    if item.startswith("l"):
        weekday = _number(_WEEKDAY, text, item[1:], position + 1)
        return (weekday + 6) % 7, LAST
    return None


def _items(field: str, position: int) -> list[tuple[str, int]]:
    found = []
    for item in field.split(","):
        found.append((item, position))
        position += len(item) + 1
    return found


def _values(field: _Field, text: str, token: str, position: int) -> tuple[int, ...]:
    if token == "*":
        return tuple(range(field.low, field.high + 1))
    values: set[int] = set()
    for item, at in _items(token, position):
        values.update(_item_values(field, text, item, at))
    return tuple(sorted(values))


def _item_values(field: _Field, text: str, item: str, position: int) -> range:
    match = _ITEM.fullmatch(item)
    if match is None or item.partition("/")[0] in ("h", "r"):
        raise ScheduleError(_item_reason(field, item), text=text, position=position)
    star, first, last, step_text = match.groups()
    step = 1
    if step_text is not None:
        step = int(step_text)
        if step == 0:
            raise ScheduleError(
                f"A step of 0 in the {field.name} field never gets anywhere.",
                text=text,
                position=position + match.start(4),
            )
    if star:
        return range(field.low, field.high + 1, step)
    low = _number(field, text, first, position)
    if last is not None:
        high = _number(field, text, last, position + match.start(3))
        low, high = _ends(field, first, low, last, high)
        if high < low:
            instead = forwards(low, high, step, is_weekday=field is _WEEKDAY, top=field.high)
            raise ScheduleError(
                f"The range {first}-{last} runs backwards; write {instead}.",
                text=text,
                position=position,
            )
        return range(low, high + 1, step)
    if step_text is None:
        return range(low, low + 1)
    if field is _WEEKDAY:
        raise ScheduleError(
            "Programs disagree on a step from a single weekday; give a range, as in 1-5/2.",
            text=text,
            position=position,
        )
    return range(low, field.high + 1, step)


def _ends(field: _Field, first: str, low: int, last: str, high: int) -> tuple[int, int]:
    """The ends of a range: Sunday by name begins a week, ends one, and is one day after itself."""
    if field is _WEEKDAY and low == 7 and first.isalpha():
        low = 0
    if field is _WEEKDAY and high == 7 and last.isalpha() and low == 0:
        high = 0
    return low, high


def forwards(low: int, high: int, step: int, *, is_weekday: bool, top: int) -> str:
    """The days, hours and so on of a range that runs backwards, as a field that cron takes."""
    if is_weekday and (low == 7 or high == 0):
        low, high = (0, high) if low == 7 else (low, 7)
        if (low, high) == (0, 0):
            return "7"
        return f"{low}-{high}" + (f"/{step}" if step > 1 else "")
    bottom = 0 if is_weekday or top in (23, 59) else 1
    size = 7 if is_weekday else top - bottom + 1
    if step == 1:
        last = bottom + size - 1
        return ",".join(
            f"{begin}-{end}" if begin < end else f"{begin}"
            for begin, end in ((low, last), (bottom, high))
        )
    places = range(low, high + size + 1, step)
    return ",".join(str((place - bottom) % size + bottom) for place in places)


def _item_reason(field: _Field, item: str) -> str:
    if not item:
        return f"A value is missing in the {field.name} field."
    if item[0] in "hr" and (len(item) == 1 or item[1] in "(/"):
        return (
            "R (a number at random) is not supported; H is one that job and host choose, when the "
            "job is added."
        )
    if "#" in item or item.startswith("l") or item.endswith("w"):
        return f"The {field.name} field does not take this form."
    return f"{item!r} is not a value, range or step of the {field.name} field."


def _number(field: _Field, text: str, word: str, position: int) -> int:
    if word.isdecimal():
        number = numerals.whole(word)
        if number is not None and field.low <= number <= field.high:
            return number
        reason = f"{word} is out of range: the {field.name} field goes from {field.low} to"
        raise ScheduleError(f"{reason} {field.high}.", text=text, position=position)
    if word in field.names:
        return field.names[word]
    kind = "name or number" if field.names else "number"
    reason = f"{word!r} is not a {kind} for the {field.name} field."
    raise ScheduleError(reason, text=text, position=position)
