"""`make soak`: a month in a virtual machine, and a supervisor that is no larger after it.

Of ten jobs one runs each day, four on a day of the week, and five on a day of the month, at one of
few moments; the clock is stepped from one to the next, so that a day lasts as long as its runs
take. The month has a night on which an hour is missing. After each
day the supervisor's memory, open files and threads are measured; at the end the history is held
against what the jobs wrote themselves.

    make soak                            # 1,000 jobs, 31 days: hours
    SOAK_JOBS=50 SOAK_DAYS=3 make soak   # minutes
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from installed import INSTALL, PAGE
from vm import VirtualMachine

if TYPE_CHECKING:
    from collections.abc import Sequence

ZONE = ZoneInfo("Europe/Berlin")
BEGIN = datetime(2028, 3, 10, tzinfo=ZONE)
"""The 26th of that month has no 02:30."""
MOMENTS = ((2, 30), (7, 0), (13, 40), (20, 5))
"""Hours and minutes at which jobs are due."""
RAN = "/var/soak"
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_PER_RUN_S = 2
"""What an emulated processor may need for a run, in seconds."""
_MISSED = re.compile(r'^lunasched_job_missed_slots_total{job_id="([^"]*)"} (\S+)$', re.MULTILINE)
_GROWTH = 1.1
_OFFSET_KIB = 512


@dataclass(frozen=True, slots=True)
class Size:
    """What the supervisor takes at one time."""

    memory: int
    """Its resident anonymous memory, in KiB: what it has allocated itself."""
    files: int
    threads: int

    def __str__(self) -> str:
        return f"{self.memory} KiB, {self.files} files, {self.threads} threads"


class Soak:
    """Jobs on a machine, and the days that it lives through."""

    def __init__(self, vm: VirtualMachine, jobs: int, begin: datetime = BEGIN) -> None:
        self._vm = vm
        self._names = [f"soak-{number:04}" for number in range(jobs)]
        self._numbers = range(jobs)
        self._begin = begin
        self._ran = 0
        self.sizes: list[Size] = []

    def prepare(self) -> None:
        """Have the page, and the jobs, on the day before the first; lunasched is installed."""
        vm = self._vm
        vm.set_clock(self._begin - timedelta(hours=2))
        vm.exec(["timedatectl", "set-timezone", ZONE.key])
        vm.exec(PAGE)
        vm.exec(["mkdir", "-p", RAN])
        jobs = [self._job(number, name) for number, name in enumerate(self._names)]
        vm.write_file("/root/soak.yaml", json.dumps({"jobs": jobs}))
        vm.exec(["lunasched", "apply", "/root/soak.yaml"], timeout=120 + 3 * len(jobs))

    def live(self, days: int) -> None:
        """Live through so many days, and measure after each."""
        for day in range(days):
            today = self._begin + timedelta(days=day)
            for which, (hour, minute) in enumerate(MOMENTS):
                self._vm.travel([today.replace(hour=hour, minute=minute)])
                due = [_is_due(number, today) for number in self._numbers[which :: len(MOMENTS)]]
                self._ran += sum(due)
                self._wait(sum(due))
            self._look()
            self.sizes.append(self._size())
            print(f"day {day + 1}: {self._ran} runs, {self.sizes[-1]}", flush=True)

    def wrong(self) -> list[str]:
        """What lunasched says and the jobs do not, a sentence each."""
        ran = Counter(self._vm.exec(f"cat {RAN}/*").stdout.split())
        known = json.loads(self._vm.exec("lunasched history --json --all", timeout=900).stdout)
        rows = [row for row in known if row["job"] in self._names]
        told = Counter(row["job"] for row in rows if row["result"] == "success")
        slots = Counter((row["job"], row["scheduled_at"]) for row in rows)
        metrics = self._vm.exec("lunasched metrics", timeout=300).stdout
        missed = {job: float(count) for job, count in _MISSED.findall(metrics)}
        return [
            *(
                f"{name} ran {ran[name]} times, and {told[name]} are told"
                for name in ran | told
                if ran[name] != told[name]
            ),
            *(
                f"{job} ran {count} times for {slot}"
                for (job, slot), count in slots.items()
                if count > 1
            ),
            *(
                f"{row['job']} has a run that is {row['result']}"
                for row in rows
                if row["result"] != "success"
            ),
            *(
                f"{name} missed {missed[name]:g} slots, by the metrics"
                for name in self._names
                if missed[name]
            ),
            *(
                [f"{ran.total()} runs, and {self._ran} were due"]
                if ran.total() != self._ran
                else []
            ),
        ]

    def _look(self) -> None:
        """Ask for the page and the metrics, as somebody does now and then."""
        urls = [f"http://127.0.0.1:8080/{path}" for path in ("", "metrics")]
        script = f"from urllib.request import urlopen; [urlopen(url).read() for url in {urls!r}]"
        self._vm.exec(["python3", "-I", "-c", script])

    def _job(self, number: int, name: str) -> dict[str, Any]:
        hour, minute = MOMENTS[number % len(MOMENTS)]
        weekday, day = _days(number)
        on = "" if weekday is None else f" on {_WEEKDAYS[weekday]}"
        schedule = f"at {hour:02}:{minute:02}{on}" if day is None else f"{minute} {hour} {day} * *"
        return {
            "name": name,
            "schedule": schedule,
            "command": ["/bin/sh", "-c", f"echo {name} >>{RAN}/{name}"],
        }

    def _wait(self, due: int) -> None:
        """Wait until each run is over and on record; so many have just begun."""
        database = "file:/var/lib/lunasched/history/history.db?mode=ro"
        query = (
            "SELECT count(*) FROM runs WHERE settled AND output IS NOT NULL AND job LIKE 'soak-%'"
        )
        script = (
            "import sqlite3, sys;"
            f"c = sqlite3.connect({database!r}, uri=True);"
            f"sys.exit(c.execute({query!r}).fetchone()[0] < {self._ran})"
        )
        self._vm.wait_for(
            ["python3", "-I", "-S", "-c", script],
            timeout=60 + _PER_RUN_S * due,
            what=f"{self._ran} runs on record",
        )

    def _size(self) -> Size:
        pid = self._vm.exec("systemctl show -P MainPID lunasched.service").stdout.strip()
        status = dict(
            line.split(":", 1) for line in self._vm.read_file(f"/proc/{pid}/status").splitlines()
        )
        files = self._vm.exec(["ls", f"/proc/{pid}/fd"]).stdout.split()
        return Size(int(status["RssAnon"].split()[0]), len(files), int(status["Threads"]))


def _days(number: int) -> tuple[int | None, int | None]:
    """The day of the week and the day of the month on which a job runs; none: on each day."""
    rhythm = number // len(MOMENTS) % 10
    if not rhythm:
        return None, None
    return (number % 7, None) if rhythm < 5 else (None, 1 + number % 28)


def _is_due(number: int, today: datetime) -> bool:
    """Tell whether a job runs on a day."""
    weekday, day = _days(number)
    return weekday in (None, today.weekday()) and day in (None, today.day)


def grown(sizes: Sequence[Size]) -> list[str]:
    """What grew from the second third of the days to the last; the first is its start.

    A tenth and half a MiB of memory are no growth: the allocator's arenas come and go by that.
    """
    third = len(sizes) // 3
    if not third:
        return []
    middle, last = sizes[third : 2 * third], sizes[-third:]
    found = []
    before, after = max(each.memory for each in middle), max(each.memory for each in last)
    if after > before * _GROWTH + _OFFSET_KIB:
        found.append(f"memory grew from {before} to {after} KiB")
    for what in ("files", "threads"):
        most = [max(getattr(each, what) for each in part) for part in (middle, last)]
        if most[1] > most[0]:
            found.append(f"{what} grew from {most[0]} to {most[1]}")
    return found


def main() -> int:
    """Live through the days; returns the exit status."""
    jobs = int(os.environ.get("SOAK_JOBS") or 1000)
    days = int(os.environ.get("SOAK_DAYS") or 31)
    with VirtualMachine.boot("soak", clock=BEGIN - timedelta(hours=3)) as vm:
        vm.exec(INSTALL, timeout=600)
        soak = Soak(vm, jobs)
        soak.prepare()
        soak.live(days)
        found = [*soak.wrong(), *grown(soak.sizes)]
    for line in found:
        print(line)
    print(f"{jobs} jobs, {days} days: " + ("as they should be" if not found else "not so"))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
