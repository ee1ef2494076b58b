"""The turns of users at a service of systemd's that has one process for each connection.

systemd before 257 does not count the users of a Unix socket (``MaxConnectionsPerSource=``), so that
one of them could have all places. The places of each are locks on files in the runtime directory of
the service.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sys
from contextlib import suppress

TURNS_MAX = 4
"""Requests of one user that are answered at a time."""


NO_CONNECTION = "standard input is no connection: only a unit of systemd runs this command"


def accepted_connection() -> socket.socket | None:
    """The connection on standard input for which systemd started this process (``Accept=yes``)."""
    if "RUNTIME_DIRECTORY" not in os.environ:
        return None
    try:
        return socket.socket(fileno=os.dup(0))
    except OSError:
        return None


def caller_of(connection: socket.socket) -> int:
    """The user ID of who has connected, by the kernel."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[4:8], sys.byteorder)


def takes_turn(uid: int) -> bool:
    """Take one of a user's places, until this process ends; ``False`` if none is free."""
    for place in range(TURNS_MAX):
        path = f"{os.environ['RUNTIME_DIRECTORY']}/{uid}.{place}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        os.close(descriptor)
    return False
