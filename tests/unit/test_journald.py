"""journald's turns and marks, at sockets like those of journald."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lunasched.supervisor.journald import Turns, write_mark
from lunasched.supervisor.loop import Loop


class Journald:
    """Listens as journald does, and accepts when it is told to."""

    def __init__(self, directory: Path, backlog: int = 16) -> None:
        self.directory = directory
        self.stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.stream.bind(str(directory / "stdout"))
        self.stream.listen(backlog)
        self.records = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.records.bind(str(directory / "socket"))
        self.open: list[socket.socket] = []

    def take_one(self) -> None:
        opened, _ = self.stream.accept()
        opened.shutdown(socket.SHUT_WR)
        self.open.append(opened)

    def close(self) -> None:
        for one in (self.stream, self.records, *self.open):
            one.close()


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    made = Journald(tmp_path)
    yield made
    made.close()


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.raise_failure()


class Counter:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1

    def counted(self) -> int:
        return self.count


def settle(loop: Loop) -> None:
    """Let the main loop do all that it can do now."""
    done = Counter()
    loop.soon(done, background=True)
    wait_for(loop, lambda: bool(done.count))


def wait_for(loop: Loop, condition: Callable[[], bool]) -> None:
    assert loop.run_until(condition, 60)


def test_a_turn_is_over_when_two_connections_in_a_row_were_taken(
    journald: Journald, loop: Loop
) -> None:
    answered = Counter()
    turns = Turns(loop, journald.directory)
    turns.wait(answered)
    settle(loop)
    assert answered.counted() == 0
    journald.take_one()
    settle(loop)
    assert answered.counted() == 0
    journald.take_one()
    wait_for(loop, lambda: bool(answered.count))
    # Nothing was said, and nothing is left behind.
    assert [one.recv(100) for one in journald.open] == [b"", b""]
    settle(loop)
    assert answered.counted() == 1


def test_who_has_cancelled_is_not_answered(journald: Journald, loop: Loop) -> None:
    answered = Counter()
    turns = Turns(loop, journald.directory)
    turns.wait(answered)
    turns.cancel()
    journald.take_one()
    settle(loop)
    assert not answered.count
    assert journald.open[0].recv(100) == b""


def test_without_journald_there_is_nothing_to_be_waited_for(tmp_path: Path, loop: Loop) -> None:
    answered = Counter()
    Turns(loop, tmp_path).wait(answered)
    wait_for(loop, lambda: bool(answered.count))
    # A socket that is there, and nobody at it.
    answered = Counter()
    Journald(tmp_path).close()
    Turns(loop, tmp_path).wait(answered)
    wait_for(loop, lambda: bool(answered.count))


def test_a_full_queue_is_waited_for(tmp_path: Path, loop: Loop) -> None:
    journald = Journald(tmp_path, backlog=0)
    crowd = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    crowd.connect(str(tmp_path / "stdout"))
    answered = Counter()
    Turns(loop, tmp_path).wait(answered)
    settle(loop)
    assert not answered.count
    journald.stream.setblocking(False)

    def taken() -> bool:
        with suppress(BlockingIOError):
            journald.take_one()
        return bool(answered.count)

    wait_for(loop, taken)
    crowd.close()
    journald.close()


def test_a_mark_never_waits(journald: Journald) -> None:
    write_mark("a" * 32, 7, sockets=journald.directory)
    record = journald.records.recv(4096).decode()
    assert record.endswith("\n")
    fields = dict(line.split("=", 1) for line in record.splitlines())
    assert (fields["LUNASCHED_MARK"], fields["LUNASCHED_MARK_NUMBER"]) == ("a" * 32, "7")
    # Far more than the queue of a socket that nobody reads can hold.
    for number in range(5000):
        write_mark("a" * 32, number, sockets=journald.directory)
    write_mark("a" * 32, 1, sockets=journald.directory / "none")
