"""The supervisor's loop with a clock that a test moves: what waits is called when its time is over.

Nothing of GLib runs, so that a test waits for nothing and decides itself what happens when.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from typing import Any

from lunasched.supervisor.loop import Handle, Loop


class HandLoop(Loop):
    """A loop whose time passes by ``advance`` alone; an error of a callback is raised there."""

    def __init__(self, now: int) -> None:
        super().__init__(lambda: self.time, lambda: self.awake)
        self.time = now
        """The time (µs, UTC); a test may set it, as somebody sets a clock."""
        self.awake = 0
        """The microseconds since the loop was made, however the clock is set."""
        self._numbers = count()
        self._timers: list[tuple[int, int, HandHandle]] = []

    def after(
        self, milliseconds: int, action: Callable[[], object], *, background: bool = False
    ) -> Handle:
        return self._add(max(0, milliseconds) * 1000, action)

    def every(self, milliseconds: int, action: Callable[[], object]) -> Handle:
        handle = self._add(milliseconds * 1000, action)
        handle.interval = milliseconds * 1000
        return handle

    def soon(self, action: Callable[[], object], *, background: bool = False) -> Handle:
        return self._add(0, action)

    def on_readable(self, descriptor: int, action: Any, *, background: bool = False) -> Handle:
        raise NotImplementedError("descriptors are for a loop that runs")

    on_writable = on_readable

    @property
    def waits(self) -> list[int]:
        """In how many microseconds something is called, the soonest first."""
        return sorted(due - self.awake for due, _, handle in self._timers if handle.is_pending)

    def advance(self, usec: int = 0) -> None:
        """Let time pass, and call what is due meanwhile, in its order."""
        until = self.awake + usec
        while self._timers and self._timers[0][0] <= until:
            due, _, handle = heapq.heappop(self._timers)
            if not handle.is_pending:
                continue
            self._pass(max(0, due - self.awake))
            if handle.interval:
                self._push(due + handle.interval, handle)
            else:
                handle.is_pending = False
            self.callback(handle.action)()
            if self.has_failed:
                handle.is_pending = False
                self.raise_failure()
        self._pass(until - self.awake)

    def _pass(self, usec: int) -> None:
        self.awake += usec
        self.time += usec

    def _add(self, usec: int, action: Callable[[], object]) -> HandHandle:
        handle = HandHandle(action)
        self._push(self.awake + usec, handle)
        return handle

    def _push(self, due: int, handle: HandHandle) -> None:
        heapq.heappush(self._timers, (due, next(self._numbers), handle))


class HandHandle(Handle):
    """A wait for the time of a ``HandLoop``."""

    def __init__(self, action: Callable[[], object]) -> None:
        super().__init__(is_pending=True)
        self.action = action
        self.interval = 0

    def cancel(self) -> None:
        self.is_pending = False
