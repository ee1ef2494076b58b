"""journald: whether it keeps up, asked without a word in the journal, and then by a mark in it.

A busy disk can stop journald for minutes. Nothing is wrong then but that the journal is silent, and
the silence says nothing. Two things tell its silences apart.

A *turn*: journald takes what waits for it one piece at a time, from each socket in turn, and closes
its half of a new connection to ``/run/systemd/journal/stdout`` as soon as it accepts it (seen in
systemd 252 and 257). So once that has been seen twice in a row, everything that waited before has
been looked at, and the journal has grown by something of each process whose output is not through.
Such a connection, closed without a word, leaves no record. While journald stands still, its
socket does too: nothing has to wake up to find that out.

A *mark*: a record of ours. The manager's own records come through the same queue, first in, first
out: once the mark is in the journal, so is all that the manager wrote before it, or it is lost.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from lunasched.supervisor.loop import Handle, Loop

_SOCKETS = Path("/run/systemd/journal")
_CONNECTIONS = 2
# The queue of connections is full, which only a hostile client causes: retry after this time.
_FULL_MS = 1000


class Turns:
    """Waits for journald to have had its turn."""

    def __init__(self, loop: Loop, sockets: Path = _SOCKETS) -> None:
        self._loop = loop
        self._path = str(sockets / "stdout")
        self._socket: socket.socket | None = None
        self._wait = Handle()

    def wait(self, answered: Callable[[], object], connections: int = _CONNECTIONS) -> None:
        """Call ``answered``, once, when journald has looked at all that waits for it now.

        Where journald's socket is not there, nothing can wait for it, and it is called soon.
        """
        self.cancel()
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._socket = opened
        try:
            opened.connect(self._path)
        except BlockingIOError:
            self._wait = self._loop.after(_FULL_MS, partial(self.wait, answered, connections))
        except OSError:
            self._wait = self._loop.soon(partial(self._over, answered))
        else:
            action = partial(self._accepted, answered, connections - 1)
            self._wait = self._loop.on_readable(opened.fileno(), action)

    def cancel(self) -> None:
        """Wait no longer."""
        self._wait.cancel()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _accepted(self, answered: Callable[[], object], connections: int) -> None:
        if connections:
            self.wait(answered, connections)
        else:
            self._over(answered)

    def _over(self, answered: Callable[[], object]) -> None:
        self.cancel()
        answered()


def write_mark(name: str, number: int, *, sockets: Path = _SOCKETS) -> None:
    """Put a numbered mark where the manager's records go, unless there is no room at the moment."""
    text = (
        "MESSAGE=lunasched checks for records of events that systemd has reported\n"
        "PRIORITY=6\nSYSLOG_IDENTIFIER=lunasched-daemon\n"
        f"LUNASCHED_MARK={name}\nLUNASCHED_MARK_NUMBER={number}\n"
    )
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    # It is written again when it does not arrive.
    with opened, suppress(OSError):
        opened.sendto(text.encode(), str(sockets / "socket"))
