"""The state of each job: what the status page counts, puts first, and leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum

from lunasched.dataclass import dataclass
from lunasched.history.pendingstarts import Start
from lunasched.history.run import Result, Run


class State(Enum):
    """The states of a job that can be selected; more than one may hold."""

    FAILED = "failed"
    """Its latest run that was neither refused nor stopped by hand did not succeed."""
    RUNNING = "running"
    WAITING = "waiting"
    """It is to be started: a retry waits for its time, or a start for its turn."""
    SUCCEEDED = "succeeded"
    NEVER = "never run"
    """Nothing of it is in the history."""
    DISABLED = "disabled"


class MarkKind(Enum):
    """The appearance of runs in a timeline."""

    SUCCESS = "success"
    FAILURE = "failure"
    RUNNING = "running"
    NEUTRAL = "neutral"
    """Refused, or stopped by hand."""

    @classmethod
    def of(cls, result: Result | None) -> MarkKind:
        """The look of a run with this result, which is ``None`` while it is in progress."""
        if result is None:
            return cls.RUNNING
        if result.is_failure:
            return cls.FAILURE
        return cls.SUCCESS if result is Result.SUCCESS else cls.NEUTRAL


@dataclass(frozen=True, slots=True)
class JobLine:
    """As much of a job as it takes to find it among many."""

    name: str
    enabled: bool
    tags: tuple[str, ...]
    command: str
    """Empty where it is private."""


@dataclass(frozen=True, slots=True)
class ListedJob:
    """As much of a job as a list of many shows: ten thousand whole ones take a second to be read.

    It has what ``slot.Scheduled`` asks for.
    """

    name: str
    schedule: str
    timezone: str | None
    enabled: bool
    tags: tuple[str, ...]
    updated_at: int
    """When it was last added or changed (µs, UTC)."""
    origin: str
    """The line of a crontab that it is; empty for any other job."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Runs that began within a short stretch of time and ended alike (µs, UTC).

    ``ended_at`` is the latest end of them; ``None`` while one is in progress or where none is
    known.
    """

    kind: MarkKind
    started_at: int
    ended_at: int | None
    count: int


@dataclass(frozen=True, slots=True)
class Standing:
    """A job with its latest outcome, its run in progress and its next start."""

    job: JobLine
    outcome: Run | None
    """Its latest run that is over and was not refused."""
    running_since: int | None
    start: Start | None

    @property
    def states(self) -> frozenset[State]:
        """All that holds."""
        found = set()
        result = self.outcome.result if self.outcome else None
        if result is not None and result.is_failure:
            found.add(State.FAILED)
        elif result is Result.SUCCESS:
            found.add(State.SUCCEEDED)
        if self.running_since is not None:
            found.add(State.RUNNING)
        elif self.start is not None:
            found.add(State.WAITING)
        if not found and self.outcome is None:
            found.add(State.NEVER)
        if not self.job.enabled:
            found.add(State.DISABLED)
        return frozenset(found)


def standings(
    jobs: Iterable[JobLine],
    outcomes: Mapping[str, Run],
    running: Mapping[str, int],
    starts: Iterable[Start],
) -> list[Standing]:
    """Return the jobs' states in order of urgency: failed, running, waiting, and then by name.

    ``running`` is since when the jobs run that do.
    """
    first: dict[str, Start] = {}
    for start in starts:
        first.setdefault(start.job, start)
    found = [
        Standing(job, outcomes.get(job.name), running.get(job.name), first.get(job.name))
        for job in jobs
    ]
    return sorted(found, key=_urgency)


def _urgency(standing: Standing) -> tuple[int, int, str]:
    states = standing.states
    if State.FAILED in states:
        # Among those, the latest failure first: an old one is known by now.
        last = standing.outcome.started_at if standing.outcome else 0
        return (1 if State.DISABLED in states else 0), -last, standing.job.name
    for rank, state in enumerate((State.RUNNING, State.WAITING), 2):
        if state in states:
            return rank, 0, standing.job.name
    return (5 if State.DISABLED in states else 4), 0, standing.job.name


def counts(found: Sequence[Standing]) -> dict[State, int]:
    """Return the number of jobs in each state."""
    counted = dict.fromkeys(State, 0)
    for standing in found:
        for state in standing.states:
            counted[state] += 1
    return counted


def chosen(
    found: Sequence[Standing],
    *,
    words: str = "",
    tag: str | None = None,
    state: State | None = None,
) -> list[Standing]:
    """Those with a tag, in a state, and with all of the words in name, command or tags."""
    wanted = words.casefold().split()
    return [
        standing
        for standing in found
        if (tag is None or tag in standing.job.tags)
        and (state is None or state in standing.states)
        and (not wanted or _has(standing.job, wanted))
    ]


def _has(job: JobLine, words: Sequence[str]) -> bool:
    text = "\n".join((job.name, job.command, *job.tags)).casefold()
    return all(word in text for word in words)
