"""The main loop: the one object that everything which waits in the supervisor takes.

It tells the time, calls back after a time, in turn, or when a descriptor is ready, and keeps the
error of a callback: an error ends the loop, instead of being printed and forgotten by GLib.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ParamSpec

from gi.repository import GLib

from lunasched.systemd import sources

P = ParamSpec("P")

# GLib counts milliseconds in 32 bits.
_LONGEST_MS = 2**31


class Handle:
    """Something that the loop waits for, to be cancelled; a new one is for nothing."""

    __slots__ = ("_source", "is_pending")

    def __init__(self, *, is_pending: bool = False) -> None:
        self.is_pending = is_pending
        self._source = 0

    def begin(self, source: int) -> None:
        """Note the number of the GLib source, by which the wait is cancelled."""
        self._source = source

    def cancel(self) -> None:
        """Call nothing back any more; harmless where nothing is waited for."""
        if self.is_pending:
            self.is_pending = False
            GLib.source_remove(self._source)


class Loop:
    """A GLib main loop with a clock; ``background`` callbacks come after all others."""

    def __init__(
        self,
        now: Callable[[], int] = lambda: time.time_ns() // 1000,
        monotonic: Callable[[], int] = GLib.get_monotonic_time,
    ) -> None:
        self._now = now
        self._monotonic = monotonic
        self._main = GLib.MainLoop()
        self._is_over = False
        self._error: BaseException | None = None

    def now(self) -> int:
        """Return the time (µs, UTC)."""
        return self._now()

    def monotonic(self) -> int:
        """Return the microseconds that the machine has been awake."""
        return self._monotonic()

    # Waiting

    def after(
        self, milliseconds: int, action: Callable[[], object], *, background: bool = False
    ) -> Handle:
        """Call ``action`` once, after a time that may be as long as it likes."""
        handle = Handle(is_pending=True)
        self._wait(handle, max(0, milliseconds), action, _priority(background))
        return handle

    def at(self, moment: int, action: Callable[[], object], *, background: bool = False) -> Handle:
        """Call ``action`` once when a time (µs, UTC) is over, by the clock as it is now."""
        wait_ms = max(0, moment - self.now()) // 1000 + 1
        return self.after(wait_ms, action, background=background)

    def every(self, milliseconds: int, action: Callable[[], object]) -> Handle:
        """Call ``action`` again and again, until the wait is cancelled."""
        handle = Handle(is_pending=True)
        handle.begin(GLib.timeout_add(milliseconds, self._repeated(handle, action)))
        return handle

    def soon(self, action: Callable[[], object], *, background: bool = False) -> Handle:
        """Call ``action`` once in its turn; any thread may ask, none but the loop's may cancel."""
        handle = Handle(is_pending=True)

        def called() -> None:
            handle.is_pending = False
            action()

        handle.begin(GLib.idle_add(self._once(called), priority=_priority(background)))
        return handle

    def on_readable(
        self, descriptor: int, action: Callable[[], object], *, background: bool = False
    ) -> Handle:
        """Call ``action`` whenever there is something to read, until the wait is cancelled."""
        return self._on_ready(descriptor, GLib.IOCondition.IN, action, background)

    def on_writable(
        self, descriptor: int, action: Callable[[], object], *, background: bool = False
    ) -> Handle:
        """Call ``action`` whenever something can be written, until the wait is cancelled."""
        return self._on_ready(descriptor, GLib.IOCondition.OUT, action, background)

    def on_signal(self, number: int, action: Callable[[], object]) -> Handle:
        """Call ``action``, before anything else, whenever the process gets a signal."""
        handle = Handle(is_pending=True)
        called = self._repeated(handle, action)
        handle.begin(sources.add_signal(GLib.PRIORITY_HIGH, number, called))
        return handle

    # Running

    def run(self) -> None:
        """Call back what is due until ``quit``, which may have come before."""
        if not self._is_over:
            self._main.run()

    def run_until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Call back what is due until a condition holds; ``False`` if it did not in time."""
        deadline = time.monotonic() + seconds
        # A wake-up is needed for the loop to check the condition.
        tick = GLib.timeout_add(20, lambda: True)
        try:
            while not condition():
                if time.monotonic() >= deadline:
                    return False
                GLib.MainContext.default().iteration(True)
            return True
        finally:
            GLib.source_remove(tick)

    def quit(self) -> None:
        """End ``run``."""
        self._is_over = True
        self._main.quit()

    def fail(self, error: BaseException) -> None:
        """End ``run`` because of an error, for ``raise_failure``."""
        self._error = error
        self.quit()

    @property
    def has_failed(self) -> bool:
        """Tell if the error of a callback ended ``run``."""
        return self._error is not None

    def raise_failure(self) -> None:
        """Raise the error that ended ``run``, if it was one."""
        if self._error is not None:
            raise self._error

    def callback(self, action: Callable[P, object]) -> Callable[P, None]:
        """Return a callback for others to call (D-Bus, Gio) whose error ends ``run``."""

        def called(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                action(*args, **kwargs)
            except BaseException as error:
                self.fail(error)

        return called

    def _wait(
        self, handle: Handle, milliseconds: int, action: Callable[[], object], priority: int
    ) -> None:
        step = min(milliseconds, _LONGEST_MS)

        def elapsed() -> None:
            if step < milliseconds:
                self._wait(handle, milliseconds - step, action, priority)
                return
            handle.is_pending = False
            action()

        handle.begin(GLib.timeout_add(step, self._once(elapsed), priority=priority))

    def _on_ready(
        self, descriptor: int, condition: Any, action: Callable[[], object], background: bool
    ) -> Handle:
        handle = Handle(is_pending=True)
        called = self._repeated(handle, action)
        priority = _priority(background)
        handle.begin(sources.add_descriptor(priority, descriptor, condition, called))
        return handle

    def _once(self, action: Callable[[], object]) -> Callable[..., bool]:
        reporting = self.callback(action)

        def called(*_: object) -> bool:
            reporting()
            return False

        return called

    def _repeated(self, handle: Handle, action: Callable[[], object]) -> Callable[..., bool]:
        def called(*_: object) -> bool:
            try:
                action()
            except BaseException as error:
                handle.is_pending = False
                self.fail(error)
            # Where it was cancelled meanwhile, GLib has removed the source already.
            return handle.is_pending

        return called


def _priority(background: bool) -> int:
    priority: int = GLib.PRIORITY_LOW if background else GLib.PRIORITY_DEFAULT
    return priority
