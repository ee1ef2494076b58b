"""Connections to the status page: heads and answers pass in the main loop, and threads think.

::

    reading ─ whole head ─► waiting ─► answering (a thread) ─► sending ─► lingering ─► gone
       └── HEAD_SECONDS: 408                                 ANSWER_SECONDS   LINGER_SECONDS

A thread is busy with a request that it has as a whole and with no client, however slow: so silent
or slow clients keep nobody else from an answer. Where there are as many connections as may be, the
user of this machine, or the other machine, that has the most of them loses the one that has been
kept waiting for the longest. So a client that needs a moment to send its request has it, however
many connections somebody else makes.
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
from typing import TYPE_CHECKING

from lunasched.supervisor.loop import Handle, Loop

if TYPE_CHECKING:
    from lunasched.web.httpserver import Answer

AT_ONCE_MAX = 8
"""Requests that are answered at the same time."""
CONNECTIONS_MAX = 64
"""Connections at the same time."""
PEER_MAX = 16
"""Of those, the ones from one address of another machine."""

_FAREWELL_SECONDS = 2.0
# Where there are no threads left, there may be some a moment later.
_BREATHER_MS = 500


class _Stage(Enum):
    READING = "reading"
    WAITING = "waiting"
    ANSWERING = "answering"
    SENDING = "sending"
    LINGERING = "lingering"


_OURS = (_Stage.WAITING, _Stage.ANSWERING)
"""Stages in which a connection waits for us, and not for its client."""


class _Client:
    """One client, from its first byte to the last of its answer."""

    def __init__(self, opened: socket.socket, address: str) -> None:
        self.socket = opened
        self.address = address
        self.user: int | None = None
        """Of a client on this machine, once it was looked for."""
        self.stage = _Stage.READING
        self.head = b""
        self.rest = memoryview(b"")
        self.watch = Handle()
        self.timer = Handle()


def _is_here(address: str) -> bool:
    return address == "::1" or address.startswith("127.")


class Connections:
    """The connections that there are; all but ``_work`` is called in the main loop."""

    def __init__(
        self, loop: Loop, answer: Callable[[], Answer], *, on_room: Callable[[], None]
    ) -> None:
        """``answer`` gives what answers requests; ``on_room`` is called when a place is free."""
        self._loop = loop
        self._answer = answer
        self._on_room = on_room
        self._open: dict[_Client, None] = {}
        self._ready: deque[_Client] = deque()
        self._threads: set[Thread] = set()

    def make_room(self) -> bool:
        """Have room for one more, if need be in the place of one that its client keeps waiting."""
        if len(self._open) < CONNECTIONS_MAX:
            return True
        return self._drop_oldest(self._of_the_most().__contains__) or self._drop_oldest(
            lambda _: True
        )

    def take(self, opened: socket.socket, address: str) -> None:
        """Serve a connection that there is room for."""
        from lunasched.web import httpserver

        if self._is_full(address) and not self._drop_oldest(lambda one: one.address == address):
            opened.close()
            return
        opened.setblocking(False)
        connection = _Client(opened, address)
        self._open[connection] = None
        self._enter(connection, _Stage.READING, httpserver.HEAD_SECONDS)
        # The head has mostly arrived by now.
        self._read_on(connection)

    def close(self) -> None:
        """Let everybody go, and wait a moment for what is being answered."""
        self._ready.clear()
        for connection in list(self._open):
            self._drop(connection)
        for thread in list(self._threads):
            thread.join(_FAREWELL_SECONDS)

    def _is_full(self, address: str) -> bool:
        """Tell whether another machine has all the connections that one may have."""
        if _is_here(address):
            return False
        return sum(one.address == address for one in self._open) >= PEER_MAX

    def _of_the_most(self) -> set[_Client]:
        """Return the connections of the user, or of the other machine, that has the most."""
        self._find_users([one for one in self._open if one.user is None and _is_here(one.address)])
        by_source: dict[object, set[_Client]] = {}
        for one in self._open:
            source = ("user", one.user) if _is_here(one.address) else one.address
            by_source.setdefault(source, set()).add(one)
        return max(by_source.values(), key=len)

    def _find_users(self, clients: list[_Client]) -> None:
        from lunasched.web import peer

        known = []
        for one in clients:
            with suppress(OSError):  # it is gone
                known.append((one, (one.socket.getpeername(), one.socket.getsockname())))
        owners = peer.owners([ends for _, ends in known])
        for (one, _), owner in zip(known, owners, strict=True):
            one.user = owner

    def _drop_oldest(self, of: Callable[[_Client], bool]) -> bool:
        for connection in list(self._open):
            if not of(connection):
                continue
            self._read_what_came(connection)
            if connection.stage not in _OURS:
                self._drop(connection)
                return True
        return False

    def _read_what_came(self, connection: _Client) -> None:
        """Take what a client has said and the main loop has not come to yet."""
        if connection.stage is _Stage.READING:
            connection.watch.cancel()
            self._read_on(connection)

    def _drop(self, connection: _Client) -> None:
        if connection in self._open:
            del self._open[connection]
            connection.watch.cancel()
            connection.timer.cancel()
            with suppress(OSError):
                connection.socket.close()
            self._on_room()

    def _enter(self, connection: _Client, stage: _Stage, seconds: float) -> None:
        """Begin a stage that the client has so much time for."""
        connection.timer.cancel()
        connection.stage = stage
        if seconds:
            expired = partial(self._expired, connection)
            connection.timer = self._loop.after(int(seconds * 1000), expired)

    def _read_on(self, connection: _Client) -> None:
        """Read what is there, and what comes."""
        if self._on_readable(connection):
            self._watch_readable(connection)

    def _watch_readable(self, connection: _Client) -> None:
        descriptor, action = connection.socket.fileno(), partial(self._on_readable, connection)
        connection.watch = self._loop.on_readable(descriptor, action, background=True)

    def _expired(self, connection: _Client) -> None:
        if connection.stage is _Stage.READING and connection.head:
            connection.watch.cancel()
            self._refuse(connection, HTTPStatus.REQUEST_TIMEOUT)
        else:
            self._drop(connection)

    def _on_readable(self, connection: _Client) -> bool:
        """Take what the client says; ``True`` if there is more to be taken."""
        from lunasched.web import httpserver

        try:
            received = connection.socket.recv(httpserver.HEAD_BYTES_MAX)
        except BlockingIOError:
            return True
        except OSError:
            return self._forget(connection)
        if connection.stage is _Stage.LINGERING:
            return True if received else self._forget(connection)
        connection.head += received
        if not received and not connection.head:
            return self._forget(connection)
        if received and not httpserver.is_whole(connection.head):
            return True
        connection.watch.cancel()
        self._enter(connection, _Stage.WAITING, 0)
        self._ready.append(connection)
        self._start_next()
        return False

    def _forget(self, connection: _Client) -> bool:
        self._drop(connection)
        return False

    def _start_next(self) -> None:
        while self._ready and len(self._threads) < AT_ONCE_MAX:
            connection = self._ready.popleft()
            thread = Thread(target=self._work, args=(connection,), name="page", daemon=True)
            self._threads.add(thread)
            connection.stage = _Stage.ANSWERING
            try:
                thread.start()
            except RuntimeError:
                self._threads.discard(thread)
                connection.stage = _Stage.WAITING
                self._ready.appendleft(connection)
                self._loop.after(_BREATHER_MS, self._start_next)
                break

    def _work(self, connection: _Client) -> None:
        """Think about one request; in a thread of its own."""
        from lunasched.web import httpserver

        said = b""
        try:
            said = httpserver.respond(connection.socket, connection.head, self._answer())
        except OSError:
            # The client has gone, and its address with it.
            pass
        except Exception as error:
            # No error of the page may end the recording.
            print(f"<3>the status page: {type(error).__name__}: {error}", file=sys.stderr)
        answered = partial(self._answered, connection, current_thread(), said)
        self._loop.soon(answered, background=True)

    def _answered(self, connection: _Client, thread: Thread, said: bytes) -> None:
        self._threads.discard(thread)
        if connection in self._open:
            self._send(connection, said)
        self._start_next()

    def _refuse(self, connection: _Client, status: HTTPStatus) -> None:
        from lunasched.web import httpserver

        with suppress(OSError):
            self._send(connection, httpserver.respond(connection.socket, status, self._answer()))
            return
        self._drop(connection)

    def _send(self, connection: _Client, said: bytes) -> None:
        from lunasched.web import httpserver

        connection.rest = memoryview(said)
        self._enter(connection, _Stage.SENDING, httpserver.ANSWER_SECONDS)
        if self._on_writable(connection):
            descriptor, action = connection.socket.fileno(), partial(self._on_writable, connection)
            connection.watch = self._loop.on_writable(descriptor, action, background=True)

    def _on_writable(self, connection: _Client) -> bool:
        """Send what the client takes; ``True`` if there is more to be sent."""
        from lunasched.web import httpserver

        try:
            while connection.rest:
                connection.rest = connection.rest[connection.socket.send(connection.rest) :]
            # Unread data from the client would reset the connection, and lose the answer.
            connection.socket.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            return True
        except OSError:
            return self._forget(connection)
        connection.watch.cancel()
        self._enter(connection, _Stage.LINGERING, httpserver.LINGER_SECONDS)
        self._watch_readable(connection)
        return False
