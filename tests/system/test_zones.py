"""When the host's time zone or the zone database changes, the timers follow, and nothing fires."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from installed import SYNCED, slots_each

if TYPE_CHECKING:
    from collections.abc import Iterator

    from installed import Lunasched
    from machine import Machine

pytestmark = pytest.mark.machine

HELD = "sleep 1000073"
"""What runs as long as the lock is held; nothing else is called that."""


def seen(luna: Lunasched, name: str) -> tuple[str, str]:
    """The timer's text and its inode, which changes whenever it is written."""
    path = f"/etc/systemd/system/lunasched-job@{name}.timer"
    return luna.machine.read_file(path), luna.machine.exec(["stat", "-c", "%i", path]).stdout


def zone_of_slots(luna: Lunasched, name: str) -> str:
    """The zone of the slots that the guard of a job knows."""
    return luna.machine.read_file(f"/var/lib/lunasched/slots/{name}").split()[0]


@contextmanager
def lock_held(machine: Machine) -> Iterator[None]:
    """Meanwhile, who changes jobs has to wait."""
    command = f"exec flock /var/lib/lunasched/jobs.db.deploy-lock {HELD}"
    holder = machine.popen(command)
    try:
        machine.wait_for(f"pgrep -fx '{HELD}'", what="the lock to be held")
        yield
    finally:
        machine.exec(f"pkill -fx '{HELD}'", check=False)
        holder.wait()


@pytest.fixture
def utc(luna: Lunasched) -> Iterator[Lunasched]:
    """Back to UTC afterwards, with everything that follows from it over."""
    yield luna
    luna.machine.exec("systemctl start lunasched.service")
    luna.machine.exec("ln -sfn /usr/share/zoneinfo/Etc/UTC /etc/localtime")
    # That it has been followed, and not that nothing goes on before it was noticed.
    luna.machine.wait_for("grep -q '^Etc/UTC' /var/lib/lunasched/slots/zones:")
    luna.machine.wait_for(SYNCED)


@pytest.mark.parametrize("how", ["timedatectl", "ln"])
def test_the_hosts_zone_changes(utc: Lunasched, how: str) -> None:
    luna = utc
    here, there = f"{luna.name}-here", f"{luna.name}-there"
    luna("add", "--name", here, "--schedule", "30 2 * * *", "--command", "true", "--catch-up")
    luna(
        *("add", "--name", there, "--schedule", "30 2 * * *", "--command", "true"),
        *("--timezone", "America/New_York"),
    )
    before_here, before_there = seen(luna, here), seen(luna, there)
    if how == "ln":
        luna.machine.exec("ln -sfn /usr/share/zoneinfo/Europe/Berlin /etc/localtime")
    else:
        luna.machine.exec("timedatectl set-timezone Europe/Berlin")
    luna.machine.wait_for(
        lambda: zone_of_slots(luna, here) == "Europe/Berlin", what="the slots to follow the zone"
    )
    luna.machine.wait_for(SYNCED)
    timer = luna.machine.read_file(f"/etc/systemd/system/lunasched-job@{here}.timer")
    assert "OnCalendar=*-*-* 02:30:00\n" in timer
    assert timer.count("01:00:00 UTC") >= 9, "the spring nights of the new zone"
    assert seen(luna, here) != before_here
    assert seen(luna, there) == before_there
    elapse = luna.machine.exec(
        f"systemctl show -P NextElapseUSecRealtime lunasched-job@{here}.timer"
    ).stdout
    assert " 02:30:00 CE" in elapse
    (upcoming,) = luna.json("next", here, "-n", "1")
    shown = luna.machine.exec(f"date -u -d '{elapse.strip()}' +%FT%T").stdout.strip()
    assert upcoming["at"].startswith(shown)
    assert luna.history(here) == luna.history(there) == []
    assert "as it should be" in luna("sync").stdout


def test_a_command_that_waited_knows_the_new_zone(utc: Lunasched) -> None:
    luna = utc
    luna("add", "--name", luna.name, "--schedule", "30 2 * * *", "--command", "true")
    # Nobody else brings the units up to date.
    luna.machine.exec("systemctl stop lunasched; systemctl stop lunasched-sync.service")
    with lock_held(luna.machine):
        commands = [
            luna.machine.popen(f"lunasched {command}; echo $? >/tmp/status-{number}")
            for number, command in enumerate(("sync", f"disable {luna.name}"))
        ]
        luna.machine.wait_for(
            "[ $(grep -c -e '-> FLOCK' /proc/locks) -ge 2 ]", what="both to wait for the lock"
        )
        luna.machine.exec("ln -sfn /usr/share/zoneinfo/Europe/Berlin /etc/localtime")
    for command in commands:
        command.wait()
    assert luna.machine.read_file("/tmp/status-0") == "0\n"
    assert luna.machine.read_file("/tmp/status-1") == "1\n"
    assert zone_of_slots(luna, luna.name) == "Europe/Berlin"
    assert luna.json("get", luna.name)["enabled"]


def test_a_slot_that_ran_while_a_command_waited_does_not_run_again(luna: Lunasched) -> None:
    machine, timer = luna.machine, f"lunasched-job@{luna.name}.timer"
    soon = luna.soon(12)
    slot, at = int(soon.timestamp()), f"{soon:%T}"
    proof = f"/tmp/ran-{luna.name}"
    add = ("add", "--name", luna.name, "--schedule", f"at {at}", "--catch-up")
    luna(*add, "--command", f"echo >>{proof}")
    machine.exec("systemctl stop lunasched; systemctl stop lunasched-sync.service")
    machine.exec("echo none >/var/lib/lunasched/slots/zones:")
    with lock_held(machine):
        sync = machine.popen("lunasched sync")
        machine.wait_for("grep -e '-> FLOCK' /proc/locks", what="the sync to wait for the lock")
        assert machine.exec(f"ls {proof}", check=False).returncode, "it waited before the slot"
        machine.wait_for(f"ls {proof}", what="the run")
    assert sync.wait() == 0
    # systemd starts the job for it again if it does not know that it did.
    machine.exec(
        f"systemctl stop {timer}; touch -d @{slot - 60} /var/lib/systemd/timers/stamp-{timer};"
        f" systemctl start lunasched {timer}"
    )
    skipped, ran = luna.wait_for_runs(luna.name, 2)
    assert (ran["result"], skipped["result"]) == ("success", "skipped")
    assert machine.exec(f"wc -l <{proof}").stdout == "1\n"


def test_a_job_is_there_from_when_its_turn_came(luna: Lunasched) -> None:
    """Not from when its command began to wait: the slots in between were not missed."""
    machine, period = luna.machine, luna.period(4)
    with lock_held(machine):
        schedule = ("--schedule", slots_each(period), "--command", "true")
        add = machine.popen(["lunasched", "add", "--name", luna.name, *schedule])
        machine.wait_for("grep -e '-> FLOCK' /proc/locks", what="the command to wait")
        machine.exec(f"sleep {2.1 * period}", timeout=60 + 2 * period)
    assert add.wait() == 0
    luna.wait_for_runs(luna.name, 2)
    assert luna.json("get", luna.name)["missed_slots"] == 0


def test_a_supervisor_that_still_starts_begins_anew(utc: Lunasched) -> None:
    """While it waits for the units of the zone that it found first, there is another one."""
    machine = utc.machine

    def invocation() -> str:
        return str(machine.exec("systemctl show -P InvocationID lunasched").stdout)

    machine.exec("systemctl stop lunasched lunasched-sync")
    machine.exec("echo none >/var/lib/lunasched/slots/zones:")
    with lock_held(machine):
        machine.exec("systemctl start --no-block lunasched")
        machine.wait_for("grep -e '-> FLOCK' /proc/locks", what="the sync to wait for the lock")
        first = invocation()
        # All that GLib tells of it comes before the supervisor has started.
        machine.exec("ln -sfn /usr/share/zoneinfo/Europe/Berlin /etc/localtime; sleep 4")
    machine.wait_for(lambda: invocation() not in ("", first), what="a supervisor of the new zone")
    machine.wait_for("systemctl is-active lunasched", what="it to have started")


def test_the_zone_database_changes(luna: Lunasched) -> None:
    """Its version is the first line of tzdata.zi; the slots that the guard knows are found anew."""
    luna("add", "--name", luna.name, "--schedule", "30 2 * * *", "--command", "true")
    file = f"/var/lib/lunasched/slots/{luna.name}"
    first = luna.machine.read_file(file)
    luna.machine.exec(f"sed -i '$s/.*/4102444800000000/' {file}")
    assert luna.machine.read_file(file) != first
    zones = "/usr/share/zoneinfo/tzdata.zi"
    luna.machine.exec(f"sed '1s/.*/# version 2099z/' {zones} > {zones}.new; mv {zones}.new {zones}")
    luna.machine.wait_for(
        lambda: luna.machine.read_file(file) == first,
        what="the slots to be found anew",
    )
    assert luna.history(luna.name) == []


def test_a_zone_that_leaves_the_database(luna: Lunasched) -> None:
    """As US/Eastern does with Debian's tzdata-legacy: the job goes on, and the others too."""
    machine, zones = luna.machine, "/usr/share/zoneinfo"
    names = [f"{luna.name}-{kind}" for kind in ("zone", "calendar", "other")]
    old, own, other = names
    # Debian 13 has the old names in a package of their own, which is not installed.
    machine.exec(
        f"[ -e {zones}/US/Eastern ] || "
        f"{{ mkdir {zones}/US && cp -L {zones}/America/New_York {zones}/US/Eastern; }}"
    )
    luna(*("add", "--name", old, "--schedule", "at 02:30", "--command", "true"), "--timezone",
         "US/Eastern")  # fmt: skip
    luna("add", "--name", own, "--schedule", "calendar:09:00 US/Eastern", "--command", "true")
    luna("add", "--name", other, "--schedule", "at 04:00", "--command", "true")

    def lines(name: str) -> str:
        return machine.read_file(f"/etc/systemd/system/lunasched-job@{name}.timer")

    def upcoming() -> dict[str, str]:
        units = {name: f"lunasched-job@{name}.timer" for name in names}
        return {
            name: machine.exec(f"systemctl show -P NextElapseUSecRealtime {unit}").stdout
            for name, unit in units.items()
        }

    machine.wait_for(SYNCED)
    assert "02:30:00 US/Eastern" in lines(old)
    before = upcoming()
    try:
        machine.exec(f"mv {zones}/US /root/US")
        machine.wait_for(
            lambda: "US/Eastern" not in lines(old) + lines(own), what="the timers to be written"
        )
        machine.wait_for(SYNCED)
        assert "02:30:00 America/New_York" in lines(old)
        assert "09:00:00 America/New_York" in lines(own)
        assert upcoming() == before
        listed = {run["job"] for run in luna.json("next", "-n", "20")}
        assert listed >= set(names)
        assert {job["name"] for job in luna.json("list")} >= set(names)
        refused = luna("add", "--name", "x", "--schedule", "@daily", "--command", "true",
                       "--timezone", "US/Eastern", check=False)  # fmt: skip
        assert refused.returncode == 2
        assert "America/New_York" in refused.stderr
        assert "tzdata-legacy" in refused.stderr
        said = luna("doctor", check=False).stdout
        assert f"{old!r}: this machine has no time zone 'US/Eastern'" in said
        assert "apt-get install tzdata-legacy" in said
    finally:
        machine.exec(f"[ -d {zones}/US ] || mv /root/US {zones}/US")
    machine.wait_for(lambda: "02:30:00 US/Eastern" in lines(old), what="the name to be back")
    machine.wait_for(SYNCED)
    assert upcoming() == before
