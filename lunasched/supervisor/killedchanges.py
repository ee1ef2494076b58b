"""Noticing that a command was killed while it changed jobs.

Its jobs may have no timers then, and nobody would know. What it began is finished by
``lunasched-sync.service``, which the supervisor may start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gi.repository import Gio

from lunasched.supervisor.loop import Handle, Loop

if TYPE_CHECKING:
    from lunasched.state.deploylock import DeployLock

# The kernel does not report a released lock, so it is polled, but only while jobs are changed.
_LOOK_MS = 1000


class KilledChanges:
    """The lock of who changes jobs, watched."""

    def __init__(self, loop: Loop, lock: DeployLock, finish: Callable[[], None]) -> None:
        """``finish`` is called where a change was killed."""
        self._loop = loop
        self._lock = lock
        self._finish = finish
        self._looks = Handle()
        # When the change began (ns) that the last look found unfinished with a free lock.
        self._free_since: int | None = None
        self._monitor: Gio.FileMonitor | None = None

    def watch(self) -> None:
        """Begin, also with work that a kill or a power cut interrupted."""
        self._monitor = Gio.File.new_for_path(str(self._lock.word_path)).monitor_file(
            Gio.FileMonitorFlags.NONE, None
        )
        begin = self._loop.callback(self._begin)
        # Opening and closing the file does not mean a change.
        written = Gio.FileMonitorEvent.CHANGED
        self._monitor.connect("changed", lambda *said: said[-1] == written and begin())
        self._begin()

    def _begin(self) -> None:
        if self._lock.is_unfinished and not self._looks.is_pending:
            self._looks = self._loop.every(_LOOK_MS, self._compare)

    def _compare(self) -> None:
        """Finish a change that was killed, and look no more; or look again.

        A change was killed if two looks in a row find the same change unfinished and its lock
        free. Not one: another change may begin or end between the two questions, and a reader of
        /proc/locks can miss a lock while others come and go.
        """
        since = self._lock.unfinished_since
        is_free = since is not None and not self._lock.is_held
        if since is not None and not (is_free and since == self._free_since):
            self._free_since = since if is_free else None
            return
        self._looks.cancel()
        self._free_since = None
        if since is not None:
            self._finish()
