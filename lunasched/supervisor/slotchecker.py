"""Slots that passed without a run: found when there is nothing else to do, each counted once.

When a run is on record, the slots of its job before its own will not run any more. All jobs are
looked at a while after the start, after a step of the clock and after a resume, when what was due
has had time to begin, and once an hour if anything was recorded. In between nothing wakes up.

Up to when slots were looked at is a row of the transaction that counts them. While jobs are being
changed, nothing is counted: from when a new job is there is known once its timer has started.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lunasched.errors import InvalidInput
from lunasched.history import missed
from lunasched.history.missed import Checked
from lunasched.supervisor.loop import Handle, Loop

if TYPE_CHECKING:
    from lunasched.jobs.model import Job
    from lunasched.store import Store
    from lunasched.supervisor.consequences import Consequences

_SECOND = 1_000_000
# How late a run may begin, or come to be on record, besides its jitter.
_PATIENCE_USEC = 300 * _SECOND
# systemd lets a job wait for those that it depends on.
_PATIENCE_FOR_OTHERS_USEC = 86_400 * _SECOND
_INTERVAL_USEC = 3600 * _SECOND
# A batch holds the lock for this long; other processes need the core, too.
_BATCH_USEC = 10_000
_PAUSE_MS = 20
# Until the next look whether jobs are still being changed.
_CHANGE_PAUSE_MS = 1000


class SlotChecker:
    """Looks at the slots of jobs, a few jobs at a time."""

    def __init__(
        self,
        loop: Loop,
        store: Store,
        consequences: Consequences,
        host_timezone: str,
        *,
        is_changing: Callable[[], bool] = lambda: False,
        on_notifications: Callable[[], None] = lambda: None,
        on_checked: Callable[[str], None] = lambda job: None,
    ) -> None:
        """``is_changing`` tells whether somebody is changing jobs.

        ``on_notifications`` is called when there may be notifications to send.

        ``on_checked`` is called with the name of each job that was checked because of a run, or of
        the time.
        """
        self._loop = loop
        self._is_changing = is_changing
        self._on_notifications = on_notifications
        self._on_checked = on_checked
        self._store = store
        self._consequences = consequences
        self._host_timezone = host_timezone
        # An ordered set: the jobs to be looked at.
        self._jobs: dict[str, None] = {}
        self._next_step = Handle()
        self._full_check = Handle()
        # Of CLOCK_MONOTONIC: when the time began that runs had to begin in, and the last full look.
        self._awake_since = loop.monotonic()
        self._looked_at = self._awake_since
        self._sequence = store.slots.newest()

    @property
    def is_busy(self) -> bool:
        """True if there are jobs to be looked at, for which their latest runs are needed."""
        return bool(self._jobs)

    def woke(self) -> None:
        """Time may have passed without us: look at all jobs, once what is due has begun."""
        self._awake_since = self._loop.monotonic()
        self._check_all_in(_PATIENCE_USEC)

    def recorded(self) -> None:
        """Runs were recorded: look at their jobs, or at all if that was long ago."""
        self._sequence, jobs = self._store.slots.jobs_since(self._sequence)
        self._add(jobs)
        if self._loop.monotonic() - self._looked_at >= _INTERVAL_USEC:
            self._check_all()

    def _check_all(self) -> None:
        self._looked_at = self._loop.monotonic()
        self._add(self._store.jobs.names())

    def _add(self, jobs: list[str]) -> None:
        self._jobs |= dict.fromkeys(jobs)
        if self._jobs and not self._next_step.is_pending:
            self._go_on()

    def _check_all_in(self, usec: int) -> None:
        self._full_check.cancel()
        wait_ms = usec // 1000 + 1
        self._full_check = self._loop.after(wait_ms, self._check_all, background=True)

    def _go_on(self, pause_ms: int = _PAUSE_MS) -> None:
        self._next_step = self._loop.after(pause_ms, self._step, background=True)

    def _step(self) -> None:
        if self._is_changing():
            self._go_on(_CHANGE_PAUSE_MS)
            return
        began = self._loop.monotonic()
        with self._store.transaction():
            while self._jobs and self._loop.monotonic() - began < _BATCH_USEC:
                name = next(iter(self._jobs))
                self.check(name)
                self._on_checked(name)
                del self._jobs[name]
        if self._jobs:
            self._go_on()
        self._on_notifications()

    def check(self, name: str) -> None:
        """Count the slots that a job has missed by now; belongs in a transaction."""
        found = self._store.jobs.get_with_time(name)
        if found is None or not _has_slots(found[0]):
            return
        job, deployed_at = found
        now, slots = self._loop.now(), self._store.slots
        checked = (slots.checked(name) or Checked(deployed_at, deployed_at)).at(now)
        covers = slots.covers(name)
        until = max((cover.slot for cover in covers if cover.slot is not None), default=0)
        until = min(now, max(until, self._over_by_now(job, now)))
        after = max(checked.until, deployed_at)
        if until <= after:
            return
        result = missed.find(job, self._host_timezone, covers, after=after, until=until)
        slots.set_checked(name, checked.up_to(until))
        if result is not None:
            slots.add_missed(result)
            self._consequences.missed(job, result.count, result.first_at, result.last_at)

    def _over_by_now(self, job: Job, now: int) -> int:
        """Up to when a slot of the job would have been run by now."""
        patience = _PATIENCE_FOR_OTHERS_USEC if job.waits_for else _PATIENCE_USEC
        patience += int(job.leeway * _SECOND)
        left = patience - (self._loop.monotonic() - self._awake_since)
        if left <= 0:
            return now - patience
        if not self._full_check.is_pending:
            self._check_all_in(left)
        return 0


def _has_slots(job: Job) -> bool:
    try:
        return missed.has_slots(job)
    except InvalidInput:
        # An earlier version accepted the schedule.
        return False
