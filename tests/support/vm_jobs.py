"""lunasched installed in a virtual machine: jobs that leave proof of every run of their own.

What the history says is compared with what the jobs wrote themselves and with what PID 1 wrote to
the journal about starts that were refused.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vm import VirtualMachine

REFUSED = "0e4284a0caca4bfc81c0bb6786972673"
"""The message ID of PID 1's record of an ``ExecCondition=`` that did not hold."""
PROOF = "/var/tmp/ran"
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def instant(text: str | None) -> datetime:
    """What the history prints of an instant."""
    assert text is not None
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


@dataclass(frozen=True)
class Row:
    """One run in the history, with the fields that these tests are about."""

    job: str
    trigger: str
    slot: datetime | None
    result: str | None
    started: datetime
    execution_id: str
    output: str | None

    @property
    def late(self) -> timedelta:
        """How long after its slot it started."""
        assert self.slot is not None
        return self.started - self.slot


@dataclass
class Installed:
    """The jobs of one test, by their names, on a machine with lunasched in it."""

    vm: VirtualMachine
    prefix: str
    names: list[str] = field(default_factory=list)

    def add(
        self, jobs: Mapping[str, Mapping[str, Any]], command: str = "", sync: bool = False
    ) -> None:
        """Add jobs, by one command: names, and the keys of each beside its command.

        An emulated processor needs seconds for each process of Python's.
        """
        definitions = []
        for short, keys in jobs.items():
            name = f"{self.prefix}-{short}"
            self.names.append(name)
            proof = f"{PROOF}/{name}"
            text = f"date +%s >>{proof}"
            text += f"; sync {proof} {PROOF}" if sync else ""
            text += f"; {command}" if command else ""
            definitions.append({"name": name, "command": text, **keys})
        self.vm.exec(
            f"mkdir -p {PROOF}; lunasched apply - --format yaml",
            input=json.dumps({"jobs": definitions}),
            timeout=180,
        )

    def remove(self) -> None:
        """Take the jobs away, and what they left."""
        services = " ".join(f"lunasched-job@{name}.service" for name in self.names)
        self.vm.exec(
            "lunasched apply /dev/null --format yaml --prune --allow-empty;"
            f" systemctl stop {services}; rm -rf {PROOF}",
            check=False,
            timeout=180,
        )
        self.names.clear()

    def timer(self, short: str) -> str:
        return f"lunasched-job@{self.prefix}-{short}.timer"

    def service(self, short: str) -> str:
        return f"lunasched-job@{self.prefix}-{short}.service"

    def history(self) -> dict[str, list[Row]]:
        """The runs of every job of the test, oldest first."""
        text = self.vm.exec("lunasched history --json --all", timeout=90).stdout
        found: dict[str, list[Row]] = {name: [] for name in self.names}
        for run in reversed(json.loads(text)):
            slot = run["scheduled_at"]
            if run["job"] in found:
                row = Row(
                    run["job"],
                    run["trigger"],
                    None if slot is None else instant(slot),
                    run["result"],
                    instant(run["started_at"]),
                    run["execution_id"].replace("-", ""),
                    run["output"],
                )
                found[run["job"]].append(row)
        return {name.removeprefix(f"{self.prefix}-"): rows for name, rows in found.items()}

    def proofs(self) -> dict[str, list[datetime]]:
        """When each job ran, by its own account."""
        script = f'mkdir -p {PROOF}; cd {PROOF}; for each in *; do sed "s,^,$each ," $each; done'
        found: dict[str, list[datetime]] = {}
        for line in self.vm.exec(script, check=False).stdout.splitlines():
            name, second = line.split()
            ran = _EPOCH + timedelta(seconds=int(second))
            found.setdefault(name.removeprefix(f"{self.prefix}-"), []).append(ran)
        return found

    def refused(self) -> set[str]:
        """The execution IDs of the starts that PID 1 says the guard refused."""
        records = self.vm.exec(f"journalctl --all -o json _PID=1 MESSAGE_ID={REFUSED}").stdout
        return {
            str(record["INVOCATION_ID"])
            for record in map(json.loads, records.splitlines())
            if any(record["UNIT"] == f"lunasched-job@{name}.service" for name in self.names)
        }

    def settle(self) -> None:
        """Wait until no job is being started or runs."""
        self.vm.wait_for(
            "! systemctl list-units --no-legend --state=active,activating,deactivating,reloading"
            f" 'lunasched-job@{self.prefix}-*.service' | grep .",
            what="the jobs to end",
            timeout=90,
        )

    def settle_after(self, moment: datetime) -> None:
        """Wait until systemd has acted on all that was due up to a moment, and all of it is over.

        Where it has not when the clock is set next, it is late by what is skipped.
        """
        self.vm.wait_for(
            lambda: all(elapse > moment for elapse in self.elapses()),
            what=f"what is due at {moment}",
        )
        self.settle()

    def elapses(self) -> list[datetime]:
        """When the jobs' timers elapse next, by systemd and the calendar; past while one acts."""
        timers = " ".join(f"lunasched-job@{name}.timer" for name in self.names)
        # systemd 252 heeds no --timestamp=unix for this property.
        shown = self.vm.exec(f"TZ=UTC systemctl show -P NextElapseUSecRealtime {timers}").stdout
        return [
            datetime.strptime(line, "%a %Y-%m-%d %H:%M:%S UTC").replace(tzinfo=timezone.utc)
            for line in shown.splitlines()
            if line.endswith(" UTC")
        ]

    def travel(self, moments: Iterable[datetime], *, before: float = 1.5) -> None:
        """Live through the moments, each until what it starts is over.

        A start that is being judged would take the time that is skipped for its own.
        """
        for moment in sorted(moments):
            self.vm.travel([moment], before=before)
            self.settle_after(moment)

    def arrive(self, ran: Mapping[str, int], refused: int | None = None) -> None:
        """Wait until so many runs of each job, and refused starts of all, took place.

        An emulated processor takes its time. Where they do not, the caller finds out what did.
        """

        def arrived() -> bool:
            found = {name: len(proofs) for name, proofs in self.proofs().items()}
            return found == {name: count for name, count in ran.items() if count} and (
                refused is None or len(self.refused()) == refused
            )

        with suppress(TimeoutError):
            self.vm.wait_for(arrived, timeout=90, interval=0.5)

    def recorded(self) -> dict[str, list[Row]]:
        """The history, once it has all that ran and all that was refused; no execution twice."""
        self.settle()
        self.vm.exec("journalctl --sync")
        seen: list[Any] = []

        def complete() -> bool:
            rows = self.history()
            ran = {name: len(proof) for name, proof in self.proofs().items()}
            ended = {
                name: sum(row.result not in (None, "skipped") for row in each)
                for name, each in rows.items()
            }
            skipped = {
                row.execution_id
                for each in rows.values()
                for row in each
                if row.result == "skipped"
            }
            seen[:] = [rows, ran, ended, len(skipped), len(self.refused())]
            return (
                {name: count for name, count in ended.items() if count} == ran
                and skipped == self.refused()
                and all(row.result and row.output is not None for e in rows.values() for row in e)
            )

        try:
            self.vm.wait_for(complete, timeout=30, interval=0.5)
        except TimeoutError as error:
            said = "\n".join(str(row) for rows in seen[0].values() for row in rows)
            journal = self.vm.exec(
                "journalctl -b -n 60 -u lunasched.service -u 'lunasched-job@*'", check=False
            ).stdout
            raise AssertionError(
                f"proofs {seen[1]}\nrecorded {seen[2]}\nskipped {seen[3]}, refused {seen[4]}\n"
                f"{said}\n{journal}"
            ) from error
        rows: dict[str, list[Row]] = seen[0]
        for each in rows.values():
            print("recorded:", *each, sep="\n  ")
        ids = [row.execution_id for each in rows.values() for row in each]
        assert len(set(ids)) == len(ids)
        return rows


def successes(rows: Iterable[Row]) -> list[tuple[str, datetime | None]]:
    """Trigger and slot of the runs that were not refused; each of them succeeded."""
    found = [row for row in rows if row.result != "skipped"]
    assert {row.result for row in found} <= {"success"}, found
    return [(row.trigger, row.slot) for row in found]


def skips(rows: Iterable[Row]) -> list[datetime | None]:
    """The slots of the starts that the guard refused."""
    found = [row for row in rows if row.result == "skipped"]
    assert {row.trigger for row in found} <= {"timer"}, found
    assert all("ran already" in (row.output or "") for row in found), found
    return [row.slot for row in found]
