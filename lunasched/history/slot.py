"""The slot of a run: the point in its schedule that it was started for.

The journal tells that a service was started, not why. Of what a launcher starts, it passes the
reason on (``unit-templates/launch``), and of other starts systemd mostly knows whether a timer
elapsed for them (``supervisor/elapses.py``). What is left, where the supervisor was not there and
the timer elapsed once more, belongs to the timer if the schedule had a slot that no earlier run has
used, and was by hand otherwise.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import date, datetime, time, timedelta, timezone
from functools import lru_cache
from itertools import islice
from typing import Protocol

from lunasched import schedule
from lunasched.dataclass import dataclass
from lunasched.errors import InvalidInput
from lunasched.formats.tzdatabase import rules_of
from lunasched.history.run import Trigger
from lunasched.jobs.model import Job
from lunasched.schedule import (
    UNTIMED,
    Every,
    Limited,
    OnDemand,
    Reboot,
    Schedule,
    Several,
    SystemdCalendar,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# An interval is counted on the monotonic clock and compared on the adjustable one here.
_CLOCK_DRIFT_USEC = 2_000_000
# A start later after its slot than this, and its job's jitter, was not on time.
_ACCURACY_USEC = 5_000_000


@dataclass(frozen=True, slots=True)
class Past:
    """The facts of the history about the time before a run (µs, UTC)."""

    deployed_at: int
    """The last time at which the job was added or changed: its timer counts from there."""
    last_start: int | None
    last_slot: int | None
    ran_this_boot: bool = False


def attribute(
    job: Job, started_at: int, past: Past, host_timezone: str
) -> tuple[Trigger, int | None]:
    """Return the cause of a run that nobody is known to have started, and its slot (µs, UTC)."""
    if not job.enabled and past.deployed_at <= started_at:
        return Trigger.MANUAL, None
    rule = schedule.parse(job.schedule)
    if isinstance(rule, Every):
        if not job.enabled:
            return Trigger.MANUAL, None
        # Runs later than this start by the clock began before the clock was set back.
        counted_from = max(past.deployed_at, past.last_start or 0)
        if counted_from > started_at and past.last_start != counted_from:
            counted_from = past.last_start or counted_from
        if counted_from > started_at:
            return Trigger.TIMER, None
        due = counted_from + rule.seconds * 1_000_000
        on_time = -_CLOCK_DRIFT_USEC <= started_at - due <= _late(job)
        if rule.boot is not None and not past.ran_this_boot and not on_time:
            return Trigger.TIMER, None
        if started_at >= due - _CLOCK_DRIFT_USEC:
            missed = not past.ran_this_boot and started_at - due > _late(job)
            # systemd counts from when the last start began, and that is known as of its program:
            # where the guard took longer that time, what was due seems to be later than this run.
            return (Trigger.CATCH_UP if missed else Trigger.TIMER), min(due, started_at)
        return Trigger.MANUAL, None
    if isinstance(rule, OnDemand):
        return Trigger.MANUAL, None
    if isinstance(rule, Reboot):
        return (Trigger.MANUAL if past.ran_this_boot else Trigger.TIMER), None
    trigger, slot = _of_slot(job, started_at, past, host_timezone)
    if isinstance(rule, Several) and rule.boot is not None and not past.ran_this_boot:
        late = slot is not None and started_at - slot > _late(job)
        if trigger is Trigger.MANUAL or (late and trigger is Trigger.TIMER):
            return Trigger.TIMER, None
    return trigger, slot


def _of_slot(
    job: Job, started_at: int, past: Past, host_timezone: str
) -> tuple[Trigger, int | None]:
    """Return the cause of a run of a job that has slots, and its slot."""
    slot = latest_slot(job, started_at, host_timezone)
    if slot is None:
        return Trigger.MANUAL, None
    # A job that was deployed later than it ran: the clock was set back since (or the record was
    # read late, after a change of the job). The slot is one of its own if the run was on time.
    deployed_later = past.deployed_at > started_at and started_at - slot <= _late(job)
    if slot < past.deployed_at and not deployed_later:
        return Trigger.MANUAL, None
    used = past.last_slot is not None and slot <= past.last_slot
    # If the clock was set back far since its slot ran, the guard let it run again.
    if used and (past.last_start is None or past.last_start <= started_at):
        return Trigger.MANUAL, None
    missed = job.catch_up and not past.ran_this_boot and started_at - slot > _late(job)
    return (Trigger.CATCH_UP if missed else Trigger.TIMER), slot


def of_timer(
    job: Job, started_at: int, past: Past, host_timezone: str
) -> tuple[Trigger, int | None]:
    """The same for a start that the job's timer is known to have caused, whatever ran before it."""
    trigger, slot = attribute(job, started_at, past, host_timezone)
    if trigger is Trigger.MANUAL:
        return Trigger.TIMER, latest_slot(job, started_at, host_timezone)
    return trigger, slot


def latest_slot(job: Job, at: int, host_timezone: str) -> int | None:
    """The job's last slot up to a point in time (µs, UTC); ``None`` for an interval."""
    latest = schedule.latest_elapse(
        schedule.parse(job.schedule), timezone=job.timezone or host_timezone, at=to_datetime(at)
    )
    return None if latest is None else to_usec(latest)


def end_of_day(day: date, host_timezone: str) -> int:
    """The midnight after a day (µs, UTC)."""
    zone = rules_of(host_timezone) or timezone.utc
    return to_usec(datetime.combine(day + timedelta(days=1), time(), zone))


def _late(job: Job) -> int:
    return int(job.leeway * 1_000_000) + _ACCURACY_USEC


class Scheduled(Protocol):
    """As much of a job as says when it elapses."""

    @property
    def schedule(self) -> str: ...
    @property
    def timezone(self) -> str | None: ...
    @property
    def enabled(self) -> bool: ...


def next_slot_of_job(job: Scheduled, now: int, past: Past, host_timezone: str) -> int | None:
    """Return when the job's timer elapses next (µs, UTC), without its jitter."""
    if not job.enabled:
        return None
    counted_from = max(past.deployed_at, past.last_start or 0)
    return timer_elapse(job.schedule, job.timezone or host_timezone, now, counted_from)


def timer_elapse(text: str, zone: str, now: int, counted_from: int) -> int | None:
    """Return the next elapse of a timer with this schedule; an interval counts from
    ``counted_from``."""
    rule = schedule.parse(text)
    if isinstance(rule, Every):
        return max(now, counted_from + rule.seconds * 1_000_000)
    if isinstance(rule, UNTIMED):
        return None
    return _next_elapse(text, zone, now)


def next_and_second(
    text: str, zone: str, now: int, counted_from: int, after: int
) -> tuple[int | None, int | None]:
    """``timer_elapse``, and the second slot (or end of an interval) after a point in time."""
    rule = schedule.parse(text)
    if isinstance(rule, Every):
        second = after + 2 * rule.seconds * 1_000_000
        return timer_elapse(text, zone, now, counted_from), second
    if isinstance(rule, UNTIMED):
        return None, None
    first = _next_elapse(text, zone, after)
    # Usually there is no slot in between, and the first is the next.
    first_is_next = after <= now and (first is None or first > now)
    upcoming = first if first_is_next else _next_elapse(text, zone, now)
    return upcoming, None if first is None else _next_elapse(text, zone, first)


@lru_cache(maxsize=1024)
def _next_elapse(text: str, zone: str, now: int) -> int | None:
    """Of many jobs, a lot have the same schedule."""
    following = schedule.elapses(schedule.parse(text), timezone=zone, after=to_datetime(now))
    upcoming = next(following, None)
    return None if upcoming is None else to_usec(upcoming)


def has_no_slot(job: Scheduled, now: int, host_timezone: str) -> bool:
    """Tell whether nothing of a job's schedule is to come; raises ``InvalidInput``.

    A job on demand has none either, and an interval and a boot come again.
    """
    rule = schedule.parse(job.schedule)
    if isinstance(rule, OnDemand):
        return True
    if isinstance(rule, (Every, Reboot)) or (isinstance(rule, Several) and rule.boot is not None):
        return False
    return _next_elapse(job.schedule, job.timezone or host_timezone, now) is None


def next_elapse(
    job: Scheduled, now: int, deployed_at: int, last_start: int | None, host_timezone: str
) -> int | None:
    """Return the job's next elapse (µs, UTC), or ``None``, also where its schedule is not valid
    now."""
    try:
        return next_slot_of_job(job, now, Past(deployed_at, last_start, None), host_timezone)
    except InvalidInput:
        return None


def to_datetime(usec: int) -> datetime:
    """Microseconds since the epoch as an aware UTC ``datetime``."""
    return _EPOCH + timedelta(microseconds=usec)


def to_usec(moment: datetime) -> int:
    """An aware ``datetime`` as microseconds since the epoch."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


CORRECTION_USEC = 3 * 3600 * 1_000_000
"""A step of the clock by more than this is a correction, and the new time counts (cron(8))."""

NEXT_SLOTS = 224
"""The most slots that the guard knows ahead: as many as fit a page of memory."""
_ENOUGH_SLOTS = 32
_ENOUGH_USEC = 30 * 86400 * 1_000_000
"""No more slots than these are looked for beyond that time: each is work, for thousands of jobs."""

NEVER = (1 << 63) - 1
"""The slot after the last one of a schedule that ends."""


@dataclass(frozen=True, slots=True)
class SlotList:
    """The slots that the guard tells apart (µs, UTC), and what they were found by."""

    zone: str
    schedule: str
    """The schedule as its timer reads it: one that was read otherwise had other slots."""
    slots: tuple[int, ...]
    """The latest slot at the time of the list, 0 for none, and those that followed it."""

    def is_for(self, rule: Schedule, zone: str) -> bool:
        """Tell whether these are the slots of a schedule in a zone."""
        return (self.zone, self.schedule) == (zone, _as_read(rule))

    def lasts(self, now: int, share: float) -> bool:
        """Tell whether more than a share of the slots is left, or as many as there will be.

        None is left where the clock was set back to before the list.
        """
        if not self.slots or now < self.slots[0]:
            return False
        if self.slots[-1] == NEVER:
            return True
        return len(self.slots) - bisect_right(self.slots, now) > share * (len(self.slots) - 1)


def _as_read(rule: Schedule) -> str:
    """The text of a schedule, with the ends of steps where its timer has them."""
    if isinstance(rule, Several):
        return "; ".join(map(_as_read, rule.rules))
    if isinstance(rule, Limited):
        days = "".join(f" [{each.name} {each.version}]" for each in schedule.named_calendars(rule))
        return f"{_as_read(rule.base)} | {rule.text}{days}"
    if isinstance(rule, SystemdCalendar) and rule.line != rule.expression:
        return f"calendar:{rule.line}{f' {rule.zone}' if rule.zone else ''}"
    return rule.text


def slot_list(rule: Schedule, zone: str, now: int) -> SlotList:
    """The slots from the latest one on."""
    latest = schedule.latest_elapse(rule, timezone=zone, at=to_datetime(now))
    elapses = schedule.elapses(rule, timezone=zone, after=to_datetime(now))
    following: list[int] = []
    for elapse in map(to_usec, islice(elapses, NEXT_SLOTS)):
        following.append(elapse)
        if len(following) >= _ENOUGH_SLOTS and elapse - now > _ENOUGH_USEC:
            break
    else:
        if len(following) < NEXT_SLOTS:
            following.append(NEVER)
    return SlotList(zone, _as_read(rule), (0 if latest is None else to_usec(latest), *following))


@dataclass(frozen=True, slots=True)
class LastSlot:
    """The last slot that ran, or counts as having run (µs, UTC)."""

    slot: int
    offset: int
    """The clock less the time since boot at that time: it moves with steps only. 0: not known."""
    earlier: tuple[int, ...] = ()
    """The slots that are known to have run before, the latest first."""
