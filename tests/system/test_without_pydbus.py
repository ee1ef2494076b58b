"""A machine whose distribution has no pydbus: Gio alone opens the bus. Then there is no bus."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from installed import INSTALL, SUITE, Lunasched, slots_each
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


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0, 600], ids=["one-by-one", "beside-each-other"])
def test_jobs_that_may_overlap_start_without_a_bus(without: Machine, seconds: int) -> None:
    command = Lunasched(without)
    ran = f"/root/ran-{seconds}"
    command(
        *("add", "--name", "beside", "--schedule", slots_each(command.period(2))),
        *("--execution-mode", "parallel", "--command", f"echo x >>{ran}; sleep {seconds}"),
    )

    def runs() -> int:
        return int(without.exec(f"cat {ran} 2>/dev/null | wc -l").stdout)

    without.wait_for(lambda: runs() > 0, what="the first run")
    try:
        without.exec("systemctl stop dbus.socket dbus.service")
        before = runs()
        # One of them may have been on its way.
        without.wait_for(lambda: runs() > before + 2, what="runs without a bus")
    finally:
        without.exec("systemctl start dbus.socket")
    without.wait_for("systemctl is-active --quiet lunasched", what="the supervisor")
    command("disable", "beside")
    number = runs()
    without.wait_for(
        lambda: len([run for run in command.history("beside") if run["started_at"]]) >= number,
        what="all runs on record",
    )
    command("stop", "beside", check=False)
    command("remove", "beside")
