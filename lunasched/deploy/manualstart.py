"""Starts by hand: of a job now, whatever its schedule, or as soon as it is its turn.

A job that runs alone, or while starts wait, is put into the queue of the supervisor. Any other is
started here: its own service, or a unit for this one run where runs may be in progress beside each
other, or where the run differs from the job. The compiler is loaded for such a unit alone: it costs
half as much as all the rest of a start.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING

from lunasched.dataclass import dataclass
from lunasched.errors import LunaschedError
from lunasched.formats import unittext
from lunasched.history.run import Trigger
from lunasched.jobs.model import ExecutionMode
from lunasched.state.runtimedir import GateView, MarkDirectory
from lunasched.state.unitdir import UnitDirectory
from lunasched.units import concurrency

if TYPE_CHECKING:
    from lunasched.history.pendingstarts import Start
    from lunasched.jobs.model import Job
    from lunasched.paths import Paths
    from lunasched.store import Store
    from lunasched.systemd.manager import Invocation, Manager
    from lunasched.units.compiler import Context

# Seconds that a start without --wait gives the job to begin.
_TURN_SECONDS = 1


@dataclass(frozen=True, slots=True)
class StartedUnit:
    """The unit of a start by hand, and its run unless the start waits or was skipped."""

    name: str
    run: Invocation | None


@dataclass(frozen=True, slots=True)
class ManualStart:
    """Starts jobs by hand, in one mode.

    ``context`` returns the surroundings of compilation; ``waiting`` the starts in the queue, or
    ``None`` where the history cannot be read; ``is_recorded`` tells if a supervisor is there to
    serve the queue; ``now`` is µs, UTC.
    """

    manager: Manager
    store: Store
    paths: Paths
    context: Callable[[], Context]
    waiting: Callable[[], list[Start] | None]
    is_recorded: Callable[[], bool]
    now: Callable[[], int]

    def start(self, job: Job, this_run: Job, *, wait: bool) -> StartedUnit:
        """Start a job, as ``this_run`` has it; raises ``LunaschedError`` if it may not begin."""
        gate = GateView(self.paths.runtime)
        unit = unittext.service_name(job.name)
        self._check_not_running(job)
        if job.mode is ExecutionMode.PARALLEL or this_run != job:
            unit = self._make_instance(this_run)
        self.manager.hold(unit)
        exclusive = job.mode is ExecutionMode.EXCLUSIVE or gate.exclusive_runs()
        if exclusive or gate.is_shut():
            return StartedUnit(unit, self._queue(job, unit, wait=wait))
        with MarkDirectory(self.paths.runtime).by_hand(job.name):
            return StartedUnit(unit, self.manager.begin(unit, patient=wait))

    def unmet(self, unit: str, since: int) -> str | None:
        """Return the condition of a job's own that kept it from running since then (µs, UTC).

        Those of the gate are not the job's own.
        """
        found = self.manager.unmet(unit, since)
        return next((one for one in found if not concurrency.is_of_gate(one)), None)

    def _check_not_running(self, job: Job) -> None:
        busy = busy_units(self.manager, job.name)
        if job.mode is ExecutionMode.PARALLEL:
            if 0 < job.max_concurrent <= len(busy):
                raise LunaschedError(
                    f"{len(busy)} runs of the job {job.name!r} are in progress, which is its "
                    "limit; wait until one is over, or end them: "
                    f"lunasched stop {job.name!r}"
                )
        elif busy:
            raise LunaschedError(
                f"the job {job.name!r} is running; wait until it is over, or end it with: "
                f"lunasched stop {job.name!r}"
            )

    def _queue(self, job: Job, unit: str, *, wait: bool) -> Invocation | None:
        """Have the supervisor start a job when its turn has come."""
        if not self.is_recorded():
            raise LunaschedError(
                "the supervisor, which has to keep other jobs from running, is not running; "
                "see: systemctl status lunasched.service"
            )
        now = self.now()
        before = self.manager.invocation(unit).execution_id
        with self.store.transaction():
            self.store.starts.put(
                job, unit=unit, trigger=Trigger.MANUAL, slot=None, due_at=now, now=now
            )
        self.manager.nudge()
        begun = self.manager.wait_begun(unit, before, _TURN_SECONDS)
        while wait and not begun:
            waits = self._waits(job.name)
            # A start that no longer waits has begun, or never will.
            begun = self.manager.wait_begun(unit, before, _TURN_SECONDS)
            if waits or begun:
                continue
            if self.unmet(unit, now):
                return None
            raise LunaschedError(
                f"the start of the job {job.name!r} was dropped before its turn; "
                f"see: lunasched history {job.name!r}"
            )
        return self.manager.invocation(unit) if begun else None

    def _waits(self, name: str) -> bool:
        """Tell whether a start of a job is in the queue, as far as the history can be read."""
        waiting = self.waiting()
        return waiting is None or any(one.job == name and not one.is_retry for one in waiting)

    def _make_instance(self, job: Job) -> str:
        """Write a unit for one run where the next boot removes it; return its name."""
        from lunasched.deploy.intendedjobs import IntendedJobs

        service = IntendedJobs(self.store, self.context(), {}).compile(job).service
        # The letter tells the guard that the start is by hand, like the letters of a launcher.
        unit = unittext.run_service_name(job.name, f"{secrets.token_hex(6)}h")
        directory = UnitDirectory(
            self.paths.runtime_units, mark=unittext.OWNERSHIP_MARK, prefix=unittext.JOB_PREFIX
        )
        self._remove_old_instances(job.name, directory)
        with directory.stage({unit: service.text}) as staged:
            staged.install()
        return unit

    def _remove_old_instances(self, name: str, directory: UnitDirectory) -> None:
        """Remove the units of earlier runs, but not of those in progress or waiting."""
        waiting = self.waiting()
        if waiting is None:
            return
        needed = busy_units(self.manager, name) | {start.unit for start in waiting}
        prefix = f"{unittext.JOB_PREFIX}{unittext.instance_name(name)}:"
        directory.remove(
            unit for unit in directory.owned() if unit.startswith(prefix) and unit not in needed
        )


def busy_units(manager: Manager, name: str) -> set[str]:
    """Return the units of a job that are running, or about to."""
    unit = unittext.service_name(name)
    waiting = {unit} if manager.is_busy(unit) else set()
    pattern = f"{unittext.JOB_PREFIX}{unittext.instance_name(name)}:*.service"
    return waiting | manager.busy(pattern)
