"""Plain units in the place of those of a job."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from lunasched import schedule
from lunasched.dataclass import dataclass
from lunasched.deploy.change import file_names
from lunasched.deploy.firstrun import FirstRuns
from lunasched.deploy.handover import Record, RecordFile, check_idle, lost_slot, runs_of
from lunasched.deploy.loader import raise_first
from lunasched.errors import LunaschedError, UnitConflict
from lunasched.formats import unittext
from lunasched.state.unitdir import UnitDirectory
from lunasched.transfer import ejection
from lunasched.transfer.ejection import Ejection
from lunasched.units import commandchannels, compiler

if TYPE_CHECKING:
    from lunasched.jobs.model import Job
    from lunasched.paths import Paths
    from lunasched.systemd.manager import Manager
    from lunasched.units.compiler import Context


@dataclass(frozen=True, slots=True)
class Ejector:
    """One service manager, and where its units are."""

    KIND: ClassVar[str] = "eject"

    manager: Manager
    units: UnitDirectory
    paths: Paths
    context: Context
    record: RecordFile

    @property
    def _first_runs(self) -> FirstRuns:
        return FirstRuns(self.paths.runtime_units)

    def check_free(self, found: Ejection) -> None:
        """Refuse names that mean something to systemd already; raises ``UnitConflict``."""
        for unit in (f"{found.name}.service", f"{found.name}.timer"):
            facts = self.manager.facts(unit)
            taken = facts.fragment or (facts.load != "not-found" and f"a {facts.load} unit")
            for directory in map(Path, self.manager.search_path()):
                for name in _names_that_apply(unit):
                    path = directory / name
                    if os.path.lexists(path) and not self._first_runs.is_all_of(path):
                        taken = str(path)
            if taken or facts.active != "inactive":
                raise UnitConflict(
                    f"there is a unit {unit} already ({taken or facts.active}), and nothing was "
                    "changed; choose another name with --as"
                )

    def swap(self, found: Ejection, now: int) -> None:
        """Stop the job's timer and start the plain one. The files of the job stay."""
        job, new = found.job, found.timer
        old = unittext.timer_name(job.name)
        plain = self._plain(found.name)
        check_idle(self.manager, *runs_of(job.name))
        with plain.stage({unit.name: unit.text for unit in found.units}) as staged:
            beside = (f"{found.name}.timer", f"{found.name}.service")
            self.record.write(Record(self.KIND, job.name, beside))
            if new is None or not job.enabled:
                raise_first(self.manager.stop([old]))
                check_idle(self.manager, *runs_of(job.name))
                staged.install()
                return
            # The state is read after the stop, when it no longer changes.
            self.manager.hold(old)
            before = self.manager.timer(old)
            raise_first(self.manager.stop([old]))
            check_idle(self.manager, *runs_of(job.name))
            last = self.manager.timer(old).last_trigger
            self.units.unwant([old])
            staged.install()
            self._carry_over(found, old, before.next_monotonic)
            plain.want([new.name])
        if _only_at_boot(job):
            return
        raise_first(self.manager.start([new.name]))
        # A Persistent= timer makes up for it by itself.
        if not job.catch_up and lost_slot(
            job,
            self.context.host_timezone,
            before=now,
            done=max(before.since, last, self.manager.timer(new.name).last_trigger),
            until=self.manager.active_since(new.name),
        ):
            raise_first(self.manager.start([found.service.name]))

    def take_back(self, name: str, job: Job) -> None:
        """Undo ``swap`` as far as it came."""
        timer, service = f"{name}.timer", f"{name}.service"
        plain, old = self._plain(name), unittext.timer_name(job.name)
        with suppress(LunaschedError):
            self.manager.stop([timer])
        plain.unwant(link for link in plain.wanted() if link == timer)
        plain.remove([timer, service])
        with suppress(LunaschedError):
            self.manager.reset_failed([timer, service])
        self._first_runs.remove(timer)
        (self.paths.timer_stamps / f"stamp-{timer}").unlink(missing_ok=True)
        if job.enabled and self.units.read(old) is not None:
            self.units.want([old])
            if not _only_at_boot(job):
                raise_first(self.manager.start([old]))
        self.record.drop()

    def finish(self, record: Record, job: Job | None) -> None:
        """Finish the work of a process that was killed; ``job`` is as the database still has it."""
        timer = record.units[0]
        name = timer.removesuffix(".timer")
        if job is not None:
            self.take_back(name, job)
            return
        old = unittext.timer_name(record.job)
        self.units.unwant([old])
        raise_first(self.manager.stop([old]))
        gone = file_names(record.job)
        gone += [unit for unit in self.units.owned() if commandchannels.is_unit(unit, record.job)]
        self.units.remove(gone)
        self.manager.reset_failed(filter(unittext.is_unit_name, gone))
        plain = self._plain(name)
        if timer in plain.wanted() and not _says_only_boot(plain.read(timer) or ""):
            raise_first(self.manager.start([timer]))
        self.record.drop()

    def _carry_over(self, found: Ejection, old: str, following: int) -> None:
        """Have the new timer go on where the old one was."""
        assert found.timer is not None
        new = found.timer.name
        stamps = self.paths.timer_stamps
        with suppress(OSError):
            (stamps / f"stamp-{new}").unlink(missing_ok=True)
            if found.job.catch_up:
                shutil.copy2(stamps / f"stamp-{old}", stamps / f"stamp-{new}")
        rule, remaining = schedule.parse(found.job.schedule), None
        if isinstance(rule, schedule.Every) and following:
            now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            remaining = max(0.001, (following - now) / 1_000_000)
        text = compiler.until_boot(found.job, self.context, remaining)
        if text is not None:
            self._first_runs.write(new, text)

    def _plain(self, name: str) -> UnitDirectory:
        return UnitDirectory(
            self.paths.units, mark=ejection.MARK, prefix=(f"{name}.service", f"{name}.timer")
        )


def _only_at_boot(job: Job) -> bool:
    return isinstance(schedule.parse(job.schedule), schedule.Reboot)


def _says_only_boot(timer: str) -> bool:
    """Tell the same of the text of a timer."""
    elapses = [line.partition("=")[0] for line in timer.splitlines() if line.startswith("On")]
    return not {*elapses} - {"OnStartupSec", "OnBootSec"}


def _names_that_apply(unit: str) -> list[str]:
    """The names of files and directories that would be a unit's, or change it (systemd.unit(5))."""
    name, _, kind = unit.rpartition(".")
    parts = name.split("-")
    prefixes = ["-".join(parts[:count]) + "-" for count in range(1, len(parts))]
    return [
        unit,
        *(f"{unit}.{what}" for what in ("d", "wants", "requires", "upholds")),
        *(f"{prefix}.{kind}.d" for prefix in prefixes),
    ]
