"""Requests to start units, over a socket of which the other side is played by a thread."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from gi.repository import GLib

from lunasched.errors import LunaschedError, SystemdError, SystemdUnreachable
from lunasched.systemd.startsocket import StartSocket

_TIMEOUT_MS = 20_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "start.socket"


@pytest.fixture
def serve(path: Path) -> Iterator[Callable[[Callable[[str], str | None]], None]]:
    """Answer each line by a function; `None` closes the connection."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def loop(answer: Callable[[str], str | None]) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, connection.makefile("r") as lines:
                    for line in lines:
                        said = answer(line.rstrip("\n"))
                        if said is None:
                            break
                        connection.sendall(said.encode() + b"\n")

    def begin(answer: Callable[[str], str | None]) -> None:
        threading.Thread(target=loop, args=(answer,), daemon=True).start()

    yield begin
    listener.close()


def asked(path: Path, *requests: tuple[str, str]) -> list[tuple[str, LunaschedError | None]]:
    """The units in the order in which they were answered, with their errors."""
    starts, answers = StartSocket(str(path)), list[tuple[str, LunaschedError | None]]()
    for verb, unit in requests:
        starts.ask(verb, unit, lambda error, unit=unit: answers.append((unit, error)))  # type: ignore[misc]
    context, expired = GLib.MainContext.default(), []
    source = GLib.timeout_add(_TIMEOUT_MS, lambda: expired.append(True))
    while len(answers) < len(requests) and not expired:
        context.iteration(True)
    if not expired:
        GLib.source_remove(source)
    return answers


def test_requests_are_answered_in_order(path: Path, serve: Callable[..., None]) -> None:
    received: list[str] = []

    def done(line: str) -> str:
        received.append(line)
        return "0"

    serve(done)
    units = [f"lunasched-job@{number}.service" for number in range(500)]
    answers = asked(path, *(("start", unit) for unit in units))
    assert answers == [(unit, None) for unit in units]
    assert received == [f"start {unit}" for unit in units]


def test_what_systemd_says_is_told(path: Path, serve: Callable[..., None]) -> None:
    serve(lambda line: "5 Unit x.timer not found." if "x" in line else "0")
    (_, failed), (_, done) = asked(path, ("restart", "x.timer"), ("start", "y.service"))
    assert isinstance(failed, SystemdError)
    assert "restart x.timer: Unit x.timer not found." in str(failed)
    assert done is None


def test_nobody_listens(path: Path) -> None:
    answers = asked(path, ("start", "a.service"), ("start", "b.service"))
    assert [unit for unit, _ in answers] == ["a.service", "b.service"]
    for _, error in answers:
        assert isinstance(error, SystemdUnreachable)
        assert "systemctl status lunasched-start.socket" in str(error)


def test_a_connection_that_is_lost_answers_what_was_asked(
    path: Path, serve: Callable[..., None]
) -> None:
    serve(lambda line: None if "b" in line else "0")
    answers = dict(asked(path, *(("start", f"{name}.service") for name in "abc")))
    assert answers["a.service"] is None
    assert isinstance(answers["b.service"], SystemdUnreachable)
    assert isinstance(answers["c.service"], SystemdUnreachable)


def test_what_was_answered_before_the_connection_was_lost_is_known(
    path: Path, serve: Callable[..., None]
) -> None:
    """The next request finds it closed while the answer to the first is unread."""
    serve(lambda line: None if "b" in line else "0")
    starts, answers = StartSocket(str(path)), dict[str, LunaschedError | None]()
    for name in "abc":
        if name == "c":
            assert starts._connection
            closed = select.poll()
            closed.register(starts._connection, 0)
            assert closed.poll(_TIMEOUT_MS)
        starts.ask(
            "start",
            f"{name}.service",
            lambda error, name=name: answers.update({name: error}),  # type: ignore[misc]
        )
    while len(answers) < 3:
        GLib.MainContext.default().iteration(True)
    assert answers["a"] is None
    assert isinstance(answers["b"], SystemdUnreachable)
    assert isinstance(answers["c"], SystemdUnreachable)


def test_after_a_loss_it_connects_again(path: Path, serve: Callable[..., None]) -> None:
    lost: list[str] = []
    serve(lambda line: lost.append(line) if not lost else "0")
    starts = StartSocket(str(path))
    answers: list[LunaschedError | None] = []
    for _ in range(2):
        before = len(answers)
        starts.ask("start", "a.service", answers.append)
        while len(answers) == before:
            GLib.MainContext.default().iteration(True)
    assert isinstance(answers[0], SystemdUnreachable)
    assert answers[1] is None
