"""The instants of a rule: next and latest, exact through every change of the clock.

All arithmetic is on integers: microseconds since the epoch, in UTC or, with the offset of a
stretch of constant offset added, on the wall clock. No local time is ever asked of a library,
since the same wall-clock time may exist twice or not at all.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from datetime import date, datetime, timedelta, timezone
from functools import lru_cache
from typing import TYPE_CHECKING

from lunasched.schedule.rule import (
    UNTIMED,
    Crossing,
    Every,
    Schedule,
    Several,
    Slotted,
)
from lunasched.schedule.zone import Segment, segment_at

if TYPE_CHECKING:
    from collections.abc import Iterator

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
SEARCH_YEARS = 40
"""The range of a search: any date of the Gregorian calendar with a weekday recurs sooner,
except across a century that is no leap year."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_EPOCH_ORDINAL = _EPOCH.toordinal()
_STEP = timedelta(microseconds=1)
_MARGIN = 2 * DAY  # more than any two UTC offsets differ


def elapses(schedule: Schedule, *, timezone: str, after: datetime) -> Iterator[datetime]:
    """The instants (UTC) strictly after ``after``, in order; ends where there are none.

    ``after`` must be aware. An interval counts from ``after``; ``@reboot`` and ``on demand`` have
    no instants.
    """
    if isinstance(schedule, UNTIMED):
        return
    if isinstance(schedule, Every):
        moment = after.astimezone(_EPOCH.tzinfo)
        while True:
            moment += timedelta(seconds=schedule.seconds)
            yield moment
    if isinstance(schedule, Several):
        yield from _union(schedule, timezone, after)
        return
    name = zone_of(schedule, timezone)
    slot = next_slot(schedule, name, microseconds(after))
    while slot is not None:
        yield _EPOCH + timedelta(microseconds=slot)
        slot = next_slot(schedule, name, slot)


def _union(schedule: Several, timezone: str, after: datetime) -> Iterator[datetime]:
    """The instants of several rules, each of them once."""
    streams = (elapses(rule, timezone=timezone, after=after) for rule in schedule.rules)
    before = None
    for moment in heapq.merge(*streams):
        if moment != before:
            yield moment
        before = moment


def latest_elapse(schedule: Schedule, *, timezone: str, at: datetime) -> datetime | None:
    """The last instant (UTC) at or before ``at``, or None: the slot that a run belongs to.

    None also for intervals, ``@reboot`` and ``on demand``, which have no slots on the calendar.
    """
    if isinstance(schedule, (Every, *UNTIMED)):
        return None
    if isinstance(schedule, Several):
        latest = [latest_elapse(rule, timezone=timezone, at=at) for rule in schedule.rules]
        return max((moment for moment in latest if moment is not None), default=None)
    found = previous_slot(schedule, zone_of(schedule, timezone), microseconds(at))
    return None if found is None else _EPOCH + timedelta(microseconds=found)


def zone_of(rule: Slotted, job_zone: str) -> str:
    """The zone of a rule, which may name one itself."""
    return rule.zone or job_zone


def microseconds(moment: datetime) -> int:
    """An aware datetime as microseconds since the epoch."""
    return (moment - _EPOCH) // _STEP


def wall_of(zone: str, instant: int) -> int:
    """An instant (µs of UTC) on the wall clock of a zone (µs)."""
    return instant + segment_at(zone, instant // SECOND).offset * SECOND


def next_slot(rule: Slotted, zone: str, after: int) -> int | None:
    """The first slot later than ``after``, both in µs of UTC."""
    slot = _next_slot(rule, zone, after)
    if slot is None or rule.limits is None or rule.limits.count is None:
        return slot
    last = last_counted(rule, zone)
    return slot if last is None or slot <= last else None


@lru_cache(maxsize=256)
def last_counted(rule: Slotted, zone: str) -> int | None:
    """The last slot (µs of UTC) of as many as a rule shall have, or None if it has no more."""
    assert rule.limits is not None and rule.limits.begin is not None
    slot: int | None = rule.limits.begin - _MARGIN
    for _ in range(rule.limits.count or 0):
        assert slot is not None
        slot = _next_slot(rule, zone, slot)
        if slot is None:
            break
    return slot


def _next_slot(rule: Slotted, zone: str, after: int) -> int | None:
    limit = after + SEARCH_YEARS * 366 * DAY
    part = segment_at(zone, after // SECOND)
    wall = after + part.offset * SECOND + 1
    if rule.crossing is Crossing.FIXED:
        wall = max(wall, first_wall(rule, part))
    slot = next_wall(rule, wall, limit)
    while True:
        if slot is None:
            # What is over on the wall clock may still be repeated by it.
            part = segment_at(zone, part.end)
            if first_wall(rule, part) >= wall:
                return None
            wall = first_wall(rule, part)
            slot = next_wall(rule, wall, limit)
            continue
        instant = slot - part.offset * SECOND
        if instant < part.end * SECOND:
            return instant
        # Continue at the next change of the clock, or, because a stretch without a slot has none to
        # repeat, close before the slot.
        whole = wall <= first_wall(rule, part)
        part = segment_at(zone, max(part.end, (slot - _MARGIN) // SECOND) if whole else part.end)
        if fills_gap(rule, part):
            return part.start * SECOND
        wall = first_wall(rule, part)
        if rule.crossing is not Crossing.SYSTEMD or slot < wall:
            slot = next_wall(rule, wall, limit)


def previous_slot(rule: Slotted, zone: str, at: int) -> int | None:
    """The last slot not later than ``at``, both in µs of UTC."""
    if rule.limits is not None and rule.limits.count is not None:
        last = last_counted(rule, zone)
        at = at if last is None else min(at, last)
    limit = at - SEARCH_YEARS * 366 * DAY
    part = segment_at(zone, at // SECOND)
    wall = at + part.offset * SECOND
    whole = False
    while True:
        slot = previous_wall(rule, wall, limit)
        if slot is not None and slot >= first_wall(rule, part):
            return slot - part.offset * SECOND
        if fills_gap(rule, part):
            return part.start * SECOND
        if slot is None and (part.start + part.before) * SECOND <= wall:
            return None
        # What has not begun on the wall clock may have before it was set back.
        earlier = part.start - 1
        if whole and slot is not None:
            earlier = min(earlier, (slot + _MARGIN) // SECOND)
        part = segment_at(zone, earlier)
        whole = True
        wall = min(part.end, earlier + 1) * SECOND - 1 + part.offset * SECOND


def first_wall(rule: Slotted, part: Segment) -> int:
    """The wall-clock time (µs) from which slots of a stretch count.

    Only a rule that follows the wall clock has slots in the second pass of a repeated time.
    """
    wall = part.start + part.offset
    if part.shift < 0 and (
        rule.crossing is Crossing.SYSTEMD or (rule.crossing is Crossing.FIXED and part.small)
    ):
        wall = part.start + part.before
    return wall * SECOND


def fills_gap(rule: Slotted, part: Segment) -> bool:
    """Tell whether a fixed-time rule has a slot in the gap before ``part``: it runs at its
    start."""
    if part.shift <= 0 or not part.small or rule.crossing is not Crossing.FIXED:
        return False
    gap = (part.start + part.before) * SECOND
    end = (part.start + part.offset) * SECOND
    slot = next_wall(rule, gap, end)
    return slot is not None and slot < end


def next_wall(rule: Slotted, wall: int, limit: int) -> int | None:
    """The first wall-clock slot at or after ``wall``, or None when it is beyond ``limit``."""
    limits = rule.limits
    if limits is None:
        return _next_wall(rule, wall, limit)
    if limits.begin is not None:
        wall = max(wall, limits.begin)
    slot = _next_wall(rule, wall, limit)
    while slot is not None and (limits.end is None or slot <= limits.end):
        day, time = divmod(slot, DAY)
        span = limits.covering(day + _EPOCH_ORDINAL, time)
        if span is None:
            return slot
        slot = _next_wall(rule, day * DAY + span.end, limit)
    return None


def _next_wall(rule: Slotted, wall: int, limit: int) -> int | None:
    day, time = divmod(wall, DAY)
    today = date.fromordinal(day + _EPOCH_ORDINAL)
    year, month, number = today.year, today.month, today.day
    if month in rule.months and (rule.years is None or year in rule.years):
        days = rule.matching(year, month)
        index = bisect_left(days, number)
        if index < len(days) and days[index] == number:
            found = _next_time(rule, time)
            if found is not None:
                return day * DAY + found
            index += 1
        if index < len(days):
            return (day + days[index] - number) * DAY + _first_time(rule)
    while True:
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)
        if month == 1 and rule.years is not None:
            index = bisect_left(rule.years, year)
            if index == len(rule.years):
                return None
            year = rule.years[index]
        if year > today.year + SEARCH_YEARS + 1 and rule.years is None:
            return None
        if month in rule.months and (rule.years is None or year in rule.years):
            days = rule.matching(year, month)
            if days:
                day = date(year, month, days[0]).toordinal() - _EPOCH_ORDINAL
                slot = day * DAY + _first_time(rule)
                return slot if rule.years is not None or slot <= limit + 2 * DAY else None
        if year > 2200:
            return None


def previous_wall(rule: Slotted, wall: int, limit: int) -> int | None:
    """The last wall-clock slot at or before ``wall``, or None when it is before ``limit``."""
    limits = rule.limits
    if limits is None:
        return _previous_wall(rule, wall, limit)
    if limits.end is not None:
        wall = min(wall, limits.end)
    slot = _previous_wall(rule, wall, limit)
    while slot is not None and (limits.begin is None or slot >= limits.begin):
        day, time = divmod(slot, DAY)
        span = limits.covering(day + _EPOCH_ORDINAL, time)
        if span is None:
            return slot
        slot = _previous_wall(rule, day * DAY + span.start - 1, limit)
    return None


def _previous_wall(rule: Slotted, wall: int, limit: int) -> int | None:
    day, time = divmod(wall, DAY)
    today = date.fromordinal(day + _EPOCH_ORDINAL)
    year, month, number = today.year, today.month, today.day
    last = rule.hours[-1] * HOUR + rule.minutes[-1] * MINUTE + rule.fractions[-1]
    if month in rule.months and (rule.years is None or year in rule.years):
        days = rule.matching(year, month)
        index = bisect_right(days, number) - 1
        if index >= 0 and days[index] == number:
            found = _previous_time(rule, time)
            if found is not None:
                return day * DAY + found
            index -= 1
        if index >= 0:
            return (day + days[index] - number) * DAY + last
    while year >= max(1970, today.year - SEARCH_YEARS - 1):
        year, month = (year, month - 1) if month > 1 else (year - 1, 12)
        if month in rule.months and (rule.years is None or year in rule.years):
            days = rule.matching(year, month)
            if days:
                day = date(year, month, days[-1]).toordinal() - _EPOCH_ORDINAL
                slot = day * DAY + last
                return slot if slot >= limit - 2 * DAY else None
    return None


def _first_time(rule: Slotted) -> int:
    return rule.hours[0] * HOUR + rule.minutes[0] * MINUTE + rule.fractions[0]


def _next_time(rule: Slotted, time: int) -> int | None:
    hour, rest = divmod(time, HOUR)
    index = bisect_left(rule.hours, hour)
    if index < len(rule.hours) and rule.hours[index] == hour:
        minute, fraction = divmod(rest, MINUTE)
        start = bisect_left(rule.minutes, minute)
        if start < len(rule.minutes) and rule.minutes[start] == minute:
            within = bisect_left(rule.fractions, fraction)
            if within < len(rule.fractions):
                return hour * HOUR + minute * MINUTE + rule.fractions[within]
            start += 1
        if start < len(rule.minutes):
            return hour * HOUR + rule.minutes[start] * MINUTE + rule.fractions[0]
        index += 1
    if index == len(rule.hours):
        return None
    return rule.hours[index] * HOUR + rule.minutes[0] * MINUTE + rule.fractions[0]


def _previous_time(rule: Slotted, time: int) -> int | None:
    hour, rest = divmod(time, HOUR)
    index = bisect_right(rule.hours, hour) - 1
    if index >= 0 and rule.hours[index] == hour:
        minute, fraction = divmod(rest, MINUTE)
        start = bisect_right(rule.minutes, minute) - 1
        if start >= 0 and rule.minutes[start] == minute:
            within = bisect_right(rule.fractions, fraction) - 1
            if within >= 0:
                return hour * HOUR + minute * MINUTE + rule.fractions[within]
            start -= 1
        if start >= 0:
            return hour * HOUR + rule.minutes[start] * MINUTE + rule.fractions[-1]
        index -= 1
    if index < 0:
        return None
    return rule.hours[index] * HOUR + rule.minutes[-1] * MINUTE + rule.fractions[-1]
