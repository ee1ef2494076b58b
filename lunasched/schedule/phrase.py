"""Schedules in words: ``at 09:00,17:30 on Mon-Fri``, ``every Monday``, ``weekdays at 9am``.

Days and times of day, each a list; where a time is missing it is midnight, but for ``on DAYS``,
which is half a sentence.
"""

from __future__ import annotations

import re

from lunasched.errors import ScheduleError
from lunasched.formats.pattern import pattern
from lunasched.schedule.cronexpression import WEEKDAYS
from lunasched.schedule.days import ALL_WEEKDAYS, LAST, DayRule
from lunasched.schedule.rule import Calendar, Several

_Words = list[tuple[str, int]]
"""Words in lower case, each with its position in the text."""

_WORD = pattern(r"[^ ]+")
_BETWEEN = pattern(r" ?, ?(?:and )?| and ", re.IGNORECASE)
_CLOCK = pattern(r"([0-9]{1,2})(?::([0-9]{2})(?::([0-9]{2}))?)? ?(am|pm)?")
_TIMES = {"midnight": (0, 0, 0), "noon": (12, 0, 0)}
_ORDINALS = {"1st": 1, "2nd": 2, "3rd": 3, "4th": 4, "5th": 5, "last": LAST}
_DAYS = {
    **{name: frozenset({number}) for name, number in WEEKDAYS.items()},
    **{f"{name}s": frozenset({number}) for name, number in WEEKDAYS.items() if len(name) > 3},
    **dict.fromkeys(("weekday", "weekdays"), frozenset(range(5))),
    **dict.fromkeys(("weekend", "weekends"), frozenset({5, 6})),
}
_DAILY = ("daily", "day")
_FIRST = ("at", "on", "daily", *_TIMES)


def is_phrase(text: str) -> bool:
    """Tell whether a text, in lower case, begins as a phrase; after ``every`` a day must follow."""
    rest = text.removeprefix("every ")
    first = rest.partition(" ")[0].partition(",")[0]
    if is_days(rest):
        return True
    return first in _FIRST if rest == text else first == "day"


def is_days(text: str) -> bool:
    """Tell whether a text, in lower case, begins with a weekday, or which of a month it is."""
    first = text.partition(" ")[0].partition(",")[0].partition("-")[0]
    return first in _DAYS or first in _ORDINALS


def parse_phrase(text: str) -> Calendar | Several:
    """Read a phrase; raises ``ScheduleError``."""
    days, times = _parts(text)
    rule = DayRule() if days is None else _read_days(text, days)
    clock = [(0, 0, 0)] if times is None else _parse_times(text, times)
    by_minute: dict[tuple[int, int], list[int]] = {}
    for hour, minute, second in sorted(clock):
        hours = by_minute.setdefault((minute, second), [])
        if hour not in hours:
            hours.append(hour)
    if len(set(map(tuple, by_minute.values()))) == 1:
        product = _as_product(by_minute)
        if product is not None:
            minutes, seconds = product
            hours = next(iter(by_minute.values()))
            return _calendar(text, hours, minutes, seconds, rule)
    said = "" if days is None else f" on {text[days[0][1] : days[-1][1] + len(days[-1][0])]}"
    rules = []
    for (minute, second), hours in by_minute.items():
        each = ",".join(_written(hour, minute, second) for hour in hours)
        rules.append(_calendar(f"at {each}{said}", hours, [minute], [second], rule))
    return Several(text, tuple(rules))


def _as_product(by_minute: dict[tuple[int, int], list[int]]) -> tuple[list[int], list[int]] | None:
    minutes = sorted({minute for minute, _ in by_minute})
    seconds = sorted({second for _, second in by_minute})
    return (minutes, seconds) if len(minutes) * len(seconds) == len(by_minute) else None


def _calendar(
    text: str, hours: list[int], minutes: list[int], seconds: list[int], days: DayRule
) -> Calendar:
    fractions = tuple(second * 1_000_000 for second in seconds)
    return Calendar(text, tuple(hours), tuple(minutes), fractions, days=days)


def _written(hour: int, minute: int, second: int) -> str:
    return f"{hour:02}:{minute:02}" + (f":{second:02}" if second else "")


def _parts(text: str) -> tuple[_Words | None, _Words | None]:
    """The words of days and of times; ``None`` for all days, and for no time."""
    words: _Words = [(match[0].lower(), match.start()) for match in _WORD.finditer(text)]
    first = words[0][0]
    if first == "every":
        words = words[1:]
    parts: dict[str, _Words] = {}
    current = ""
    if first not in ("at", "on"):
        current = "at" if first in _TIMES else "on"
        parts[current] = []
    for word, position in words:
        if word in ("at", "on"):
            if word in parts:
                raise ScheduleError(f"{word!r} is given twice.", text=text, position=position)
            current = word
            parts[current] = []
        else:
            parts[current].append((word, position))
    if first == "on" and "at" not in parts:
        raise ScheduleError("A time is missing: add 'at HH:MM'.", text=text, position=len(text))
    for name, part in parts.items():
        if not part:
            expected = "a time, HH:MM" if name == "at" else "weekdays, as in Mon,Wed"
            position = next(at for word, at in words if word == name) + len(name)
            raise ScheduleError(f"After {name!r} comes {expected}.", text=text, position=position)
    days = parts.get("on")
    if days is not None and days[0][0] in _DAILY and first not in ("at", "on"):
        if len(days) > 1:
            raise ScheduleError(
                f"After {days[0][0]!r} comes 'at' and a time.", text=text, position=days[1][1]
            )
        if first == "every" and "at" not in parts:
            raise ScheduleError(
                "This can be an interval or a time of day: write every 24h, which counts from the "
                "last start, or daily, which is at 00:00.",
                text=text,
                position=days[0][1],
            )
        days = None
    return days, parts.get("at")


def _parse_times(text: str, words: _Words) -> list[tuple[int, int, int]]:
    begin, (last, at) = words[0][1], words[-1]
    end = at + len(last)
    found = []
    for separator in (*_BETWEEN.finditer(text, begin, end), None):
        stop = end if separator is None else separator.start()
        if begin == stop:
            raise ScheduleError("A time is missing here.", text=text, position=begin)
        found.append(parse_time(text, text[begin:stop].lower(), begin))
        begin = end if separator is None else separator.end()
    return found


def parse_time(text: str, item: str, position: int) -> tuple[int, int, int]:
    """Read a time of day, in lower case, that is at a position of a text: (hour, minute, second).

    Raises ``ScheduleError``.
    """
    if item in _TIMES:
        return _TIMES[item]
    match = _CLOCK.match(item)
    half = match and match[4]
    if match is None or not (half or match[2]) or (half and not 1 <= int(match[1]) <= 12):
        raise ScheduleError(
            "A time is HH:MM or HH:MM:SS on the 24-hour clock, 9am, 9:30 pm, noon or midnight.",
            text=text,
            position=position,
        )
    if match.end() < len(item):
        rest = item[match.end() :]
        raise ScheduleError(
            "Nothing but 'on' and weekdays can follow the time.",
            text=text,
            position=position + match.end() + len(rest) - len(rest.lstrip()),
        )
    for group, (name, limit) in enumerate((("hour", 23), ("minute", 59), ("second", 59)), start=1):
        if int(match[group] or 0) > limit:
            raise ScheduleError(
                f"The {name} goes from 0 to {limit}.",
                text=text,
                position=position + match.start(group),
            )
    return _hour(match), int(match[2] or 0), int(match[3] or 0)


def _hour(match: re.Match[str]) -> int:
    hour, half = int(match[1]), match[4]
    return hour if half is None else hour % 12 + (12 if half == "pm" else 0)


def parse_days(text: str, begin: int, end: int) -> DayRule:
    """Read the weekdays at ``text[begin:end]``; raises ``ScheduleError``."""
    return _read_days(text, [(m[0].lower(), m.start()) for m in _WORD.finditer(text, begin, end)])


def _read_days(text: str, words: _Words) -> DayRule:
    """``Mon,Wed``, ``Mon-Fri``, ``Mon and Wed``, ``weekdays``, ``1st,3rd Mon``, ``last Fri``."""
    ordinals: set[int] = set()
    weekdays: set[int] = set()
    for number, (word, start) in enumerate(words):
        if word == "and" and 0 < number < len(words) - 1:
            continue
        position = start
        for item in word.split(","):
            if item in _ORDINALS and not weekdays:
                ordinals.add(_ORDINALS[item])
            elif item:
                weekdays.update(_weekdays(text, item, position))
            position += len(item) + 1
    if not weekdays:
        raise ScheduleError(
            "A weekday is missing, as in 'on 1st Mon at 09:00'.",
            text=text,
            position=words[-1][1] + len(words[-1][0]),
        )
    if not ordinals:
        return DayRule(weekdays=ALL_WEEKDAYS if len(weekdays) == 7 else frozenset(weekdays))
    pairs = frozenset((weekday, ordinal) for weekday in weekdays for ordinal in ordinals)
    return DayRule(weekdays=frozenset(), nth=pairs)


def _weekdays(text: str, item: str, position: int) -> frozenset[int]:
    first, dash, last = item.partition("-")
    if not dash and item in _DAYS:
        return _DAYS[item]
    for word, at in (
        ((first, position), (last, position + len(first) + 1)) if dash else ((first, position),)
    ):
        if len(_DAYS.get(word, ())) != 1:
            raise ScheduleError(
                f"{word!r} is not a weekday: Mon, Tue, Wed, Thu, Fri, Sat or Sun.",
                text=text,
                position=at,
            )
    (low,), (high,) = _DAYS[first], _DAYS[last or first]
    return frozenset((low + step) % 7 for step in range((high - low) % 7 + 1))
