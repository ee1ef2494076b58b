"""The slots of a job that passed without a run.

A slot counts as missed if no run was started for it and none was in progress then. A run that makes
up for what passed while the machine was off stands for all of it. Intervals have no slots: they
count from the last run, and none can be missed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lunasched import schedule
from lunasched.dataclass import dataclass
from lunasched.history.run import MissedSlots, Trigger
from lunasched.history.slot import CORRECTION_USEC, to_datetime, to_usec
from lunasched.jobs.model import Job
from lunasched.schedule import UNTIMED, Every

MOST = 1000
"""The most slots that are counted at a time, so that a job that should run every second and did
not for a week does not block the supervisor."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Up to when slots have been looked at, and the latest that this has ever been (µs, UTC)."""

    until: int
    highest: int

    def at(self, now: int) -> Checked:
        """The same by the present clock.

        Where it was set back by so much that the new time counts, so do the slots from then on;
        when it has come to where it was, those that were looked at are not looked at again.
        """
        if now + CORRECTION_USEC >= self.highest:
            return Checked(self.highest, self.highest)
        if now + CORRECTION_USEC < self.until:
            return Checked(now, self.highest)
        return self

    def up_to(self, until: int) -> Checked:
        """The same after slots up to a point in time were looked at."""
        until = max(self.until, until)
        return Checked(until, max(self.highest, until))


@dataclass(frozen=True, slots=True)
class Cover:
    """From when to when the slots of a job belong to one of its runs (µs, UTC)."""

    since: int
    until: int
    slot: int | None = None
    """The slot that the run was started for; those before it will not run any more."""
    makes_up: bool = False
    """True if it also stands for all that passed before it since the run before."""

    @classmethod
    def of(cls, trigger: Trigger, slot: int | None, started_at: int, ended_at: int) -> Cover:
        """Of a run, from its slot on: it may have waited for its turn."""
        since = started_at if slot is None else min(slot, started_at)
        return cls(since, max(since, ended_at), slot, trigger is Trigger.CATCH_UP)


def has_slots(job: Job) -> bool:
    """Tell whether a job is to run at points on the calendar; raises ``InvalidInput``."""
    return job.enabled and not isinstance(schedule.parse(job.schedule), (Every, *UNTIMED))


def find(
    job: Job, host_timezone: str, covers: Iterable[Cover], *, after: int, until: int
) -> MissedSlots | None:
    """The missed slots of a job later than ``after`` and not later than ``until``, if any."""
    rule, zone = schedule.parse(job.schedule), job.timezone or host_timezone
    count, first, last = 0, after, after
    for begin, end in _gaps(covers, after, until):
        for moment in schedule.elapses(rule, timezone=zone, after=to_datetime(begin)):
            slot = to_usec(moment)
            if slot > end or count == MOST:
                break
            count, first, last = count + 1, slot if count == 0 else first, slot
    return MissedSlots(job.name, count, first, last) if count else None


def _gaps(covers: Iterable[Cover], after: int, until: int) -> Iterator[tuple[int, int]]:
    """Yield the gaps between the covers: later than the first, not later than the second."""
    position = after
    for cover in sorted(covers, key=lambda cover: (cover.since, cover.until)):
        end = min(until, cover.since - 1)
        if end > position and not cover.makes_up:
            yield position, end
        position = max(position, cover.until)
    if until > position:
        yield position, until
