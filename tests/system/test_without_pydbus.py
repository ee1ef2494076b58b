"""A machine whose distribution has no pydbus: Gio alone opens the bus."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from installed import INSTALL, SUITE, Lunasched
from machine import Machine

pytestmark = pytest.mark.machine


@pytest.fixture(scope="module")
def without() -> Iterator[Machine]:
    with Machine.boot("gio", suite=SUITE) as machine:
        machine.run("dpkg --purge --force-depends python3-pydbus")
        assert machine.run(["python3", "-c", "import pydbus"], check=False).returncode != 0
        machine.run(INSTALL)
        yield machine


def test_the_systems_jobs_run_and_are_recorded(without: Machine) -> None:
    command = Lunasched(without)
    command("add", "--name", "told", "--schedule", "@yearly", "--command", "echo hi; exit 3")
    assert command("start", "told", "--wait", check=False).returncode == 3
    (run,) = command.wait_for_runs("told", 1)
    assert (run["result"], run["output"]) == ("exit-code", "hi\n")
    # It follows D-Bus, too, and has others start what is due.
    options = ("--max-retries", "1", "--retry-delay", "1s")
    command("add", "--name", "again", "--schedule", "@yearly", "--command", "exit 1", *options)
    command("start", "again")
    assert [run["attempt"] for run in command.wait_for_runs("again", 2)] == [2, 1]
    command("remove", "told")


def test_a_users_jobs_run_and_are_recorded(without: Machine) -> None:
    without.run("systemctl --user daemon-reload; systemctl --user start lunasched", user="luna")
    own = Lunasched(without, "luna")
    own("add", "--name", "own", "--schedule", "@yearly", "--command", "id -un")
    own("start", "own", "--wait")
    (run,) = own.wait_for_runs("own", 1)
    assert (run["result"], run["output"]) == ("success", "luna\n")


def test_the_doctor_misses_nothing(without: Machine) -> None:
    found = Lunasched(without)("doctor", "--verbose", check=False).stdout
    assert "pydbus" not in found
    assert "systemd 2" in found and "answers" in found
