"""A time limit for a whole conversation.

The timeout of a socket is for each read alone: who sends a byte a second never reaches it.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from types import TracebackType


class Deadline:
    """Ends the connections that it watches when the time is over; a context manager."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._watched: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True

    def __enter__(self) -> Deadline:
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        with self._lock:
            for watched in self._watched:
                watched.close()
            self._watched.clear()

    @property
    def is_over(self) -> bool:
        """True if the time is over: what fails then, failed by it.

        A socket's own timeout may come before the thread that ends connections is awake.
        """
        return time.monotonic() >= self._end

    @property
    def remaining(self) -> float:
        """Seconds that are left, and a moment when there are none."""
        return max(0.01, self._end - time.monotonic())

    def watch(self, connection: socket.socket) -> None:
        """End this connection, too; what becomes of the socket, such as TLS around it, is open."""
        with self._lock:
            self._watched.append(connection.dup())
            if self.is_over:
                self._shut_all()

    def _expire(self) -> None:
        with self._lock:
            self._shut_all()

    def _shut_all(self) -> None:
        for watched in self._watched:
            with suppress(OSError):  # it is closed already
                watched.shutdown(socket.SHUT_RDWR)
