"""The status page's connections: waited for in the main loop, answered beside it.

The listening socket is one more thing that the main loop sleeps on, so that an idle supervisor does
not wake up for it. Each request has a thread for as long as it takes to answer it, with a look at
the database of its own: what is slow there keeps nothing from being recorded. While as many are
being answered or wait for it as may be, further connections wait in the kernel's queue.
"""

from __future__ import annotations

import errno
import grp
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from lunasched.history.timerstate import Timers
from lunasched.paths import Mode
from lunasched.store import Store
from lunasched.supervisor.connections import Connections
from lunasched.supervisor.loop import Handle, Loop

if TYPE_CHECKING:
    from lunasched.files.settings import WebSettings
    from lunasched.web.httpserver import Answer
    from lunasched.web.site import Site

_BACKLOG = 64
# An address in use is retried this much later, if the supervisor is awake then.
_RETRY_SECONDS = 60
# Where there are no descriptors left, there may be some a moment later.
_BREATHER_MS = 500
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class PageServer:
    """The server of the status page, of its JSON and of the metrics."""

    def __init__(
        self,
        loop: Loop,
        settings: WebSettings,
        *,
        mode: Mode,
        database: Path,
        host_timezone: str,
        metrics: Callable[[Store], bytes],
        timers: Callable[[], Timers] = Timers,
    ) -> None:
        """``metrics`` writes them from the store that it is given, in any thread, in which
        ``timers`` can be called, too."""
        self._loop = loop
        self._timers = timers
        self._settings = settings
        self._mode = mode
        self._database = database
        self._host_timezone = host_timezone
        self._metrics = metrics
        self._socket: socket.socket | None = None
        self._site: Site | None = None
        self._lock = Lock()
        self._watch = Handle()
        self._tried_at = float("-inf")
        self._complained = ""
        self._connections = Connections(loop, self._answer, on_room=self._resume)

    @property
    def address(self) -> tuple[str, int] | None:
        """The address at which it listens, if it does."""
        return self._socket.getsockname()[:2] if self._socket else None

    def listen(self) -> None:
        """Listen, if that is wanted and not so yet; what is taken now may be free the next time.

        To be called whenever the supervisor is awake anyway.
        """
        if self._socket is not None or not self._settings.enabled:
            return
        if time.monotonic() - self._tried_at < _RETRY_SECONDS:
            return
        self._tried_at = time.monotonic()
        try:
            self._socket = self._bind()
        except OSError as error:
            self._complain(error)
            return
        if self._complained:
            print(f"<5>the status page is at {self._where()} now", file=sys.stderr)
        self._resume()

    def close(self) -> None:
        """Listen no longer, and let those who are being answered go."""
        self._watch.cancel()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._connections.close()

    def _bind(self) -> socket.socket:
        address = (self._settings.address, self._settings.port)
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            # A connection that was closed a moment ago does not block the address; a listener does.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(_BACKLOG)
        except BaseException:
            listening.close()
            raise
        return listening

    def _complain(self, error: OSError) -> None:
        reason = error.strerror or str(error)
        if reason != self._complained:
            print(
                f"<4>there is no status page: {self._where()}: {reason}; "
                "web.address and web.port in the configuration set it",
                file=sys.stderr,
            )
        self._complained = reason

    def _where(self) -> str:
        host, port = self._settings.address, self._settings.port
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def _resume(self) -> None:
        if self._socket is not None and not self._watch.is_pending:
            descriptor = self._socket.fileno()
            self._watch = self._loop.on_readable(descriptor, self._accept, background=True)

    def _accept(self) -> None:
        if self._socket is None:
            return
        if not self._connections.make_room():
            self._watch.cancel()
            return
        try:
            connection, address = self._socket.accept()
        except OSError as error:
            if error.errno in _EXHAUSTED:
                self._watch.cancel()
                self._loop.after(_BREATHER_MS, self._resume)
            # Otherwise the client has disconnected.
            return
        self._connections.take(connection, str(address[0]))

    def _answer(self) -> Answer:
        with self._lock:
            if self._site is None:
                self._site = self._make_site()
        return self._site.answer

    def _make_site(self) -> Site:
        # Imported here, so that an unused page costs no memory.
        from lunasched.web.access import Access
        from lunasched.web.site import Identity, Site

        host, is_users = socket.gethostname(), self._mode is Mode.USER
        return Site(
            open_source=lambda: Store.open_to_read(self._database),
            metrics=self._write_metrics,
            access=Access(
                names=frozenset(name.lower() for name in (host, *self._settings.hosts)),
                private=is_users,
                show_output=self._settings.show_output,
                uid=os.getuid(),
                group=self._group(),
            ),
            identity=Identity(
                host=host,
                timezone=self._host_timezone,
                default_user="yourself" if is_users else "root",
                command="lunasched --user" if is_users else "lunasched",
            ),
            now=self._loop.now,
            timers=self._timers,
        )

    def _write_metrics(self) -> bytes:
        with Store.open_to_read(self._database) as store:
            return self._metrics(store)

    def _group(self) -> str | None:
        """The group that may read the database."""
        with suppress(OSError, KeyError):
            return grp.getgrgid(self._database.stat().st_gid).gr_name
        return None
