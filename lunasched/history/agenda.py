"""The runs to come of many jobs together: which start at one time, and which start often."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count, islice, takewhile

from lunasched import schedule
from lunasched.dataclass import dataclass
from lunasched.errors import InvalidInput
from lunasched.history.slot import Past, next_slot_of_job, to_datetime, to_usec
from lunasched.jobs.model import Job
from lunasched.schedule import UNTIMED, Every

OFTEN = 12
"""A job with more starts a day than these is one line of an agenda, and no entry of each hour."""
_DAY_USEC = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Slot:
    """A time at which jobs start (µs, UTC), and their names, sorted."""

    at: int
    jobs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Agenda:
    """What starts within a span of time."""

    slots: tuple[Slot, ...]
    """In the order of time."""
    often: tuple[tuple[str, float], ...]
    """The jobs that start often, each with how many starts a day it has."""

    @property
    def busiest(self) -> Slot | None:
        """The first of the times at which most jobs start together, if two ever do."""
        most = max(self.slots, key=lambda slot: len(slot.jobs), default=None)
        return most if most is not None and len(most.jobs) > 1 else None


def agenda(jobs: Iterable[tuple[Job, Past]], *, now: int, until: int, host_timezone: str) -> Agenda:
    """Return what starts later than ``now`` and not later than ``until`` (µs, UTC).

    A schedule that cannot be read now has no starts.
    """
    days = max(1.0, (until - now) / _DAY_USEC)
    found: dict[int, list[str]] = {}
    often = []
    for job, past in jobs:
        most = int(OFTEN * days)
        try:
            coming = takewhile(lambda at: at <= until, starts_of(job, past, now, host_timezone))
            starts = list(islice(coming, most + 1))
        except InvalidInput:
            continue
        if len(starts) > most:
            often.append((job.name, _a_day(starts)))
            continue
        for at in starts:
            found.setdefault(at, []).append(job.name)
    slots = tuple(Slot(at, tuple(sorted(names))) for at, names in sorted(found.items()))
    return Agenda(slots, tuple(sorted(often)))


def _a_day(starts: list[int]) -> float:
    span = starts[-1] - starts[0]
    return round((len(starts) - 1) * _DAY_USEC / span, 1) if span else 0.0


def starts_of(job: Job, past: Past, now: int, host_timezone: str) -> Iterator[int]:
    """The starts to come of one job (µs, UTC), without its jitter; may have no end.

    Raises ``InvalidInput`` for a schedule that cannot be read now.
    """
    rule = schedule.parse(job.schedule)
    if not job.enabled or isinstance(rule, UNTIMED):
        return
    if isinstance(rule, Every):
        first = next_slot_of_job(job, now, past, host_timezone)
        if first is not None:
            yield from count(first, rule.seconds * 1_000_000)
        return
    zone = job.timezone or host_timezone
    yield from map(to_usec, schedule.elapses(rule, timezone=zone, after=to_datetime(now)))
