"""Noticing that a job which is to be removed when it is over has had its last run.

It may not remove the job itself, and has ``lunasched-over@.service`` do it, which looks again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from lunasched.errors import InvalidInput
from lunasched.formats.unittext import instance_name
from lunasched.history.slot import has_no_slot

if TYPE_CHECKING:
    from lunasched.jobs.model import Job
    from lunasched.store import Store
    from lunasched.supervisor.loop import Loop


_AT_ONCE = 4
"""The most removals at a time: each is a process that waits for its turn to change jobs."""
_PATIENCE_USEC = 120_000_000


class LastRuns:
    """The jobs that have begun, of which one may be over."""

    def __init__(
        self, loop: Loop, store: Store, host_timezone: str, start_soon: Callable[[str], None]
    ) -> None:
        self._loop = loop
        self._store = store
        self._host_timezone = host_timezone
        self._start_soon = start_soon
        self._begun: set[str] = set()
        self._asked: dict[str, int] = {}

    def watch(self) -> None:
        """Take on the jobs that are to be removed, after a start: one may have ended meanwhile."""
        self._begun.update(self._store.jobs.removed_when_over())
        self.recorded()

    def begun(self, job: str) -> None:
        """A run of a job has begun."""
        self._begun.add(job)

    def recorded(self) -> None:
        """Have the jobs removed that are over, of those that have begun."""
        if not self._begun:
            return
        known = self._store.jobs.some(self._begun)
        removable = {name: job for name, (job, _) in known.items() if job.remove_when_over}
        self._begun &= removable.keys()
        self._forget_asked(removable)
        if not self._begun:
            return
        waiting = self._store.runs.not_done(removable)
        over = {
            name
            for name, job in removable.items()
            if name in self._begun
            and name not in waiting
            and self._store.runs.exist_for(name)
            and self._has_no_slot(job)
        }
        for name in sorted(over - self._asked.keys())[: _AT_ONCE - len(self._asked)]:
            self._asked[name] = self._loop.now()
            self._start_soon(f"lunasched-over@{instance_name(name)}.service")

    def _forget_asked(self, known: Collection[str]) -> None:
        """Drop those that are gone, and those that stay: another job waits for them."""
        now = self._loop.now()
        for name, asked_at in list(self._asked.items()):
            if name not in known or not 0 <= now - asked_at < _PATIENCE_USEC:
                del self._asked[name]
                self._begun.discard(name)

    def _has_no_slot(self, job: Job) -> bool:
        try:
            return has_no_slot(job, self._loop.now(), self._host_timezone)
        except InvalidInput:
            return False
