"""Time zones: names that both Python and systemd take, and where their clocks change.

Everything that depends on a zone alone is computed once per zone and ten years. Instants are
whole seconds since the epoch, offsets are seconds east of UTC. The tz database is that of the
machine; a process that lives through an update of it calls ``forget_zones``.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import TYPE_CHECKING

from lunasched.dataclass import dataclass
from lunasched.errors import InvalidInput
from lunasched.formats import tzdatabase
from lunasched.formats.pattern import pattern

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

DAY = 86_400
SMALL_CHANGE = 3 * 3600
"""From three hours on a change of the clock is a correction, not a DST change (cron(8))."""

_ONE_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of a zone's UTC offset; the first instant with the new one is ``at``."""

    at: datetime
    before: timedelta
    after: timedelta

    @property
    def shift(self) -> timedelta:
        """The jump of the wall clock: positive into a gap, negative into a repeated time."""
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of constant offset, ``start`` included and ``end`` not (UTC seconds).

    ``before`` is the offset of the stretch before it, ``dst`` and ``dst_before`` whether the tz
    database calls them daylight saving time.
    """

    start: int
    end: int
    offset: int
    before: int
    dst: bool
    dst_before: bool

    @property
    def shift(self) -> int:
        """The jump of the wall clock at ``start``, in seconds."""
        return self.offset - self.before

    @property
    def small(self) -> bool:
        """True if cron(8)'s rule for changes of less than three hours applies at ``start``."""
        return -SMALL_CHANGE < self.shift < SMALL_CHANGE


def check_timezone(name: str) -> None:
    """Raise InvalidInput unless ``name`` is a zone that systemd takes in ``OnCalendar=``."""
    if tzdatabase.own_rules(name) is None:
        raise _unknown(name)


def timer_zone(name: str) -> str:
    """The name under which the machine has the rules of a zone, for the lines of a timer.

    It is another one for an old name that the machine has no more. Raises InvalidInput.
    """
    if tzdatabase.own_rules(name) is not None:
        return name
    other = tzdatabase.successor(name)
    if other is None:
        raise _unknown(name)
    return other


def lost_zone(name: str) -> str | None:
    """Return a sentence about an old name of a zone that the machine has no more, or None."""
    other = tzdatabase.successor(name)
    if other is None:
        return None
    return (
        f"this machine has no time zone {name!r}, which is an old name of {other}; write "
        f"{other}, or install the package tzdata-legacy"
    )


def _unknown(name: str) -> InvalidInput:
    known = lost_zone(name)
    if known is not None:
        return InvalidInput(f"{name!r} is not a time zone here: {known}")
    return InvalidInput(f"{name!r} is not a time zone of the tz database{_advice(name)}")


@lru_cache(maxsize=64)
def _zone(name: str) -> tzinfo:
    found = tzdatabase.rules_of(name)
    if found is None:
        raise _unknown(name)
    return found


@lru_cache(maxsize=16)
def _advice(name: str) -> str:
    """Many jobs of a file may have one wrong zone: the database is read once for it."""
    return _of_offset(name) or _suggestion(name)


_OFFSET = pattern(r"(?:UTC|GMT|Z)?([+\-\u2212])(\d{1,2})(?::?(\d{2}))?", re.IGNORECASE)


def _of_offset(name: str) -> str:
    """Answer an offset from UTC with the zone that has it; empty where ``name`` is none.

    ISO 8601 and people count east of Greenwich as +; the names ``Etc/GMT+2`` count as POSIX does,
    west as +. Whoever writes GMT+2 means the first.
    """
    found = _OFFSET.fullmatch(name.replace(" ", "").replace("_", ""))
    if found is None:
        return ""
    sign, hours, minutes = found[1].replace("\u2212", "-"), int(found[2]), int(found[3] or 0)
    place = "; a place, as in Europe/Berlin, has its changes of the clock, too"
    if not hours and not minutes:
        return f"; write it UTC{place}"
    zone = f"Etc/GMT{'-' if sign == '+' else '+'}{hours}"
    if minutes or tzdatabase.own_rules(zone) is None:
        return f"; none has the name of an offset such as UTC{sign}{hours:02}:{minutes:02}{place}"
    return (
        f"; the offset UTC{sign}{hours:02}:00 is {zone} there, with the sign the other way "
        f"round{place}"
    )


_SIGNED = ("GMT+", "GMT-", "GMT0")


def _suggestion(name: str) -> str:
    from difflib import get_close_matches
    from zoneinfo import available_timezones

    known = sorted(n for n in available_timezones() if tzdatabase.own_rules(n) is not None)
    folded = {n.lower(): n for n in known} | {n.rpartition("/")[2].lower(): n for n in known}
    wanted = name.strip().replace(" ", "_").lower()
    # The name with the opposite offset would be the closest match, and wrong.
    places = [one for one in folded if not any(sign in folded[one] for sign in _SIGNED)]
    near = get_close_matches(wanted[: tzdatabase.NAME_MAX], places, n=3, cutoff=0.75)
    if wanted in folded:
        near = [wanted]
    if not near:
        return "; write it as in Europe/Berlin, America/New_York or UTC."
    return "; did you mean " + " or ".join(dict.fromkeys(folded[n] for n in near)) + "?"


def transitions(timezone: str, start: datetime, end: datetime) -> tuple[Transition, ...]:
    """The changes of a zone's offset in ``start`` ≤ instant < ``end``, in order."""
    low, high = _seconds(start), _seconds(end)
    return tuple(
        Transition(
            _EPOCH + timedelta(seconds=part.start),
            timedelta(seconds=part.before),
            timedelta(seconds=part.offset),
        )
        for part in segments(timezone, low, high)
        if low <= part.start < high and part.shift
    )


def segments(name: str, start: int, end: int) -> Iterator[Segment]:
    """The stretches of constant offset that overlap ``start`` ≤ instant < ``end``, in order."""
    while start < end:
        part = segment_at(name, start)
        yield part
        start = part.end


def segment_at(name: str, instant: int) -> Segment:
    """The stretch around an instant; it ends at the end of its decade at the latest."""
    starts, parts = _decade(name, instant // _DECADE)
    return parts[bisect_right(starts, instant) - 1]


def abbreviations(name: str, start: int, end: int) -> frozenset[str]:
    """The abbreviations (CET, CEST) that a zone uses between two instants."""
    zone = _zone(name)
    return frozenset(
        datetime.fromtimestamp(max(part.start, start), zone).tzname() or ""
        for part in segments(name, start, end)
    )


def forget() -> None:
    """Drop what was computed from the tz database, after it was updated."""
    _zone.cache_clear()
    _decade.cache_clear()
    tzdatabase.forget_rules()


_DECADE = 3653 * DAY


@lru_cache(maxsize=256)
def _decade(name: str, index: int) -> tuple[list[int], list[Segment]]:
    # zoneinfo does not list its transitions: compare days and bisect where they differ. No
    # zone has two changes within a day that cancel out.
    zone = _zone(name)
    first, last = index * _DECADE, (index + 1) * _DECADE
    offset = _offset(zone, first)
    changes = [(first, _offset(zone, first - 1), offset)]
    moment = (_EPOCH + timedelta(seconds=first)).replace(tzinfo=zone)
    known = timedelta(seconds=offset)
    for day in range(first + DAY, last, DAY):
        moment += _ONE_DAY
        now = zone.fromutc(moment).utcoffset()
        if now != known and now is not None:
            changes += _between(zone, day - DAY, day)
            known = now
    changes += _between(zone, last - DAY, last - 1)
    ends = [change[0] for change in changes[1:]] + [last]
    parts = [
        Segment(start, end, after, before, _is_dst(zone, start), _is_dst(zone, start - 1))
        for (start, before, after), end in zip(changes, ends, strict=True)
    ]
    return [part.start for part in parts], parts


def _between(zone: tzinfo, low: int, high: int) -> list[tuple[int, int, int]]:
    before, after = _offset(zone, low), _offset(zone, high)
    return [(_bisect(zone, low, high), before, after)] if before != after else []


def _bisect(zone: tzinfo, low: int, high: int) -> int:
    wanted = _offset(zone, high)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, middle) == wanted:
            high = middle
        else:
            low = middle
    return high


def _is_dst(zone: tzinfo, instant: int) -> bool:
    return bool(datetime.fromtimestamp(instant, zone).dst())


def _offset(zone: tzinfo, instant: int) -> int:
    moment = zone.fromutc((_EPOCH + timedelta(seconds=instant)).replace(tzinfo=zone))
    offset = moment.utcoffset()
    assert offset is not None  # a zone always has one
    return offset.days * DAY + offset.seconds


def _seconds(moment: datetime) -> int:
    return -((_EPOCH - moment) // timedelta(seconds=1))
