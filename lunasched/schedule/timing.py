"""The settings with which a timer unit elapses exactly when a schedule does.

systemd's own reading of a line differs from cron's where the wall clock changes, as measured on
systemd 252: a time within a gap does not elapse, and from one slot to the next a repeated time
elapses in its first pass only. ``timing`` adds dated lines for what is missing, for ten years.

Where the days of a schedule are more than a line can say (exclusions, calendars, bounds), they are
lines with dates alone, for this year and the next ones; they are written anew when the list of the
schedule's slots is.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from functools import lru_cache
from typing import TYPE_CHECKING

from lunasched.dataclass import dataclass
from lunasched.errors import InvalidInput, ScheduleError
from lunasched.formats.daycalendar import forget_calendars
from lunasched.schedule.calendar import parse_calendar
from lunasched.schedule.days import DayRule
from lunasched.schedule.elapse import (
    DAY,
    SECOND,
    fills_gap,
    last_counted,
    microseconds,
    next_slot,
    next_wall,
    wall_of,
    zone_of,
)
from lunasched.schedule.oncalendar import base_lines, date_lines, dated_lines, format_time
from lunasched.schedule.parse import parse
from lunasched.schedule.rule import (
    ALL_HOURS,
    ALL_MONTHS,
    Calendar,
    Crossing,
    Every,
    Limited,
    OnDemand,
    Reboot,
    Schedule,
    Several,
    Slotted,
    SystemdCalendar,
)
from lunasched.schedule.zone import (
    Segment,
    abbreviations,
    check_timezone,
    forget,
    segments,
    timer_zone,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_YEARS = 10
_LIMITED_YEARS = 3
"""The years of which a schedule with limits has the dates, this one included."""
_AHEAD = 4
"""The least number of slots ahead that these are, where there are as many."""
HORIZON = 3652 * 86_400
"""Seconds for which the lines of a timer are exact: ten years."""

_LIMITED_YEARS = 3
"""The years of the dates of a schedule with limits, this one included."""
_AHEAD = 4
"""The least number of slots ahead that such dates have."""

_NEVER = "This schedule never elapses again."
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class Timing:
    """The directives of a timer; intervals are seconds.

    ``on_calendar`` are the ``OnCalendar=`` values. ``on_unit_active_sec`` is the interval of an
    ``every`` schedule and ``on_active_sec`` its anchor, the first run after the timer starts;
    whoever knows the last run passes less. ``on_startup_sec`` and ``on_boot_sec`` are for what is
    due after a boot. When that is over, such a line elapses whenever the timer *itself* is
    started: where there is nothing else it must be enabled but not started when it is deployed,
    and beside others it must not be there (``rest_of_boot``). ``valid_until`` is the instant up to
    which the lines are exact, or None when they are as long as the tz database does not change.
    """

    on_calendar: tuple[str, ...] = ()
    on_unit_active_sec: int | None = None
    on_active_sec: float | None = None
    on_startup_sec: int | None = None
    on_boot_sec: int | None = None
    valid_until: datetime | None = None

    @property
    def is_empty(self) -> bool:
        """True if there is nothing for a timer to do."""
        intervals = (self.on_active_sec, self.on_unit_active_sec)
        return not self.on_calendar and not self.has_boot and intervals == (None, None)

    @property
    def has_boot(self) -> bool:
        """True if there is something for it to do after each boot."""
        return (self.on_startup_sec, self.on_boot_sec) != (None, None)

    @property
    def at_boot_only(self) -> bool:
        """True if that is all."""
        return self.has_boot and not self.on_calendar and self.on_unit_active_sec is None

    def rest_of_boot(self) -> Timing | None:
        """The directives of a timer that is started later than at boot, where they are others."""
        if not self.has_boot or self.at_boot_only:
            return None
        return replace(
            self,
            on_startup_sec=None,
            on_boot_sec=None,
            on_active_sec=self.on_unit_active_sec,
        )


@lru_cache(maxsize=1024)
def timing(
    schedule: Schedule, *, timezone: str | None, host_timezone: str, now: datetime
) -> Timing:
    """The directives for a timer that is deployed at ``now`` (aware).

    Without a ``timezone`` the job follows the host's zone and its lines name none. Raises
    ScheduleError for a schedule that never elapses after ``now`` or that no timer can say, and
    InvalidInput for a zone that does not exist or that the host would take for another. An old name
    of a zone that the machine has no more becomes its name of today.
    Of many jobs, a lot have the same schedule: what is found for one is kept for the others.
    """
    check_timezone(host_timezone)
    if timezone is not None:
        timezone = timer_zone(timezone)
    if isinstance(schedule, Every):
        every = Timing(on_unit_active_sec=schedule.seconds, on_active_sec=schedule.seconds)
        if schedule.boot is None:
            return every
        return _with_boot(replace(every, on_active_sec=None), schedule.boot)
    if isinstance(schedule, Reboot):
        return _with_boot(Timing(), schedule)
    if isinstance(schedule, OnDemand):
        return Timing()
    if isinstance(schedule, Several):
        return _several(schedule, timezone, host_timezone, now)
    if schedule.zone is not None:
        timezone = timer_zone(schedule.zone)
    zone = timezone or host_timezone
    if isinstance(schedule, SystemdCalendar):
        return _as_it_is(schedule, timezone, host_timezone, now)
    start = microseconds(now)
    _check_elapses(schedule, zone, start)
    suffix = "" if timezone is None else f" {_suffix(timezone, host_timezone, start)}"
    parts: tuple[Calendar | Limited, ...]
    if isinstance(schedule, Limited):
        from lunasched.schedule.clauses import pieces

        parts = tuple(pieces(schedule))
    else:
        parts = (schedule,)
    recurring = [part for part in parts if isinstance(part, Calendar)]
    if isinstance(schedule, Limited) and len(recurring) < len(parts):
        dates = _DateLines(schedule, parts, zone, start)
        return Timing(
            on_calendar=tuple(line + suffix for line in dates.base()) + dates.dated(),
            valid_until=dates.valid_until(),
        )
    if isinstance(schedule, Calendar) and _same_in_utc(schedule, zone, start):
        return Timing(on_calendar=_utc_lines(schedule, zone, start))
    lines = _Lines(schedule, recurring, zone, start)
    return Timing(
        on_calendar=tuple(line + suffix for line in lines.base()) + lines.dated(),
        valid_until=now + timedelta(seconds=HORIZON) if lines.affected() else None,
    )


def forget_zones() -> None:
    """Drop all that was computed from the tz database and calendars, after they were changed."""
    forget()
    forget_calendars()
    parse.cache_clear()
    timing.cache_clear()
    _crossings.cache_clear()
    _host_abbreviations.cache_clear()


def _with_boot(found: Timing, boot: Reboot) -> Timing:
    if boot.of_machine:
        return replace(found, on_boot_sec=boot.delay)
    return replace(found, on_startup_sec=boot.delay)


def _several(schedule: Several, timezone: str | None, host_timezone: str, now: datetime) -> Timing:
    """The lines of all rules, apart from those that are over."""
    zone, start = timezone or host_timezone, microseconds(now)
    to_come = [
        rule for rule in schedule.rules if next_slot(rule, zone_of(rule, zone), start) is not None
    ]
    if not to_come:
        raise ScheduleError(_NEVER, text=schedule.text, position=0)
    found = [
        timing(rule, timezone=timezone, host_timezone=host_timezone, now=now) for rule in to_come
    ]
    lines = dict.fromkeys(line for each in found for line in each.on_calendar)
    ends = [each.valid_until for each in found if each.valid_until is not None]
    together = Timing(on_calendar=tuple(lines), valid_until=min(ends, default=None))
    return together if schedule.boot is None else _with_boot(together, schedule.boot)


def _as_it_is(
    schedule: SystemdCalendar, timezone: str | None, host_timezone: str, now: datetime
) -> Timing:
    _check_elapses(schedule, timezone or host_timezone, microseconds(now))
    if timezone is None:
        return Timing(on_calendar=(schedule.line,))
    suffix = _suffix(timezone, host_timezone, microseconds(now))
    return Timing(on_calendar=(f"{schedule.line} {suffix}",))


def _check_elapses(rule: Slotted, zone: str, start: int) -> None:
    if next_slot(rule, zone, start) is None:
        raise ScheduleError(_NEVER, text=rule.text, position=0)


def _suffix(timezone: str, host_timezone: str, start: int) -> str:
    """The zone as a line has to name it; raises InvalidInput where the host reads it otherwise.

    systemd takes a suffix that is an abbreviation of the host's own zone (CET on a host in
    Berlin) for that zone with DST fixed, not for the zone of that name: measured, "09:00 CET"
    never elapses there from summer on.
    """
    if timezone.upper() in ("UTC", "ETC/UTC"):
        return "UTC"
    if "/" not in timezone and timezone.upper() in _host_abbreviations(host_timezone, _day(start)):
        raise InvalidInput(
            f"On a host in {host_timezone}, systemd takes the time zone {timezone} for an "
            "abbreviation of it and may never elapse; name the zone by a city, as in "
            "Europe/Berlin, or as Etc/GMT+5."
        )
    return timezone


@lru_cache(maxsize=64)
def _host_abbreviations(zone: str, day: int) -> frozenset[str]:
    # The C library keeps abbreviations of the past too.
    end = day * 86_400 + HORIZON
    return frozenset(name.upper() for name in abbreviations(zone, -7 * HORIZON, end))


@lru_cache(maxsize=256)
def _crossings(zone: str, day: int) -> tuple[Segment, ...]:
    """The stretches that begin with a change of the clock, for ten years after a day's year.

    Includes the one around the start of that day, as its repeated time may last into it.
    """
    start = day * 86_400
    year = (_EPOCH + timedelta(days=day)).year
    end = (date(year + _YEARS + 1, 1, 2).toordinal() - _EPOCH.toordinal()) * 86_400
    return tuple(part for part in segments(zone, start, end) if part.shift)


def _day(start: int) -> int:
    return start // SECOND // 86_400


def _same_in_utc(rule: Calendar, zone: str, start: int) -> bool:
    """Tell whether a rule for all hours and days has the same slots in UTC at every offset."""
    if rule.hours != ALL_HOURS or rule.months != ALL_MONTHS or not rule.days.every_day:
        return False
    crossings = _crossings(zone, _day(start))
    if rule.crossing is not Crossing.WILDCARD or not crossings:
        return False
    offsets = {offset % 3600 for part in crossings for offset in (part.before, part.offset)}
    return len({_shifted(rule.minutes, offset) for offset in offsets}) == 1


def _shifted(minutes: tuple[int, ...], offset: int) -> tuple[int, ...] | None:
    if offset % 60:
        return None
    return tuple(sorted((minute - offset // 60) % 60 for minute in minutes))


def _utc_lines(rule: Calendar, zone: str, start: int) -> tuple[str, ...]:
    minutes = _shifted(rule.minutes, _crossings(zone, _day(start))[0].offset)
    assert minutes is not None  # _same_in_utc has checked this
    return (f"*-*-* {format_time(ALL_HOURS, minutes, rule.seconds)} UTC",)


class _Changes:
    """The changes of the clock that matter to one rule in one zone, from one instant on.

    A change of the clock is *plain* when systemd treats it alike whatever it looked at before:
    DST by an hour or less, from a whole hour but midnight, and into DST where it jumps forward.
    On other days (in Chatham and Santiago, in Dublin with its negative DST, when a zone changes
    its standard time) systemd 252 may skip the rest of a day, take the second pass for the
    first, or give up for good, so the base lines leave out the dates and dated lines stand for
    all their slots.
    """

    def __init__(self, rule: Slotted, zone: str, start: int) -> None:
        self.rule, self.zone, self.start = rule, zone, start
        self.crossings = tuple(
            part for part in _crossings(zone, _day(start)) if self._holds_a_slot(part)
        )
        self.odd = tuple(part for part in self.crossings if not self._plain(part))

    def skips(self) -> bool:
        """Tell whether any of them skips a time of the rule."""
        return any(part.shift > 0 for part in self.crossings)

    def without(self) -> frozenset[tuple[int, int, int]]:
        """The dates for which there are dated lines alone."""
        year = _year(self.start)
        return frozenset(
            (day.year, day.month, day.day)
            for part in self.odd
            for day in _dates(part)
            if day.year >= year
        )

    def dated(self) -> Iterator[int]:
        """The slots (µs of UTC) at which the recurring lines do not elapse."""
        for part in self.crossings:
            begin = part.start * SECOND
            if part in self.odd:
                yield from self.slots_on(_dates(part))
            elif fills_gap(self.rule, part):
                yield begin
            elif part.shift < 0 and self.rule.crossing is Crossing.WILDCARD:
                yield from self._slots(begin, begin - part.shift * SECOND)

    def _slots(self, first: int, end: int) -> Iterator[int]:
        slot = next_slot(self.rule, self.zone, first - 1)
        while slot is not None and slot < end:
            yield slot
            slot = next_slot(self.rule, self.zone, slot)

    def slots_on(self, days: Sequence[datetime]) -> Iterator[int]:
        """The slots whose wall-clock time is on one of these dates."""
        numbers = {microseconds(day) // DAY for day in days}
        first, end = (min(numbers) - 1) * DAY, (max(numbers) + 2) * DAY
        for slot in self._slots(first, end):
            if wall_of(self.zone, slot) // DAY in numbers:
                yield slot

    def _holds_a_slot(self, part: Segment) -> bool:
        """Tell whether the rule has a slot in what is skipped or repeated, or in as much after
        it."""
        low, high = _window(part)
        if low % DAY == 0 and not self._plain(part):
            low -= DAY
        slot = next_wall(self.rule, low, high)
        return slot is not None and slot < high

    def _plain(self, part: Segment) -> bool:
        if abs(part.shift) > 3600 or part.dst is part.dst_before:
            return False
        if part.shift > 0:
            whole_hour = (part.start + part.before) % 3600 == 0
            return part.dst and whole_hour and not _at_midnight(part)
        in_second_pass = part.start * SECOND <= self.start < (part.start - part.shift) * SECOND
        return self.rule.crossing is Crossing.WILDCARD or not in_second_pass


class _Lines:
    """The lines of one rule in one zone, from one instant on; ``parts`` are all of the rule."""

    def __init__(self, rule: Slotted, parts: Sequence[Calendar], zone: str, start: int) -> None:
        self.parts, self.zone, self.start = parts, zone, start
        self.changes = _Changes(rule, zone, start)

    def affected(self) -> bool:
        """Tell whether a change of the clock could ever matter, whatever the dates."""
        if self.changes.crossings:
            return True
        daily = (replace(part, days=DayRule(), months=ALL_MONTHS) for part in self.parts)
        return any(_Changes(part, self.zone, self.start).crossings for part in daily)

    def base(self) -> tuple[str, ...]:
        """The lines that recur, without a zone.

        What a change of the clock always skips, as 02:30 on the last Sunday of March in Berlin,
        never elapses for systemd, which gives up the search and says so at each look at the timer:
        the dated lines are all of it.
        """
        year = _year(self.start)
        count_from_start = bool(self.changes.crossings) or any(
            _at_midnight(part) for part in _crossings(self.zone, _day(self.start))
        )
        lines = tuple(
            line
            for part in self.parts
            for line in base_lines(
                part,
                years=range(year, year + _YEARS + 1),
                without=self.changes.without(),
                count_from_start=count_from_start,
            )
        )
        if not self.changes.skips():
            return lines
        return tuple(line for line in lines if _recurs(line, self.zone, self.start))

    def dated(self) -> tuple[str, ...]:
        """Lines in UTC for the slots at which the recurring ones do not elapse."""
        return dated_lines(instant for instant in self.changes.dated() if instant > self.start)


class _DateLines:
    """The lines of one rule with limits as dates, from today on; ``parts`` are all of it.

    The day on which a rule begins or ends in the middle has lines in UTC. Those of a calendar event
    of systemd's elapse as systemd has it, whatever the clock does.
    """

    def __init__(
        self, rule: Limited, parts: Sequence[Calendar | Limited], zone: str, start: int
    ) -> None:
        self.rule, self.parts, self.zone, self.start = rule, parts, zone, start
        self.of_systemd = rule.crossing is Crossing.SYSTEMD
        self.changes = _Changes(rule, zone, start)
        begin, end = rule.limits.begin, rule.limits.end
        if rule.limits.count is not None:
            last = last_counted(rule, zone)
            end = end if last is None else wall_of(zone, last)
        self.edges = frozenset(
            instant // DAY
            for instant, whole in ((begin, 0), (end, DAY - 1))
            if instant is not None and instant % DAY != whole
        )
        today = wall_of(zone, start) // DAY
        self.days = (
            today if begin is None else max(today, begin // DAY),
            None if end is None else end // DAY,
        )
        self.years = self._years()

    def _years(self) -> range:
        """This year and the next, and as many more as hold some slots."""
        first = _year(wall_of(self.zone, self.start))
        last, slot = first + _LIMITED_YEARS - 1, self.start
        for _ in range(_AHEAD):
            following = next_slot(self.rule, self.zone, slot)
            if following is None:
                break
            slot = following
        return range(first, max(last, _year(slot) + 1) + 1)

    def valid_until(self) -> datetime | None:
        """The end of the dates, or None where the rule ends before."""
        end = datetime(self.years[-1] + 1, 1, 1, tzinfo=_EPOCH.tzinfo)
        last = self.days[1]
        return None if last is not None and last * DAY < microseconds(end) else end

    def base(self) -> tuple[str, ...]:
        """The lines for whole days, without a zone."""
        without = self.edges if self.of_systemd else self.edges | self._odd()
        begin = self.start - DAY
        found: dict[str, None] = {}
        for part in self.parts:
            lines = date_lines(part, self._time(part), self.years, self.days, without)
            if self.changes.skips():
                lines = tuple(line for line in lines if _recurs(line, self.zone, begin))
            found |= dict.fromkeys(lines)
        return tuple(found)

    def _odd(self) -> frozenset[int]:
        return frozenset(
            microseconds(datetime(*day, tzinfo=_EPOCH.tzinfo)) // DAY
            for day in self.changes.without()
        )

    def _time(self, part: Calendar | Limited) -> str:
        base = self.rule.base
        if isinstance(base, SystemdCalendar) and isinstance(part, Limited) and part.base == base:
            return base.line.rpartition(" ")[2]
        seconds = tuple(fraction // SECOND for fraction in part.fractions)
        return format_time(part.hours, part.minutes, seconds)

    def dated(self) -> tuple[str, ...]:
        """Lines in UTC for the slots that those for whole days leave out."""
        found = [] if self.of_systemd else list(self.changes.dated())
        for day in self.edges:
            found += self.changes.slots_on([_EPOCH + timedelta(days=day)])
        return dated_lines(instant for instant in found if instant > self.start)


def _recurs(line: str, zone: str, start: int) -> bool:
    return next_slot(parse_calendar(line, 0), zone, start) is not None


def _year(instant: int) -> int:
    return (_EPOCH + timedelta(microseconds=instant)).year


def _window(part: Segment) -> tuple[int, int]:
    low = part.start + min(part.before, part.offset)
    high = part.start + max(part.before, part.offset)
    return low * SECOND, (high + max(part.shift, 0)) * SECOND


def _at_midnight(part: Segment) -> bool:
    """Tell whether a midnight is skipped or repeated: the search for any slot of that day meets
    it."""
    low, high = _window(part)
    return (low - 1) // DAY != high // DAY


def _dates(part: Segment) -> tuple[datetime, ...]:
    """The local dates that a change of the clock touches."""
    low, high = _window(part)
    if low % DAY == 0:
        low -= DAY  # the search for the next slot of the day before ends in the gap
    days = range(low // DAY, (high - 1) // DAY + 1)
    return tuple(_EPOCH + timedelta(days=day) for day in days)
