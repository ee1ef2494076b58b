"""Which slot a run belongs to: the point in its schedule that it was started for.

The journal tells that a service was started, not why. A start belongs to the timer if the
schedule had a slot that no earlier run has used; otherwise somebody started it by hand.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from enum import Enum
from functools import lru_cache
from itertools import islice

from lunasched import schedule
from lunasched.errors import InvalidInput
from lunasched.model import Job, Trigger
from lunasched.schedule import UNTIMED, Every, OnDemand, Reboot, Schedule

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# An interval is counted on the monotonic clock and compared on the adjustable one here.
_CLOCK_DRIFT_USEC = 2_000_000
# A start later after its slot than this, and its job's jitter, was not on time.
_ACCURACY_USEC = 5_000_000


@dataclass(frozen=True, slots=True)
class Past:
    """What the history says about the time before a run (µs, UTC)."""

    deployed_at: int
    """When the job was last added or changed: its timer counts from there."""
    last_start: int | None
    last_slot: int | None
    ran_this_boot: bool = False


def attribute(
    job: Job, started_at: int, past: Past, host_timezone: str
) -> tuple[Trigger, int | None]:
    """What started a run that nobody is known to have asked for, and its slot (µs, UTC)."""
    if not job.enabled and past.deployed_at <= started_at:
        return Trigger.MANUAL, None
    rule = schedule.parse(job.schedule)
    if isinstance(rule, Every):
        if not job.enabled:
            return Trigger.MANUAL, None
        # What is later than this start by the clock was before the clock was set back.
        counted_from = max(past.deployed_at, past.last_start or 0)
        if counted_from > started_at and past.last_start != counted_from:
            counted_from = past.last_start or counted_from
        if counted_from > started_at:
            return Trigger.TIMER, None
        due = counted_from + rule.seconds * 1_000_000
        if started_at >= due - _CLOCK_DRIFT_USEC:
            missed = not past.ran_this_boot and started_at - due > _late(job)
            return (Trigger.CATCH_UP if missed else Trigger.TIMER), due
        return Trigger.MANUAL, None
    if isinstance(rule, OnDemand):
        return Trigger.MANUAL, None
    if isinstance(rule, Reboot):
        return (Trigger.MANUAL if past.ran_this_boot else Trigger.TIMER), None
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


def latest_slot(job: Job, at: int, host_timezone: str) -> int | None:
    """The job's last slot up to a point in time (µs, UTC); ``None`` for an interval."""
    latest = schedule.latest_elapse(
        schedule.parse(job.schedule), timezone=job.timezone or host_timezone, at=to_datetime(at)
    )
    return None if latest is None else to_usec(latest)


def _late(job: Job) -> int:
    return int(job.jitter * 1_000_000) + _ACCURACY_USEC


def next_slot(job: Job, now: int, past: Past, host_timezone: str) -> int | None:
    """When the job's timer elapses next (µs, UTC), without its jitter."""
    if not job.enabled:
        return None
    counted_from = max(past.deployed_at, past.last_start or 0)
    return timer_elapse(job.schedule, job.timezone or host_timezone, now, counted_from)


def timer_elapse(text: str, zone: str, now: int, counted_from: int) -> int | None:
    """When a timer with this schedule elapses next; its interval counts from a point in time."""
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
    # Mostly there is no slot in between, and the first is the next.
    first_is_next = after <= now and (first is None or first > now)
    upcoming = first if first_is_next else _next_elapse(text, zone, now)
    return upcoming, None if first is None else _next_elapse(text, zone, first)


@lru_cache(maxsize=1024)
def _next_elapse(text: str, zone: str, now: int) -> int | None:
    """Of many jobs, a lot have the same schedule."""
    following = schedule.elapses(schedule.parse(text), timezone=zone, after=to_datetime(now))
    upcoming = next(following, None)
    return None if upcoming is None else to_usec(upcoming)


def next_elapse(
    job: Job, now: int, deployed_at: int, last_start: int | None, host_timezone: str
) -> int | None:
    """When the job elapses next (µs, UTC); never, where its schedule is not one any more."""
    try:
        return next_slot(job, now, Past(deployed_at, last_start, None), host_timezone)
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

NEXT_SLOTS = 64
"""How many slots the guard knows ahead: every so many runs it needs lunasched."""


class Verdict(Enum):
    """What a start is that a timer caused."""

    NEW_SLOT = "new slot"
    REPEATED = "repeated"
    NO_SLOT = "no slot"


@dataclass(frozen=True, slots=True)
class Moment:
    """Now, by the clock and less the time since boot (µs): the latter moves with steps only."""

    now: int
    offset: int


@dataclass(frozen=True, slots=True)
class SlotState:
    """What the slot guard knows of a job (µs, UTC): the last slot that ran and the next ones."""

    last: int
    offset: int
    following: tuple[int, ...]
    zone: str
    schedule: str


def judge(
    rule: Schedule, zone: str, moment: Moment, state: SlotState | None, recorded: int | None
) -> tuple[Verdict, SlotState]:
    """What a start at ``moment`` is, if a timer caused it, and what the guard knows after it.

    ``recorded`` is the last slot in the history, for when the guard's own knowledge was lost.
    """
    current = schedule.latest_elapse(rule, timezone=zone, at=to_datetime(moment.now))
    slot = None if current is None else to_usec(current)
    last = recorded if state is None else state.last
    corrected = state is not None and state.offset - moment.offset > CORRECTION_USEC
    if slot is None:
        verdict = Verdict.NO_SLOT
    elif last is None or slot > last or corrected:
        verdict = Verdict.NEW_SLOT
    else:
        verdict = Verdict.REPEATED
    if verdict is Verdict.NEW_SLOT or state is None:
        return verdict, slots_from(rule, zone, moment, slot or moment.now)
    return verdict, state


def slots_from(rule: Schedule, zone: str, moment: Moment, last: int) -> SlotState:
    """What the guard knows when ``last`` is the last slot that counts as having run."""
    return SlotState(last, moment.offset, _following(rule, zone, moment.now), zone, rule.text)


def found_anew(known: SlotState, rule: Schedule, now: int) -> SlotState:
    """What the guard knows by the time zones of today; a slot that ran does not come again."""
    following = _following(rule, known.zone, max(now, known.last))
    return replace(known, following=following)


def _following(rule: Schedule, zone: str, after: int) -> tuple[int, ...]:
    elapses = schedule.elapses(rule, timezone=zone, after=to_datetime(after))
    return tuple(to_usec(elapse) for elapse in islice(elapses, NEXT_SLOTS))
