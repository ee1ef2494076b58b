"""One request over one connection, and its answer: with limits to everything that a client says.

The parser is the standard library's. The head of a request is there as a whole before it begins,
and the answer is bytes, so that who sends or takes them slowly holds nothing; a body is never read.
Answers close the connection.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl

from lunasched.dataclass import dataclass

HEAD_BYTES_MAX = 16 << 10
HEAD_SECONDS = 5.0
"""The time for a client to send the head of its request."""
ANSWER_SECONDS = 10.0
"""The time for it to receive the answer."""
METHODS = ("GET", "HEAD")

LINGER_SECONDS = 1.0
"""The time for it to close the connection after that."""
_QUERY_FIELDS_MAX = 32


@dataclass(frozen=True, slots=True)
class Request:
    """A request. ``path`` is as it was sent, percent-encoded."""

    path: str
    query: dict[str, str]
    host: str | None
    client: Any
    """The client's address, as the socket has it."""
    server: Any
    """The address that it connected to."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer."""

    status: HTTPStatus
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


Answer = Callable[[Request], Response]


def is_whole(head: bytes) -> bool:
    """Tell whether there is nothing more to wait for: all of the head is there, or more than may
    be."""
    return b"\r\n\r\n" in head or b"\n\n" in head or len(head) > HEAD_BYTES_MAX


def respond(connection: socket.socket, head: bytes | HTTPStatus, answer: Answer) -> bytes:
    """The bytes of the answer to a head that was received; or to none, with the reason.

    ``answer`` is called for well-formed requests only. Nothing is read from the connection or
    written to it. Raises ``OSError`` where it is gone.
    """
    if isinstance(head, bytes):
        if len(head) > HEAD_BYTES_MAX:
            head = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        elif not is_whole(head):
            head = HTTPStatus.BAD_REQUEST
    said = BytesIO()
    _Handler(connection, head, said, answer)
    return said.getvalue()


def plain_response(status: HTTPStatus, text: str, *headers: tuple[str, str]) -> Response:
    """An answer of one line of text."""
    return Response(status, "text/plain; charset=utf-8", f"{text}\n".encode(), headers)


class _Handler(BaseHTTPRequestHandler):
    """A head that has been read, parsed; the answer is written to memory."""

    def __init__(
        self,
        connection: socket.socket,
        head: bytes | HTTPStatus,
        said: BytesIO,
        answer: Answer,
    ) -> None:
        self._connection = connection
        self._answer = answer
        self._head = head
        self._said = said
        super().__init__(connection, connection.getpeername(), None)  # type: ignore[arg-type]

    def setup(self) -> None:
        self.rfile = BytesIO(b"" if isinstance(self._head, HTTPStatus) else self._head)
        self.wfile = self._said

    def handle(self) -> None:
        self.command, self.request_version, self.close_connection = "", "HTTP/1.0", True
        if isinstance(self._head, HTTPStatus):
            self.send_error(self._head)
            return
        self.raw_requestline = self.rfile.readline(HEAD_BYTES_MAX)
        if self.parse_request():
            self._respond(self._response())
        elif not self._said.tell():
            # The parser silently drops an empty line.
            self.send_error(HTTPStatus.BAD_REQUEST)

    def finish(self) -> None:
        pass

    def handle_expect_100(self) -> bool:
        # No request has a body.
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer an error that the parser found."""
        status = HTTPStatus(code)
        self._respond(plain_response(status, message or status.phrase))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def _response(self) -> Response:
        if self.command not in METHODS:
            allow = ", ".join(METHODS)
            text = f"only {allow} are allowed here: nothing can be changed"
            return plain_response(HTTPStatus.METHOD_NOT_ALLOWED, text, ("Allow", allow))
        hosts = self.headers.get_all("Host", [])
        if len(hosts) > 1 or (not hosts and self.request_version != "HTTP/1.0"):
            return plain_response(HTTPStatus.BAD_REQUEST, "there must be one Host header")
        path, _, query = self.path.partition("?")
        try:
            fields = parse_qsl(query, errors="replace", max_num_fields=_QUERY_FIELDS_MAX)
        except ValueError:
            return plain_response(HTTPStatus.BAD_REQUEST, "the query has too many fields")
        return self._answer(
            Request(
                path=path,
                query=dict(fields),
                host=hosts[0] if hosts else None,
                client=self.client_address,
                server=self._connection.getsockname(),
            )
        )

    def _respond(self, response: Response) -> None:
        # Not send_response: it says what the server is made of.
        self.protocol_version = "HTTP/1.1"
        self.request_version = "HTTP/1.1"
        self.send_response_only(response.status)
        self.send_header("Date", self.date_time_string())
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        self.send_header("Connection", "close")
        for name, value in (*_SAFE, *response.headers):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)


_SAFE = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("X-Frame-Options", "DENY"),
)
"""Headers of every answer."""
