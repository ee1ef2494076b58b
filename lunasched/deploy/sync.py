"""Making the deployed units and timers equal the database, whatever they were."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lunasched import commands, unittext
from lunasched.deploy.change import gained, texts, unit_names
from lunasched.deploy.loader import Loader, raise_first, timers, to_start

if TYPE_CHECKING:
    from lunasched.compiler import CompiledJob
    from lunasched.deploy.successes import Successes
    from lunasched.slotfile import SlotDirectory
    from lunasched.systemd import Manager
    from lunasched.unitdir import UnitDirectory


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What ``sync`` did, by unit name; all empty when everything was as it should be.

    ``failed`` has the jobs that cannot be compiled any more, with the reason; their units are left
    as they are.
    """

    written: tuple[str, ...]
    removed: tuple[str, ...]
    started: tuple[str, ...]
    stopped: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]
    settled: tuple[str, ...] = ()
    """What a killed ``eject`` or ``adopt`` had left half done."""

    @property
    def changed(self) -> bool:
        """Whether anything had to be done."""
        return bool(self.written or self.removed or self.started or self.stopped or self.settled)


@dataclass(frozen=True, slots=True)
class Reconciler:
    """What is deployed."""

    units: UnitDirectory
    slots: SlotDirectory
    loader: Loader
    successes: Successes
    manager: Manager

    def reconcile(
        self,
        compiled: Sequence[CompiledJob],
        failed: Mapping[str, str],
        now: int,
        *,
        removed: Collection[str] | None = None,
    ) -> SyncReport:
        """Have the units of ``compiled`` deployed, and no others but those of ``failed``.

        ``removed`` are the only jobs whose units may go; ``None`` is all that there are no more.
        """
        self.units.remove_leftovers()
        owned = self.units.owned()
        left_alone = {unit for name in failed for unit in unit_names(name)}
        if removed is not None:
            gone = {unit for name in removed for unit in unit_names(name)}
            gone |= {unit for name in removed for unit in owned if commands.is_unit(unit, name)}
            left_alone |= (owned | self.units.wanted()) - gone - texts(compiled).keys()
        left_alone |= {unit for name in failed for unit in owned if commands.is_unit(unit, name)}
        stale = sorted(owned - left_alone - texts(compiled).keys())
        wanted = self.units.wanted() - left_alone
        running = self.loader.running()
        changed, keep = self._replace(compiled, stale, running, now)
        enabled = [job for job in compiled if job.job.enabled]
        should_run = set(timers(enabled))
        self.units.unwant(sorted(wanted - should_run))
        self.units.want(sorted(should_run - wanted))
        to_stop = sorted((running & set(timers(compiled))) - should_run)
        raise_first(self.manager.stop(to_stop))
        starting = sorted(set(to_start(enabled)) - (running - (set(timers(changed)) - keep)))
        self.loader.prepare(
            [job for job in compiled if job.timer and job.timer.name in starting], now, running
        )
        self.loader.reload_if_needed(changed)
        raise_first(self.manager.start(starting))
        return SyncReport(
            written=tuple(sorted(texts(changed))),
            removed=tuple(stale),
            started=tuple(starting),
            stopped=tuple(to_stop),
            failed=tuple(sorted(failed.items())),
        )

    def _replace(
        self, compiled: Sequence[CompiledJob], stale: Sequence[str], running: set[str], now: int
    ) -> tuple[list[CompiledJob], set[str]]:
        """Write what is not as it should be; the jobs in question, and the timers that go on."""
        old_texts = {name: self.units.read(name) for name in texts(compiled)}
        changed = [
            job for job in compiled if any(old_texts[unit.name] != unit.text for unit in job.units)
        ]
        keep = self.loader.keep(changed, old_texts, running, now)
        if changed or stale:
            with self.units.stage(texts(changed)) as staged:
                self.successes.note(gained(changed, old_texts))
                self.loader.unload_stale(stale)
                self.loader.unload(changed, keep)
                staged.install()
                self.units.remove(stale)
                gone = [name for name in stale if name.endswith(".timer")]
                self.slots.remove(filter(None, map(unittext.job_name, gone)))
        return changed, keep
