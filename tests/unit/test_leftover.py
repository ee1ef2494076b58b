"""Processes that outlive a run: which are found, and what is said of them."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lunasched.machine import processes
from lunasched.units import leftover
from lunasched.units.leftover import Leftover

# Prints the ID of a process that it starts and that outlives it.
ORPHAN = """
import subprocess
child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
print(child.pid, flush=True)
"""


@contextmanager
def process(*command: str, output: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output) as child:
        try:
            yield child
        finally:
            child.kill()


def test_what_a_process_has_started_is_of_the_run() -> None:
    with process("sh", "-c", "sh -c 'sleep 1000; true' & sleep 1001; true") as child:
        # A shell that has forked is a shell until it has executed what it starts.
        names: list[str] = []
        end = time.monotonic() + 300
        while names != ["sh", "sh", "sleep", "sleep"]:
            assert child.poll() is None
            assert time.monotonic() < end, names
            found = processes.of_runs([child.pid])
            names = sorted(one.name for one in found)
        assert child.pid in [one.pid for one in found]
        assert os.getpid() not in [one.pid for one in found]
        assert all(one.is_alive for one in found)
        for one in found:
            os.kill(one.pid, 9)
        # They die when they are next scheduled.
        while any(one.is_alive for one in found):
            os.sched_yield()


def test_an_orphan_is_known_by_its_output() -> None:
    """Its parent has ended, so that nothing but the socket of the output leads to it."""
    ours, theirs = socket.socketpair()
    with ours, theirs, process("sleep", "1002", output=theirs.fileno()) as child:
        subprocess.run([sys.executable, "-c", ORPHAN], stdout=theirs.fileno(), check=True)
        select.select([ours], [], [], 30)
        orphan = int(ours.recv(100))
        try:
            assert {one.pid for one in processes.of_runs([child.pid])} == {child.pid, orphan}
        finally:
            os.kill(orphan, 9)


def test_a_later_process_of_the_same_number_is_another() -> None:
    (me,) = [one for one in processes.of_runs([os.getpid()]) if one.pid == os.getpid()]
    assert me.is_alive
    later = processes.Process(me.pid, me.started + 1, me.parent, me.name)
    assert not later.is_alive


def test_no_process_is_none() -> None:
    assert processes.of_runs([]) == []
    assert processes.of_runs([2**22 + 1]) == []


SESSION = Leftover("session-c1.scope", ((97, "su"), (98, "sleep")))


def test_what_goes_on_is_named_with_what_ends_it() -> None:
    assert leftover.note([SESSION], "systemctl") == (
        "[lunasched: the run is over, and out of its reach go on su (97), sleep (98) in "
        "session-c1.scope; to end them: systemctl stop session-c1.scope]\n"
    )
    many = Leftover("lunasched-job@a b.service", tuple((n, "x") for n in range(1, 8)))
    assert leftover.sentence([SESSION, many], "systemctl --user") == (
        "out of its reach go on su (97), sleep (98) in session-c1.scope and x (1), x (2), x (3), "
        "x (4), x (5) and 2 more in lunasched-job@a b.service; to end them: systemctl --user stop "
        "session-c1.scope && systemctl --user kill --signal=KILL 'lunasched-job@a b.service'"
    )


def test_a_unit_of_something_else_is_left_alone() -> None:
    """A user's whole manager is not ended for one process in it."""
    said = leftover.sentence([Leftover("user@1000.service", ((1, "x"), (2, "y")))], "systemctl")
    assert said.endswith("; to end them: kill -KILL 1 2")


def test_what_may_be_anothers_is_told_without_what_ends_it() -> None:
    said = leftover.sentence([Leftover("session-c1.scope", ((1, "x"),), False)], "systemctl")
    assert "by it or by another" in said
    assert "systemctl" not in said
