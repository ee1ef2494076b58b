"""Connections to the status page: heads and answers pass in the main loop, and threads think.

::

    reading ─ whole head ─► waiting ─► answering (a thread) ─► sending ─► lingering ─► gone
       └── HEAD_SECONDS: 408                                 ANSWER_SECONDS   LINGER_SECONDS

A thread is busy with a request that it has as a whole and with no client, however slow: so silent
or slow clients keep nobody else from an answer. Where there are as many connections as may be, the
one that has been kept waiting for the longest makes room for the next.
"""

from __future__ import annotations

import socket
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from functools import partial
from http import HTTPStatus
from threading import Thread, current_thread
from typing import TYPE_CHECKING, Any

from gi.repository import GLib

if TYPE_CHECKING:
    from lunasched.web.http import Answer

AT_ONCE_MAX = 8
"""Requests that are answered at the same time."""
CONNECTIONS_MAX = 64
"""Connections at the same time."""
PEER_MAX = 16
"""Of those, the ones from one address of another machine."""

_FAREWELL_SECONDS = 2.0
# Where there are no threads left, there may be some a moment later.
_BREATHER_MS = 500


class _State(Enum):
    READING = "reading"
    WAITING = "waiting"
    ANSWERING = "answering"
    SENDING = "sending"
    LINGERING = "lingering"


_OURS = (_State.WAITING, _State.ANSWERING)
"""States in which a connection waits for us, and not for its client."""


class _Connection:
    """One client, from its first byte to the last of its answer."""

    def __init__(self, opened: socket.socket, address: str) -> None:
        self.socket = opened
        self.address = address
        self.state = _State.READING
        self.head = b""
        self.rest = memoryview(b"")
        self.watch = 0
        self.timer = 0


class Connections:
    """The connections that there are; all but ``_work`` is called in the main loop."""

    def __init__(
        self,
        answer: Callable[[], Answer],
        guard: Callable[..., Callable[..., bool]],
        has_room: Callable[[], None],
    ) -> None:
        """``answer`` gives what answers requests; ``has_room`` is called after there was none."""
        self._answer = answer
        self._guard = guard
        self._has_room = has_room
        self._open: dict[_Connection, None] = {}
        self._ready: deque[_Connection] = deque()
        self._threads: set[Thread] = set()

    def make_room(self) -> bool:
        """Have room for one more, if need be in the place of one that its client keeps waiting."""
        if len(self._open) < CONNECTIONS_MAX:
            return True
        return self._drop_oldest(lambda _: True)

    def take(self, opened: socket.socket, address: str) -> None:
        """Serve a connection that there is room for."""
        from lunasched.web import http

        if self._is_full(address) and not self._drop_oldest(lambda one: one.address == address):
            opened.close()
            return
        opened.setblocking(False)
        connection = _Connection(opened, address)
        self._open[connection] = None
        self._enter(connection, _State.READING, http.HEAD_SECONDS)
        # Mostly the head is there already.
        if self._on_readable(connection):
            self._watch(connection, GLib.IOCondition.IN, self._on_readable)

    def close(self) -> None:
        """Let everybody go, and wait a moment for what is being answered."""
        self._ready.clear()
        for connection in list(self._open):
            self._drop(connection)
        for thread in list(self._threads):
            thread.join(_FAREWELL_SECONDS)

    def _is_full(self, address: str) -> bool:
        """Tell whether another machine has all the connections that one may have."""
        if address == "::1" or address.startswith("127."):
            return False
        return sum(one.address == address for one in self._open) >= PEER_MAX

    def _drop_oldest(self, of: Callable[[_Connection], bool]) -> bool:
        for connection in list(self._open):
            if not of(connection):
                continue
            self._read_what_came(connection)
            if connection.state not in _OURS:
                self._drop(connection)
                return True
        return False

    def _read_what_came(self, connection: _Connection) -> None:
        """Take what a client has said and the main loop has not come to yet."""
        if connection.state is _State.READING:
            self._unwatch(connection)
            if self._on_readable(connection):
                self._watch(connection, GLib.IOCondition.IN, self._on_readable)

    def _drop(self, connection: _Connection) -> bool:
        """Close a connection; ``False``, which ends the watch that calls it."""
        if connection in self._open:
            del self._open[connection]
            self._unwatch(connection)
            if connection.timer:
                GLib.source_remove(connection.timer)
                connection.timer = 0
            with suppress(OSError):
                connection.socket.close()
            self._has_room()
        return False

    def _enter(self, connection: _Connection, state: _State, seconds: float) -> None:
        """Begin a state that the client has so much time for."""
        if connection.timer:
            GLib.source_remove(connection.timer)
            connection.timer = 0
        connection.state = state
        if seconds:
            connection.timer = GLib.timeout_add(
                int(seconds * 1000), self._guard(partial(self._expired, connection))
            )

    def _watch(
        self,
        connection: _Connection,
        condition: Any,
        callback: Callable[[_Connection], bool],
    ) -> None:
        # A callback that returns False has taken note that its watch ends: another may be there.
        connection.watch = GLib.unix_fd_add_full(
            GLib.PRIORITY_LOW,
            connection.socket.fileno(),
            condition,
            self._guard(partial(callback, connection)),
        )

    def _unwatch(self, connection: _Connection) -> None:
        if connection.watch:
            GLib.source_remove(connection.watch)
            connection.watch = 0

    def _expired(self, connection: _Connection) -> bool:
        connection.timer = 0
        if connection.state is _State.READING and connection.head:
            self._unwatch(connection)
            self._refuse(connection, HTTPStatus.REQUEST_TIMEOUT)
        else:
            self._drop(connection)
        return False

    def _on_readable(self, connection: _Connection) -> bool:
        """Take what the client says; whether there is more to be taken."""
        from lunasched.web import http

        try:
            received = connection.socket.recv(http.HEAD_BYTES_MAX)
        except BlockingIOError:
            return True
        except OSError:
            return self._forget(connection)
        if connection.state is _State.LINGERING:
            return True if received else self._forget(connection)
        connection.head += received
        if not received and not connection.head:
            return self._forget(connection)
        if received and not http.is_whole(connection.head):
            return True
        connection.watch = 0
        self._enter(connection, _State.WAITING, 0)
        self._ready.append(connection)
        self._start_next()
        return False

    def _forget(self, connection: _Connection) -> bool:
        # The watch that calls this ends by what is returned.
        connection.watch = 0
        return self._drop(connection)

    def _start_next(self) -> bool:
        while self._ready and len(self._threads) < AT_ONCE_MAX:
            connection = self._ready.popleft()
            thread = Thread(target=self._work, args=(connection,), name="page", daemon=True)
            self._threads.add(thread)
            connection.state = _State.ANSWERING
            try:
                thread.start()
            except RuntimeError:
                self._threads.discard(thread)
                connection.state = _State.WAITING
                self._ready.appendleft(connection)
                GLib.timeout_add(_BREATHER_MS, self._guard(self._start_next))
                break
        return False

    def _work(self, connection: _Connection) -> None:
        """Think about one request; in a thread of its own."""
        from lunasched.web import http

        said = b""
        try:
            said = http.respond(connection.socket, connection.head, self._answer())
        except OSError:
            # The client has gone, and its address with it.
            pass
        except Exception as error:
            # Whatever it is: the page is not why recording ends.
            print(f"<3>the status page: {type(error).__name__}: {error}", file=sys.stderr)
        GLib.idle_add(self._guard(partial(self._answered, connection, current_thread(), said)))

    def _answered(self, connection: _Connection, thread: Thread, said: bytes) -> bool:
        self._threads.discard(thread)
        if connection in self._open:
            self._send(connection, said)
        self._start_next()
        return False

    def _refuse(self, connection: _Connection, status: HTTPStatus) -> None:
        from lunasched.web import http

        with suppress(OSError):
            self._send(connection, http.respond(connection.socket, status, self._answer()))
            return
        self._drop(connection)

    def _send(self, connection: _Connection, said: bytes) -> None:
        from lunasched.web import http

        connection.rest = memoryview(said)
        self._enter(connection, _State.SENDING, http.ANSWER_SECONDS)
        if self._on_writable(connection):
            self._watch(connection, GLib.IOCondition.OUT, self._on_writable)

    def _on_writable(self, connection: _Connection) -> bool:
        """Send what the client takes; whether there is more to be sent."""
        from lunasched.web import http

        try:
            while connection.rest:
                connection.rest = connection.rest[connection.socket.send(connection.rest) :]
            # What the client sent and nobody read would reset the connection, and lose the answer.
            connection.socket.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            return True
        except OSError:
            return self._forget(connection)
        connection.watch = 0
        self._enter(connection, _State.LINGERING, http.LINGER_SECONDS)
        self._watch(connection, GLib.IOCondition.IN, self._on_readable)
        return False
