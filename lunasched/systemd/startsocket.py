"""Starts of units for the supervisor of the system, by ``lunasched-start.socket``.

It may not ask systemd itself: who may start a unit may cancel a shutdown by the job mode, which
polkit(8) does not see. ``packaging/start-units`` describes the lines that are exchanged.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from gi.repository import GLib

from lunasched.errors import LunaschedError, SystemdError, SystemdUnreachable
from lunasched.paths import START_SOCKET
from lunasched.systemd import sources
from lunasched.systemd.bus import Answered

START_SOCKET_UNIT = "lunasched-start.socket"

# Requests without an answer: they and their answers fit into the buffers of the socket, so that
# neither side ever waits for the other to read.
_IN_FLIGHT = 32
_CONNECT_S = 5
# The process on the other side ends soon after the last answer.
_IDLE_MS = 5_000
_CHUNK = 1 << 16


class StartSocket:
    """Requests, sent and answered in order over a connection that is closed when idle."""

    def __init__(self, path: str = START_SOCKET) -> None:
        self._path = path
        self._connection: socket.socket | None = None
        self._watch = 0
        self._idle = 0
        self._unsent: deque[tuple[str, Answered]] = deque()
        self._unanswered: deque[tuple[str, Answered]] = deque()
        self._received = b""

    def ask(self, verb: str, unit: str, answered: Answered) -> None:
        """Send ``start`` or ``restart`` of a unit; ``answered`` is called from the main loop.

        While few requests are in flight, one is sent before this returns.
        """
        self._unsent.append((f"{verb} {unit}", answered))
        self._send()

    def _send(self) -> None:
        try:
            while self._unsent and len(self._unanswered) < _IN_FLIGHT:
                connection = self._connected()
                request = self._unsent.popleft()
                self._unanswered.append(request)
                connection.sendall(request[0].encode() + b"\n")
        except OSError as error:
            self._lost(f"{self._path}: {error.strerror or error}")

    def _connected(self) -> socket.socket:
        if self._idle:
            GLib.source_remove(self._idle)
            self._idle = 0
        if self._connection is None:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(_CONNECT_S)
            try:
                connection.connect(self._path)
            except OSError:
                connection.close()
                raise
            self._connection = connection
            self._watch = sources.add_descriptor(
                GLib.PRIORITY_DEFAULT,
                connection.fileno(),
                GLib.IOCondition.IN | GLib.IOCondition.HUP,
                self._readable,
            )
        return self._connection

    def _readable(self, *_: object) -> bool:
        assert self._connection is not None
        try:
            chunk = self._connection.recv(_CHUNK)
        except OSError as error:
            self._lost(str(error.strerror))
            return False
        if not chunk:
            self._lost("the connection was closed")
            return False
        for answered, said in self._answers(chunk):
            answered(said)
        self._send()
        if self._connection is not None and not self._unanswered and not self._idle:
            self._idle = GLib.timeout_add(_IDLE_MS, self._rest)
        return self._connection is not None

    def _answers(self, chunk: bytes) -> list[tuple[Answered, LunaschedError | None]]:
        """The requests that what was received answers."""
        *answers, self._received = (self._received + chunk).split(b"\n")
        found = []
        for answer in answers[: len(self._unanswered)]:
            request, answered = self._unanswered.popleft()
            found.append((answered, _error(request, answer.decode(errors="replace"))))
        return found

    def _rest(self) -> bool:
        self._idle = 0
        self._close()
        return False

    def _lost(self, reason: str) -> None:
        """Answer what was not answered; systemd may have taken it on."""
        for answered, known in self._answers(self._unread()):
            GLib.idle_add(_once(answered, known))
        self._close()
        pending = [*self._unanswered, *self._unsent]
        self._unanswered.clear()
        self._unsent.clear()
        error = SystemdUnreachable(f"{reason}; see: systemctl status {START_SOCKET_UNIT}")
        for _, answered in pending:
            GLib.idle_add(_once(answered, error))

    def _unread(self) -> bytes:
        """Return the data that the other side had sent before it was gone."""
        found = b""
        with suppress(OSError):
            while self._connection is not None:
                chunk = self._connection.recv(_CHUNK, socket.MSG_DONTWAIT)
                if not chunk:
                    break
                found += chunk
        return found

    def _close(self) -> None:
        for source in (self._watch, self._idle):
            if source:
                GLib.source_remove(source)
        self._watch = self._idle = 0
        self._received = b""
        if self._connection is not None:
            with suppress(OSError):
                self._connection.close()
            self._connection = None


def _once(answered: Answered, error: LunaschedError | None) -> Callable[[], bool]:
    def call() -> bool:
        answered(error)
        return False

    return call


def _error(request: str, answer: str) -> LunaschedError | None:
    status, _, said = answer.partition(" ")
    if status == "0":
        return None
    return SystemdError(f"systemd refused to {request}: {said or status}", name="")
