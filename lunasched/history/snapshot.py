"""The records of all jobs at one moment, for metrics and pages.

Points in time and durations are microseconds, as everywhere; sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from lunasched.dataclass import dataclass
from lunasched.history.run import Result

DURATION_DIGITS = 14
"""The number of digits that each of ``JobSnapshot.durations`` has."""


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """One job. Counters never go down: not when runs are pruned, nor when the job is changed."""

    name: str
    schedule: str
    timezone: str | None
    enabled: bool
    deployed_at: int
    """The last time at which it was added or changed."""

    successes: int
    failures: int
    """Runs that were neither successes nor stopped nor skipped, each attempt by itself."""
    stopped: int
    skipped: int
    """Runs that were refused; no others count among the rest."""
    retries: int
    missed: int
    """Slots that passed without a run."""
    overrun: int
    """Slots that passed during runs that are over."""
    took_usec: int
    cpu_usec: int
    durations: str
    """The durations of the latest 100 runs: microseconds, with leading zeros, one after the
    other."""

    running: int
    """The number of runs in progress."""
    running_since: int | None
    """The start of the first of them."""
    running_slot: int | None
    """The slot that this one is for."""
    overlaps: bool
    """True if a slot starts a run whatever is in progress."""
    leeway_usec: int
    retrying: bool
    """True if a retry waits for its time, or is in progress."""
    last_start: int | None
    """Of a run that was not refused."""
    last_success: int | None
    """The end of the latest success."""
    lateness: int | None
    """The time from its slot to the start of the latest run that had a slot."""
    last_result: Result | None
    """Of the latest run that ended, and was neither stopped nor skipped; the same for the rest."""
    last_exit_code: int | None
    last_signal: int | None
    last_memory_peak: int | None

    @property
    def executions(self) -> int:
        """The number of runs, each attempt one."""
        return self.successes + self.failures + self.stopped


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All jobs, in the order of their names, and what there is one of."""

    jobs: tuple[JobSnapshot, ...]
    elapses: int
    """Runs that a timer started, skipped ones included, also of jobs that are gone."""
    queue_depth: int
    """Starts that are due and wait for their turn."""
    notifications_waiting: int
    notifications_held: int
    """Those that wait for a digest."""
    oldest_notification: int | None
    """When the oldest of the waiting notifications was created."""
    notifications: Mapping[tuple[str, str], int]
    """The number of notifications by type of channel and final state; counters, too."""
    database_size: int


class SnapshotSource(Protocol):
    """The source of a snapshot: the store."""

    def snapshot(self, now: int) -> Snapshot:
        """Return the records as they are now."""
        ...
