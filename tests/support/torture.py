"""`make torture`: one fault after the other on a booted machine, and a judge who believes nobody.

A round is a machine of its own, with jobs that are due every few seconds, on which faults strike;
then it is left alone, and what lunasched says of the time is held against what the jobs wrote
themselves (torture_oracle.py). Each round has a seed, which draws its faults:

    make torture                       # five minutes of rounds
    TORTURE_S=7200 make torture        # two hours
    TORTURE_SEED=7 make torture        # round 7 alone, once more
    TORTURE_FAULTS=bus-restarted,… make torture
    TORTURE_FAULTS=power-cut make torture    # in a virtual machine
"""

from __future__ import annotations

import json
import os
import random
import secrets
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from installed import INSTALL, SUITE
from machine import REPOSITORY, Machine
from torture_faults import FAULTS, VIRTUAL, Fault
from torture_jobs import (
    BY_HAND,
    MOUNTS,
    PROOFS,
    PROVE,
    RECEIVER,
    RETRIED,
    SETUP,
    TELLS,
    Load,
    begins,
    busy,
    ends,
    proofs,
    rows,
    slots,
    told,
    without_a_timer,
)
from torture_oracle import LATE_US, Evidence, Row, Verdict, judge, without_a_run
from vm import VirtualMachine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anymachine import AnyMachine

ROUND_FAULTS = 8
USUAL = Load(crowd=30)
EMULATED = Load(crowd=0, is_slow=True)
_CAUGHT_UP_US = 600_000_000
"""What a power cut and a boot may take: a slot that is made up for is so late."""
_SETTLES_S = 150
"""How long it may take until all is on record, on a machine that is busy with other tests, too."""


@dataclass
class Sums:
    """What was found in all rounds."""

    faults: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    slots: int = 0
    passed: int = 0
    wrong: Counter[str] = field(default_factory=Counter)

    def add(self, verdict: Verdict) -> None:
        self.runs += verdict.runs
        self.slots += verdict.slots
        self.passed += verdict.passed
        for kind in ("lost", "doubled", "stuck", "false"):
            self.wrong[kind] += len(getattr(verdict, kind))

    def __str__(self) -> str:
        return (
            f"{self.faults.total()} faults of {len(self.faults)} kinds, {self.runs} runs, "
            f"{self.slots} slots (passed over by systemd, and told: {self.passed}): "
            + ", ".join(
                f"{kind} {self.wrong[kind]}" for kind in ("lost", "doubled", "stuck", "false")
            )
        )


class Round:
    """A machine, and the faults that a seed draws for it."""

    def __init__(
        self,
        seed: int,
        kinds: Sequence[type[Fault]],
        number: int = ROUND_FAULTS,
        load: Load = USUAL,
    ) -> None:
        self.seed = seed
        self._rng = random.Random(seed)
        self._load = load
        self._said: list[str] = []
        self._earlier: dict[str, Row] = {}
        self.faults = [self._rng.choice(kinds)(self._rng) for _ in range(number)]

    def play(self, machine: AnyMachine) -> Verdict:
        """Strike with all faults, and judge."""
        since = self._begin(machine)
        for fault in self.faults:
            print(f"    {fault}", flush=True)
            fault.strike(machine)
            self._use(machine)
            time.sleep(self._rng.uniform(0.5, 4))
            fault.heal(machine)
            self._said += fault.lies()
            time.sleep(self._rng.uniform(0, 2))
        return self._verdict(machine, since, _now(machine))

    def _begin(self, machine: AnyMachine) -> int:
        if not isinstance(machine, VirtualMachine):
            machine.exec(MOUNTS)
        machine.run(INSTALL, timeout=600)
        machine.write_file("/usr/local/bin/prove", PROVE, mode=0o755)
        machine.write_file("/etc/systemd/system/receiver.service", RECEIVER)
        machine.run(SETUP)
        machine.run("systemctl restart lunasched")
        self._load.deploy(machine)
        machine.exec("sync")
        return _now(machine)

    def _use(self, machine: AnyMachine) -> None:
        """Ask for the history, and start a job by hand, as somebody would right now."""
        shown = machine.exec(["lunasched", "history", "--json", "--all"], check=False)
        self._read(shown.args, shown.stderr)
        if shown.returncode == 0:
            for row in rows(shown.stdout):
                if row.result is not None:
                    self._earlier.setdefault(row.id, row)
        before = {proof.id for proof in proofs(machine)}
        # While a fault lasts, the end of a run may be known to nobody.
        start = ["timeout", "20", "lunasched", "start", BY_HAND, "--wait"]
        done = machine.exec(start, check=False)
        self._read(done.args, done.stderr)
        ran = [each for each in proofs(machine) if each.id not in before and each.job == BY_HAND]
        if done.returncode == 0:
            self._said.append(f"start --wait ended with 0 for a run that fails: {ran}")
        if "exit code 5" in done.stderr and not any(each.code == 5 for each in ran):
            self._said.append(f"start --wait says {done.stderr!r}, and none ran")

    def _read(self, command: object, text: str) -> None:
        if "Traceback" in text or "unexpected error" in text:
            self._said.append(f"{command} said: {text}")

    def _verdict(self, machine: AnyMachine, since: int, until: int) -> Verdict:
        """Judge as soon as all is as it should be, or when it has had the time to be."""
        due = {
            name: slots(machine, calendar, since - LATE_US, until)
            for name, calendar in self._load.calendars().items()
        }
        end = time.monotonic() + _SETTLES_S
        while True:
            verdict = judge(self._evidence(machine, due, since, until))
            if verdict.is_clean or time.monotonic() > end:
                return verdict
            time.sleep(2)

    def _evidence(
        self, machine: AnyMachine, due: dict[str, list[int]], since: int, until: int
    ) -> Evidence:
        cuts = [at for fault in self.faults for at in fault.cuts()]
        running = busy(machine)
        history = machine.exec(["lunasched", "history", "--json", "--all"]).stdout
        evidence = Evidence(
            since=since,
            until=until,
            proofs=proofs(machine),
            rows=rows(history),
            slots=due,
            busy=running | busy(machine),
            earlier=list(self._earlier.values()),
            told=told(machine),
            tells=frozenset({TELLS}),
            witnessed=ends(machine),
            announced=begins(machine),
            started_otherwise=frozenset({RETRIED, BY_HAND}),
            cuts=cuts,
            late=_CAUGHT_UP_US if cuts else LATE_US,
        )
        listed = machine.exec(["lunasched", "list", "--json"]).stdout
        wrong = [
            f"{name} has a timer, or is enabled, and not both"
            for name in without_a_timer(machine, listed)
        ]
        missed = {name: _missed(machine, name) for name in without_a_run(evidence)}
        return replace(evidence, missed=missed, said=[*self._said, *wrong])


def _now(machine: AnyMachine) -> int:
    """The machine's clock, in microseconds since the epoch."""
    return int(machine.exec("date +%s%6N").stdout)


def _missed(machine: AnyMachine, name: str) -> int:
    """How many slots of a job lunasched says were missed."""
    shown = machine.exec(["lunasched", "get", name, "--json"]).stdout
    return int(json.loads(shown)["missed_slots"])


class Campaign:
    """Rounds, one after the other."""

    def __init__(self, kinds: Sequence[type[Fault]], wanted: str | None) -> None:
        self._kinds = kinds
        self._again = f"TORTURE_FAULTS={wanted} " if wanted else ""
        self.sums = Sums()

    def play(self, seed: int) -> None:
        """Play the round of a seed, and print what was wrong."""
        print(f"round {seed}; again: {self._again}TORTURE_SEED={seed} make torture", flush=True)
        is_virtual = any(kind in VIRTUAL for kind in self._kinds)
        played = Round(seed, self._kinds, load=EMULATED if is_virtual else USUAL)
        boot = VirtualMachine.boot if is_virtual else Machine.boot
        with boot("torture", suite=SUITE) as machine:
            self._count(seed, machine, played.play(machine), [each.name for each in played.faults])

    def _count(self, seed: int, machine: AnyMachine, verdict: Verdict, faults: list[str]) -> None:
        for line in verdict.lines():
            print(f"  {line}", flush=True)
        if not verdict.is_clean:
            print(f"  the evidence: {_keep(machine, seed)}", flush=True)
        self.sums.faults.update(faults)
        self.sums.add(verdict)
        print(f"  {verdict.runs} runs, {verdict.slots} slots", flush=True)


def main() -> int:
    """Play rounds for as long as is asked for; returns the exit status."""
    wanted = os.environ.get("TORTURE_FAULTS")
    every = (*FAULTS, *VIRTUAL)
    kinds = [each for each in every if each.name in wanted.split(",")] if wanted else FAULTS
    if not kinds:
        print("TORTURE_FAULTS names none of:", *{each.name: None for each in every})
        return 2
    again = os.environ.get("TORTURE_SEED")
    seed = int(again) if again else secrets.randbelow(10**6)
    end = time.monotonic() + float(os.environ.get("TORTURE_S") or 300)
    campaign = Campaign(kinds, wanted)
    while True:
        campaign.play(seed)
        if again or time.monotonic() > end:
            break
        seed += 1
    print(campaign.sums)
    return 1 if campaign.sums.wrong.total() else 0


def _keep(machine: AnyMachine, seed: int) -> Path:
    """Keep what shows why a round failed; the directory."""
    directory = REPOSITORY / "build/torture" / str(seed)
    directory.mkdir(parents=True, exist_ok=True)
    for name, command in (
        ("journal", "journalctl --no-pager -o short-precise"),
        ("proofs", f"cat {PROOFS}"),
        ("history.json", "lunasched history --json --all"),
    ):
        (directory / name).write_text(machine.exec(command, check=False).stdout)
    return directory


if __name__ == "__main__":
    sys.exit(main())
