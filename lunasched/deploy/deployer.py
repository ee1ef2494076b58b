"""The use case that changes jobs, in the database and in the service manager together."""

from __future__ import annotations

import dataclasses
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from lunasched import compiler, schedule, slot, unittext
from lunasched.compiler import CompiledJob, Context
from lunasched.concurrency import has_launcher
from lunasched.config import Paths
from lunasched.dependencies import keeps_success
from lunasched.deploy.change import Change, texts, unit_names
from lunasched.deploy.checks import check_dependencies, check_removable
from lunasched.deploy.gate import Gate
from lunasched.deploy.loader import Loader, raise_first, timers
from lunasched.deploy.successes import Successes
from lunasched.deploy.sync import Reconciler, SyncReport
from lunasched.errors import (
    DeploymentFailed,
    InvalidInput,
    InvalidJob,
    JobExists,
    LunaschedError,
    NoSuchJob,
)
from lunasched.model import Job
from lunasched.slotfile import SlotDirectory
from lunasched.unitdir import StagedFiles, UnitDirectory

if TYPE_CHECKING:
    from lunasched.store import Store
    from lunasched.systemd import Manager


class Deployer:
    """Changes jobs, in the database and in the service manager together."""

    def __init__(
        self,
        store: Store,
        paths: Paths,
        manager: Manager,
        context: Context,
        *,
        max_concurrent_jobs: int = 0,
    ) -> None:
        self._store = store
        self._units = UnitDirectory(
            paths.units,
            mark=compiler.OWNERSHIP_MARK,
            prefix=(unittext.JOB_PREFIX, unittext.LAUNCH_PREFIX, unittext.HOOK_PREFIX),
        )
        self._slots = SlotDirectory(paths.slots)
        self._loader = Loader(self._units, self._slots, paths.timer_stamps, manager, context)
        self._successes = Successes(store, self._slots, manager)
        self._reconciler = Reconciler(
            self._units, self._slots, self._loader, self._successes, manager
        )
        self._gate = Gate(store, manager, context, max_concurrent_jobs)
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
        if job.directives or job.sandbox:
            from lunasched import verify

            verify.check(compiled, self._context.mode)
        with self._locked():
            if self._store.jobs.get(job.name) is not None and not replace:
                raise JobExists(
                    f"there is a job {job.name!r} already; "
                    "use --replace to change it, or another name"
                )
            check_dependencies(job, self._store)
            return self._put(job, now)

    def set_enabled(self, name: str, enabled: bool, *, now: int) -> bool:
        """Start or stop the timer of a job for good; ``False`` if it was that way already."""
        with self._locked():
            job = self._existing(name)
            if job.enabled == enabled:
                return False
            self._put(job.evolve(enabled=enabled), now)
        return True

    def remove(self, name: str, *, now: int) -> None:
        """Remove a job and its units. A run in progress is left to end; the history stays.

        Raises ``InvalidInput`` where other jobs depend on it.
        """
        timer, units = unittext.timer_name(name), unit_names(name)
        with self._locked():
            job = self._existing(name)
            check_removable(name, self._store)
            for unit in units:
                self._units.read(unit)
            freed = self._affected(job, None)
            with self._units.stage(texts(freed)) as staged:
                with self._store.transaction():
                    self._store.jobs.delete(name)
                    self._store.starts.drop_job(name)
                    self._store.hooks.drop_job(name)
                    # Inside the transaction: what cannot be stopped or removed is not forgotten.
                    raise_first(self._manager.stop([timer]))
                    try:
                        self._units.unwant([timer])
                        self._units.remove(units)
                    except LunaschedError:
                        if job.enabled:
                            self._manager.start([timer])
                        raise
                    self._manager.reset_failed(units)
                self._slots.remove([name])
                self._loader.forget_elapses([timer])
                self._gate.follow()
                # Were it to end here: a job that notes its success for nobody does no harm.
                self._replace(freed, staged, now)
                self._successes.forget_freed(freed)

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
            jobs = self._store.jobs.all()
            depended_on = {name for job in jobs for name in job.dependencies}
            launched = {job.name for job in jobs if has_launcher(job)}
            compiled: list[CompiledJob] = []
            failed: dict[str, str] = {}
            for job in jobs:
                try:
                    compiled.append(
                        compiler.compile(
                            job,
                            self._context,
                            depended_on=job.name in depended_on,
                            launched=launched.intersection(job.dependencies),
                        )
                    )
                except InvalidInput as error:
                    failed[job.name] = str(error)
            gate = self._gate.follow()
            report = self._reconciler.reconcile(compiled, failed, now)
            self._successes.forget_all(but=depended_on)
            self._successes.mend(depended_on & {job.name for job in jobs})
            self._loader.follow_zones(compiled, now)
            return dataclasses.replace(report, written=(*gate, *report.written))

    # One job

    def _put(self, job: Job, now: int) -> CompiledJob:
        """Bring one job into the database and the manager, or leave both as they were."""
        before = self._store.jobs.get(job.name)
        change = self._change(job, before)
        with self._units.stage(texts(change.compiled)) as staged:
            with self._store.transaction():
                self._store.jobs.put(job, now)
                if not job.enabled:
                    self._store.starts.drop_job(job.name)
            running = self._loader.running()
            try:
                self._successes.note(change.gained)
                # The timer of the job itself counts from now; those of the others go on.
                keep = self._loader.keep(change.others, change.old_texts, running, now)
                self._loader.unload_stale(change.stale)
                self._loader.unload(change.compiled, keep)
                staged.install()
                self._units.remove(change.stale)
                self._gate.follow()
                self._loader.load(change.compiled, now, running, keep)
                self._successes.forget_freed(change.compiled)
            except BaseException as error:
                self._take_back(change, before, now)
                if isinstance(error, LunaschedError):
                    failure = DeploymentFailed(
                        f"the job {job.name!r} was not deployed and nothing was changed: {error}"
                    )
                    failure.exit_code = error.exit_code
                    raise failure from error
                raise
        return change.job

    def _change(self, job: Job, before: Job | None) -> Change:
        compiled = self._compile(job, job)
        affected = tuple(self._affected(before, job))
        names = {*unit_names(job.name), *texts(affected)}
        return Change(compiled, affected, {name: self._units.read(name) for name in sorted(names)})

    def _affected(self, before: Job | None, after: Job | None) -> list[CompiledJob]:
        """The other jobs whose services a change of one makes other ones.

        Those whose first dependent it becomes, or whose last it was; and if its timer starts
        something else, those that wait for it.
        """
        old, new = (set(job.dependencies if job else ()) for job in (before, after))
        name = next(job.name for job in (before, after) if job)
        others = {
            dependency: dependency in new
            for dependency in old ^ new
            if not set(self._store.jobs.dependent_names(dependency)) - {name}
        }
        if before and after and has_launcher(before) != has_launcher(after):
            for dependent in self._store.jobs.dependent_names(name):
                others[dependent] = bool(self._store.jobs.dependent_names(dependent))
        found = []
        for other, depended_on in sorted(others.items()):
            job = self._store.jobs.get(other)
            try:
                if job is not None:
                    found.append(self._compile(job, after, depended_on))
            except InvalidInput as error:
                # What cannot be compiled any more keeps its units, as in ``sync``.
                if other in new:
                    raise InvalidJob([f"dependencies: the job {other!r}: {error}"]) from error
        return found

    def _compile(
        self, job: Job, changed: Job | None, depended_on: bool | None = None
    ) -> CompiledJob:
        """A job as it is when one of all was ``changed``."""
        if depended_on is None:
            depended_on = bool(self._store.jobs.dependent_names(job.name))
        known = {changed.name: changed} if changed else {}
        dependencies = (known.get(name) or self._store.jobs.get(name) for name in job.dependencies)
        launched = [found.name for found in dependencies if found and has_launcher(found)]
        return compiler.compile(job, self._context, depended_on=depended_on, launched=launched)

    def _take_back(self, change: Change, before: Job | None, now: int) -> None:
        """Undo ``_put`` as far as the cause of its failure allows; ``sync`` can do the rest."""
        job = change.job.job
        units = [unit.name for unit in change.job.units]
        own_timers = timers([change.job])
        with suppress(LunaschedError), self._store.transaction():
            if before is None:
                self._store.jobs.delete(job.name)
            else:
                self._store.jobs.put(before, now)
        with suppress(LunaschedError):
            self._manager.stop(own_timers)
        with suppress(LunaschedError):
            if before is None:
                self._units.unwant(own_timers)
                self._units.remove(units)
                self._manager.reset_failed(units)
        with suppress(LunaschedError):
            self._successes.forget(change.gained)
        with suppress(LunaschedError):
            self._gate.follow()
        kept = {name: text for name, text in change.old_texts.items() if text is not None}
        if kept:
            with suppress(LunaschedError):
                with self._units.stage(kept) as staged:
                    staged.install()
                running = set(timers(change.others))
                self._loader.load(self._as_before(change, before), now, running)

    def _as_before(self, change: Change, before: Job | None) -> list[CompiledJob]:
        jobs = [before] if before else []
        jobs += [item.job for item in change.others]
        return [
            self._compile(
                job, before, keeps_success(change.old_texts[unittext.service_name(job.name)])
            )
            for job in jobs
        ]

    def _replace(self, compiled: Sequence[CompiledJob], staged: StagedFiles, now: int) -> None:
        """Put new services of jobs that have not changed otherwise into the place of the old."""
        if not compiled:
            return
        old_texts = {name: self._units.read(name) for name in texts(compiled)}
        running = self._loader.running()
        keep = self._loader.keep(compiled, old_texts, running, now)
        self._loader.unload(compiled, keep)
        staged.install()
        self._loader.load(compiled, now, running, keep)

    def _check_elapses(self, job: Job, now: int) -> None:
        """Refuse a job that would never run again."""
        rule = schedule.parse(job.schedule)
        if isinstance(rule, (schedule.Every, *schedule.UNTIMED)):
            return
        zone = job.timezone or self._context.host_timezone
        upcoming = schedule.elapses(rule, timezone=zone, after=slot.to_datetime(now))
        if next(upcoming, None) is None:
            raise InvalidJob([f"schedule: {job.schedule!r} never elapses again; it is in the past"])

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
