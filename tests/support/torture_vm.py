"""The rounds of `make torture` in a virtual machine: power cuts, and steps of its clock.

What the machine had not synced to its disk is lost at a cut. A command that changes something is
being carried out when the power fails, at an instant that the seed draws.
"""

from __future__ import annotations

import json
import random
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from installed import INSTALL
from torture_jobs import (
    BY_HAND,
    PROVE,
    RETRIED,
    SETUP,
    busy,
    calendars,
    deploy,
    proofs,
    rows,
    slots,
    without_a_timer,
)
from torture_oracle import Evidence, Row, Verdict, judge

if TYPE_CHECKING:
    from vm import VirtualMachine

_LATE_US = 600_000_000
"""A boot takes minutes where processors are emulated and busy; what is caught up is as late."""
_MARGIN_US = 20_000_000
"""How long after a boot, and before a cut, a slot may be without a run."""
_SETTLES_S = 180
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

ACTIVITIES = {
    "recording": "true",
    "add": "for n in $(seq 20); do lunasched add --name extra-$n --schedule @yearly"
    " --command true --replace; done",
    "apply": "lunasched apply /root/other.yaml --prune; lunasched apply /root/jobs.yaml --prune",
    "vacuum": "while lunasched vacuum; do :; done",
    "sync": "rm /etc/systemd/system/lunasched-job@*.service; lunasched sync",
    "upgrade": "while /opt/lunasched/packaging/maintain installed; do :; done",
}
"""What goes on when the power fails, as shell commands."""


class PowerRound:
    """A virtual machine whose power fails again and again."""

    def __init__(self, seed: int, cuts: int) -> None:
        self._rng = random.Random(seed)
        names = sorted(ACTIVITIES)
        self.cuts = [
            (self._rng.choice(names), self._rng.uniform(0, 12), self._rng.uniform(0, 40))
            for _ in range(cuts)
        ]
        """What goes on, after how long the power fails, and for how long (s)."""
        self._cut_at: list[int] = []
        self._spans: list[tuple[int, int]] = []
        self._earlier: dict[str, Row] = {}
        self._said: list[str] = []

    def play(self, vm: VirtualMachine) -> Verdict:
        """Cut the power as drawn, and judge."""
        vm.exec(INSTALL, timeout=600)
        vm.write_file("/usr/local/bin/prove", PROVE, mode=0o755)
        vm.exec(SETUP)
        vm.exec("systemctl restart lunasched", timeout=600)
        deploy(vm, 0)
        others = [{"name": "other", "schedule": "@yearly", "command": "true"}]
        vm.write_file("/root/other.yaml", json.dumps({"jobs": others}))
        vm.exec("sync")
        since = _now(vm)
        began = since
        for activity, after, down in self.cuts:
            print(f"    power-cut during {activity} after {after:.1f} s", flush=True)
            self._look(vm)
            time.sleep(25)
            vm.exec(["systemd-run", "--quiet", "--collect", "sh", "-c", ACTIVITIES[activity]])
            time.sleep(after)
            cut = _now(vm)
            self._cut_at.append(cut)
            # An apply takes the jobs away, and a sync what they are started by.
            changes = activity in ("apply", "sync")
            self._spans.append((began, cut - round(after + 5) * 10**6 if changes else cut))
            vm.power_cut(timedelta(seconds=down))
            vm.exec("systemctl restart receiver 2>/dev/null; sleep 3", check=False)
            vm.exec(["lunasched", "apply", "/root/jobs.yaml", "--prune"], timeout=300)
            began = _now(vm)
        time.sleep(30)
        until = _now(vm)
        self._spans.append((began, until))
        return self._verdict(vm, since, until)

    def _look(self, vm: VirtualMachine) -> None:
        history = vm.exec(["lunasched", "history", "--json", "--all"], timeout=170).stdout
        self._earlier |= {row.id: row for row in rows(history) if row.result is not None}

    def _verdict(self, vm: VirtualMachine, since: int, until: int) -> Verdict:
        every = {
            name: slots(vm, calendar, since - _LATE_US, until)
            for name, calendar in calendars(0).items()
        }
        end = time.monotonic() + _SETTLES_S
        while True:
            verdict = self._judge(vm, every, since, until)
            if verdict.is_clean or time.monotonic() > end:
                return verdict
            time.sleep(3)

    def _judge(
        self, vm: VirtualMachine, every: dict[str, list[int]], since: int, until: int
    ) -> Verdict:
        running = busy(vm)
        found = rows(vm.exec(["lunasched", "history", "--json", "--all"], timeout=170).stdout)
        wrong = without_a_timer(vm, vm.exec(["lunasched", "list", "--json"], timeout=170).stdout)
        evidence = Evidence(
            since=since,
            until=until,
            proofs=proofs(vm),
            rows=found,
            slots=every,
            missed={name: len(due) for name, due in every.items()},
            busy=running | busy(vm),
            earlier=list(self._earlier.values()),
            said=[*self._said, *(f"{name} is enabled or has a timer, not both" for name in wrong)],
            started_otherwise=frozenset({RETRIED, BY_HAND}),
            late=_LATE_US,
            cuts=self._cut_at,
        )
        doubled_and_false = judge(evidence)
        lost = []
        ran = {(row.job, row.slot) for row in found if row.result != "skipped"}
        for name, due in every.items():
            lost += [
                f"{name} was due at {at} while the machine was up, and did not run"
                for at in due
                if self._was_up(at) and (name, at) not in ran
            ]
        return Verdict(
            [*doubled_and_false.lost, *lost],
            doubled_and_false.doubled,
            doubled_and_false.stuck,
            doubled_and_false.false,
            runs=doubled_and_false.runs,
            slots=sum(1 for due in every.values() for at in due if self._was_up(at)),
        )

    def _was_up(self, at: int) -> bool:
        return any(began + _MARGIN_US < at < ended - _MARGIN_US for began, ended in self._spans)


def _now(vm: VirtualMachine) -> int:
    return (vm.now() - _EPOCH) // timedelta(microseconds=1)
