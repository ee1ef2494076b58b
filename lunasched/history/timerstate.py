"""Timers as the service manager has them: which will elapse, and what keeps the others from it.

A schedule says when a job is due. That it runs then takes a timer that the manager has loaded and
started: none where it was stopped, or where its file was not there yet when the manager began, as
in a home that is mounted late.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Protocol

from lunasched.dataclass import dataclass
from lunasched.formats.unittext import timer_name
from lunasched.history.run import Run


class LoadedUnit(Protocol):
    """A loaded unit as the manager lists it."""

    @property
    def load(self) -> str: ...
    @property
    def active(self) -> str: ...
    @property
    def sub(self) -> str: ...


class Obstacle(Enum):
    """The condition that keeps the timer of an enabled job from elapsing."""

    NOT_RUNNING = "not running"
    """It was stopped, or never started: systemd forgets a timer that does not run."""
    FAILED = "failed"
    MASKED = "masked"
    ELAPSED = "elapsed"
    """It runs, and no time to come is left to it."""
    BUSY = "busy"
    """A run in progress has overrun slots: the timer elapses when that is over."""

    @property
    def words(self) -> str:
        """The obstacle as it stands in the place of a time."""
        return "after its run" if self is Obstacle.BUSY else f"timer {self.value}"


_STATES = {
    "failed": Obstacle.FAILED,
    "inactive": Obstacle.NOT_RUNNING,
    "deactivating": Obstacle.NOT_RUNNING,
}


def timer_obstacle(seen: LoadedUnit | None) -> Obstacle | None:
    """Return the obstacle that keeps a timer from elapsing, if there is one."""
    if seen is None:
        return Obstacle.NOT_RUNNING
    if seen.load == "masked":
        return Obstacle.MASKED
    if seen.active == "active":
        return Obstacle.ELAPSED if seen.sub == "elapsed" else None
    return _STATES.get(seen.active)


@dataclass(frozen=True, slots=True)
class Upcoming:
    """The next elapse of a job (µs, UTC), or the obstacle that its timer has; or neither."""

    at: int | None
    obstacle: Obstacle | None = None


@dataclass(frozen=True, slots=True)
class Timers:
    """The timers of jobs that the manager has loaded, by name; ``None``: it cannot be asked."""

    loaded: Mapping[str, LoadedUnit] | None = None

    def upcoming(self, job: str, by_schedule: int | None, last: Run | None = None) -> Upcoming:
        """Return the next elapse of a job, which is that of its schedule if its timer works.

        ``last`` is its latest run, with the slots that it has overrun so far.
        """
        found = None if by_schedule is None else self.obstacle(job)
        if found is None and by_schedule is not None and _overruns(last):
            found = Obstacle.BUSY
        return Upcoming(None if found else by_schedule, found)

    def obstacle(self, job: str) -> Obstacle | None:
        """Return the obstacle that keeps the timer of a job from elapsing, as far as is known."""
        if self.loaded is None:
            return None
        return timer_obstacle(self.loaded.get(timer_name(job)))


def _overruns(run: Run | None) -> bool:
    return run is not None and run.result is None and run.overrun is not None
