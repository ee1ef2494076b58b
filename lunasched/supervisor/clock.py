"""Noticing that the clock was set, and waking the timers that would sleep over it.

systemd computes the next elapse of a timer that has never elapsed from the moment at which the
timer was started. Where the clock is set back from before that moment, such a timer sleeps until
the clock has come there again: hours, or years where the clock had been wrong by years (systemd
issue 13513). A restart has it count from now, but not the first one: systemd 252 computes the
elapse before it notes the new start, so that a timer is looked at again after its restart. The slot
guard sees to it that this fires nothing twice.

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

from lunasched.formats import unittext
from lunasched.history.slot import next_elapse
from lunasched.schedule import Every, parse
from lunasched.supervisor.loop import Handle, Loop
from lunasched.systemd.questions import Property

if TYPE_CHECKING:
    from lunasched.errors import LunaschedError
    from lunasched.jobs.model import Job
    from lunasched.store import Store
    from lunasched.systemd.manager import Manager

_ABSOLUTE, _CANCEL_ON_SET = 1, 2
_SECOND_MS = 1000
# A timer elapses at most this much later than its slot, apart from its jitter.
_LATE_USEC = 60_000_000
# A restart of a timer may have been the last thing before our start.
_RECENT_USEC = 600_000_000
# A timer that still sleeps after this many checks was stopped by somebody.
_LOOKS = 30
_NEVER = (1 << (8 * ctypes.sizeof(ctypes.c_long) - 1)) - 1


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Clock:
    """The steps of the clock, watched."""

    def __init__(
        self,
        loop: Loop,
        store: Store,
        manager: Manager,
        *,
        host_timezone: str,
        on_step: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._host_timezone = host_timezone
        self._restarted: dict[str, int] = {}
        self._tick = Handle()
        self._on_step = on_step
        self._store = store
        self._manager = manager
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
        self._loop.on_readable(self._descriptor, self._stepped)
        self._wake_timers(_RECENT_USEC)

    def _arm(self) -> None:
        never = _Itimerspec(_Timespec(0, 0), _Timespec(_NEVER, 0))
        self._libc.timerfd_settime(
            self._descriptor, _ABSOLUTE | _CANCEL_ON_SET, ctypes.byref(never), None
        )

    def _stepped(self) -> None:
        # ECANCELED reports the step; it has to be read before the timer can be armed again.
        with suppress(OSError):
            os.read(self._descriptor, 8)
        self._arm()
        self._wake_timers()
        self._on_step()

    def _wake_timers(self, recent: int = 0) -> None:
        """Restart the timers that were started at a time that is yet to come.

        Those that were started in the last ``recent`` microseconds are looked at again.
        """
        timers = map(unittext.timer_name, self._store.jobs.enabled_names())
        told = self._loop.callback(partial(self._wake_timer, recent))
        self._manager.ask_later(timers, (Property.SINCE,), told)

    def _wake_timer(self, recent: int, timer: str, said: tuple[int]) -> None:
        (since,), now, name = said, self._loop.now(), unittext.job_name(timer)
        # Mostly it was started long ago, and there is no need to know more.
        if name is None or since <= now - recent:
            return
        if since > now:
            if not self._manager.active_since(timer):
                return
            self._restart(name)
        self._restarted.setdefault(name, _LOOKS)
        self._look_again_later()

    def _restart(self, name: str) -> None:
        timer = unittext.timer_name(name)
        self._manager.restart_later(timer, partial(_complain, timer))

    def _look_again_later(self) -> None:
        if self._restarted and not self._tick.is_pending:
            self._tick = self._loop.after(_SECOND_MS, self._look_again)

    def _look_again(self) -> None:
        """Restart the timers once more that still sleep too long."""
        looked_at, self._restarted = self._restarted, {}
        told = self._loop.callback(partial(self._wake_again, looked_at))
        timers = map(unittext.timer_name, looked_at)
        self._manager.ask_later(timers, (Property.SINCE, Property.NEXT), told)

    def _wake_again(self, looked_at: dict[str, int], timer: str, said: tuple[int, int]) -> None:
        (since, following), now, name = said, self._loop.now(), unittext.job_name(timer)
        found = None if name is None else self._store.jobs.get_with_time(name)
        if name is None or found is None or not found[0].enabled:
            return
        is_to_come = since > now
        if not is_to_come and not self._sleeps_on(found[0], following, now):
            return
        if not self._manager.active_since(timer):
            return
        if not is_to_come:
            self._restart(name)
        if looked_at[name] > 1:
            self._restarted[name] = looked_at[name] - 1
            self._look_again_later()

    def _sleeps_on(self, job: Job, following: int, now: int) -> bool:
        """Tell if a timer that elapses next at ``following`` does so later than its schedule."""
        # Intervals do not count from a time of day.
        if following <= now + _LATE_USEC or isinstance(parse(job.schedule), Every):
            return False
        due = next_elapse(job, now, 0, None, self._host_timezone)
        return due is not None and following > due + round(job.leeway * 1_000_000) + _LATE_USEC


def _complain(timer: str, error: LunaschedError | None) -> None:
    if error is not None:
        print(f"<4>{timer} could not be restarted: {error}", file=sys.stderr)
