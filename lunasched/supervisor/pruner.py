"""Retention while recording: old runs and surplus runs are removed when the supervisor is idle."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lunasched.store import Pruning
from lunasched.supervisor.loop import Loop

if TYPE_CHECKING:
    from lunasched.files.settings import Retention
    from lunasched.store import Store

_INTERVAL_USEC = 3600 * 1_000_000
_EVENTS = 5000
# A batch holds the lock for some milliseconds; other processes need the core, too.
_PAUSE_MS = 20


class Pruner:
    """Passes over the history, of small batches with pauses between them.

    A pass begins when something was recorded, an hour or some thousand events after the last one.
    In between nothing wakes up, and whatever else the main loop has to do goes first.
    """

    def __init__(
        self, loop: Loop, store: Store, retention: Retention, *, needs_runs: Callable[[], bool]
    ) -> None:
        """``needs_runs`` tells if someone has still to look at runs that were just recorded."""
        self._loop = loop
        self._needs_runs = needs_runs
        self._store = store
        self._retention = retention
        self._pass: Pruning | None = None
        self._began_at: int | None = None
        self._events = 0

    def recorded(self, events: int) -> None:
        """Something was recorded: begin a pass if it is time for one."""
        self._events += events
        if self._pass is not None or not self._is_time():
            return
        self._events, self._began_at = 0, self._loop.monotonic()
        self._pass = Pruning(
            self._store,
            history_days=self._retention.history_days,
            max_history_per_job=self._retention.max_history_per_job,
            now=self._loop.now(),
        )
        self._go_on()

    def _is_time(self) -> bool:
        if self._began_at is None or self._events >= _EVENTS:
            return True
        # Of CLOCK_MONOTONIC: setting the clock changes nothing here.
        since = self._loop.monotonic() - self._began_at
        return since >= _INTERVAL_USEC

    def _go_on(self) -> None:
        self._loop.after(_PAUSE_MS, self._step, background=True)

    def _step(self) -> None:
        if self._pass is not None and not self._needs_runs() and self._pass.step() is None:
            self._pass = None
        if self._pass is not None:
            self._go_on()
