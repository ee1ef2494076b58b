"""The starts that a job's timer caused, by the times at which systemd says that it elapsed.

A timer that elapses has systemd start one unit, and notes the time. The first start of that unit
from then on is the timer's, and no other is, unless the unit was running at that time, so that
there was nothing to start. A start from elsewhere that comes in between becomes one with it.

Times are compared on the monotonic clock: after a step back of the adjustable one, an elapse may
have the time of a run that is over.

A signal reports each elapse. Of the elapses before the supervisor started, systemd still knows the
last one, and nothing about earlier ones. What it answers holds for every start before the question:
of many starts that were missed, one of each timer needs a question to systemd.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from lunasched.dataclass import dataclass
from lunasched.errors import LunaschedError
from lunasched.formats import unittext
from lunasched.systemd.manager import Elapse
from lunasched.units import concurrency

if TYPE_CHECKING:
    from lunasched.history.run import Instant
    from lunasched.jobs.model import Job
    from lunasched.store import Store

# The most elapses of a timer that may wait for the records of their starts.
_KEPT = 64

# By more than this the clock was set.
_STEP_USEC = 1_000_000


class TimerSignals(Protocol):
    """The part of a service manager that reports timers."""

    def on_elapsed(self, elapsed: Callable[[str, Elapse], None]) -> None:
        """Call ``elapsed`` with the name of each timer that elapses."""

    def last_elapse(self, timer: str) -> Elapse | None:
        """The last elapse of a timer that is active; ``None`` for one that is not."""


@dataclass(frozen=True, slots=True)
class Cause:
    """The known facts about the cause of a start."""

    by_timer: bool | None
    """``None`` where it is not known."""
    at: int
    """The time at which the start was caused (µs, UTC), as far as that is known."""


@dataclass(frozen=True, slots=True)
class _Begun:
    job: Job
    unit: str
    began: Instant
    boot_id: str


class Elapses:
    """The elapses of the timers of jobs, and which of them a start was found for."""

    def __init__(self, store: Store, timers: TimerSignals, *, monotonic: Callable[[], int]) -> None:
        """``monotonic`` returns the time since boot (µs)."""
        self._runs = store.runs
        self._timers = timers
        self._monotonic = monotonic
        self._told: dict[str, deque[Elapse]] = {}
        # By timer: the last elapse when systemd was asked, and when that was (µs since boot).
        self._answers: dict[str, tuple[Elapse | None, int]] = {}
        self._boot_id = ""

    def watch(self, boot_id: str) -> None:
        """Receive every elapse from now on, of timers that run in this boot."""
        self._boot_id = boot_id
        self._timers.on_elapsed(self._elapsed)

    def _elapsed(self, timer: str, elapse: Elapse) -> None:
        if not timer.startswith(unittext.JOB_PREFIX):
            return
        told = self._told.setdefault(timer, deque(maxlen=_KEPT))
        if not told or told[-1].since_boot != elapse.since_boot:
            told.append(elapse)

    def cause(self, job: Job, unit: str, began: Instant, boot_id: str) -> Cause:
        """Return what is known of a start of a job's unit.

        The start is in the journal once: it uses the elapse up. That is in the transaction with
        what it is recorded as, so that no restart of the supervisor comes in between.
        """
        if boot_id != self._boot_id:
            return Cause(None, began.at)
        start = _Begun(job, unit, began, boot_id)
        timer = unittext.timer_name(job.name)
        told = self._told.get(timer, ())
        found = next((one for one in reversed(told) if one.since_boot <= began.since_boot), None)
        if found is not None and self._is_open(start, found):
            return self._use(start, found)
        last = self._last_elapse(timer, began)
        # Where there was one since, systemd no longer knows of those before it.
        if last is None or max(last.active_since_boot, last.since_boot) > began.since_boot:
            return Cause(None, began.at)
        if last.since_boot and self._is_open(start, last):
            return self._use(start, last)
        return Cause(False, began.at)

    def _last_elapse(self, timer: str, began: Instant) -> Elapse | None:
        """Return the last elapse of a timer that systemd knows of, for a start that began then."""
        last, asked_at = self._answers.get(timer, (None, -1))
        if began.since_boot > asked_at:
            asked_at = self._monotonic()
            try:
                last = self._timers.last_elapse(timer)
            except LunaschedError:
                return None
            self._answers[timer] = last, asked_at
        return last

    def _is_open(self, start: _Begun, elapse: Elapse) -> bool:
        """Tell whether a start is still to come for an elapse that is before it."""
        used = self._runs.used_elapse(start.job.name, start.boot_id)
        if used is not None and elapse.since_boot <= used:
            return False
        waits = not concurrency.has_launcher(start.job)
        return not (
            waits
            and self._runs.in_progress_at(
                start.unit, start.boot_id, elapse.since_boot, start.began.ahead
            )
        )

    def _use(self, start: _Begun, elapse: Elapse) -> Cause:
        self._runs.use_elapse(start.job.name, start.boot_id, elapse.since_boot)
        at = start.began.ahead + elapse.since_boot
        # systemd moves the time of an elapse to that of a step back.
        return Cause(True, at if abs(at - elapse.at) > _STEP_USEC else elapse.at)
