"""The journal open and watched, from a reason to look until all is accounted for.

::

    poke ─► read ─► tick ─► turn of journald ─► tick ... quiet ─┬─► over
              ▲                                                 └─► mark ─► over
              └──── news: a record of ours, a signal ───────────────────┘

A tick counts when journald has had a turn in it; while journald stands still, so does the follow.
It is quiet when ticks came and no news. That alone ends the follow, unless something is not there
that systemd reported, or journald was late: then a mark is put behind what systemd has written, and
what is missing once that mark has been read will never come.
"""

from __future__ import annotations

import secrets
from collections import deque
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

from lunasched.supervisor.journald import Turns, write_mark
from lunasched.supervisor.loop import Handle, Loop

if TYPE_CHECKING:
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
# A journald that takes longer for a turn may have a queue.
_LATE_USEC = 1_000_000
# A mark that does not arrive is written again, after growing times, 26 s in all: a limit
# of journald's may have dropped it. Where none ever arrives, the journal keeps nothing.
_MARKS = 7
_LONGEST_WAIT_MS = 10_000


class Recording(Protocol):
    """The work that is done with the journal while it is followed."""

    def tail(self, stack: ExitStack, mark: str) -> Tail:
        """Open the journal from where it was last read, with the marks of this name."""

    def take(self, tail: Tail) -> int:
        """Record what has been written; how many events there were."""

    def turned(self, before: int | None) -> bool:
        """Do what can be done after a turn of journald; ``True`` if all outputs are whole.

        What was written ``before`` a time (µs, UTC), where one is given, has been read by now.
        """

    def doubt(self) -> None:
        """Note the events that the journal should have when it is read once more."""

    def missing(self) -> frozenset[str]:
        """Name the events that systemd reported and that are not recorded."""

    def give_up(self) -> bool:
        """Record events that the journal will never have; ``True`` if all outputs are complete."""

    def followed(self) -> None:
        """Note that the follow is over."""


class Follow:
    """The callbacks of the main loop between two times of sleeping on D-Bus alone."""

    def __init__(self, loop: Loop, recording: Recording) -> None:
        self._loop = loop
        self._recording = recording
        self._stack = ExitStack()
        self._opened: Tail | None = None
        self._turns = Turns(loop)
        self._asked_at: deque[int] = deque(maxlen=_TURNS_LATER)
        self._quiet = 0
        self._late = False
        self._mark = secrets.token_hex(16)
        self._marks = 0
        self._first_mark = 1
        self._missing: frozenset[str] = frozenset()
        self._watch = Handle()
        self._next_read = loop.after(_FIRST_READ_MS, self._read)
        self._tick = loop.after(_TICK_MS, self._ask_journald)

    @property
    def _tail(self) -> Tail:
        if self._opened is None:
            self._opened = self._recording.tail(self._stack, self._mark)
        return self._opened

    def poke(self) -> None:
        """There is news: look soon, and stay a while."""
        self._has_news()
        self._read_soon()

    def close(self) -> None:
        """Stop watching and close the journal."""
        self._turns.cancel()
        for handle in (self._watch, self._tick, self._next_read):
            handle.cancel()
        self._stack.close()

    def _has_news(self) -> None:
        self._quiet = 0
        # More records are expected now than the earlier marks covered.
        self._first_mark = self._marks + 1

    def _on_readable(self) -> None:
        # Until the read, the descriptor stays readable: do not be woken for it again.
        self._watch.cancel()
        self._read_soon()

    def _read_soon(self) -> None:
        if not self._next_read.is_pending:
            self._next_read = self._loop.after(_COALESCE_MS, self._read)

    def _read(self) -> None:
        self._take()
        if not self._watch.is_pending:
            self._watch = self._loop.on_readable(self._tail.fileno(), self._on_readable)

    def _take(self) -> None:
        if self._recording.take(self._tail):
            self._quiet = 0

    def _ask_journald(self) -> None:
        self._asked_at.append(self._loop.now())
        self._turns.wait(self._ticked)

    def _ticked(self) -> None:
        if self._loop.now() - self._asked_at[-1] > _LATE_USEC:
            self._late = True
            # Wait for some more turns.
            self._asked_at.clear()
        self._quiet += 1
        before = self._asked_at[0] if len(self._asked_at) == _TURNS_LATER else None
        outputs_are_whole = self._recording.turned(before)
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
                self._recording.doubt()
                wait = _TICK_MS
        if wait:
            self._tick = self._loop.after(wait, self._ask_journald)

    def _end(self) -> int:
        """Be over, if all is accounted for; how long to wait (ms) otherwise."""
        missing = self._recording.missing()
        if missing:
            if not missing <= self._missing:
                # A mark from before it was known to be missing proves nothing of it.
                self._first_mark = self._marks + 1
            self._missing = missing
            wait = self._prove()
            if wait or not self._quiet:
                return wait or _TICK_MS
            if not self._recording.give_up():
                return _TICK_MS
        self.close()
        self._recording.followed()
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
