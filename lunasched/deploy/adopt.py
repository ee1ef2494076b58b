"""Units that somebody wrote, taken out for a job to take their place."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from lunasched.dataclass import dataclass
from lunasched.deploy.firstrun import FIRST_RUN
from lunasched.deploy.handover import Record, RecordFile, check_idle, lost_slot
from lunasched.deploy.loader import raise_first
from lunasched.errors import DeploymentFailed, InvalidInput, LunaschedError
from lunasched.formats import unitfile, unittext
from lunasched.formats.unitfile import UnitFile
from lunasched.history import slot
from lunasched.paths import Mode
from lunasched.transfer import adoption
from lunasched.transfer.adoption import Adoption, Source

if TYPE_CHECKING:
    from lunasched.jobs.model import Job
    from lunasched.paths import Paths
    from lunasched.systemd.manager import Manager, UnitFacts
    from lunasched.units.compiler import Context

SUFFIX = ".adopted"
"""The suffix of files that were taken out; systemd does not read them."""

Pairs = Sequence[tuple[str, str]]

# Directories whose drop-ins apply to all units of a kind, including ours.
_FOR_ALL = ("service.d", "timer.d")


@dataclass(frozen=True, slots=True)
class FoundUnits:
    """A timer and its service, and the job that they are."""

    adoption: Adoption
    timer: str
    service: str
    moves: tuple[tuple[str, str], ...]
    """The files to rename, and their new names."""
    links: tuple[tuple[str, str], ...]
    """The symbolic links that enable the timer, and their targets."""


@dataclass(frozen=True, slots=True)
class Adopter:
    """One service manager, and where its units are."""

    KIND: ClassVar[str] = "adopt"

    manager: Manager
    paths: Paths
    context: Context
    record: RecordFile

    def find(self, unit: str, name: str | None) -> FoundUnits:
        """The job that a timer and its service are; raises ``InvalidInput`` with all reasons."""
        if not unit.endswith(".timer"):
            raise InvalidInput(f"{unit!r} is not the name of a timer, such as backup.timer")
        unitfile.checked_unit_name(unit)
        timer = self._facts(unit)
        timer_source = self._source(timer)
        service = self._facts(adoption.service_of(timer_source))
        self._check_alone(timer, service)
        links = self._links(unit)
        enabled = bool(links)
        adopted = adoption.adopted_job(
            timer_source,
            self._source(service),
            name=unit.removesuffix(".timer") if name is None else name,
            enabled=enabled,
            context=self.context,
        )
        if enabled != (timer.active == "active"):
            state = "enabled and not started" if enabled else "started and not enabled"
            raise InvalidInput(
                f"{unit} is {state}; make it one or the other first: systemctl enable --now "
                f"{unit}, or systemctl disable --now {unit}"
            )
        return FoundUnits(adopted, unit, service.name, self._moves(timer, service), links)

    def take_out(self, found: FoundUnits) -> int:
        """Stop the timer and take its files away; when it was started or last elapsed (µs, UTC)."""
        check_idle(self.manager, found.service)
        beside = (found.timer, found.service)
        name = found.adoption.job.name
        self.record.write(Record(self.KIND, name, beside, found.moves, found.links))
        self.manager.hold(found.timer)
        before = self.manager.timer(found.timer)
        raise_first(self.manager.stop([found.timer]))
        check_idle(self.manager, found.service)
        last = self.manager.timer(found.timer).last_trigger
        self._move_away(found.moves, found.links)
        return max(before.since, last)

    def slots_from(self, found: FoundUnits, now: int, done: int) -> int:
        """From when on the slots are those of the job (µs, UTC): what is before is not to run.

        A timer may elapse for such a slot when it is started, if there was one of its name before.
        """
        job, stopped = found.adoption.job, time.time_ns() // 1000
        zone = self.context.host_timezone
        latest = slot.latest_slot(job, stopped, zone)
        if latest and lost_slot(job, zone, before=now, done=done, until=stopped):
            return latest - 1
        return stopped

    def make_up(self, found: FoundUnits, now: int, done: int) -> str | None:
        """Run the job if it was due while no timer ran, and forget the old units.

        Returns the execution ID of that run.
        """
        job = found.adoption.job
        self._forget((found.timer, found.service))
        timer, service = unittext.timer_name(job.name), unittext.service_name(job.name)
        until = self.manager.active_since(timer) if job.enabled else 0
        made_up = None
        if until and lost_slot(
            job,
            self.context.host_timezone,
            before=now,
            # The timer may have elapsed for that slot when it was started.
            done=max(done, self.manager.timer(timer).last_trigger),
            until=until,
        ):
            raise_first(self.manager.start([service]))
            made_up = self.manager.invocation(service).execution_id or None
        self.record.drop()
        return made_up

    def take_back(self) -> None:
        """Undo ``take_out`` as far as it came."""
        record = self.record.read()
        if record is None:
            return
        # If it were still loaded, the start would make it elapse for what it did since it was
        # started last (seen on systemd 252); without its files systemd forgets it.
        with suppress(LunaschedError):
            self._move_away(record.moves, record.links)
            self.manager.stop(record.units[:1])
            self.manager.release(record.units[0])
            self.manager.reload()
        for old, new in record.moves:
            if os.path.lexists(new) and not os.path.lexists(old):
                Path(new).rename(old)
        for link, target in record.links:
            Path(link).parent.mkdir(exist_ok=True)
            with suppress(FileExistsError):
                Path(link).symlink_to(target)
        self._forget(record.units)
        if record.links:
            raise_first(self.manager.start(record.units[:1]))
        self.record.drop()

    def finish(self, record: Record, job: Job | None) -> None:
        """Finish the work of a process that was killed; ``job`` is as the database has it."""
        if job is None:
            self.take_back()
            return
        raise_first(self.manager.stop(record.units[:1]))
        self._move_away(record.moves, record.links)
        self._forget(record.units)
        self.record.drop()

    def _facts(self, unit: str) -> UnitFacts:
        """The facts of a unit that somebody wrote; raises ``InvalidInput`` if it is another one."""
        facts = self.manager.facts(unit)
        user = " --user" if self.context.mode is Mode.USER else ""
        fragment = Path(facts.fragment)
        reason = None
        if facts.load != "loaded":
            reason = f"systemd has no such unit ({facts.load})"
        elif facts.name != unit or facts.names != (unit,):
            reason = f"it has several names: {', '.join(facts.names)}"
        elif facts.stale:
            reason = (
                "its files are not what systemd has read; check them, then: "
                f"systemctl{user} daemon-reload"
            )
        elif unittext.job_name(unit) is not None or unit.startswith(unittext.HOOK_PREFIX):
            reason = "it is lunasched's own"
        elif facts.transient or fragment.parent != self.paths.units or fragment.name != unit:
            reason = (
                f"it is {facts.fragment or 'generated'}, and only units in {self.paths.units} can "
                f"be adopted; those of packages must not be renamed. Copy it: systemctl{user} "
                f"edit --full {unit}"
            )
        else:
            path = self._packaged_drop_in(facts)
            reason = f"{path} belongs to a package and would not apply to the job" if path else None
        if reason:
            raise InvalidInput(f"{unit} cannot be adopted: {reason}")
        return facts

    def _packaged_drop_in(self, facts: UnitFacts) -> str | None:
        own = (f"{self.paths.units}", f"{self.paths.runtime_units}")
        for path in facts.drop_ins:
            if Path(path).parent.name not in _FOR_ALL and not path.startswith(own):
                return path
        return None

    def _check_alone(self, timer: UnitFacts, service: UnitFacts) -> None:
        """Refuse units that others refer to: those would wait for a unit that no longer exists."""
        if not service.name.endswith(".service"):
            raise InvalidInput(f"{timer.name} starts {service.name}, which is not a service")
        others = sorted({*service.used_by, *timer.used_by} - {timer.name, "timers.target"})
        targets = {unit for unit in timer.used_by if unit.endswith(".target")}
        others = [unit for unit in others if unit not in targets or unit in service.used_by]
        if others:
            raise InvalidInput(
                f"{timer.name} cannot be adopted: {', '.join(others)} also starts or follows "
                f"{service.name} or {timer.name}"
            )

    def _source(self, facts: UnitFacts) -> Source:
        files = []
        for path in (facts.fragment, *facts.drop_ins):
            if Path(path).parent.name in _FOR_ALL or Path(path).name == FIRST_RUN:
                continue
            try:
                files.append(UnitFile(path, Path(path).read_text(encoding="utf-8")))
            except (OSError, UnicodeDecodeError) as error:
                raise DeploymentFailed(f"{path} cannot be read: {error}") from error
        return Source(facts.name, tuple(files))

    def _moves(self, *units: UnitFacts) -> tuple[tuple[str, str], ...]:
        paths = []
        for facts in units:
            paths.append(facts.fragment)
            own = {Path(path).parent for path in facts.drop_ins}
            paths += sorted(str(path) for path in own if path.name == f"{facts.name}.d")
        return tuple((path, _free(path + SUFFIX)) for path in paths)

    def _links(self, unit: str) -> tuple[tuple[str, str], ...]:
        found = []
        for directory in (self.paths.units, self.paths.runtime_units):
            for link in (*directory.glob("*.wants/*"), *directory.glob("*.requires/*")):
                if link.name == unit and link.is_symlink():
                    found.append((str(link), str(link.readlink())))
        return tuple(sorted(found))

    def _move_away(self, moves: Pairs, links: Pairs) -> None:
        try:
            for link, _ in links:
                Path(link).unlink(missing_ok=True)
            for old, new in moves:
                if os.path.lexists(old):
                    Path(old).rename(new)
        except OSError as error:
            raise DeploymentFailed(f"{error.filename}: {error.strerror}") from error

    def _forget(self, units: Sequence[str]) -> None:
        """Have systemd see that the files of units have gone or come."""
        with suppress(LunaschedError):
            self.manager.reset_failed(units)
        if self.manager.need_reload(units):
            self.manager.reload()


def _free(path: str) -> str:
    """The path, or with a number if there is something already."""
    number, found = 1, path
    while os.path.lexists(found):
        number += 1
        found = f"{path}.{number}"
    return found
