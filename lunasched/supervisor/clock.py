"""Noticing that the clock was set, and waking the timers that would sleep over it.

systemd computes the next elapse of a timer that has never elapsed from the moment at which the
timer was started. Where the clock is set back from before that moment, such a timer sleeps until
the clock has come there again: hours, or years where the clock had been wrong by years. A restart
has it count from now; the slot guard sees to it that this fires nothing twice.

The kernel tells of every step through a timer that never elapses (``TFD_TIMER_CANCEL_ON_SET``,
timerfd_create(2)): nothing polls. Python has timerfd from 3.13 on only, hence ctypes.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from gi.repository import GLib

from lunasched import unittext

if TYPE_CHECKING:
    from lunasched.errors import LunaschedError
    from lunasched.store import Store
    from lunasched.systemd import Manager

_ABSOLUTE, _CANCEL_ON_SET = 1, 2
_NEVER = (1 << (8 * ctypes.sizeof(ctypes.c_long) - 1)) - 1


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Clock:
    """The steps of the clock, watched."""

    def __init__(
        self,
        store: Store,
        manager: Manager,
        now: Callable[[], int],
        guard: Callable[..., Callable[..., bool]],
        *,
        stepped: Callable[[], None],
    ) -> None:
        """``guard`` wraps the callbacks of the main loop; ``stepped`` is called at every step."""
        self._on_step = stepped
        self._store = store
        self._manager = manager
        self._now = now
        self._guard = guard
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = -1

    def watch(self) -> None:
        """Look after the timers now, and whenever the clock is set."""
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        self._descriptor = self._libc.timerfd_create(time.CLOCK_REALTIME, flags)
        if self._descriptor < 0:
            print("<4>steps of the clock cannot be watched on this kernel", file=sys.stderr)
            return
        self._arm()
        GLib.unix_fd_add_full(
            GLib.PRIORITY_DEFAULT,
            self._descriptor,
            GLib.IOCondition.IN,
            self._guard(self._stepped),
        )
        self._wake_timers()

    def _arm(self) -> None:
        never = _Itimerspec(_Timespec(0, 0), _Timespec(_NEVER, 0))
        self._libc.timerfd_settime(
            self._descriptor, _ABSOLUTE | _CANCEL_ON_SET, ctypes.byref(never), None
        )

    def _stepped(self) -> bool:
        # ECANCELED is the news; it has to be read before the timer can be armed again.
        with suppress(OSError):
            os.read(self._descriptor, 8)
        self._arm()
        self._wake_timers()
        self._on_step()
        return True

    def _wake_timers(self) -> None:
        """Restart the timers that were started at a time that is yet to come."""
        timers = [unittext.timer_name(job.name) for job in self._store.jobs.all() if job.enabled]
        for timer in timers:
            if self._manager.active_since(timer) > self._now():
                self._manager.restart_later(timer, partial(_complain, timer))


def _complain(timer: str, error: LunaschedError | None) -> None:
    if error is not None:
        print(f"<4>{timer} could not be restarted: {error}", file=sys.stderr)
