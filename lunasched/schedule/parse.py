"""From what a user typed to a :data:`Schedule`. The grammar is in lunasched-schedule(5)."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache

from lunasched.errors import ScheduleError
from lunasched.formats.measures import LONGEST, SECONDS
from lunasched.formats.pattern import pattern
from lunasched.schedule import otherwise
from lunasched.schedule.calendar import parse_calendar
from lunasched.schedule.cronexpression import WEEKDAYS, parse_cron
from lunasched.schedule.rule import (
    ALL_WEEKDAYS,
    LAST,
    ON_DEMAND,
    Calendar,
    DayRule,
    Every,
    OnDemand,
    Reboot,
    Schedule,
    Several,
    Slotted,
)

_UNITS = {unit: int(SECONDS[unit]) for unit in ("w", "d", "h", "m", "s")}
MAX_INTERVAL = int(LONGEST)
"""The longest interval in seconds."""

SEPARATOR = ";"
"""The character between the schedules of a job that has several."""

_EVERY = pattern(r"every\b", re.IGNORECASE)
_BOOT = pattern(r"@(re)?boot *\+ *", re.IGNORECASE)
_AMOUNT = pattern(r"([0-9]{1,18})([a-z]{0,9})", re.IGNORECASE)
_TIME = pattern(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")
_WORD = pattern(r"[^ ]+")
_ORDINALS = {"1st": 1, "2nd": 2, "3rd": 3, "4th": 4, "5th": 5, "last": LAST}
_FORMS = (
    "A schedule is one of: every 15m, at HH:MM, on Mon,Wed at HH:MM, on 1st Mon at HH:MM, "
    "five cron fields, @daily, calendar:EXPRESSION, on demand."
)


LENGTH_MAX = 4096
"""Characters. Python makes no number of a text of more than 4,300 digits, either."""


@lru_cache(maxsize=1024)
def parse(text: str) -> Schedule:
    """Read a schedule; raises ScheduleError with the position of what is wrong.

    Letter case does not matter, and white space is one space or many.
    """
    if "\0" in text:
        raise ScheduleError("A schedule cannot hold a NUL byte.")
    text = " ".join(text.split())
    if len(text) > LENGTH_MAX:
        raise ScheduleError(f"A schedule has at most {LENGTH_MAX} characters.")
    if SEPARATOR in text:
        return _parse_several(text)
    try:
        return _parse(text)
    except ScheduleError as error:
        way_out = otherwise.way_out(text.lower())
        if way_out is None:
            raise
        raise ScheduleError(
            f"{error.message} {way_out}", text=error.text, position=error.position
        ) from None


def _parse(text: str) -> Schedule:
    lower = text.lower()
    if lower.startswith("every"):
        return _parse_every(text)
    if lower == ON_DEMAND:
        return OnDemand()
    if match := _BOOT.match(text):
        return Reboot(text, _parse_amount(text, match.end()), of_machine=match[1] is None)
    if lower.startswith(("at ", "on ")):
        return _parse_words(text)
    if lower.startswith("calendar:"):
        return parse_calendar(text, _after(text, len("calendar:")))
    if lower.startswith("cron:"):
        return parse_cron(text, _after(text, len("cron:")))
    if lower[:1] in {"@", "*"} or lower[:1].isdigit():
        return parse_cron(text, 0)
    raise ScheduleError(_FORMS, text=text or " ", position=0)


def _after(text: str, position: int) -> int:
    return position + 1 if text[position : position + 1] == " " else position


def _parse_every(text: str) -> Every:
    position = len("every")
    if text[position : position + 1] != " ":
        raise ScheduleError(
            "An interval follows 'every', as in every 15m or every 1h30m.",
            text=text,
            position=position,
        )
    total = _parse_amount(text, position)
    if total < 1:
        raise ScheduleError("An interval is at least one second.", text=text, position=6)
    return Every(text, total)


def _parse_amount(text: str, position: int) -> int:
    """The seconds of what stands from a position to the end of the text."""
    start, total, seen = position, 0, 0
    while position < len(text):
        if text[position] == " ":
            position += 1
            continue
        match = _AMOUNT.match(text, position)
        if match is None or match[2].lower() not in _UNITS:
            raise ScheduleError(
                "An interval is a whole number with a unit: s, m, h, d or w, as in 1h30m.",
                text=text,
                position=match.start(2) if match else position,
            )
        unit = _UNITS[match[2].lower()]
        if seen and unit >= seen:
            raise ScheduleError(
                "The units of an interval go from the largest to the smallest, each once.",
                text=text,
                position=match.start(2),
            )
        seen = unit
        total += int(match[1]) * unit
        position = match.end()
    if not seen:
        raise ScheduleError("An interval is missing, as in 15m.", text=text, position=len(text))
    if total > MAX_INTERVAL:
        raise ScheduleError("An interval is at most ten years.", text=text, position=start + 1)
    return total


def _parse_several(text: str) -> Schedule:
    """Schedules with a ``;`` between them."""
    rules: list[Schedule] = []
    begin, positions = 0, []
    for part in text.split(SEPARATOR):
        position = begin + len(part) - len(part.lstrip())
        begin += len(part) + 1
        if not part.strip():
            raise ScheduleError("A schedule is missing here.", text=text, position=position)
        try:
            rules.append(parse(part))
        except ScheduleError as error:
            at = None if error.position is None else position + error.position
            raise ScheduleError(error.message, text=text, position=at) from None
        positions.append(position)
    text = f"{SEPARATOR} ".join(rule.text for rule in rules)

    def refuse(kind: type, why: str, most: int = 0) -> None:
        found = [at for rule, at in zip(rules, positions, strict=True) if isinstance(rule, kind)]
        if len(found) > most:
            raise ScheduleError(why, text=text, position=found[-1])

    refuse(OnDemand, "'on demand' has no time, and cannot be one of several schedules.")
    refuse(Reboot, "One start after a boot is enough.", most=1)
    boot = next((rule for rule in rules if isinstance(rule, Reboot)), None)
    others = [rule for rule in rules if not isinstance(rule, Reboot)]
    if len(others) == 1 and isinstance(others[0], Every):
        return replace(others[0], text=text, boot=boot)
    refuse(
        Every,
        "An interval counts from the last start, whatever it was for, and has no place beside "
        "times of day or another interval; make a job of each.",
    )
    slotted = tuple(rule for rule in others if isinstance(rule, Slotted))
    return Several(text, slotted, boot)


def _parse_words(text: str) -> Calendar:
    """``at TIME [on DAYS]`` and ``on DAYS at TIME``."""
    words = [(match[0].lower(), match.start()) for match in _WORD.finditer(text)]
    parts: dict[str, list[tuple[str, int]]] = {}
    current = ""
    for word, position in words:
        if word in ("at", "on"):
            if word in parts:
                raise ScheduleError(f"{word!r} is given twice.", text=text, position=position)
            current = word
            parts[current] = []
        else:
            parts[current].append((word, position))
    if "at" not in parts:
        raise ScheduleError("A time is missing: add 'at HH:MM'.", text=text, position=len(text))
    for name, part in parts.items():
        if not part:
            expected = "a time, HH:MM" if name == "at" else "weekdays, as in Mon,Wed"
            position = next(at for word, at in words if word == name) + len(name)
            raise ScheduleError(f"After {name!r} comes {expected}.", text=text, position=position)
    hour, minute, second = _parse_time(text, parts["at"])
    days = _parse_days(text, parts["on"]) if "on" in parts else DayRule()
    return Calendar(text, (hour,), (minute,), (second * 1_000_000,), days=days)


def _parse_time(text: str, words: list[tuple[str, int]]) -> tuple[int, int, int]:
    word, position = words[0]
    match = _TIME.fullmatch(word)
    if match is None:
        raise ScheduleError(
            "A time is HH:MM or HH:MM:SS on the 24-hour clock.", text=text, position=position
        )
    if len(words) > 1:
        raise ScheduleError(
            "Nothing but 'on' and weekdays can follow the time.", text=text, position=words[1][1]
        )
    for group, (name, limit) in enumerate((("hour", 23), ("minute", 59), ("second", 59)), start=1):
        if int(match[group] or 0) > limit:
            raise ScheduleError(
                f"The {name} goes from 0 to {limit}.",
                text=text,
                position=position + match.start(group),
            )
    return int(match[1]), int(match[2]), int(match[3] or 0)


def _parse_days(text: str, words: list[tuple[str, int]]) -> DayRule:
    """``Mon,Wed``, ``Mon-Fri``, ``1st,3rd Mon``, ``last Fri``."""
    ordinals: set[int] = set()
    weekdays: set[int] = set()
    for word, start in words:
        position = start
        for item in word.split(","):
            if item in _ORDINALS and not weekdays:
                ordinals.add(_ORDINALS[item])
            elif item:
                weekdays.update(_weekday_range(text, item, position))
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


def _weekday_range(text: str, item: str, position: int) -> list[int]:
    first, dash, last = item.partition("-")
    words = [(first, position), (last, position + len(first) + 1)] if dash else [(first, position)]
    for word, at in words:
        if word not in WEEKDAYS:
            raise ScheduleError(
                f"{word!r} is not a weekday: Mon, Tue, Wed, Thu, Fri, Sat or Sun.",
                text=text,
                position=at,
            )
    low, high = WEEKDAYS[first], WEEKDAYS[words[-1][0]]
    return [(low + step) % 7 for step in range((high - low) % 7 + 1)]
