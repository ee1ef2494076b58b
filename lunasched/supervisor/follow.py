"""The journal open and watched, from a reason to look until all is accounted for.

::

    poke ─► read ─► tick ─► turn of journald ─► tick ... quiet ─┬─► over
              ▲                                                 └─► mark ─► over
              └──── news: a record of ours, a signal ───────────────────┘

A tick counts when journald has had a turn in it; while journald stands still, so does the follow.
It is quiet when ticks came and no news. That alone ends the follow, unless something is not there
that systemd told of, or journald was late: then a mark is put behind what systemd has written, and
what is missing once that mark has been read will never come.
"""

from __future__ import annotations

import secrets
from collections import deque
from contextlib import ExitStack
from typing import TYPE_CHECKING

from gi.repository import GLib

from lunasched.supervisor.journald import Turns, write_mark

if TYPE_CHECKING:
    from lunasched.supervisor.service import Supervisor
    from lunasched.systemd.journal import Tail

# The first read waits, so that opening the journal does not compete with the beginning of the run
# that woke us for the machine: it added 6 ms from a slot to the job's first instruction.
_FIRST_READ_MS = 100
# Records that come in a row are taken in one transaction.
_COALESCE_MS = 20
_TICK_MS = 250
_QUIET_TICKS = 8
# When systemd is asked what is over, so that what ends meanwhile has been read by the last tick.
_DOUBT_TICK = 6
# So many turns later, at least a second, a record is in the journal that was to come.
_TURNS_LATER = 5
# Whoever takes longer for a turn may have a queue.
_LATE_USEC = 1_000_000
# A mark that does not arrive is written again, after growing times, 26 s in all: a limit
# of journald's may have dropped it. Where none ever arrives, the journal keeps nothing.
_MARKS = 7
_LONGEST_WAIT_MS = 10_000


class Follow:
    """The callbacks of the main loop between two times of sleeping on D-Bus alone."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._stack = ExitStack()
        self._opened: Tail | None = None
        self._turns = Turns(supervisor.guard)
        self._asked_at: deque[int] = deque(maxlen=_TURNS_LATER)
        self._quiet = 0
        self._late = False
        self._mark = secrets.token_hex(16)
        self._marks = 0
        self._first_mark = 1
        self._watch = 0
        self._reading = GLib.timeout_add(_FIRST_READ_MS, supervisor.guard(self._read))
        self._tick = 0
        self._tick_in(_TICK_MS)

    @property
    def _tail(self) -> Tail:
        if self._opened is None:
            self._opened = self._supervisor.tail(self._stack, self._mark)
        return self._opened

    def poke(self) -> None:
        """There is news: look soon, and stay a while."""
        self._has_news()
        if not self._reading:
            self._reading = GLib.timeout_add(_COALESCE_MS, self._supervisor.guard(self._read))

    def close(self) -> None:
        """Stop watching and close the journal."""
        self._turns.cancel()
        for source in (self._watch, self._tick, self._reading):
            if source:
                GLib.source_remove(source)
        self._stack.close()

    def _has_news(self) -> None:
        self._quiet = 0
        # What the marks so far were behind is not all that is expected now.
        self._first_mark = self._marks + 1

    def _readable(self) -> bool:
        # Until the read, the descriptor stays readable: do not be woken for it again.
        self._watch = 0
        if not self._reading:
            self._reading = GLib.timeout_add(_COALESCE_MS, self._supervisor.guard(self._read))
        return False

    def _read(self) -> bool:
        self._reading = 0
        self._take()
        if not self._watch:
            self._watch = GLib.unix_fd_add_full(
                GLib.PRIORITY_DEFAULT,
                self._tail.fileno(),
                GLib.IOCondition.IN,
                self._supervisor.guard(self._readable),
            )
        return False

    def _take(self) -> None:
        if self._supervisor.take(self._tail):
            self._quiet = 0

    def _tick_in(self, milliseconds: int) -> None:
        self._tick = GLib.timeout_add(milliseconds, self._supervisor.guard(self._due))

    def _due(self) -> bool:
        self._tick = 0
        self._asked_at.append(self._supervisor.now())
        self._turns.wait(self._ticked)
        return False

    def _ticked(self) -> bool:
        if self._supervisor.now() - self._asked_at[-1] > _LATE_USEC:
            self._late = True
            # What was to come within some turns is to come within some more.
            self._asked_at.clear()
        self._quiet += 1
        outputs_are_whole = self._supervisor.complete()
        self._supervisor.notice_running()
        if len(self._asked_at) == _TURNS_LATER:
            self._supervisor.notice_successes(self._asked_at[0])
        self._supervisor.conclude(last_word=True)
        wait = _TICK_MS
        if self._quiet >= _QUIET_TICKS:
            self._take()
            if self._quiet and outputs_are_whole:
                wait = self._end()
        elif self._quiet == _DOUBT_TICK:
            wait = self._prove() if self._late else 0
            if wait:
                self._quiet -= 1
            else:
                self._late = False
                self._supervisor.doubt()
                wait = _TICK_MS
        if wait:
            self._tick_in(wait)
        return False

    def _end(self) -> int:
        """Be over, if all is accounted for; how long to wait (ms) otherwise."""
        missing = self._supervisor.unaccounted()
        if missing:
            wait = self._prove()
            if wait or not self._quiet:
                return wait or _TICK_MS
            self._supervisor.give_up()
            if not self._supervisor.complete():
                return _TICK_MS
        self.close()
        self._supervisor.followed()
        return 0

    def _prove(self) -> int:
        """Have a mark in the journal; how long it is to be waited for (ms), 0 if it is there."""
        self._take()
        tried = self._marks - self._first_mark + 1
        if tried >= _MARKS or self._tail.mark >= self._first_mark:
            return 0
        self._marks += 1
        write_mark(self._mark, self._marks)
        return min(_TICK_MS << tried, _LONGEST_WAIT_MS)
