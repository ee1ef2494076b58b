"""Runs as they are recorded: what started each, how it ended, and what it used.

Everything here is frozen. Points in time are microseconds since the epoch in UTC, as the journal
has them; sizes are bytes.
"""

from __future__ import annotations

from enum import Enum

from lunasched.dataclass import dataclass
from lunasched.jobs.model import HookEvent


class Trigger(Enum):
    """The cause of a run."""

    TIMER = "timer"
    MANUAL = "manual"
    RETRY = "retry"
    CATCH_UP = "catch-up"
    DEPENDENCY = "dependency"


class Result(Enum):
    """The result of a run; the words are systemd's own ``Result=`` where it has one."""

    SUCCESS = "success"
    EXIT_CODE = "exit-code"
    SIGNAL = "signal"
    CORE_DUMP = "core-dump"
    TIMEOUT = "timeout"
    OOM_KILL = "oom-kill"
    EXEC_ERROR = "exec-error"
    SKIPPED = "skipped"
    STOPPED = "stopped"
    LOST = "lost"

    @property
    def is_failure(self) -> bool:
        """Tell whether the run went wrong; a refused or stopped one did not, nor did it succeed."""
        return self not in (Result.SUCCESS, Result.SKIPPED, Result.STOPPED)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a run. ``exit_code`` and ``signal`` are the main process's, one of them set."""

    result: Result
    exit_code: int | None = None
    signal: int | None = None


@dataclass(frozen=True, slots=True)
class MissedSlots:
    """Slots of a job that passed without a run: how many, the first and the last of them."""

    job: str
    count: int
    first_at: int
    last_at: int


@dataclass(frozen=True, slots=True)
class Overrun:
    """Slots of a job that passed during one run: how many, the first and the last of them."""

    count: int
    first_at: int
    last_at: int


OVERRUN_MAX = 10_000
"""So many slots of a calendar are counted of a run: a job that should run every second, and hangs
for a week, is not to keep the supervisor from its work."""


@dataclass(frozen=True, slots=True)
class HookRun:
    """One hook of one run; its own execution ID, and no result while it waits or runs."""

    event: HookEvent
    execution_id: str | None
    result: Result | None
    exit_code: int | None
    signal: int | None


@dataclass(frozen=True, slots=True)
class Instant:
    """A point in time by the clock (µs, UTC), and since boot (µs), which no step of it moves."""

    at: int
    since_boot: int

    @property
    def ahead(self) -> int:
        """The difference of the clock and the time since boot (µs)."""
        return self.at - self.since_boot


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFields:
    """Facts that are known only after a run began, or of some runs only; ``None`` where it is not.

    A report of a run has the same.
    """

    ended_at: int | None = None
    result: Result | None = None
    exit_code: int | None = None
    signal: int | None = None
    attempt: int = 1
    first_attempt_id: str | None = None
    cpu_usec: int | None = None
    memory_peak: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(RunFields):
    """One execution of a job, identified by systemd's invocation ID (32 hexadecimal digits).

    ``ended_at`` is ``None`` while it runs and where nobody saw the end (``lost``);
    ``result`` is ``None`` while it runs.
    """

    execution_id: str
    job: str
    unit: str
    trigger: Trigger
    scheduled_at: int | None
    started_at: int
    output: str | None = None
    overrun: Overrun | None = None

    @property
    def duration(self) -> int | None:
        """Microseconds from the start to the end; ``None`` where one of them is not known."""
        return None if self.ended_at is None else self.ended_at - self.started_at
