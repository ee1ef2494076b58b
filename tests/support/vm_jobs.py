"""lunasched installed in a virtual machine: jobs that leave proof of every run of their own.

What the history says is compared with what the jobs wrote themselves and with what PID 1 wrote to
the journal about starts that were refused.
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vm import VirtualMachine

REFUSED = "0e4284a0caca4bfc81c0bb6786972673"
"""The message ID of PID 1's record of an ``ExecCondition=`` that did not hold."""
PROOF = "/var/tmp/ran"
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


_HISTORY = "file:/var/lib/lunasched/history/history.db?mode=ro"
_KINDS = ("timer", "service")


def of_systemd(text: str) -> datetime:
    """What systemctl prints of an instant where ``TZ`` is UTC."""
    return datetime.strptime(text, "%a %Y-%m-%d %H:%M:%S UTC").replace(tzinfo=timezone.utc)


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


class RecordedRun(NamedTuple):
    """A run as the database has it; texts, empty for NULL."""

    job: str
    execution_id: str
    slot: str
    """In microseconds since the epoch, UTC."""
    result: str
    has_output: str


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

    def recorded_runs(self) -> list[RecordedRun]:
        """The runs of the test's jobs in short: the tool for databases has a tenth of our work."""
        query = "SELECT job, execution_id, scheduled_at, result, output IS NOT NULL FROM runs"
        asked = ["sqlite3", "-cmd", ".timeout 5000", "-separator", " ", _HISTORY, query]
        lines = self.vm.exec(asked, user="lunasched").stdout.splitlines()
        rows = [RecordedRun(*line.split(" ")) for line in lines]
        return [row for row in rows if row.job in self.names]

    def proofs(self) -> dict[str, list[datetime]]:
        """When each job ran, by its own account."""
        found: dict[str, list[datetime]] = {}
        script = f"cd {PROOF} && grep -H . *"
        for line in self.vm.exec(script, check=False).stdout.splitlines():
            name, second = line.split(":")
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
        self.vm.wait_for(lambda: self._is_over(moment), what=f"what is due at {moment}")

    def _is_over(self, moment: datetime) -> bool:
        """Whether no timer is to act on a moment that is past, and no service is to start or runs.

        One question for all of it: an emulated processor needs a quarter of a second for each.
        """
        units = [f"lunasched-job@{name}.{kind}" for name in self.names for kind in _KINDS]
        asked = ["systemctl", "show", "-p", "Id,ActiveState,Job,NextElapseUSecRealtime", *units]
        # systemd 252 heeds no --timestamp=unix for the last of them.
        shown = self.vm.exec(asked, env={"TZ": "UTC"}).stdout
        for unit in shown.split("\n\n"):
            state = dict(line.split("=", 1) for line in unit.splitlines())
            if state["Id"].endswith(".timer"):
                elapse = state.get("NextElapseUSecRealtime", "")
                if elapse.endswith(" UTC") and of_systemd(elapse) <= moment:
                    return False
            elif state.get("Job") or state["ActiveState"] not in ("inactive", "failed"):
                return False
        return True

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
            rows = self.recorded_runs()
            ran = {name: len(proof) for name, proof in self.proofs().items()}
            ended = Counter(
                row.job.removeprefix(f"{self.prefix}-")
                for row in rows
                if row.result not in ("", "skipped")
            )
            skipped = {row.execution_id for row in rows if row.result == "skipped"}
            refused = self.refused()
            seen[:] = [ran, dict(ended), len(skipped), len(refused)]
            return (
                ended == ran
                and skipped == refused
                and all(row.result and row.has_output == "1" for row in rows)
            )

        try:
            self.vm.wait_for(complete, timeout=30, interval=0.5)
        except TimeoutError as error:
            said = "\n".join(str(row) for each in self.history().values() for row in each)
            journal = self.vm.exec(
                "journalctl -b -n 60 -u lunasched.service -u 'lunasched-job@*'", check=False
            ).stdout
            raise AssertionError(
                f"proofs {seen[0]}\nrecorded {seen[1]}\nskipped {seen[2]}, refused {seen[3]}\n"
                f"{said}\n{journal}"
            ) from error
        rows = self.history()
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
