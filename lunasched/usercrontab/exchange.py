"""The words of crontab(1) and of the service that has the rights to the spool.

One request and one answer, each a line of JSON and the bytes that it announces.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from enum import Enum
from typing import Any

from lunasched.errors import LunaschedError
from lunasched.transfer.crontab.lines import SIZE_MAX

SECONDS_MAX = 10.0
"""The longest that one side waits for the other."""

_LINE_MAX = 4096
_SIZE = "size"


class SpoolRequest(Enum):
    """What is asked for."""

    READ = "read"
    WRITE = "write"
    REMOVE = "remove"


class SpoolAnswer(Enum):
    """How it went."""

    DONE = "done"
    NONE = "none"
    """There is no crontab."""
    FAILED = "failed"
    """The words of the answer say why."""


def send_words(connection: socket.socket, words: Mapping[str, str], text: bytes = b"") -> None:
    """Send words, and a text of bytes."""
    line = json.dumps({**words, _SIZE: len(text)})
    connection.sendall(line.encode() + b"\n" + text)


def receive_words(connection: socket.socket) -> tuple[dict[str, Any], bytes]:
    """Receive words, and the text of bytes that follows; raises ``LunaschedError``."""
    end = time.monotonic() + SECONDS_MAX
    data = b""
    while b"\n" not in data:
        if len(data) > _LINE_MAX:
            raise LunaschedError("a request or answer is too long")
        data += _more(connection, end)
    line, _, text = data.partition(b"\n")
    words = _words(line)
    while len(text) < words[_SIZE]:
        text += _more(connection, end)
    return words, text[: words[_SIZE]]


def end_answer(connection: socket.socket) -> None:
    """Close our direction, and read what the other side may still be sending.

    The kernel drops an answer that was not read yet when a connection is closed with unread input.
    """
    connection.shutdown(socket.SHUT_WR)
    end, left = time.monotonic() + SECONDS_MAX, SIZE_MAX * 2
    while left > 0 and time.monotonic() < end:
        data = connection.recv(1 << 16)
        if not data:
            return
        left -= len(data)


def _words(line: bytes) -> dict[str, Any]:
    try:
        words = json.loads(line)
    except (ValueError, RecursionError):
        words = None
    if not isinstance(words, dict):
        raise LunaschedError("a request or answer cannot be read")
    size = words.get(_SIZE)
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= SIZE_MAX + 1:
        raise LunaschedError("a request or answer has no valid size")
    return words


def _more(connection: socket.socket, end: float) -> bytes:
    left = end - time.monotonic()
    if left <= 0:
        raise LunaschedError(f"no complete request or answer came in {SECONDS_MAX:g} s")
    connection.settimeout(left)
    try:
        data = connection.recv(1 << 16)
    except TimeoutError:
        raise LunaschedError(f"no complete request or answer came in {SECONDS_MAX:g} s") from None
    except OSError as error:
        raise LunaschedError(f"the connection broke: {error.strerror}") from error
    if not data:
        raise LunaschedError("the connection was closed")
    return data
