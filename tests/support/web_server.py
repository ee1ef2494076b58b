"""The status page of a database, served in this process as the supervisor serves it."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gi.repository import GLib

from lunasched.files.settings import WebSettings
from lunasched.history.run import Result, Run, Trigger
from lunasched.jobs.model import Job
from lunasched.jobs.reading import job_from_mapping
from lunasched.paths import Mode
from lunasched.store import Store
from lunasched.supervisor.pageserver import Pages

SECOND = 1_000_000
HOUR = 3600 * SECOND
NASTY = """<script>alert("1")</script><img src=x onerror='alert(2)'> & "q" 'a'"""
"""What would run, or break out of where it stands, if it were not escaped."""


@dataclass
class Answer:
    """What a server said."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Server:
    """A server that runs, and how to ask it."""

    pages: Pages
    port: int

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """Ask for a path; ``host`` among the headers takes the place of ours."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.putrequest(method, path, skip_host="host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        answer = Answer(response.status, dict(response.getheaders()), response.read())
        connection.close()
        return answer

    def say(self, head: bytes) -> bytes:
        """All that is answered to bytes of any kind."""
        with self.connect() as connection:
            connection.sendall(head)
            return received(connection)

    def connect(self) -> socket.socket:
        """A connection, nothing said yet."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)


def received(connection: socket.socket) -> bytes:
    """What comes until the other end closes."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


@contextmanager
def served(
    database: Path,
    *,
    mode: Mode = Mode.SYSTEM,
    metrics: Callable[[Store], bytes] | None = None,
    **settings: Any,
) -> Iterator[Server]:
    """The server of a database, in a main loop beside the test."""
    port = settings.setdefault("port", free_port())
    pages = Pages(
        WebSettings(**({"enabled": True} | settings)),
        mode=mode,
        database=database,
        host_timezone="Europe/Berlin",
        metrics=metrics or (lambda store: b"# TYPE x gauge\n"),
        now=lambda: time.time_ns() // 1000,
        guard=lambda action: lambda *_: action(),
    )
    loop = GLib.MainLoop()
    thread = threading.Thread(target=loop.run, daemon=True)
    pages.look()
    assert pages.address == ("127.0.0.1", port)
    thread.start()
    try:
        yield Server(pages, port)
    finally:
        GLib.idle_add(loop.quit)
        thread.join()
        pages.close()


class History:
    """Jobs and runs put on record, times counted back from now."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now = time.time_ns() // 1000
        self._number = 0

    def job(self, name: str, **keys: Any) -> Job:
        """A job that was added long ago."""
        mapping = {"name": name, "schedule": "every 1h", "command": "true", **keys}
        job = job_from_mapping(mapping)
        self.store.jobs.put(job, self.now - 10_000 * HOUR)
        return job

    def run(
        self,
        job: str,
        ago: float,
        result: Result | None = Result.SUCCESS,
        *,
        took: float = 1,
        exit_code: int | None = None,
        output: str = "",
        attempt: int = 1,
        first: str | None = None,
    ) -> Run:
        """A run that began so many seconds ago; without a result it is in progress."""
        self._number += 1
        started = self.now - int(ago * SECOND)
        run = Run(
            execution_id=f"{self._number:032x}",
            job=job,
            unit=f"lunasched-job@{self._number}.service",
            trigger=Trigger.TIMER,
            scheduled_at=started,
            started_at=started,
            attempt=attempt,
            first_attempt_id=first,
        )
        runs = self.store.runs
        runs.begin(run, "b" * 32)
        runs.running(run.execution_id)
        if result is Result.SKIPPED:
            runs.skip(run.execution_id, started, started)
        elif result is not None:
            runs.process_ended(run.execution_id, exit_code=exit_code, signal=None)
            ended = None if result is Result.LOST else started + int(took * SECOND)
            runs.end(run.execution_id, result, ended)
            runs.set_output(run.execution_id, output)
        return run
