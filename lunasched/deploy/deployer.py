"""The use case that changes jobs, in the database and in the service manager together."""

from __future__ import annotations

import dataclasses
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING

from lunasched import schedule
from lunasched.dataclass import dataclass
from lunasched.deploy.change import Change, file_names, texts
from lunasched.deploy.checks import (
    check_losses,
    check_removable,
    compiled_if_valid,
    waiting_key,
)
from lunasched.deploy.firstrun import FirstRuns
from lunasched.deploy.gate import Gate
from lunasched.deploy.handover import RecordFile
from lunasched.deploy.intendedjobs import IntendedJobs
from lunasched.deploy.loader import Loader, timers
from lunasched.deploy.overjobs import is_over
from lunasched.deploy.plan import (
    Entries,
    Plan,
    check_entry,
    check_own,
    plan,
    plan_sources,
)
from lunasched.deploy.successfiles import SuccessFiles
from lunasched.deploy.sync import Reconciler, SyncReport
from lunasched.errors import (
    DeploymentFailed,
    InvalidInput,
    InvalidJob,
    InvalidJobs,
    JobExists,
    LunaschedError,
    NoSuchJob,
    StoreError,
    ZonesChanged,
    nothing_changed_if_it_raises,
)
from lunasched.formats import unittext
from lunasched.history.run import Trigger
from lunasched.jobs.dependencies import keeps_success
from lunasched.jobs.model import Job
from lunasched.paths import Paths, zone_identity
from lunasched.state.deploylock import DeployLock
from lunasched.state.slotfile import SlotDirectory
from lunasched.state.unitdir import UnitDirectory
from lunasched.units import commandchannels
from lunasched.units.compilation import compile_all
from lunasched.units.compiler import CompiledJob, Context
from lunasched.units.concurrency import has_launcher

if TYPE_CHECKING:
    from lunasched.deploy.adopt import Adopter, FoundUnits
    from lunasched.deploy.eject import Ejector
    from lunasched.jobs.origin import JobOrigin
    from lunasched.store import Store
    from lunasched.store.jobtable import JobTable
    from lunasched.systemd.manager import Manager
    from lunasched.transfer.ejection import Ejection


# How long a launcher takes that was started as its timer was stopped.
_LAUNCH_SECONDS = 5
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Deployed:
    """A change that was made, and the units of the jobs that were put."""

    plan: Plan
    compiled: tuple[CompiledJob, ...]
    settled: bool = False
    """True if one that was killed before it was finished first."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The turn of a command that waited for the deploy lock."""

    now: int
    """The time of the request (µs, UTC)."""
    settled: bool
    """True if something was finished before that a killed command had left half done."""


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
            mark=unittext.OWNERSHIP_MARK,
            prefix=(unittext.JOB_PREFIX, unittext.LAUNCH_PREFIX, unittext.HOOK_PREFIX),
        )
        self._slots = SlotDirectory(paths.slots)
        self._loader = Loader(
            self._units,
            self._slots,
            paths.timer_stamps,
            manager,
            context,
            FirstRuns(paths.runtime_units),
        )
        self._successes = SuccessFiles(store, self._slots, manager)
        self._reconciler = Reconciler(
            self._units, self._slots, self._loader, self._successes, manager
        )
        self._gate = Gate(store, manager, context, max_concurrent_jobs)
        self._record = RecordFile(paths)
        self._lock = DeployLock(paths.deploy_lock)
        self._manager = manager
        self._context = context
        self._paths = paths

    # What hands jobs over is loaded by who does: `add` has no use for it.

    @cached_property
    def _ejector(self) -> Ejector:
        from lunasched.deploy.eject import Ejector

        return Ejector(self._manager, self._units, self._paths, self._context, self._record)

    @cached_property
    def _adopter(self) -> Adopter:
        from lunasched.deploy.adopt import Adopter

        return Adopter(self._manager, self._paths, self._context, self._record)

    def add(self, job: Job, *, now: int, replace: bool = False) -> CompiledJob:
        """Add a job, or with ``replace`` change the one of that name, and start its timer.

        ``now`` is in µs UTC. Raises ``JobExists``, ``InvalidJob``, ``UnitConflict``; whatever it
        raises, nothing was changed.
        """
        with self._locked(now) as turn:
            before = self._store.jobs.get(job.name)
            if before is not None and not replace:
                raise JobExists(
                    f"there is a job {job.name!r} already; "
                    "use --replace to change it, or another name"
                )
            if before is not None:
                self._own(job.name)
            wanted = Plan(added=(job,)) if before is None else Plan(changed=((before, job),))
            (compiled,) = self._put_one(wanted, turn.now)
            return compiled

    def put_all(
        self, jobs: Sequence[Job], *, now: int, replace: bool = False, prune: bool = False
    ) -> Deployed:
        """Add and change jobs, all or none; with ``prune``, remove all others.

        A job that is the same already is left alone, its timer too. ``now`` is in µs UTC. Raises
        ``JobExists`` where a job would change without ``replace``, ``InvalidJobs``,
        ``UnitConflict``; whatever it raises, nothing was changed.
        """
        with self._locked(now) as turn:
            wanted = plan(jobs, self._store, prune=prune)
            if wanted.changed and not replace:
                names = ", ".join(repr(job.name) for job, _ in wanted.changed)
                raise JobExists(
                    f"there are other jobs of these names already: {names}; "
                    "use --replace to change them, or other names"
                )
            compiled = () if wanted.is_empty else self._deploy(wanted, turn.now)
            return Deployed(wanted, compiled, turn.settled)

    def put_sources(
        self, entries: Callable[[JobTable], Mapping[str, Entries]], *, now: int
    ) -> Deployed:
        """Make the jobs of crontabs those of their entries, all or none.

        ``entries`` returns them by the path of the file, and is called when nobody else changes
        jobs. A crontab that is not among them has no jobs any more; a job that is the same already
        is left alone, wherever its line has moved. ``now`` is in µs UTC. Raises what ``put_all``
        does; whatever it raises, nothing was changed.
        """
        with self._locked(now) as turn:
            wanted = plan_sources(entries(self._store.jobs), self._store)
            compiled = () if wanted.is_empty else self._deploy(wanted, turn.now)
            unchanged = {job.name: wanted.origins[job.name] for job in wanted.unchanged}
            moved = unchanged.items() - self._store.jobs.origins(unchanged).items()
            if moved:
                with self._store.changing_jobs():
                    for name, origin in moved:
                        self._store.jobs.put_origin(name, origin)
            return Deployed(wanted, compiled, turn.settled)

    def adopt_entries(self, names: Iterable[str], *, now: int) -> dict[str, JobOrigin]:
        """Make jobs of crontabs jobs of no crontab, all or none; where they were, by name.

        They stay as they are, and their entries make no jobs again. ``now`` is in µs UTC. Raises
        ``NoSuchJob``, and ``InvalidInput`` for a job that is no entry of a crontab.
        """
        with self._locked(now):
            jobs, names = self._store.jobs, list(names)
            origins = {
                name: check_entry(name, jobs.origins([self._existing(name).name]).get(name))
                for name in names
            }
            with self._store.changing_jobs():
                for name in names:
                    jobs.adopt(name)
        return origins

    def forget_adopted(self, names: Iterable[str], *, now: int) -> None:
        """Let entries of crontabs be jobs again that are the same as those of adopted jobs."""
        with self._locked(now), self._store.changing_jobs():
            for name in names:
                self._store.jobs.forget_adopted(name)

    def set_enabled(self, name: str, enabled: bool, *, now: int) -> bool:
        """Start or stop the timer of a job for good; ``False`` if it was that way already."""
        with self._locked(now) as turn:
            job = self._existing(name)
            if job.enabled == enabled:
                return False
            self._put_one(Plan(changed=((job, job.evolve(enabled=enabled)),)), turn.now)
        return True

    def remove(self, name: str, *, now: int) -> None:
        """Remove a job and its units. A run in progress is left to end; the history stays.

        Raises ``InvalidInput`` where other jobs depend on it.
        """
        with self._locked(now) as turn:
            self._deploy(Plan(removed=(self._own(name),)), turn.now)

    def remove_over(self, name: str, *, now: int) -> bool:
        """Remove a job if it wants that when it is over, and is; tell whether it did.

        ``now`` is in µs UTC. Raises ``InvalidInput`` where other jobs depend on it.
        """
        with self._locked(now) as turn:
            job, zone = self._store.jobs.get(name), self._context.host_timezone
            if job is None or not is_over(job, self._manager, now=turn.now, host_timezone=zone):
                return False
            self._deploy(Plan(removed=(job,)), turn.now)
            return True

    def eject(self, name: str, *, as_name: str | None, force: bool, now: int) -> Ejection:
        """Put plain units into the place of a job and forget the job; the history stays.

        Raises ``InvalidInput`` where something would be lost and ``force`` is not given, or other
        jobs depend on it, and ``UnitConflict`` where there are units of that name.
        """
        from lunasched.transfer import ejection

        with self._locked(now) as turn:
            job = self._own(name)
            found = ejection.ejected_units(job, self._context, as_name)
            check_losses(found, force)
            wanted = Plan(removed=(job,))
            check_removable(
                wanted, IntendedJobs(self._store, self._context, wanted.after), "ejected"
            )
            with nothing_changed_if_it_raises():
                self._ejector.check_free(found)
                self._units.check_writable()
            with self._changing_by(wanted):
                try:
                    self._ejector.swap(found, turn.now)
                    self._deploy(wanted, turn.now)
                except BaseException as error:
                    with self._lock.unfinished_if_it_raises():
                        self._ejector.take_back(found.name, job)
                    _note_taken_back(error)
                    raise
                self._record.drop()
        return found

    def find_units(self, timer: str, name: str | None, *, now: int) -> FoundUnits:
        """The job that a timer and a service are that somebody wrote.

        Raises ``InvalidInput`` with all that has no place in a job.
        """
        found = self._adopter.find(timer, name)
        job = found.adoption.job
        if self._store.jobs.get(job.name) is not None:
            raise JobExists(f"there is a job {job.name!r} already; choose another name with --name")
        wanted = Plan(added=(job,))
        after = IntendedJobs(self._store, self._context, wanted.after)
        try:
            compiled_if_valid(wanted, after, self._context, now)
        except InvalidJobs as error:
            raise InvalidJob([found.adoption.placed(fault) for _, fault in error.faults]) from error
        return found

    def adopt(self, timer: str, name: str | None, *, now: int) -> tuple[FoundUnits, CompiledJob]:
        """Put a job into the place of a timer and its service; the units are kept aside.

        Raises what ``find_units`` does; whatever it raises, nothing was changed.
        """
        with self._locked(now) as turn:
            found = self.find_units(timer, name, now=turn.now)
            wanted = Plan(added=(found.adoption.job,))
            with nothing_changed_if_it_raises():
                self._units.check_writable()
            with self._changing_by(wanted):
                try:
                    done = self._adopter.take_out(found)
                    begin = self._adopter.slots_from(found, turn.now, done)
                    (compiled,) = self._put_one(wanted, begin)
                except BaseException as error:
                    with self._lock.unfinished_if_it_raises():
                        self._adopter.take_back()
                    _note_taken_back(error)
                    raise
                made_up = self._adopter.make_up(found, turn.now, done)
            if made_up is not None:
                # It has run; what the history says of it cannot undo that.
                with suppress(StoreError):
                    self._store.runs.request(made_up, Trigger.CATCH_UP, turn.now)
        return found, compiled

    def sync(self, *, now: int, allow_empty: bool = False) -> SyncReport:
        """Make units and timers what the database says; a second call finds nothing to do.

        ``now`` is in µs UTC. A database without any job, beside units that are deployed, is more
        likely a lost one than meant: without ``allow_empty`` that is refused. Raises
        ``ZonesChanged``.
        """
        with self._lock.hold() as waited:
            self._check_zones()
            settled = self._finish_handover()
            allow_empty = allow_empty or self._lock.leaves_no_job
            report = self._reconcile(now + waited, allow_empty=allow_empty)
            return dataclasses.replace(report, settled=settled)

    def _reconcile(self, now: int, *, allow_empty: bool) -> SyncReport:
        begun = self._lock.is_unfinished
        for place in (self._units, self._slots, self._record, self._gate):
            place.remove_leftovers()
        deployed = set() if allow_empty or self._store.jobs.names() else self._units.owned()
        if deployed:
            raise DeploymentFailed(
                f"{self._store.path} has no jobs, but {len(deployed)} unit files of jobs are "
                "deployed, and none was removed. If the database was lost, restore it; if "
                "you want no jobs: lunasched sync --allow-empty"
            )
        jobs = self._store.jobs.all()
        found = compile_all(jobs, self._context)
        compiled, depended_on = found.compiled, found.depended_on
        failed = dict(found.failed)
        difference = self._reconciler.compare(compiled, failed)
        with ExitStack() as change:
            if not difference.is_empty or self._gate.differs:
                change.enter_context(self._lock.changing(leaves_no_job=not jobs))
                change.enter_context(self._lock.unfinished_if_it_raises())
            gate = self._gate.follow()
            report = self._reconciler.reconcile(difference, now, all_unread=begun)
        self._successes.forget_all(but=depended_on)
        self._successes.restore(depended_on & {job.name for job in jobs})
        self._loader.refill(compiled, now)
        self._lock.settle()
        return dataclasses.replace(
            report, written=(*gate, *report.written), failed=tuple(sorted(failed.items()))
        )

    # One change

    def _put_one(self, wanted: Plan, now: int) -> tuple[CompiledJob, ...]:
        try:
            return self._deploy(wanted, now)
        except InvalidJobs as error:
            raise InvalidJob([problem for _, problem in error.faults]) from error

    def _deploy(self, wanted: Plan, now: int) -> tuple[CompiledJob, ...]:
        """Bring a change into the database and the manager, or leave both as they were."""
        before = IntendedJobs(self._store, self._context, wanted.before)
        after = IntendedJobs(self._store, self._context, wanted.after)
        compiled = compiled_if_valid(wanted, after, self._context, now)
        change = self._change(wanted, compiled, before, after)
        begun = time.monotonic_ns()
        with self._changing_by(wanted):
            self._carry_out(change, wanted, before, now)
            self._date_enabled(wanted, now, begun)
            self._date_disabled(wanted, now, begun)
            self._drop_pending(wanted)
        if any(schedule.named_calendars(schedule.parse(job.schedule)) for job in wanted.put):
            # Their directory may be new: the supervisor watches it from now on.
            self._manager.nudge()
        return compiled

    def _date_enabled(self, wanted: Plan, now: int, begun: int) -> None:
        """Have jobs be there from the last slot on that passed before their timers had started.

        No timer could elapse for it: it is not missed. For those since then one may have, though
        this command was not over. ``begun`` is as below.
        """
        ended = now + (time.monotonic_ns() - begun) // 1000
        begin = (after for job, after in wanted.changed if not job.enabled and after.enabled)
        passed: dict[int, dict[str, Job | None]] = defaultdict(dict)
        with suppress(LunaschedError):
            for job in (*(job for job in wanted.added if job.enabled), *begin):
                known = self._slots.read(job.name)
                slots = () if known is None else known.slots
                first = bisect_right(slots, now)
                if first == bisect_right(slots, ended):
                    continue
                started = self._manager.active_since(unittext.timer_name(job.name))
                beyond = bisect_right(slots, started)
                if first < beyond:
                    passed[slots[beyond - 1]][job.name] = job
            for slot, jobs in passed.items():
                self._store_change(jobs, slot)

    def _date_disabled(self, wanted: Plan, now: int, begun: int) -> None:
        """Have jobs be disabled from when their timers had stopped: until then they start runs.

        What a launcher has in hand by then still comes from the timer. ``begun`` is when it was
        ``now``, on the monotonic clock (ns).
        """
        disabled = [after for job, after in wanted.changed if job.enabled and not after.enabled]
        if not disabled:
            return
        deadline = time.monotonic() + _LAUNCH_SECONDS
        for job in filter(has_launcher, disabled):
            while self._manager.is_busy(unittext.launch_name(job.name)):
                if time.monotonic() > deadline:
                    break
                time.sleep(_LOOK_SECONDS)
        # They are disabled already, so a failure to set a new date is not an error.
        with suppress(LunaschedError):
            self._store_change(
                {job.name: job for job in disabled}, now + (time.monotonic_ns() - begun) // 1000
            )

    def _carry_out(self, change: Change, wanted: Plan, before: IntendedJobs, now: int) -> None:
        with ExitStack() as prepared:
            with nothing_changed_if_it_raises():
                self._units.check_writable()
                staged = prepared.enter_context(self._units.stage(texts(change.compiled)))
                self._store_change(wanted.after, now, wanted.origins)
            try:
                running = self._loader.running(change.compiled)
                self._successes.note(change.gained)
                self._successes.own(change.compiled)
                # The timers of the changed jobs count from now; those of the others continue.
                keep = self._loader.keep(change.others, change.old_texts, running, now)
                self._loader.unload_stale(change.stale)
                self._loader.unload(change.compiled, keep)
                staged.install()
                self._units.remove(change.stale)
                self._forget(change.removed)
                self._gate.follow()
                self._loader.load(change.compiled, now, running, keep)
                self._successes.forget_freed(change.compiled)
            except BaseException as error:
                with self._lock.unfinished_if_it_raises():
                    failure = self._take_back(change, wanted, before, now)
                    if failure is not None:
                        raise _not_taken_back(wanted, error, failure) from error
                if isinstance(error, LunaschedError):
                    failed = DeploymentFailed(f"{_named(wanted)}: {error}")
                    failed.exit_code = error.exit_code
                    failed.nothing_changed = True
                    raise failed from error
                raise

    def _changing_by(self, wanted: Plan) -> AbstractContextManager[None]:
        gone = {job.name for job in wanted.removed}
        leaves_no_job = not wanted.put and gone.issuperset(self._store.jobs.names())
        return self._lock.changing(leaves_no_job=leaves_no_job)

    def _store_change(
        self,
        jobs: Mapping[str, Job | None],
        now: int,
        origins: Mapping[str, JobOrigin] | None = None,
    ) -> None:
        with self._store.changing_jobs():
            for name, job in jobs.items():
                if job is None:
                    self._store.jobs.delete(name)
                else:
                    self._store.jobs.put(job, now)
                    if origins and name in origins:
                        self._store.jobs.put_origin(name, origins[name])

    def _drop_pending(self, wanted: Plan) -> None:
        """Drop pending starts of jobs that are removed or disabled.

        The supervisor does so by itself where the history cannot be reached.
        """
        disabled = [job.name for job in wanted.put if not job.enabled]
        removed = [job.name for job in wanted.removed]
        if not disabled and not removed:
            return
        with suppress(StoreError), self._store.transaction():
            for name in disabled:
                self._store.starts.drop_job(name)
            for name in removed:
                self._store.forget_job(name)
        self._manager.nudge()

    def _forget(self, removed: Sequence[str]) -> None:
        self._slots.remove(removed)
        self._successes.forget(removed)
        self._loader.forget_elapses([unittext.timer_name(name) for name in removed])

    def _change(
        self,
        wanted: Plan,
        compiled: tuple[CompiledJob, ...],
        before: IntendedJobs,
        after: IntendedJobs,
    ) -> Change:
        affected = tuple(self._affected(wanted, before, after))
        own = (unit for name in wanted.after for unit in file_names(name))
        definitions = (*wanted.before.values(), *wanted.after.values())
        of_commands = (
            unit for job in definitions if job for unit in commandchannels.channel_unit_names(job)
        )
        names = dict.fromkeys((*own, *of_commands, *texts(affected)))
        return Change(
            compiled,
            affected,
            tuple(job.name for job in wanted.removed),
            {name: self._units.read(name) for name in names},
            self._store.jobs.origins(wanted.before),
        )

    def _affected(
        self, wanted: Plan, before: IntendedJobs, after: IntendedJobs
    ) -> list[CompiledJob]:
        """The other jobs whose services a change makes other ones.

        Those who get a first dependent by it, or lose their last; and if the timer of one starts
        something else, those that wait for it.
        """
        others: dict[str, None] = {}
        asked_for: dict[str, str] = {}
        existing, future = wanted.before, wanted.after
        for name, job in future.items():
            was = existing[name]
            old, new = (set(one.waits_for if one else ()) for one in (was, job))
            asked_for |= {other: waiting_key(job, other) for other in new if job}
            for dependency in old ^ new:
                if bool(before.dependent_names(dependency)) != bool(
                    after.dependent_names(dependency)
                ):
                    others[dependency] = None
            if was and job and has_launcher(was) != has_launcher(job):
                others.update(dict.fromkeys(after.dependent_names(name)))
        found = []
        for other in sorted(others.keys() - future.keys()):
            job = after.get(other)
            try:
                if job is not None:
                    found.append(after.compile(job))
            except InvalidInput as error:
                # What cannot be compiled any more keeps its units, as in ``sync``.
                if key := asked_for.get(other):
                    raise InvalidJob([f"{key}: the job {other!r}: {error}"]) from error
        return found

    def _take_back(
        self, change: Change, wanted: Plan, before: IntendedJobs, now: int
    ) -> LunaschedError | None:
        """Undo ``_carry_out`` as far as the cause of its failure allows.

        What is left is for ``sync``: the first of the errors is given back.
        """
        new = {job.name for job in wanted.added}
        added = [item for item in change.jobs if item.job.name in new]
        new_files = [file.name for item in added for file in item.files]
        own_timers = timers(change.jobs)
        failures: list[LunaschedError] = []
        with _collected(failures):
            self._store_change(wanted.before, now, change.old_origins)
        with _collected(failures):
            failures.extend(self._manager.stop(own_timers).values())
        with _collected(failures):
            self._units.unwant(timers(added))
            self._units.remove(new_files)
            self._manager.reset_failed(filter(unittext.is_unit_name, new_files))
        with _collected(failures):
            self._slots.remove(new)
            self._successes.forget(change.gained)
        with _collected(failures):
            self._gate.follow()
        kept = {name: text for name, text in change.old_texts.items() if text is not None}
        if kept:
            # An unchanged file needs neither space nor a writable directory.
            with _collected(failures):
                lost = {name: text for name, text in kept.items() if self._read(name) != text}
                if lost:
                    with self._units.stage(lost) as staged:
                        staged.install()
            jobs = self._as_before(change, wanted, before)
            with _collected(failures):
                self._loader.prepare(jobs, now, set(timers(change.others)))
            # Also if the disk is full: a job that does not run at all is worse than one that
            # might run for a slot again.
            with _collected(failures):
                self._loader.activate(jobs)
        return failures[0] if failures else None

    def _read(self, name: str) -> str | None:
        try:
            return self._units.read(name)
        except LunaschedError:
            return None

    def _as_before(self, change: Change, wanted: Plan, before: IntendedJobs) -> list[CompiledJob]:
        jobs = [job for job in wanted.before.values() if job is not None]
        jobs += [item.job for item in change.others]
        found = []
        for job in jobs:
            service = change.old_texts[unittext.service_name(job.name)]
            with suppress(InvalidInput):
                found.append(before.compile(job, keeps_success(service)))
        return found

    def _own(self, name: str) -> Job:
        """A job that is not an entry of a crontab."""
        job = self._existing(name)
        check_own(name, self._store.jobs.origins([name]).get(name))
        return job

    def _existing(self, name: str) -> Job:
        job = self._store.jobs.get(name)
        if job is None:
            raise NoSuchJob(name)
        return job

    def _finish_handover(self) -> tuple[str, ...]:
        """Finish or take back what a process that was killed had begun to hand over."""
        record = self._record.read()
        if record is not None:
            from lunasched.deploy.eject import Ejector

            job = self._store.jobs.get(record.job)
            if record.kind == Ejector.KIND:
                self._ejector.finish(record, job)
            else:
                self._adopter.finish(record, job)
        return record.units if record is not None else ()

    @contextmanager
    def _locked(self, now: int) -> Iterator[Turn]:
        """Hold the deploy lock, after what its last holder left half done when it was killed.

        What cannot be finished does not keep others from their changes; ``sync`` says what is in
        its way.
        """
        with self._lock.hold() as waited:
            self._check_zones()
            turn = Turn(now + waited, settled=bool(self._finish_handover()))
            if self._lock.is_unfinished:
                with suppress(LunaschedError):
                    self._reconcile(turn.now, allow_empty=self._lock.leaves_no_job)
                    turn = Turn(turn.now, settled=True)
            try:
                yield turn
            except LunaschedError as error:
                # An invalid request never changes anything, so there is nothing to note.
                is_early = isinstance(error, StoreError) and not self._lock.has_begun
                unchanged = error.nothing_changed or is_early
                error.nothing_changed = unchanged and not turn.settled
                raise

    def _check_zones(self) -> None:
        """Raise ``ZonesChanged`` if the zones changed while we waited for the lock."""
        if zone_identity(self._context.calendars) != self._context.zones:
            raise ZonesChanged


@contextmanager
def _collected(failures: list[LunaschedError]) -> Iterator[None]:
    try:
        yield
    except LunaschedError as error:
        failures.append(error)


def _note_taken_back(error: BaseException) -> None:
    """Note of the error of a hand-over that all is as it was, unless the job itself is not."""
    if isinstance(error, LunaschedError) and not isinstance(error, _NotTakenBackError):
        error.nothing_changed = True


class _NotTakenBackError(DeploymentFailed):
    """A change of jobs that stays half done until it is brought to its end."""


def _not_taken_back(
    wanted: Plan, error: BaseException, failure: LunaschedError
) -> _NotTakenBackError:
    found = _NotTakenBackError(
        f"{_named(wanted)}: {error}\nNot all of it could be undone: "
        f"{failure}\nWhen the cause is fixed, run: lunasched sync"
    )
    if isinstance(error, LunaschedError):
        found.exit_code = error.exit_code
    return found


def _named(wanted: Plan) -> str:
    """Return the changes that were not made, as the beginning of a sentence."""
    names = list(wanted.after)
    done = "deployed" if wanted.put else "removed"
    if len(names) == 1:
        return f"the job {names[0]!r} was not {done}"
    return f"the {len(names)} jobs were not {done}"
