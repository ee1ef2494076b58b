"""Units of time and of size, a table each, by which they are read and written everywhere.

The names of units of time are those that systemd reads (systemd.time(7)); sizes are powers of 1024,
as systemd's are. Each place reads and writes those of them that fit there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from lunasched.dataclass import dataclass
from lunasched.formats.pattern import pattern


@dataclass(frozen=True, slots=True)
class TimeUnit:
    """A unit of time."""

    seconds: float
    letter: str
    """In ``1h30m``."""
    symbol: str
    """In ``1 h 30 min``."""
    noun: str
    names: tuple[str, ...]
    """By which systemd knows it."""


YEAR = TimeUnit(31_557_600, "y", "y", "year", ("years", "year", "y"))
MONTH = TimeUnit(2_629_800, "M", "month", "month", ("months", "month", "M"))
WEEK = TimeUnit(604_800, "w", "w", "week", ("weeks", "week", "w"))
DAY = TimeUnit(86_400, "d", "d", "day", ("days", "day", "d"))
HOUR = TimeUnit(3600, "h", "h", "hour", ("hours", "hour", "hr", "h"))
MINUTE = TimeUnit(60, "m", "min", "minute", ("minutes", "minute", "min", "m"))
SECOND = TimeUnit(1, "s", "s", "second", ("seconds", "second", "sec", "s"))
MILLISECOND = TimeUnit(1e-3, "ms", "ms", "millisecond", ("msec", "ms"))
MICROSECOND = TimeUnit(1e-6, "us", "µs", "microsecond", ("usec", "us", "µs", "μs"))

SECONDS: Mapping[str, float] = {
    name: unit.seconds
    for unit in (YEAR, MONTH, WEEK, DAY, HOUR, MINUTE, SECOND, MILLISECOND, MICROSECOND)
    for name in unit.names
}
"""Seconds by the name of a unit."""
DAYS_TO_SECONDS = (DAY, HOUR, MINUTE, SECOND)
LONGEST = 10 * 366 * DAY.seconds
"""The longest span of time that jobs can have; systemd counts further, but nobody means it."""

SIZES: Mapping[str, int] = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
"""Bytes by the letter of a unit, the smallest first."""

_PART = pattern(r"\s*([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*([a-zA-Zµμ]*)\s*", re.ASCII)


def seconds_in(text: str, units: Mapping[str, float]) -> float | None:
    """The sum of a text such as ``1h30m`` in some units; ``None`` for any other text."""
    seconds, end = 0.0, 0
    while match := _PART.match(text, end):
        if match[2] not in units:
            return None
        seconds += float(match[1]) * units[match[2]]
        end = match.end()
    return seconds if text and end == len(text) else None


def split(seconds: int, units: Sequence[TimeUnit]) -> Iterator[tuple[int, TimeUnit]]:
    """A span of time in units, the largest first, from the first of which there is one on."""
    begun = False
    for unit in units:
        count, seconds = divmod(seconds, int(unit.seconds))
        begun = begun or count > 0
        if begun:
            yield count, unit


def exact_size(count: int, letters: str = "TGMK") -> str | None:
    """Bytes in the largest unit of which they are a whole number, if there is one."""
    for letter in letters:
        if count >= SIZES[letter] and count % SIZES[letter] == 0:
            return f"{count // SIZES[letter]}{letter}"
    return None
