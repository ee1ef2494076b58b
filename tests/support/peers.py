"""Servers on loopback that messages are sent to: of HTTP, well behaved or not, and of email."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session

Talk = Callable[["Conversation"], None]
"""What a server does with one connection."""


@dataclass
class Received:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Conversation:
    """A connection to a server, and the request that came."""

    connection: socket.socket
    request: Received
    over: threading.Event
    """When the server is closed."""

    def send(self, *parts: str | bytes) -> None:
        for part in parts:
            self.connection.sendall(part.encode() if isinstance(part, str) else part)

    def answer(self, status: str, body: str | bytes = b"", **headers: str) -> None:
        content = body.encode() if isinstance(body, str) else body
        given = {name.replace("_", "-"): text for name, text in headers.items()}
        listed = {"Content-Length": str(len(content)), **given}
        lines = "".join(f"{name}: {text}\r\n" for name, text in listed.items())
        self.send(f"HTTP/1.1 {status}\r\n{lines}\r\n", content)

    def drip(self, data: bytes) -> None:
        """Send a byte a while, for as long as anybody listens."""
        while not self.over.wait(0.05):
            self.send(data)


@dataclass
class HttpServer:
    """Answers each request by ``talk``, and keeps what came."""

    talk: Talk
    context: ssl.SSLContext | None = None
    received: list[Received] = field(default_factory=list)

    def __enter__(self) -> HttpServer:
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def url(self, path: str = "/", user: str = "") -> str:
        scheme = "http" if self.context is None else "https"
        return f"{scheme}://{user}127.0.0.1:{self.port}{path}"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, UnicodeDecodeError), connection:
            if self.context is not None:
                connection = self.context.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as file:
                method, path, _ = file.readline().decode().split(" ", 2)
                headers: dict[str, str] = {}
                while (line := file.readline()) not in (b"\r\n", b""):
                    name, _, text = line.decode().partition(":")
                    headers[name.strip()] = text.strip()
                body = file.read(int(headers.get("Content-Length", "0")))
                request = Received(method, path, headers, body)
                self.received.append(request)
                self.talk(Conversation(connection, request, self._over))


def answering(status: str, body: str | bytes = b"", **headers: str) -> Talk:
    return lambda talk: talk.answer(status, body, **headers)


@dataclass
class Mail:
    """A message as it was handed over, and to whom."""

    envelope: Envelope
    message: EmailMessage


class Mailbox:
    """What an SMTP server does with a message; addresses can be refused."""

    def __init__(
        self,
        refused: dict[str, str] | None = None,
        answer: str = "250 queued",
        *,
        seven_bits: bool = False,
    ) -> None:
        """With ``seven_bits``, the server is an old one."""
        self.seven_bits = seven_bits
        self.mails: list[Mail] = []
        self.users: list[str] = []
        self._refused, self._answer = refused or {}, answer

    async def handle_EHLO(  # noqa: N802, called by this name
        self, server: Any, session: Session, envelope: Envelope, name: str, answers: list[str]
    ) -> list[str]:
        session.host_name = name
        return [one for one in answers if not (self.seven_bits and "8BITMIME" in one)]

    async def handle_RCPT(  # noqa: N802, called by this name
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self._refused:
            return self._refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802, called by this name
        self, server: Any, session: Session, envelope: Envelope
    ) -> str:
        message = message_from_bytes(envelope.original_content or b"", policy=default)
        assert isinstance(message, EmailMessage)
        self.mails.append(Mail(envelope, message))
        return self._answer

    def authenticate(
        self, server: Any, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        if isinstance(data, LoginPassword) and data.password == b"right":
            self.users.append(data.login.decode())
            return AuthResult(success=True)
        return AuthResult(success=False, handled=False)


class _Controller(Controller):
    """A server at a port that the kernel chooses, which the base class asks for in vain."""

    def _trigger_server(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        (self.port,) = {one.getsockname()[1] for one in self.server.sockets}
        socket.create_connection((self.hostname, self.port)).close()


@contextlib.contextmanager
def mail_server(mailbox: Mailbox, **options: Any) -> Iterator[int]:
    """An SMTP server; yields its port."""
    controller = _Controller(mailbox, **{"hostname": "127.0.0.1", "port": 0, **options})
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


@dataclass(frozen=True)
class Authority:
    """A certification authority that nobody knows, and a server's certificate of it."""

    file: Path
    server: ssl.SSLContext

    @classmethod
    def make(cls, directory: Path, *names: str) -> Authority:
        made = trustme.CA()
        file = directory / "authority.pem"
        made.cert_pem.write_to_path(file)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.issue_cert(*(names or ("127.0.0.1", "localhost"))).configure_cert(context)
        return cls(file, context)
