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
from typing import TYPE_CHECKING, cast

import pytest

from lunasched.history.run import Result
from lunasched.machine import processes
from lunasched.store.runtable import EndedRun
from lunasched.supervisor.leftovers import leftovers
from lunasched.systemd.journal import RunWindow
from lunasched.systemd.manager import Invocation, UnitProcess
from lunasched.units import leftover
from lunasched.units.leftover import Leftover

if TYPE_CHECKING:
    from lunasched.systemd.journal import Journal
    from lunasched.systemd.manager import Manager

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


RUN_ID, NEXT_ID = "1" * 32, "2" * 32
ENDED = EndedRun(RUN_ID, "lunasched-job@a.service", Result.EXIT_CODE, 1_000, 2_000, None)
WINDOW = RunWindow(RUN_ID, ENDED.unit, 1_000, None)


class Silent:
    """A journal in which a run has left nothing outside of its unit."""

    def located(self, window: RunWindow) -> RunWindow:
        return window

    def scopes(self, window: RunWindow) -> list[str]:
        return []


class Restarting:
    """A manager that may start a unit again right before it is asked for its processes."""

    def __init__(self, starts_again: bool) -> None:
        self._starts_again = starts_again
        self._id = RUN_ID

    def invocation(self, unit: str) -> Invocation:
        active = "failed" if self._id == RUN_ID else "activating"
        return Invocation(self._id, active, "exit-code", 4, None, 1_000, 2_000)

    def processes(self, unit: str) -> list[UnitProcess]:
        if self._starts_again:
            self._id = NEXT_ID
        return [UnitProcess(290, "/bin/bash -p guard")]


@pytest.mark.parametrize("starts_again", [False, True])
def test_processes_of_the_next_run_are_not_left_by_the_last(starts_again: bool) -> None:
    journal, manager = cast("Journal", Silent()), cast("Manager", Restarting(starts_again))
    own = Leftover(ENDED.unit, ((290, "bash"),))
    assert leftovers(journal, manager, ENDED, WINDOW) == ([] if starts_again else [own])


SESSION = Leftover("session-c1.scope", ((97, "su"), (98, "sleep")))


def test_what_goes_on_is_named_with_what_ends_it() -> None:
    assert leftover.note([SESSION], "systemctl") == (
        "[lunasched: the run is over, and out of its reach go on su (97), sleep (98) in "
        "session-c1.scope; to end them: systemctl stop session-c1.scope]\n"
    )
    many = Leftover("lunasched-job@a b.service", tuple((n, "x") for n in range(1, 8)))
    assert leftover.leftover_sentence([SESSION, many], "systemctl --user") == (
        "out of its reach go on su (97), sleep (98) in session-c1.scope and x (1), x (2), x (3), "
        "x (4), x (5) and 2 more in lunasched-job@a b.service; to end them: systemctl --user stop "
        "session-c1.scope && systemctl --user kill --signal=KILL 'lunasched-job@a b.service'"
    )


def test_a_unit_of_something_else_is_left_alone() -> None:
    """A user's whole manager is not ended for one process in it."""
    said = leftover.leftover_sentence(
        [Leftover("user@1000.service", ((1, "x"), (2, "y")))], "systemctl"
    )
    assert said.endswith("; to end them: kill -KILL 1 2")


def test_what_may_be_anothers_is_told_without_what_ends_it() -> None:
    said = leftover.leftover_sentence(
        [Leftover("session-c1.scope", ((1, "x"),), False)], "systemctl"
    )
    assert "by it or by another" in said
    assert "systemctl" not in said
