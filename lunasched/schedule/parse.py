"""From what a user typed to a :data:`Schedule`. The grammar is in lunasched-schedule(5)."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from lunasched.errors import InvalidInput, ScheduleError
from lunasched.formats.measures import (
    DAYS_TO_SECONDS,
    LONGEST,
    MICROSECOND,
    MILLISECOND,
    MONTH,
    WEEK,
    YEAR,
)
from lunasched.formats.pattern import pattern
from lunasched.schedule import otherwise
from lunasched.schedule.calendar import parse_calendar
from lunasched.schedule.cronexpression import parse_cron
from lunasched.schedule.phrase import is_phrase, parse_phrase
from lunasched.schedule.rule import (
    ON_DEMAND,
    Calendar,
    Every,
    Limited,
    OnDemand,
    Reboot,
    Schedule,
    Several,
    Slotted,
    SystemdCalendar,
)
from lunasched.schedule.zone import timer_zone

if TYPE_CHECKING:
    from lunasched.schedule.clauses import Clause

_UNITS = {
    **{name: int(unit.seconds) for unit in (WEEK, *DAYS_TO_SECONDS) for name in unit.names},
    "hrs": 3600,
    "mins": 60,
    "secs": 1,
}
_ALONE = frozenset(("hour", "minute", "second"))
"""The units of which one is meant where no number stands before."""
_NO_LENGTH = frozenset((*MONTH.names, *YEAR.names)) - {"M"}
_TOO_SHORT = frozenset((*MILLISECOND.names, *MICROSECOND.names))
_NAMED = frozenset(("hourly", "weekly", "monthly", "yearly", "annually"))
"""The names of cron that can do without their "@"; daily is a phrase."""
MAX_INTERVAL = int(LONGEST)
"""The longest interval in seconds."""

SEPARATOR = ";"
"""The character between the schedules of a job that has several."""

_BOOT = pattern(r"@(re)?boot *\+ *", re.IGNORECASE)
_AMOUNT = pattern(r"([0-9]{1,18})( ?)([a-zµμ]{0,12})(?:,? and (?=[0-9]))?", re.IGNORECASE)
_ZONE = pattern(r"(?:CRON_)?TZ=([^ ]*) ?", re.IGNORECASE)
_CLAUSES = pattern(r" (?:except|only|shift|from|until|count)\b|^every .* (?:on|at) ")
"""The words of clauses, or what may be a recurrence that counts from a day."""
_FORMS = (
    "A schedule is one of: every 15m, at HH:MM, on Mon,Wed at HH:MM, on 1st Mon at HH:MM, "
    "every Monday, weekdays at 9am, five cron fields, @daily, calendar:EXPRESSION, on demand."
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
    if match := _ZONE.match(text):
        return _in_zone(text, match)
    if _CLAUSES.search(lower):
        # What few schedules have costs the others nothing.
        from lunasched.schedule.clauses import is_stepped, split_clauses

        head, clauses = split_clauses(text)
        if clauses or is_stepped(head, clauses):
            return _parse_limited(text, head, clauses)
    if lower == ON_DEMAND:
        return OnDemand()
    if is_phrase(lower):
        return parse_phrase(text)
    if lower.startswith(("every", "@every ")):
        return _parse_every(text)
    if lower in _NAMED:
        return replace(parse_cron(f"@{lower}", 0), text=text)
    if match := _BOOT.match(text):
        return Reboot(text, _parse_amount(text, match.end()), of_machine=match[1] is None)
    if lower.startswith("calendar:"):
        return parse_calendar(text, _after(text, len("calendar:")))
    if lower.startswith("cron:"):
        return parse_cron(text, _after(text, len("cron:")))
    if lower[:1] in {"@", "*"} or lower[:1].isdigit():
        return parse_cron(text, 0)
    raise ScheduleError(_FORMS, text=text or " ", position=0)


def _parse_limited(text: str, head: str, clauses: tuple[Clause, ...]) -> Schedule:
    """A schedule and the clauses behind it."""
    from lunasched.schedule.clauses import is_stepped, limited, parse_stepped

    if is_stepped(head, clauses):
        return limited(text, parse_stepped(text, head, clauses), head, clauses)
    try:
        rule = _parse(head)
    except ScheduleError as error:
        raise type(error)(error.message, text=text, position=error.position) from None
    if isinstance(rule, Every):
        raise ScheduleError(
            "An interval counts from the last start, whenever that was; with days and times it is "
            "a cron expression, such as */15 * * * *, or every 2 weeks from 2027-01-04.",
            text=text,
            position=clauses[0].at,
        )
    if not isinstance(rule, (Calendar, SystemdCalendar, Several)):
        raise ScheduleError(
            "Only what has times of day has days to choose from.",
            text=text,
            position=clauses[0].at,
        )
    return limited(text, rule, head, clauses)


def _after(text: str, position: int) -> int:
    return position + 1 if text[position : position + 1] == " " else position


def _in_zone(text: str, match: re.Match[str]) -> Schedule:
    """The schedule behind a ``TZ=ZONE``."""
    zone, start = match[1], match.end()
    try:
        # An old name that the machine has no more stays one that was taken.
        timer_zone(zone)
    except InvalidInput as error:
        raise ScheduleError(str(error), text=text, position=match.start(1)) from None
    try:
        rule = _parse(text[start:])
    except ScheduleError as error:
        at = None if error.position is None else start + error.position
        raise type(error)(error.message, text=text, position=at) from None
    if isinstance(rule, Several):
        rules = (_with_zone(one, f"{match[0]}{one.text}", zone) for one in rule.rules)
        return replace(rule, text=text, rules=tuple(rules))
    if not isinstance(rule, Slotted):
        raise ScheduleError(
            "Only times of day are those of a time zone.", text=text, position=match.start()
        )
    if rule.zone is not None:
        raise ScheduleError("The time zone is given twice.", text=text, position=match.start())
    return _with_zone(rule, text, zone)


def _with_zone(rule: Slotted, text: str, zone: str) -> Slotted:
    if isinstance(rule, Limited):
        return replace(rule, text=text, base=replace(rule.base, zone=zone))
    return replace(rule, text=text, zone=zone)


def _parse_every(text: str) -> Every:
    position = text.lower().index("every") + len("every")
    if text[position : position + 1] != " ":
        raise ScheduleError(
            "An interval follows 'every', as in every 15m or every 1h30m.",
            text=text,
            position=position,
        )
    unit = text[position + 1 :].lower()
    if unit in _NO_LENGTH:
        raise ScheduleError(_no_interval(unit), text=text, position=position + 1)
    total = _UNITS[unit] if unit in _ALONE else _parse_amount(text, position)
    if total < 1:
        raise ScheduleError("An interval is at least one second.", text=text, position=position + 1)
    return Every(text, total)


def _parse_amount(text: str, position: int) -> int:
    """The seconds of what stands from a position to the end of the text."""
    start, total, seen = position, 0, 0
    while position < len(text):
        if text[position] == " ":
            position += 1
            continue
        match = _AMOUNT.match(text, position)
        word = match[3].lower() if match else ""
        if match is None or word not in _UNITS:
            at = position if match is None else match.start(3) if word else match.end(1)
            raise ScheduleError(_no_interval(word), text=text, position=at)
        unit = _UNITS[word]
        if seen and unit >= seen:
            raise ScheduleError(
                "The units of an interval go from the largest to the smallest, each once.",
                text=text,
                position=match.start(3),
            )
        seen = unit
        total += int(match[1]) * unit
        position = match.end()
    if not seen:
        raise ScheduleError("An interval is missing, as in 15m.", text=text, position=len(text))
    if total > MAX_INTERVAL:
        raise ScheduleError("An interval is at most ten years.", text=text, position=start + 1)
    return total


def _no_interval(unit: str) -> str:
    """The reason why a word is no unit of an interval."""
    if unit in _NO_LENGTH:
        return "Months and years have no length of their own; write @monthly or @yearly, or days."
    if unit in _TOO_SHORT:
        return "An interval is made of whole seconds: a start of a job takes longer than this."
    return "An interval is a whole number with a unit: s, m, h, d or w, as in 1h30m."


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
            raise type(error)(error.message, text=text, position=at) from None
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
    slotted: list[Slotted] = []
    for rule in others:
        if isinstance(rule, Slotted):
            slotted.append(rule)
        elif isinstance(rule, Several):
            slotted += rule.rules
    return Several(text, tuple(slotted), boot)
