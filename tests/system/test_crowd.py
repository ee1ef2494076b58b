"""A crowd of users whose entries are all due in one minute: ours, and Debian's cron.

Each on a machine of its own, one after the other, for both have the same processors. That every
entry runs once is asserted; how late, and at what cost, is printed (``-s``).
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

import debian_crontabs
import pytest
from campaign import rounds
from installed import INSTALL, Lunasched, boot
from machine import cgroups_of, is_cgroup_v2

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from machine import Machine

pytestmark = [pytest.mark.machine, pytest.mark.slow, pytest.mark.campaign]

USERS = rounds(12, 500)
EACH = rounds(5, 10)
SPOOL = "/var/spool/cron/crontabs"
RAN = "/srv/ran"
MAKE = f"""
import os, sys
users, each, minute, hour = map(int, sys.argv[1:])
os.makedirs("{RAN}", exist_ok=True)
os.chmod("{RAN}", 0o1777)
known = open("/etc/passwd").read()
if "u0:" not in known:
    with open("/etc/passwd", "a") as file:
        for number in range(users):
            file.write(f"u{{number}}:*:{{20000 + number}}:100::/:/bin/sh\\n")
for number in range(users):
    path = f"{SPOOL}/u{{number}}"
    with open(f"{SPOOL}/tmp.{{number}}", "w") as file:
        for entry in range(each):
            when = f"{{minute}} {{hour}} * * *"
            run = f"echo {{entry}} $(date +\\\\%s.\\\\%N) >>{RAN}/u{{number}}"
            file.write(f"{{when}} {{run}}\\n")
    os.chown(file.name, 20000 + number, 0)
    os.chmod(file.name, 0o600)
    os.rename(file.name, path)
"""


@dataclass(frozen=True)
class Figures:
    """How an engine served the crowd: seconds after the minute began, processor time, KiB."""

    engine: str
    late: list[float]
    cpu: float
    resident: int

    def __str__(self) -> str:
        return (
            f"{self.engine}: {len(self.late)} starts, median {statistics.median(self.late):.2f} s "
            f"after the minute, last {max(self.late):.2f} s; {self.cpu:.1f} s of processor time, "
            f"{self.resident >> 10} MiB resident"
        )


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A machine without cron, and with a spool."""
    with boot("crowd") as booted:
        booted.run(f"rm -f /etc/crontab /etc/cron.d/*; groupadd -f crontab; mkdir -p {SPOOL}")
        booted.run(f"chgrp crontab {SPOOL}; chmod 1730 {SPOOL}")
        yield booted


def processor_time(machine: Machine) -> float:
    """What all processes of the machine have used, in seconds."""
    for group in cgroups_of(machine.name):
        if (group / "cpuacct.usage").exists():
            return int((group / "cpuacct.usage").read_text()) / 1e9
        if "usage_usec" in (text := (group / "cpu.stat").read_text() if is_cgroup_v2() else ""):
            return int(text.split()[1]) / 1e6
    raise AssertionError("no cgroup of the machine counts its processor time")


def resident(machine: Machine, *patterns: str) -> int:
    """The resident memory of processes by their command lines, in KiB."""
    found = machine.exec(f"ps -eo rss=,args= | grep -E '{'|'.join(patterns)}' | grep -v grep")
    return sum(int(line.split()[0]) for line in found.stdout.splitlines())


def make(machine: Machine, lead_minutes: int) -> float:
    """Give each user a crontab, for a minute to come; returns that minute (s, UTC)."""
    now = float(machine.exec("date +%s").stdout)
    at = (int(now) // 60 + lead_minutes) * 60
    hour, minute = machine.exec(["date", f"--date=@{at}", "+%H %M"]).stdout.split()
    machine.write_file("/root/make.py", MAKE)
    machine.run(f"python3 /root/make.py {USERS} {EACH} {int(minute)} {int(hour)}")
    return float(at)


def starts(machine: Machine) -> list[tuple[str, str, float]]:
    """User, entry and time of each start, by its own account."""
    said = machine.exec(f"cd {RAN} && grep -H . * || true").stdout
    lines = (line.partition(":") for line in said.splitlines())
    return [(user, words.split()[0], float(words.split()[1])) for user, _, words in lines]


def served(machine: Machine, engine: str, at: float, *patterns: str) -> Figures:
    """Wait until all have run; each of them once."""
    machine.wait_for(f"test $(date +%s) -ge {at - 2:.0f}", what="the minute", timeout=3600)
    before = processor_time(machine)
    number = USERS * EACH
    machine.wait_for(
        lambda: len(starts(machine)) >= number, what="all entries", timeout=1200, interval=2
    )
    cpu = processor_time(machine) - before
    found = starts(machine)
    assert len(found) == len({(user, entry) for user, entry, _ in found}) == number
    late = [when - at for _, _, when in found]
    assert min(late) >= 0
    return Figures(engine, late, cpu, resident(machine, *patterns))


def changed(luna: Lunasched, lead_minutes: int) -> float | None:
    """Change all crontabs to a minute to come; that minute, or ``None`` if it came too soon."""
    machine = luna.machine
    at = make(machine, lead_minutes)
    minute = str(int(at) // 60 % 60)
    machine.wait_for(
        lambda: {job["schedule"].split()[0] for job in luna.json("list")} == {minute},
        what="the change of all crontabs",
        timeout=1200,
        interval=2,
    )
    if float(machine.exec("date +%s").stdout) < at:
        return at
    # A slow machine: what has run by then is forgotten.
    machine.wait_for(f"test $(date +%s) -ge {at + 60:.0f}", what="the minute to pass", timeout=90)
    units = "--state=active,activating 'lunasched-*@crontab.*.service'"
    active = f"systemctl list-units --no-legend {units} | grep -q ."
    machine.wait_for(f"! {active}", what="the jobs to end", timeout=600)
    machine.exec(f"rm -f {RAN}/*")
    return None


def test_debians_cron(machine: Machine, tmp_path: Path) -> None:
    debian_crontabs.extracted(debian_crontabs.debs(("cron",))["cron"], tmp_path)
    for path in ("usr/sbin/cron", "lib/systemd/system/cron.service"):
        found = tmp_path / path if (tmp_path / path).exists() else tmp_path / "usr" / path
        machine.copy(found, f"/{path}")
    at = make(machine, 2)
    machine.run("systemctl daemon-reload; systemctl start cron.service")
    print(served(machine, "cron", at, "[/]usr/sbin/cron"))


def test_lunasched(machine: Machine) -> None:
    machine.run(INSTALL)
    luna = Lunasched(machine)
    # What becomes of the crontabs takes its time once; the minute is chosen when that is known.
    make(machine, 24 * 60 - 30)
    before, begun = processor_time(machine), float(machine.exec("date +%s.%N").stdout)
    machine.run("systemctl enable --now lunasched-crontabs.path lunasched-crontabs.service")
    number = USERS * EACH
    assert len(luna.json("list")) == number
    took = float(machine.exec("date +%s.%N").stdout) - begun
    print(
        f"{number} jobs made in {took:.0f} s, {processor_time(machine) - before:.0f} s of "
        "processor time"
    )
    lead = 2 + int(took * 3) // 60
    while (at := changed(luna, lead)) is None:
        lead *= 2
    print(served(machine, "lunasched", at, "[l]unasched-daemon", "^ *[0-9]+ /(sbin|lib)/.*init"))
    # Each more would have systemd read all of its unit directories again.
    assert machine.exec("ls /run/systemd/system | grep :", check=False).stdout == ""
    machine.wait_for(
        lambda: sum(run["result"] == "success" for run in luna.history()) >= number,
        what="all runs to be on record",
        timeout=600,
        interval=2,
    )
