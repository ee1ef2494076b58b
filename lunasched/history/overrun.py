"""Slots of a job that passed while a run of it was in progress.

A run that takes longer than its schedule allows for, or hangs, overruns the slots that follow its
own (``timer_getoverrun(2)``). However many there are, no more than one run follows it. Where each
slot starts a run of its own (Parallel, ``overlap: replace``), a run overruns those alone that
passed while it waited for its turn. Of an interval, each whole one since the start counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import islice

from lunasched import schedule
from lunasched.dataclass import dataclass
from lunasched.errors import InvalidInput
from lunasched.history.pendingstarts import Start
from lunasched.history.run import OVERRUN_MAX, Overrun, Result, Run
from lunasched.history.slot import to_datetime, to_usec
from lunasched.jobs.model import ExecutionMode, Job, Overlap
from lunasched.schedule import UNTIMED, Every

_SECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class Rule:
    """The rule that decides which slots a job's runs overrun."""

    schedule: str
    zone: str
    enabled: bool
    deployed_at: int
    """The last time at which the job was added or changed (µs, UTC)."""
    overlaps: bool
    """True if a slot starts a run whatever is in progress."""
    leeway_usec: int = 0

    @classmethod
    def of(cls, job: Job, deployed_at: int, host_timezone: str) -> Rule:
        """The rule of a job."""
        return cls(
            job.schedule,
            job.timezone or host_timezone,
            job.enabled,
            deployed_at,
            job.mode is ExecutionMode.PARALLEL or job.overlap is Overlap.REPLACE,
            int(job.leeway * _SECOND),
        )


def notified_at(job: Job, first_at: int, since: int) -> int:
    """Return when a run that overruns slots from ``first_at`` on is notified of (µs, UTC).

    ``since`` is its start: what passed before that, while it waited for its turn, does not make it
    one that hangs. Of a start that waits it is ``waiting_since``.
    """
    wait = round((job.notifications.overrun_after + job.leeway) * _SECOND)
    return max(first_at, since) + wait


def passed(rule: Rule, scheduled_at: int | None, started_at: int, until: int) -> Overrun | None:
    """The slots that passed during a run up to a point in time, if any (µs, UTC)."""
    if rule.overlaps:
        until = min(until, started_at)
    if not rule.enabled:
        # No slot has been due since the job was disabled.
        until = min(until, rule.deployed_at)
    return _between(rule, scheduled_at, started_at, until - rule.leeway_usec)


def first(rule: Rule, scheduled_at: int | None, started_at: int) -> int | None:
    """The first slot (µs, UTC) that a run in progress will have overrun, if it lasts that long."""
    if rule.overlaps or not rule.enabled:
        return None
    try:
        parsed = schedule.parse(rule.schedule)
        if isinstance(parsed, Every):
            return started_at + parsed.seconds * _SECOND
        if isinstance(parsed, UNTIMED):
            return None
        after = to_datetime(_base(rule, scheduled_at, started_at))
        upcoming = next(schedule.elapses(parsed, timezone=rule.zone, after=after), None)
    except InvalidInput:
        # An earlier version accepted the schedule.
        return None
    return None if upcoming is None else to_usec(upcoming)


def so_far(
    runs: Iterable[Run],
    jobs: Callable[[list[str]], Mapping[str, tuple[Job, int]]],
    *,
    now: int,
    host_timezone: str,
) -> list[Run]:
    """Runs as they are on record, those in progress with the slots that have passed by now.

    ``jobs`` looks up jobs by their names, each with when it was last changed.
    """
    runs = list(runs)
    names = sorted({run.job for run in runs if run.result is None})
    known = jobs(names) if names else {}
    return [
        replace(run, overrun=overrun_of_run(Rule.of(*known[run.job], host_timezone), run, now))
        if run.result is None and run.job in known
        else run
        for run in runs
    ]


def overrun_of_run(rule: Rule, run: Run, until: int) -> Overrun | None:
    """The same of a run that is known."""
    return passed(rule, run.scheduled_at, run.started_at, until)


def waiting_since(start: Start) -> int:
    """After which slots count that pass while a start waits for its turn (µs, UTC)."""
    return start.created_at if start.scheduled_at is None else start.scheduled_at


def overrun_of_start(rule: Rule, start: Start, now: int) -> Overrun | None:
    """The slots that have passed while a start waits: however many, it is one start."""
    since = waiting_since(start)
    return passed(replace(rule, overlaps=False), since, since, now)


def first_of_start(rule: Rule, start: Start) -> int | None:
    """The first slot (µs, UTC) that will have passed, if a start waits for that long."""
    since = waiting_since(start)
    return first(replace(rule, overlaps=False), since, since)


def of_ended(rule: Rule, run: Run, checked_until: int | None) -> Overrun | None:
    """The slots that passed during a run that is over.

    Nobody saw the end of a lost run: those count that were looked at while it was in progress
    (``checked_until``), and later ones are missed.
    """
    until = checked_until if run.result is Result.LOST else run.ended_at
    if until is None or run.result is Result.SKIPPED:
        return None
    return overrun_of_run(rule, run, until)


def _base(rule: Rule, scheduled_at: int | None, started_at: int) -> int:
    """After which the slots count: those of before are its own, or of another schedule."""
    since = started_at if scheduled_at is None else scheduled_at
    # Disabling the job since then has not changed its schedule.
    return max(since, rule.deployed_at) if rule.enabled else since


def _between(rule: Rule, scheduled_at: int | None, started_at: int, until: int) -> Overrun | None:
    try:
        parsed = schedule.parse(rule.schedule)
        if isinstance(parsed, Every):
            return _intervals(parsed.seconds * _SECOND, started_at, until)
        after = _base(rule, scheduled_at, started_at)
        if isinstance(parsed, UNTIMED) or until <= after:
            return None
        count, first_at, last_at = 0, 0, 0
        elapses = schedule.elapses(parsed, timezone=rule.zone, after=to_datetime(after))
        for slot in map(to_usec, islice(elapses, OVERRUN_MAX)):
            if slot > until:
                break
            count, first_at, last_at = count + 1, first_at or slot, slot
    except InvalidInput:
        return None
    return Overrun(count, first_at, last_at) if count else None


def _intervals(length: int, since: int, until: int) -> Overrun | None:
    count = (until - since) // length
    return Overrun(count, since + length, since + count * length) if count > 0 else None
