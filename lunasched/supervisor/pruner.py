"""Retention while recording: old runs and surplus runs are removed when the supervisor is idle."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gi.repository import GLib

from lunasched.store import Pruning

if TYPE_CHECKING:
    from lunasched.files.settings import Retention
    from lunasched.store import Store

_INTERVAL_USEC = 3600 * 1_000_000
_EVENTS = 5000
# A batch holds the lock for some milliseconds; what runs beside it needs the core, too.
_PAUSE_MS = 20


class Pruner:
    """Passes over the history, of small batches with pauses between them.

    A pass begins when something was recorded, an hour or some thousand events after the last one.
    In between nothing wakes up, and whatever else the main loop has to do goes first.
    """

    def __init__(
        self,
        store: Store,
        retention: Retention,
        now: Callable[[], int],
        guard: Callable[..., Callable[..., bool]],
        needs_runs: Callable[[], bool],
    ) -> None:
        """``guard`` wraps the callbacks of the main loop.

        ``needs_runs`` is whether someone has still to look at runs that were just recorded.
        """
        self._needs_runs = needs_runs
        self._store = store
        self._retention = retention
        self._now = now
        self._guard = guard
        self._pass: Pruning | None = None
        self._began_at: int | None = None
        self._events = 0

    def recorded(self, events: int) -> None:
        """Something was recorded: begin a pass if it is time for one."""
        self._events += events
        if self._pass is not None or not self._is_time():
            return
        self._events, self._began_at = 0, GLib.get_monotonic_time()
        self._pass = Pruning(
            self._store,
            history_days=self._retention.history_days,
            max_history_per_job=self._retention.max_history_per_job,
            now=self._now(),
        )
        self._go_on()

    def _is_time(self) -> bool:
        if self._began_at is None or self._events >= _EVENTS:
            return True
        # Of CLOCK_MONOTONIC: setting the clock changes nothing here.
        since: int = GLib.get_monotonic_time() - self._began_at
        return since >= _INTERVAL_USEC

    def _go_on(self) -> None:
        GLib.timeout_add(_PAUSE_MS, self._guard(self._step), priority=GLib.PRIORITY_LOW)

    def _step(self) -> bool:
        if self._pass is not None and not self._needs_runs() and self._pass.step() is None:
            self._pass = None
        if self._pass is not None:
            self._go_on()
        return False
