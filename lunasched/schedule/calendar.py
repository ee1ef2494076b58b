"""Calendar event expressions of systemd.time(7), read as it says.

Two things are refused that systemd 252 takes: steps finer than a millisecond, and a zone suffix
that is an abbreviation of the host's zone (``CEST``), because it means something else on the next
host.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone

from lunasched.errors import InvalidInput, ScheduleError
from lunasched.formats.pattern import pattern
from lunasched.schedule.component import (
    SECOND,
    ZERO,
    Chain,
    Component,
    aligned,
    closed,
    closed_days,
    day_numbers,
    expand,
    format_chain,
    format_seconds,
    format_weekdays,
    full_year,
    loses_values,
    only,
)
from lunasched.schedule.days import ALL_WEEKDAYS
from lunasched.schedule.rule import (
    ALL_HOURS,
    ALL_MINUTES,
    ALL_MONTHS,
    WEEKDAY_NAMES,
    SystemdCalendar,
)
from lunasched.schedule.zone import timer_zone

MIN_YEAR, MAX_YEAR = 1970, 2199
_MAX_FRACTIONS = 60_000
_SHAPE = "The form is WEEKDAY YEAR-MONTH-DAY HOUR:MINUTE:SECOND ZONE, each part but one optional."

_SHORTHANDS = {
    "minutely": "*-*-* *:*:00",
    "hourly": "*-*-* *:00:00",
    "daily": "*-*-* 00:00:00",
    "monthly": "*-*-01 00:00:00",
    "weekly": "Mon *-*-* 00:00:00",
    "yearly": "*-01-01 00:00:00",
    "annually": "*-01-01 00:00:00",
    "anually": "*-01-01 00:00:00",
    "quarterly": "*-01,04,07,10-01 00:00:00",
    "semiannually": "*-01,07-01 00:00:00",
    "semi-annually": "*-01,07-01 00:00:00",
    "biannually": "*-01,07-01 00:00:00",
    "bi-annually": "*-01,07-01 00:00:00",
}
_WEEKDAY = pattern(
    r"(monday|mon|tuesday|tue|wednesday|wed|thursday|thu|friday|fri|saturday|sat|sunday|sun)"
    r"(?=[-., ]|$)",
    re.IGNORECASE,
)
_NUMBER = pattern(r"([0-9]+)(?:\.(?!\.)([0-9]+))?")


def parse_calendar(text: str, start: int) -> SystemdCalendar:
    """Read the expression in ``text[start:]``; raises ScheduleError with the position."""
    end, zone = _split_zone(text, start)
    scanner = _CalendarScanner(text, start, end)
    shorthand = _SHORTHANDS.get(text[start:end].lower())
    if shorthand is not None:
        scanner = _CalendarScanner(shorthand, 0, len(shorthand))
    elif start == end:
        raise scanner.error("A calendar expression follows, as in calendar:Mon *-*-* 09:00.")
    return scanner.read(text, zone, start)


def _split_zone(text: str, start: int) -> tuple[int, str | None]:
    space = text.rfind(" ", start)
    word = text[space + 1 :]
    if space < 0 or not any(letter.isalpha() for letter in word):
        return len(text), None
    if word.upper() == "UTC":
        return space, "UTC"
    try:
        # An old name that the machine has no more stays one that was taken.
        timer_zone(word)
    except InvalidInput as error:
        raise ScheduleError(str(error), text=text, position=space + 1) from None
    return space, word


class _CalendarScanner:
    """Reads one expression from left to right."""

    def __init__(self, text: str, position: int, end: int) -> None:
        self.typed = text
        self.text = text[:end]
        self.position = position
        self.from_end = False
        self.weekdays: set[int] = set()
        self.date: tuple[Chain, Chain, Chain] = ((), (), ())
        self.time: tuple[Chain, Chain, Chain] = ((ZERO,), (ZERO,), (ZERO,))

    def error(self, message: str, position: int | None = None) -> ScheduleError:
        at = self.position if position is None else position
        return ScheduleError(message, text=self.typed, position=at)

    def peek(self, length: int = 1) -> str:
        return self.text[self.position : self.position + length]

    def skip_spaces(self) -> None:
        while self.peek() == " ":
            self.position += 1

    def read(self, typed: str, zone: str | None, start: int) -> SystemdCalendar:
        self.read_weekdays()
        if self.peek() == "@":
            self.read_timestamp()
            zone = "UTC"
        else:
            self.read_date()
            self.read_time()
        (year, month, day), (hour, minute, second) = self.date, self.time
        year = tuple(full_year(component) for component in year)
        chains = [
            self.check(year, "year", MIN_YEAR, MAX_YEAR),
            self.check(month, "month", 1, 12),
            self.check(day, "day", 1, 28 if self.from_end else 31, from_end=self.from_end),
            self.check(hour, "hour", 0, 23),
            self.check(minute, "minute", 0, 59),
            self.check(second, "second", 0, 60 * SECOND - 1),
        ]
        self.from_end = self.from_end and bool(chains[2])
        rule = SystemdCalendar(
            text=typed,
            expression=self.normalized(chains),
            line=self.normalized(_closed(chains, self.from_end)),
            zone=zone,
            years=expand(chains[0], MAX_YEAR) or None,
            months=expand(chains[1], 12) or ALL_MONTHS,
            day_numbers=day_numbers(chains[2], self.from_end),
            from_end=self.from_end,
            weekdays=frozenset(self.weekdays) if 0 < len(self.weekdays) < 7 else ALL_WEEKDAYS,
            hours=expand(chains[3], 23) or ALL_HOURS,
            minutes=expand(chains[4], 59) or ALL_MINUTES,
            fractions=self.fractions(chains[5]),
        )
        if not _has_a_date(rule):
            raise ScheduleError("No such date exists in any year.", text=typed, position=start)
        return rule

    def read_weekdays(self) -> None:
        first: int | None = None
        seen = False
        while match := _WEEKDAY.match(self.text, self.position):
            seen = True
            number = WEEKDAY_NAMES.index(match[1][:3].capitalize())
            if first is not None and first > number:
                raise self.error("A range of weekdays goes from Mon to Sun, not backwards.")
            self.weekdays.update(range(number if first is None else first, number + 1))
            self.position = match.end()
            ranged = first is not None
            first = None
            if self.peek(2) == ".." or self.peek() == "-":
                if ranged:
                    raise self.error("A range of weekdays has two ends.")
                first = number
                self.position += 2 if self.peek() == "." else 1
            elif self.peek() == ",":
                self.position += 1
            elif self.peek() == ".":
                raise self.error("A range of weekdays is written Mon..Fri.")
            if self.peek() in ("", " "):
                if first is not None:
                    raise self.error("The last weekday of the range is missing.")
                self.skip_spaces()
                return
        if seen:
            raise self.error("A weekday is Mon, Tue, Wed, Thu, Fri, Sat or Sun.")

    def read_timestamp(self) -> None:
        self.position += 1
        match = re.compile(r"[0-9]{1,18}\Z").match(self.text, self.position)
        limit = datetime(MAX_YEAR + 1, 1, 1, tzinfo=timezone.utc).timestamp()
        if match is None or int(match[0]) >= limit:
            raise self.error("After @ come the seconds since 1970, and nothing else.")
        moment = datetime.fromtimestamp(int(match[0]), timezone.utc)
        self.position = match.end()
        self.date = (only(moment.year), only(moment.month), only(moment.day))
        self.time = (only(moment.hour), only(moment.minute), only(moment.second * SECOND))

    def read_date(self) -> None:
        begin = self.position
        if self.peek() == "":
            return
        parts = [self.read_chain()]
        if self.peek() in ("", ":"):
            self.position = begin
            return
        while len(parts) < 3:
            if self.peek() == "~" and not self.from_end:
                self.from_end = True
            elif self.peek() != "-" or self.from_end:
                raise self.error(_SHAPE)
            self.position += 1
            parts.append(self.read_chain())
            if len(parts) == 2 and self.peek() in ("", " "):
                break
        if self.peek() not in ("", " "):
            raise self.error(_SHAPE)
        self.skip_spaces()
        year = parts.pop(0) if len(parts) == 3 else ()
        self.date = (year, parts[0], parts[1])

    def read_time(self) -> None:
        if self.peek() == "":
            return
        parts = [self.read_chain()]
        while self.peek() == ":" and len(parts) < 3:
            self.position += 1
            parts.append(self.read_chain(fractions=len(parts) == 2))
        if self.peek() != "" or len(parts) < 2:
            raise self.error(_SHAPE)
        self.time = (parts[0], parts[1], parts[2] if len(parts) == 3 else (ZERO,))

    def read_chain(self, *, fractions: bool = False) -> Chain:
        if self.peek() == "*":
            self.position += 1
            return (Component(0, -1, SECOND),) if fractions else ()
        found = [self.read_component(fractions)]
        while self.peek() == ",":
            self.position += 1
            found.append(self.read_component(fractions))
        if len(found) > 240:
            raise self.error("A list holds at most 240 values.")
        return tuple(found)

    def read_component(self, fractions: bool) -> Component:
        start, stop, repeat = self.read_number(fractions), -1, 0
        has_step = False
        if self.peek(2) == "..":
            self.position += 2
            stop = self.read_number(fractions)
            repeat = SECOND if fractions else 1
        if self.peek() == "/":
            self.position += 1
            has_step = True
            repeat = self.read_number(fractions)
            if repeat == 0:
                raise self.error("A step of 0 never gets anywhere.", self.position - 1)
        if self.peek() not in ("", " ", ",", "-", "~", ":"):
            raise self.error(_SHAPE)
        # systemd accepts 5..5 as 5, but for seconds only with a step.
        if stop == start and (has_step or not fractions):
            return Component(start, -1, 0)
        return Component(start, stop, repeat)

    def read_number(self, fractions: bool) -> int:
        match = _NUMBER.match(self.text, self.position)
        if match is None or (match[2] and not fractions):
            raise self.error("A number or * belongs here." if match is None else _SHAPE)
        if len(match[1]) > 9:
            raise self.error("This number is too large.")
        self.position = match.end()
        if not fractions:
            return int(match[1])
        digits = (match[2] or "").ljust(7, "0")
        return int(match[1]) * SECOND + int(digits[:6]) + (digits[6] >= "5")

    def check(
        self, chain: Chain, name: str, low: int, high: int, *, from_end: bool = False
    ) -> Chain:
        """The chain in systemd's normal form; refuses what systemd refuses."""
        parts = sorted({aligned(part) for part in chain})
        for index, part in enumerate(parts):
            # systemd counts the month shorter by three days with every value of a list.
            high -= 3 if from_end and index else 0
            values = (part.start,) if part.stop < 0 else (part.start, part.stop)
            if min(values) < low or max(values) > high:
                limit = high // SECOND if name == "second" else high
                raise self.error(f"The {name} goes from {low} to {limit}.", len(self.text))
            if part.stop >= 0:
                fits = part.start + part.repeat <= part.stop
            elif from_end:
                fits = part.start - part.repeat >= low
            else:
                fits = part.start + part.repeat <= high
            if not fits or part.repeat > high - low:
                raise self.error(
                    f"A range or step of the {name} must hold two values or more.", len(self.text)
                )
        return tuple(parts)

    def fractions(self, chain: Chain) -> tuple[int, ...]:
        count = sum(len(part.values(60 * SECOND - 1)) for part in chain)
        if count > _MAX_FRACTIONS:
            raise self.error("Steps finer than a millisecond are not supported.", len(self.text))
        return expand(chain, 60 * SECOND - 1)

    def normalized(self, chains: list[Chain]) -> str:
        year, month, day, hour, minute, second = chains
        date = f"{format_chain(year, 4)}-{format_chain(month, 2)}{'~' if self.from_end else '-'}"
        prefix = ""
        if 0 < len(self.weekdays) < 7:
            prefix = format_weekdays(frozenset(self.weekdays)) + " "
        time = f"{format_chain(hour, 2)}:{format_chain(minute, 2)}:{format_seconds(second)}"
        return f"{prefix}{date}{format_chain(day, 2)} {time}"


def _closed(chains: list[Chain], from_end: bool) -> list[Chain]:
    """The chains of a timer's line, which every systemd takes for the values that are meant.

    From its last value a step without an end goes on into the next unit, and what is lost there
    differs between versions of systemd: with days the first of January (until 260, or a correction
    of 257 and 258), with minutes midnight, with seconds the full hour, and with months, or with
    hours where the clock skips midnight, all of the future ("Infinite loop in calendar
    calculation").
    """
    year, month, day, hour, minute, second = chains
    return [
        year,
        closed(month, 12),
        closed_days(day, 31, from_end),
        closed(hour, 23),
        closed(minute, 59) if loses_values(minute, 59) else minute,
        closed(second, 60 * SECOND - 1) if loses_values(second, 60 * SECOND - 1) else second,
    ]


def _has_a_date(rule: SystemdCalendar) -> bool:
    if rule.years is None and (rule.from_end or min(rule.day_numbers) <= 28):
        return True
    years = range(2000, 2400) if rule.years is None else rule.years
    return any(rule.matching(year, month) for year in years for month in rule.months)
