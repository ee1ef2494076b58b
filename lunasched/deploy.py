"""Jobs into running timers: compile, compare, write, load, start.

One change at a time holds the deploy lock. The order makes every point of death harmless: the
files are written in full beside their places first (a full disk ends it there), then the database
says what shall be, then the files are renamed and the timers started. What fails after that is
taken back; what is killed after that is finished by ``sync``, which makes the units equal the
database.

There is no daemon-reload unless systemd itself says that it needs one (DESIGN.md, "Units").
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lunasched import compiler, schedule, slot, unittext
from lunasched.compiler import CompiledJob, Context
from lunasched.config import Paths
from lunasched.errors import (
    DeploymentFailed,
    InvalidInput,
    InvalidJob,
    JobExists,
    LunaschedError,
    NoSuchJob,
)
from lunasched.model import Job
from lunasched.slotfile import SlotDirectory, clock_offset
from lunasched.unitdir import UnitDirectory

if TYPE_CHECKING:
    from lunasched.store import Store
    from lunasched.systemd import Manager


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

    @property
    def changed(self) -> bool:
        """Whether anything had to be done."""
        return bool(self.written or self.removed or self.started or self.stopped)


class Deployer:
    """Changes jobs, in the database and in the service manager together."""

    def __init__(self, store: Store, paths: Paths, manager: Manager, context: Context) -> None:
        self._store = store
        self._units = UnitDirectory(
            paths.units, mark=compiler.OWNERSHIP_MARK, prefix=unittext.JOB_PREFIX
        )
        self._slots = SlotDirectory(paths.slots)
        self._stamps = paths.timer_stamps
        self._lock = paths.deploy_lock
        self._manager = manager
        self._context = context

    def add(self, job: Job, *, now: int, replace: bool = False) -> CompiledJob:
        """Add a job, or with ``replace`` change the one of that name, and start its timer.

        ``now`` is in µs UTC. Raises ``JobExists``, ``InvalidJob``, ``UnitConflict``; whatever it
        raises, nothing was changed.
        """
        compiled = compiler.compile(job, self._context)
        self._check_elapses(job, now)
        with self._locked():
            if self._store.jobs.get(job.name) is not None and not replace:
                raise JobExists(
                    f"there is a job {job.name!r} already; "
                    "use --replace to change it, or another name"
                )
            self._put(compiled, now)
        return compiled

    def set_enabled(self, name: str, enabled: bool, *, now: int) -> bool:
        """Start or stop the timer of a job for good; ``False`` if it was that way already."""
        with self._locked():
            job = self._existing(name)
            if job.enabled == enabled:
                return False
            self._put(compiler.compile(job.evolve(enabled=enabled), self._context), now)
        return True

    def remove(self, name: str) -> None:
        """Remove a job and its units. A run in progress is left to end; the history stays."""
        timer, service = unittext.timer_name(name), unittext.service_name(name)
        with self._locked():
            job = self._existing(name)
            for unit in (service, timer):
                self._units.read(unit)
            with self._store.transaction():
                self._store.jobs.delete(name)
                # Inside the transaction: what cannot be stopped or removed is not forgotten.
                _raise_first(self._manager.stop([timer]))
                try:
                    self._units.unwant([timer])
                    self._units.remove([service, timer])
                except LunaschedError:
                    if job.enabled:
                        self._manager.start([timer])
                    raise
                self._manager.reset_failed([service, timer])
            self._slots.remove([name])
            self._forget_elapses([timer])

    def sync(self, *, now: int, allow_empty: bool = False) -> SyncReport:
        """Make units and timers what the database says; a second call finds nothing to do.

        ``now`` is in µs UTC. A database without any job, beside units that are deployed, is more
        likely a lost one than meant: without ``allow_empty`` that is refused.
        """
        with self._locked():
            deployed = self._units.owned()
            if deployed and not allow_empty and not self._store.jobs.names():
                raise DeploymentFailed(
                    f"{self._store.path} has no jobs, but {len(deployed)} unit files of jobs are "
                    "deployed, and none was removed. If the database was lost, restore it; if "
                    "there shall be no jobs: lunasched sync --allow-empty"
                )
            compiled: list[CompiledJob] = []
            failed: dict[str, str] = {}
            for job in self._store.jobs.all():
                try:
                    compiled.append(compiler.compile(job, self._context))
                except InvalidInput as error:
                    failed[job.name] = str(error)
            report = self._reconcile(compiled, failed, now)
            self._follow_zones(compiled, now)
            return report

    def _put(self, compiled: CompiledJob, now: int) -> None:
        """Bring one job into the database and the manager, or leave both as they were."""
        job = compiled.job
        before = self._store.jobs.get(job.name)
        old_texts = {unit.name: self._units.read(unit.name) for unit in compiled.units}
        with self._units.stage({unit.name: unit.text for unit in compiled.units}) as staged:
            with self._store.transaction():
                self._store.jobs.put(job, now)
            running = self._running()
            try:
                self._unload([compiled])
                staged.install()
                self._load([compiled], now, running)
            except BaseException as error:
                self._take_back(compiled, before, old_texts, now)
                if isinstance(error, LunaschedError):
                    failure = DeploymentFailed(
                        f"the job {job.name!r} was not deployed and nothing was changed: {error}"
                    )
                    failure.exit_code = error.exit_code
                    raise failure from error
                raise

    def _take_back(
        self, compiled: CompiledJob, before: Job | None, old_texts: dict[str, str | None], now: int
    ) -> None:
        """Undo ``_put`` as far as the cause of its failure allows; ``sync`` can do the rest."""
        job = compiled.job
        with suppress(LunaschedError), self._store.transaction():
            if before is None:
                self._store.jobs.delete(job.name)
            else:
                self._store.jobs.put(before, now)
        with suppress(LunaschedError):
            self._manager.stop([compiled.timer.name])
        with suppress(LunaschedError):
            if before is None:
                self._units.unwant([compiled.timer.name])
                self._units.remove([unit.name for unit in compiled.units])
                self._manager.reset_failed([unit.name for unit in compiled.units])
        kept = {name: text for name, text in old_texts.items() if text is not None}
        if before is not None and kept:
            with suppress(LunaschedError):
                with self._units.stage(kept) as staged:
                    staged.install()
                self._load([compiler.compile(before, self._context)], now, set())

    def _reconcile(
        self, compiled: Sequence[CompiledJob], failed: dict[str, str], now: int
    ) -> SyncReport:
        self._units.remove_leftovers()
        left_alone = {unittext.service_name(name) for name in failed}
        left_alone |= {unittext.timer_name(name) for name in failed}
        on_disk = self._units.owned() - left_alone
        wanted = self._units.wanted() - left_alone
        running = self._running()
        changed = [
            job
            for job in compiled
            if any(self._units.read(unit.name) != unit.text for unit in job.units)
        ]
        right = {unit.name for job in compiled for unit in job.units}
        should_run = {job.timer.name for job in compiled if job.job.enabled}
        stale = sorted(on_disk - right)
        stale_timers = [name for name in stale if name.endswith(".timer")]
        to_stop = sorted((running & right) - should_run)
        if changed or stale:
            texts = {unit.name: unit.text for job in changed for unit in job.units}
            with self._units.stage(texts) as staged:
                self._unload(changed)
                _raise_first(self._manager.stop(stale_timers))
                staged.install()
                self._units.unwant(stale_timers)
                self._units.remove(stale)
                self._slots.remove(filter(None, map(unittext.job_name, stale_timers)))
        self._units.unwant(sorted(wanted - should_run))
        self._units.want(sorted(should_run - wanted))
        _raise_first(self._manager.stop(to_stop))
        changed_timers = {job.timer.name for job in changed}
        to_start = sorted(set(_to_start(compiled)) - (running - changed_timers))
        self._prepare([job for job in compiled if job.timer.name in to_start], now, running)
        self._reload_if_needed(changed)
        _raise_first(self._manager.start(to_start))
        written = sorted(unit.name for job in changed for unit in job.units)
        return SyncReport(
            tuple(written),
            tuple(stale),
            tuple(to_start),
            tuple(to_stop),
            tuple(sorted(failed.items())),
        )

    def _unload(self, compiled: Sequence[CompiledJob]) -> None:
        """Stop the timers, so that systemd forgets the old files; running services go on."""
        _raise_first(self._manager.stop([job.timer.name for job in compiled]))
        self._manager.reset_failed([unit.name for job in compiled for unit in job.units])

    def _running(self) -> set[str]:
        """The timers of jobs that are started."""
        states = self._manager.states(f"{unittext.JOB_PREFIX}*.timer")
        return {name for name, state in states.items() if state.active == "active"}

    def _load(self, compiled: Sequence[CompiledJob], now: int, running: set[str]) -> None:
        enabled = [job.timer.name for job in compiled if job.job.enabled]
        self._prepare(compiled, now, running)
        self._units.unwant([job.timer.name for job in compiled if not job.job.enabled])
        self._units.want(enabled)
        # A timer that was there at boot stays loaded with its old content, even when stopped
        # (timers.target refers to it): it may not be started before systemd has read the new.
        self._reload_if_needed(compiled)
        _raise_first(self._manager.start(_to_start(compiled)))

    def _prepare(self, compiled: Sequence[CompiledJob], now: int, running: set[str]) -> None:
        """See to it that no timer fires for a slot that was before now.

        Except where it was ``running`` for the same slots: the random delay of one may not be over.
        """
        moment = slot.Moment(now, clock_offset(now))
        for item in compiled:
            job = item.job
            if not item.guarded:
                self._slots.remove([job.name])
                continue
            zone = job.timezone or self._context.host_timezone
            rule = schedule.parse(job.schedule)
            known = self._slots.read(job.name) if item.timer.name in running else None
            if known is None or (known.zone, known.schedule) != (zone, rule.text):
                state = slot.slots_from(rule, zone, moment, now)
                self._slots.write(job.name, state, durable=job.catch_up)
        self._forget_elapses([item.timer.name for item in compiled if item.job.catch_up])

    def _follow_zones(self, compiled: Sequence[CompiledJob], now: int) -> None:
        """Find the slots that the guard knows anew where the zones are not what they were."""
        if self._slots.zones() == self._context.zones:
            return
        moment = slot.Moment(now, clock_offset(now))
        for item in compiled:
            job = item.job
            known = self._slots.read(job.name) if item.guarded else None
            if known is not None:
                rule = schedule.parse(job.schedule)
                state = slot.slots_from(rule, known.zone, moment, known.last)
                self._slots.write(job.name, state, durable=job.catch_up)
        self._slots.write_zones(self._context.zones)

    def _forget_elapses(self, timers: Sequence[str]) -> None:
        """Have ``Persistent=`` timers count from now: without a stamp they do."""
        for timer in timers:
            with suppress(OSError):
                (self._stamps / f"stamp-{timer}").unlink(missing_ok=True)

    def _check_elapses(self, job: Job, now: int) -> None:
        """Refuse a job that would never run again."""
        rule = schedule.parse(job.schedule)
        if isinstance(rule, (schedule.Every, schedule.Reboot)):
            return
        zone = job.timezone or self._context.host_timezone
        upcoming = schedule.elapses(rule, timezone=zone, after=slot.to_datetime(now))
        if next(upcoming, None) is None:
            raise InvalidJob([f"schedule: {job.schedule!r} never elapses again; it is in the past"])

    def _reload_if_needed(self, compiled: Sequence[CompiledJob]) -> None:
        units = [unit.name for job in compiled for unit in job.units]
        if self._manager.need_reload(units):
            self._manager.reload()

    def _existing(self, name: str) -> Job:
        job = self._store.jobs.get(name)
        if job is None:
            raise NoSuchJob(name)
        return job

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the deploy lock; the kernel drops it when its holder dies."""
        try:
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DeploymentFailed(f"{self._lock}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _to_start(compiled: Sequence[CompiledJob]) -> list[str]:
    return [job.timer.name for job in compiled if job.job.enabled and not job.at_boot_only]


def _raise_first(failures: dict[str, LunaschedError]) -> None:
    for error in failures.values():
        raise error
