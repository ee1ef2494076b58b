"""Making the deployed units and timers equal the database, whatever they were."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lunasched.dataclass import dataclass
from lunasched.deploy.change import file_names, gained, texts
from lunasched.deploy.loader import Loader, raise_first, timers, to_start
from lunasched.formats import unittext
from lunasched.units import commandchannels

if TYPE_CHECKING:
    from lunasched.deploy.successfiles import SuccessFiles
    from lunasched.jobs.model import Job
    from lunasched.state.slotfile import SlotDirectory
    from lunasched.state.unitdir import UnitDirectory
    from lunasched.systemd.manager import Manager
    from lunasched.units.compiler import CompiledJob


@dataclass(frozen=True, slots=True)
class SyncReport:
    """The changes of ``sync``, by unit name; all empty when everything was as it should be.

    ``failed`` has the jobs that cannot be compiled any more, with the reason; their units are left
    as they are.
    """

    written: tuple[str, ...]
    removed: tuple[str, ...]
    started: tuple[str, ...]
    stopped: tuple[str, ...]
    failed: tuple[tuple[str, str], ...] = ()
    settled: tuple[str, ...] = ()
    """The hand-overs that a killed ``eject`` or ``adopt`` had left half done."""

    @property
    def changed(self) -> bool:
        """True if anything had to be done."""
        return bool(self.written or self.removed or self.started or self.stopped or self.settled)


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference between the unit files and what they should be."""

    compiled: tuple[CompiledJob, ...]
    """The units that should exist; those of jobs that cannot be compiled are left as they are."""
    old_texts: dict[str, str | None]
    changed: tuple[CompiledJob, ...]
    stale: tuple[str, ...]
    """The units that should not be there."""
    wanted: frozenset[str]
    """The timers that start at boot."""

    @property
    def is_empty(self) -> bool:
        """True if all files are as they should be."""
        return not self.changed and not self.stale

    @property
    def jobs(self) -> list[Job]:
        """The jobs whose files are to be written."""
        return [item.job for item in self.changed]

    @property
    def gone(self) -> list[str]:
        """The jobs whose timers should not be there."""
        names = (unittext.job_name(unit) for unit in self.stale if unit.endswith(".timer"))
        return [name for name in names if name]


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Compares the units that are deployed with those that should be, and makes them the same."""

    units: UnitDirectory
    slots: SlotDirectory
    loader: Loader
    successes: SuccessFiles
    manager: Manager

    def compare(
        self,
        compiled: Sequence[CompiledJob],
        failed: Iterable[str],
    ) -> Difference:
        """Compare the deployed units with ``compiled``; those of ``failed`` may stay."""
        wanted, made = self.units.wanted(), texts(compiled)
        others = self.units.owned(but=made)
        left_alone = {unit for name in failed for unit in file_names(name)}
        left_alone |= {
            unit for name in failed for unit in others if commandchannels.is_unit(unit, name)
        }
        old_texts = {name: self.units.read(name) for name in made}
        return Difference(
            compiled=tuple(compiled),
            old_texts=old_texts,
            changed=tuple(
                job
                for job in compiled
                if any(old_texts[file.name] != file.text for file in job.files)
            ),
            stale=tuple(sorted(others - left_alone)),
            wanted=frozenset(wanted - left_alone),
        )

    def reconcile(self, found: Difference, now: int, *, all_unread: bool) -> SyncReport:
        """Have the units of ``found`` deployed, and their timers run.

        With ``all_unread``, systemd may not have read any of the files that are there.
        """
        running = self.loader.running()
        keep = self._replace(found, running, now)
        enabled = [job for job in found.compiled if job.job.enabled]
        should_run = set(timers(enabled))
        self.units.unwant(sorted(found.wanted - should_run))
        self.units.want(sorted(should_run - found.wanted))
        to_stop = sorted((running & set(timers(found.compiled))) - should_run)
        raise_first(self.manager.stop(to_stop))
        begin = set(to_start(enabled)) - (running - (set(timers(found.changed)) - keep))
        starting = [job for job in enabled if job.timer and job.timer.name in begin]
        self.loader.prepare(starting, now, running)
        unread = found.compiled if all_unread else (*found.changed, *starting)
        self.loader.reload_if_needed(unread)
        raise_first(self.manager.start(sorted(begin)))
        return SyncReport(
            written=tuple(sorted(texts(found.changed))),
            removed=found.stale,
            started=tuple(sorted(begin)),
            stopped=tuple(to_stop),
        )

    def _replace(self, found: Difference, running: set[str], now: int) -> set[str]:
        """Write the units that differ; return their timers that keep running."""
        keep = self.loader.keep(found.changed, found.old_texts, running, now)
        if not found.is_empty:
            with self.units.stage(texts(found.changed)) as staged:
                self.successes.note(gained(found.changed, found.old_texts))
                self.loader.unload_stale(found.stale)
                self.loader.unload(found.changed, keep)
                staged.install()
                self.units.remove(found.stale)
                self.slots.remove(found.gone)
        return keep
