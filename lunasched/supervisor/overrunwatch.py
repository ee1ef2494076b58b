"""Notifications of runs and waiting starts that slots of their jobs pass during, one for each.

When a run is recorded, the time at which its notification is due is computed. One timer is
set for the earliest of these; the end of a run, which mostly comes before it, takes its own away.
A notification is a row under a key of the run's: whatever is killed, it is there once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lunasched.history import overrun
from lunasched.supervisor.loop import Handle, Loop

if TYPE_CHECKING:
    from lunasched.history.run import Run
    from lunasched.store import Start, Store
    from lunasched.supervisor.consequences import Consequences


class OverrunWatch:
    """Waits for runs in progress to overrun slots."""

    def __init__(
        self,
        loop: Loop,
        store: Store,
        consequences: Consequences,
        host_timezone: str,
        *,
        goes_on: Callable[[Run], bool],
        on_notifications: Callable[[], None],
    ) -> None:
        """``goes_on`` asks the manager if it has a run that the history has no end of.

        ``on_notifications`` is called when there are notifications to send.
        """
        self._loop = loop
        self._store = store
        self._consequences = consequences
        self._host_timezone = host_timezone
        self._goes_on = goes_on
        self._on_notifications = on_notifications
        # When to notify of runs in progress, by execution ID.
        self._due: dict[str, int] = {}
        # Those that were notified of.
        self._over_due: set[str] = set()
        # The same of starts that wait for their turn, by their numbers.
        self._waiting: dict[int, int | None] = {}
        self._timer = Handle()

    @property
    def next_at(self) -> int | None:
        """Return the next time at which it wakes up (µs, UTC)."""
        waiting = (at for at in self._waiting.values() if at is not None)
        return min((*self._due.values(), *waiting), default=None)

    def watch_job(self, job: str) -> None:
        """Wait for the runs of a job that are in progress."""
        open_ = self._store.runs.open_of_job(job)
        runs = [run for run in open_ if run.execution_id not in self._over_due]
        found = self._store.jobs.get_with_time(job) if runs else None
        if found is None:
            return
        rule = overrun.Rule.of(*found, self._host_timezone)
        for run in runs:
            first = overrun.first(rule, run.scheduled_at, run.started_at)
            if first is not None:
                at = overrun.notified_at(found[0], first, run.started_at)
                self._due[run.execution_id] = at
        self._plan()

    def watch_starts(self) -> None:
        """Wait for the starts that wait for their turn; those that are gone are not waited for."""
        starts = {start.id: start for start in self._store.starts.all() if not start.is_retry}
        before = self._waiting
        self._waiting = {
            number: before[number] if number in before else self._told_at(start)
            for number, start in starts.items()
        }
        if self._waiting != before:
            self._plan()

    def _told_at(self, start: Start) -> int | None:
        """Return when a notification of a start that waits is due."""
        found = self._store.jobs.get_with_time(start.job)
        if found is None:
            return None
        first = overrun.first_of_start(overrun.Rule.of(*found, self._host_timezone), start)
        since = overrun.waiting_since(start)
        return None if first is None else overrun.notified_at(found[0], first, since)

    def watch_all(self) -> None:
        """Wait anew for all runs in progress: after the start, and where the clock was set."""
        self._due.clear()
        self._waiting.clear()
        self.watch_starts()
        for job in {run.job for run in self._store.runs.open()}:
            self.watch_job(job)
        self._plan()

    def ended(self, execution_id: str) -> None:
        """A run is over, and not waited for any more."""
        self._over_due.discard(execution_id)
        if self._due.pop(execution_id, None) is not None:
            self._plan()

    def _plan(self) -> None:
        self._timer.cancel()
        at = self.next_at
        if at is not None:
            self._timer = self._loop.at(at, self._notify_due, background=True)

    def _notify_due(self) -> None:
        now = self._loop.now()
        with self._store.transaction():
            for execution_id in [one for one, at in self._due.items() if at <= now]:
                del self._due[execution_id]
                self._over_due.add(execution_id)
                self._notify(execution_id)
            for number in [one for one, at in self._waiting.items() if at and at <= now]:
                self._waiting[number] = None
                self._notify_of_start(number)
        self._plan()
        self._on_notifications()

    def _notify_of_start(self, number: int) -> None:
        start = next((one for one in self._store.starts.all() if one.id == number), None)
        found = self._store.jobs.get_with_time(start.job) if start else None
        if start is not None and found is not None:
            self._consequences.waits(*found, start)

    def _notify(self, execution_id: str) -> None:
        run = self._store.runs.get(execution_id)
        found = self._store.jobs.get_with_time(run.job) if run else None
        # If the journal lags, a run may be over without a recorded end: the end is notified later.
        if run is None or found is None or run.result is not None or not self._goes_on(run):
            return
        self._consequences.overruns(*found, run)
