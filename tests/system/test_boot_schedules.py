"""What is due some time after a boot, beside an interval or times of day: at each boot, once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from installed import INSTALL, Lunasched, boot

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.machine

# The calendar's next slot is far away, and its latest one counts as used from the first.
JOBS: Mapping[str, tuple[str, ...]] = {
    "interval": ("every 1d; @boot+3s",),
    "calendar": ("calendar:*-01-01 05:00; calendar:*-12-31 06:00; @boot+3s",),
    "at-start": ("calendar:*-01-01 05:00; @reboot+3s",),
    "no-overlap": ("calendar:*-01-01 05:00; @boot+3s", "--overlap", "skip"),
    "of-user": ("calendar:*-01-01 05:00; @reboot", "--run-as", "daemon"),
    "alone": ("@boot+3s",),
}
DROP_INS = "ls -d /run/systemd/system/lunasched-job@*.timer.d/lunasched-first-run.conf"


@pytest.fixture(scope="module")
def luna() -> Iterator[Lunasched]:
    """A machine of its own, which may be rebooted."""
    with boot("at-boot") as machine:
        machine.run(INSTALL)
        yield Lunasched(machine)


def shown(luna: Lunasched, name: str, *properties: str) -> str:
    command = ["systemctl", "show", f"lunasched-job@{name}.timer", *(f"-P{p}" for p in properties)]
    return luna.machine.run(command).stdout.strip()


def replaced(luna: Lunasched, command: str) -> None:
    schedule = ("--schedule", *JOBS["interval"])
    luna("add", "--replace", "--name", "interval", *schedule, "--command", command)


def test_it_is_due_once_after_each_boot_and_not_when_it_is_deployed(luna: Lunasched) -> None:
    machine = luna.machine
    for name, (schedule, *options) in JOBS.items():
        luna("add", "--name", name, "--schedule", schedule, *options, "--command", "true")
    # A change, a reload, a start of the timer and of the supervisor: the boot is over.
    replaced(luna, "date")
    machine.run("lunasched disable calendar; lunasched enable calendar; systemctl daemon-reload")
    machine.run("systemctl restart lunasched lunasched-job@at-start.timer")
    assert {shown(luna, name, "LastTriggerUSec") for name in JOBS} == {""}
    assert "OnBoot" not in shown(luna, "interval", "TimersMonotonic")
    assert shown(luna, "interval", "NextElapseUSecMonotonic")
    assert machine.run(DROP_INS).stdout.count("\n") == len(JOBS) - 1
    assert luna.history() == []
    replaced(luna, "true")

    machine.reboot()
    assert machine.exec(DROP_INS, check=False).stdout == ""
    for name in JOBS:
        (run,) = luna.wait_for_runs(name, 1, timeout=60)
        assert (name, run["trigger"], run["result"]) == (name, "timer", "success")

    # From here on the interval counts from that run, and nothing makes the boot come again.
    first = shown(luna, "interval", "NextElapseUSecMonotonic")
    assert "OnBoot" in shown(luna, "interval", "TimersMonotonic")
    # Not by systemd-run, which asks for its unit's state while the manager is away.
    machine.exec("systemctl daemon-reload; systemctl daemon-reexec")
    machine.wait_for("systemctl is-active --quiet dbus", 60, what="the manager again")
    machine.run("systemctl restart lunasched lunasched-job@calendar.timer")
    machine.run("lunasched sync; lunasched doctor")
    assert shown(luna, "interval", "NextElapseUSecMonotonic") == first
    replaced(luna, "date")
    assert machine.run(DROP_INS).stdout.count("\n") == 1
    luna("remove", "interval")
    assert machine.exec(DROP_INS, check=False).stdout == ""
    # systemd 252 repeats the last slot when a timer is restarted, which the guard refuses.
    runs = [run["job"] for run in luna.history() if run["result"] != "skipped"]
    assert sorted(runs) == sorted(JOBS)


def test_an_ejected_one_is_due_after_the_next_boot_too(luna: Lunasched) -> None:
    machine = luna.machine
    luna("add", "--name", "out", "--schedule", "at 05:00; @boot+3s", "--command", "true")
    luna("eject", "out")
    assert machine.run("systemctl show out.timer -P LastTriggerUSec").stdout.strip() == ""
    assert "OnBootSec=3s" in machine.read_file("/etc/systemd/system/out.timer")
    luna("adopt", "out.timer")
    assert luna.json("get", "out")["schedule"] == "at 05:00; @boot+3s"
    assert shown(luna, "out", "LastTriggerUSec") == ""
    luna("remove", "out")
    assert machine.exec(DROP_INS, check=False).stdout == ""
