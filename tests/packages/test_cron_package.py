"""The package in the place of cron: installed on a machine with cron, removed, and cron again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from installed import Lunasched
from machine import Machine
from packaged import available

if TYPE_CHECKING:
    from packaged import Built

pytestmark = [pytest.mark.machine, pytest.mark.slow]

SPOOL = "/var/spool/cron/crontabs"
RAN = "/var/tmp/ran"
FILES = f"/etc/crontab /etc/cron.d/each {SPOOL}/luna"
STATE = f"stat --format='%n %a %U:%G' {FILES} {SPOOL}; sha256sum {FILES}"
NONINTERACTIVE = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
PROBE = "#!/bin/sh\necho probed\n"
INSTALLED = "dpkg-query --show --showformat='${db:Status-Status}'"


@pytest.fixture(scope="module")
def machine(built: Built) -> Iterator[Machine]:
    """A machine with Debian's cron, as it is installed, and crontabs."""
    with Machine.boot(
        f"cron-{built.suite}",
        suite=built.suite,
        available=[*available(), "cron", "anacron"],
        binds=[(built.directory, "/srv/built")],
    ) as booted:
        booted.write_file("/etc/apt/apt.conf.d/90yes", 'APT::Get::Assume-Yes "true";\n')
        apt(booted, "install cron anacron")
        booted.exec("rm -f /etc/cron.daily/*")
        booted.write_file("/etc/cron.daily/probe", PROBE, mode=0o755)
        # The day before: as on a machine that was just switched on.
        booted.write_file("/var/spool/anacron/cron.daily", "20261101\n")
        booted.write_file("/etc/cron.d/each", f"* * * * * root date +\\%s >>{RAN}; echo ran\n")
        booted.run(["crontab", "-"], user="luna", input="# mine\n0 0 1 1 * echo 'x'  # y\n")
        yield booted


def apt(machine: Machine, command: str) -> str:
    """What apt-get prints, run where the packages are."""
    line = f"cd /srv/built/dist && apt-get --no-install-recommends {command}"
    return machine.run(line, env=NONINTERACTIVE, timeout=300).stdout


def ran(machine: Machine) -> Counter[int]:
    """How often the entry of each minute has run, by minutes since the epoch."""
    return Counter(int(at) // 60 for at in machine.exec(f"cat {RAN}").stdout.split())


def wait_for_minute(machine: Machine, second: int) -> None:
    """Wait until so many seconds of a minute have passed, of the next one if need be."""
    machine.wait_for(
        lambda: int(machine.exec("date +%s").stdout) % 60 >= second,
        what=f"second {second} of a minute",
        timeout=90,
    )


def wait_for_runs(machine: Machine, number: int) -> None:
    """Wait until the entry has run in so many more minutes."""
    had = sum(ran(machine).values())
    machine.wait_for(
        lambda: sum(ran(machine).values()) >= had + number,
        what="the entry to run",
        timeout=70 * number + 30,
    )


def minute_of(run: dict[str, Any]) -> int:
    """The minute of a run's slot, since the epoch."""
    return int(datetime.fromisoformat(run["scheduled_at"].replace("Z", "+00:00")).timestamp()) // 60


def test_the_life_of_the_package(machine: Machine) -> None:
    luna = Lunasched(machine)
    before = machine.run(STATE).stdout
    machine.wait_for(f"test -s {RAN}", what="cron to run the entry", timeout=150)
    # The change goes on across the beginning of a minute, on most machines.
    wait_for_minute(machine, 55)
    printed = apt(machine, "install ./lunasched_*_all.deb ./lunasched-cron_*_all.deb")
    assert machine.run(f"{INSTALLED} cron", check=False).stdout != "installed"
    assert machine.run("systemctl is-active cron.service", check=False).stdout != "active\n"
    assert " added, " in printed
    assert {"cron.d-each-date", "crontab.luna-echo"} <= {one["name"] for one in luna.json("list")}
    # What anacron had still to run is run: its table is served, and not the line of /etc/crontab.
    (probed,) = luna.wait_for_runs("cron.daily-probe", 1)
    assert (probed["trigger"], probed["output"]) == ("catch-up", "/etc/cron.daily/probe:\nprobed\n")
    assert luna.json("get", "cron.daily-probe")["schedule"] == "35 7 * * *"
    assert "crontab-cron.daily" not in {one["name"] for one in luna.json("list")}
    wait_for_runs(machine, 2)
    assert machine.run(STATE).stdout == before
    # What follows the files is there, and so is the program that changes one's own.
    changed = "# mine\n0 0 1 1 * echo 'x'  # y\n1 1 * * * true\n"
    machine.run(["crontab", "-"], user="luna", input=changed)
    assert machine.run(["crontab", "-l"], user="luna").stdout == changed
    machine.wait_for(
        lambda: "crontab.luna-true" in {one["name"] for one in luna.json("list")},
        what="the new entry to be a job",
    )
    before = machine.run(STATE).stdout
    doctor = machine.run("lunasched doctor", check=False).stdout
    assert "\nerror" not in doctor and not doctor.startswith("error"), doctor
    # The same once more changes nothing, and starts nothing.
    printed = apt(machine, "install --reinstall ./lunasched-cron_*_all.deb")
    assert "Done: nothing to change" in printed or "0 added" in printed, printed
    # Debian's cron comes back by its name alone: it is in conflict with the package.
    apt(machine, "install cron")
    assert machine.run(f"{INSTALLED} lunasched-cron", check=False).stdout != "installed"
    assert machine.run("systemctl is-active cron.service").stdout == "active\n"
    assert machine.run(STATE).stdout == before
    assert [one for one in luna.json("list") if "cron" in one["name"]] == []
    wait_for_runs(machine, 1)
    found = ran(machine)
    assert set(found.values()) == {1}, found
    # From the first run to the last with lunasched in the place of cron, each minute has one; where
    # the change took longer than one, one run makes up for all of it.
    runs = [run for run in luna.history("cron.d-each-date") if run["result"] == "success"]
    first = min(found)
    assert len(runs) >= 2
    made_up = [minute_of(run) for run in runs if run["trigger"] == "catch-up"]
    assert len(made_up) <= 1
    covered = {*found, *(minute for at in made_up for minute in range(first, at + 1))}
    last = max(minute_of(run) for run in runs)
    assert [at for at in range(first, last + 1) if at not in covered] == [], (found, runs)


def test_purge_leaves_the_crontabs(machine: Machine) -> None:
    before = machine.run(STATE).stdout
    apt(machine, "install ./lunasched-cron_*_all.deb")
    apt(machine, "purge lunasched-cron lunasched")
    assert machine.run(STATE).stdout == before
    apart = "-path /srv -o -path /var/log -o -path /var/lib/dpkg -o -path /var/cache"
    left = f"find / -xdev \\( {apart} \\) -prune -o -name '*lunasched*' -print"
    assert machine.run(left).stdout == ""
    apt(machine, "install cron")
    assert machine.run("systemctl is-active cron.service").stdout == "active\n"
