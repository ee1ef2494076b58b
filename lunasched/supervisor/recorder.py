"""Journal events into rows: the state machine of a run.

::

    STARTING ─► starting ─ STARTED ─► running ─ SUCCEEDED, FAILED ─► ended
                   └──── SUCCEEDED, FAILED (too short, or not executable) ───┘

A program that ends at once may be reaped before systemd has noticed that it was executed: then
there is no STARTED, and only SPAWN_FAILED tells that it never ran. A job that others depend on
(``Type=oneshot``) has its STARTED after its end; stopping it looks like a failure until STOPPED.

With ``any_exit_code``, EXIT_NOTED has the exit code of what SUCCEEDED.

CONDITION_FAILED is no run: the gate was shut, and the job waits for the supervisor to start it.
CONDITION_UNMET and REFUSED are all that there is of a run: a condition of the job's own did not
hold, or what it requires failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from lunasched.errors import InvalidInput
from lunasched.formats import unittext
from lunasched.history import slot
from lunasched.history.run import Result, Run, Trigger
from lunasched.history.slot import Past
from lunasched.jobs.model import Job
from lunasched.machine import host
from lunasched.paths import Mode
from lunasched.supervisor.elapses import Cause, Elapses
from lunasched.systemd.journal import Event, EventKind, Position, Waits
from lunasched.units import concurrency

if TYPE_CHECKING:
    from lunasched.store import Start, Store
    from lunasched.supervisor.consequences import Consequences

_BATCH = 500

# The exit statuses of a launcher that found as many runs in progress as there may be: whether the
# timer had started it, where systemd told the launcher that.
_ENOUGH_RUN = {75: None, 76: True, 77: False}
# The same, as the last letter of the unit of a run that a launcher started.
_LETTERS = {"": None, "t": True, "h": False}
# The run that a launcher starts begins within this time of it.
_LAUNCH_USEC = 600_000_000

# How soon a stopped unit's STOPPED follows its FAILED.
_STOPPED_USEC = 1_000_000

# UNIT_RESULT of a failed unit; with any other value systemd did not run the program at all.
_RESULTS = {
    "exit-code": Result.EXIT_CODE,
    "signal": Result.SIGNAL,
    "core-dump": Result.CORE_DUMP,
    "timeout": Result.TIMEOUT,
    "oom-kill": Result.OOM_KILL,
    "watchdog": Result.TIMEOUT,
}

# The directives by which a job can have a limit of its own choice.
_TIME_LIMITS = frozenset(
    {"RuntimeMaxSec", "TimeoutSec", "TimeoutStartSec", "WatchdogSec", "RuntimeRandomizedExtraSec"}
)


# Each of them says that there was a run, should journald have lost the record of its beginning: the
# manager drops what it has to say while journald is restarted.
_PROOFS = frozenset(
    {EventKind.STARTED, EventKind.PROCESS_ENDED, EventKind.SUCCEEDED, EventKind.FAILED}
)

_ENDS = frozenset({EventKind.SUCCEEDED, EventKind.FAILED, EventKind.STOPPED})

_WITHOUT_INVOCATION = {
    EventKind.CONDITION_UNMET: Result.SKIPPED,
    EventKind.REFUSED: Result.EXEC_ERROR,
}


def result_of(unit_result: str) -> Result:
    """The result of a failed unit whose program was executed."""
    return _RESULTS.get(unit_result, Result.EXEC_ERROR)


def _launch_id(execution_id: str) -> str:
    """Return the ID of the unit that the launcher with this invocation ID starts."""
    return execution_id[:12]


class Recorder:
    """Takes the journal into the store, each record once."""

    def __init__(
        self,
        mode: Mode,
        store: Store,
        host_timezone: str,
        consequences: Consequences,
        elapses: Elapses,
        *,
        now: Callable[[], int],
        on_begun: Callable[[str], None] = lambda job: None,
        waits: Callable[[str], Waits] = lambda execution_id: Waits(),
        end_between: Callable[[str, int, int], int | None] = lambda unit, since, until: None,
    ) -> None:
        """``on_begun`` is called with the name of each job of which a run has begun.

        ``waits`` says what the journal has about the end of a run, by its execution ID, and
        ``end_between`` when a unit ended, in a span of time (µs, UTC), as far as D-Bus reported it.
        """
        # A user's manager logs failures only; where that of the system is silent, records are lost.
        self._silent_end = Result.SUCCESS if mode is Mode.USER else Result.LOST
        self._elapses = elapses
        self._now = now
        self._on_begun = on_begun
        self._waits = waits
        self._end_between = end_between
        self._store = store
        self._host_timezone = host_timezone
        self._consequences = consequences

    def take(self, positions: Iterable[Position]) -> int:
        """Record what the journal says, the cursor with the rows; how many events there were."""
        events = 0
        iterator = iter(positions)
        while batch := list(islice(iterator, _BATCH)):
            with self._store.transaction():
                for position in batch:
                    if position.event is not None:
                        self._apply(position.event)
                        events += 1
                self._store.set_cursor(batch[-1].cursor)
        return events

    def begin(self, event: Event) -> None:
        """Record a run that systemd knows of and the journal lacks."""
        with self._store.transaction():
            self._begin(event)

    def _apply(self, event: Event) -> None:
        if event.unit.startswith(unittext.HOOK_PREFIX):
            self._apply_to_hook(event)
            return
        if event.unit.startswith(unittext.LAUNCH_PREFIX):
            if event.kind is EventKind.STARTING:
                self._launching(event)
            elif event.kind is EventKind.LAUNCHES:
                self._launches(event)
            elif event.kind is EventKind.PROCESS_ENDED and event.exit_code in _ENOUGH_RUN:
                self._wait(event)
            return
        runs, run_id = self._store.runs, event.execution_id
        if event.kind is EventKind.STARTING or event.kind in _PROOFS:
            self._begin(event)
        if event.kind is EventKind.STARTED:
            if runs.running(run_id):
                self._consequences.went_ahead(run_id)
        elif event.kind is EventKind.CONDITION_FAILED:
            self._wait(event)
        elif event.kind in _WITHOUT_INVOCATION:
            self._begin(event)
            runs.end(run_id, _WITHOUT_INVOCATION[event.kind], event.at, event.since_boot)
            runs.set_output(run_id, f"{event.reason}\n")
        elif event.kind is EventKind.SPAWN_FAILED:
            if self._is_credible(event):
                runs.spawn_failed(run_id, event.exit_code, event.at)
        elif event.kind is EventKind.PROCESS_ENDED or (
            event.kind is EventKind.EXIT_NOTED
            and self._is_of_any_exit_code(event)
            and self._is_credible(event)
        ):
            runs.process_ended(run_id, exit_code=event.exit_code, signal=event.signal)
        elif event.kind is EventKind.STOPPING:
            runs.stopping(run_id)
        elif event.kind is EventKind.SKIPPED:
            self.skip(event)
        elif event.kind is EventKind.RESOURCES:
            runs.resources(run_id, cpu_usec=event.cpu_usec, memory_peak=event.memory_peak)
        elif event.kind in _ENDS:
            self._end(event)

    def _is_credible(self, event: Event) -> bool:
        """Tell whether a record may be that of a run's own process, which had changed its user.

        Of a run that did not begin, the job's user can so change what is recorded: that is why it
        did not. The store holds what the record says against the manager's own records.
        """
        if event.claimed_by is None:
            return True
        unit = event.unit.replace(unittext.HOOK_PREFIX, unittext.JOB_PREFIX, 1)
        job = self._store.jobs.get(unittext.job_name(unit) or "")
        if job is None or job.user is None:
            return False
        if job.user.isdecimal():
            return event.claimed_by == int(job.user)
        return event.claimed_by == host.user_id(job.user)

    def _apply_to_hook(self, event: Event) -> None:
        hooks, hook_id = self._store.hooks, event.execution_id
        if event.kind is EventKind.STARTING:
            hooks.started(event.unit, hook_id)
        elif event.kind is EventKind.SPAWN_FAILED and self._is_credible(event):
            hooks.spawn_failed(hook_id, event.exit_code)
        elif event.kind is EventKind.PROCESS_ENDED:
            hooks.process_ended(hook_id, exit_code=event.exit_code, signal=event.signal)
        elif event.kind is EventKind.SUCCEEDED:
            hooks.ended(hook_id, Result.SUCCESS, event.at)
        elif event.kind is EventKind.FAILED:
            result = result_of(event.unit_result or "")
            if event.unit_result == "timeout":
                waited = self._waits(hook_id)
                if waited.for_leftover and not waited.for_main:
                    result = Result.SUCCESS
            hooks.ended(hook_id, result, event.at)
        elif event.kind is EventKind.STOPPED:
            hooks.ended(hook_id, Result.STOPPED, event.at)

    def _launching(self, event: Event) -> None:
        """Keep when a launcher started, for the run that it starts in a unit of its own."""
        if self._store.jobs.get(unittext.job_name(event.unit) or "") is None:
            return
        runs = self._store.runs
        runs.forget_launches(event.at - _LAUNCH_USEC)
        runs.note_launch(_launch_id(event.execution_id), None, event.instant)

    def _launches(self, event: Event) -> None:
        """Keep what started a launcher, and when, for its run in the job's service."""
        at = event.at if event.elapsed is None else event.elapsed
        self._store.runs.note_launch(event.unit, event.by_timer, replace(event.instant, at=at))

    def _cause(self, found: tuple[Job, int] | None, event: Event) -> Cause:
        """Tell what caused the start of a unit. A launcher takes its time, and passes it on."""
        if found is None:
            return Cause(None, event.at)
        job, deployed_at = found
        launcher = unittext.launch_name(job.name)
        launched = unittext.launched_run(event.unit)
        if event.unit == launcher or launched is not None:
            return self._launcher_cause(job, event, launched)
        if event.at < deployed_at:
            # The job may have had no launcher then, or one.
            return self._elapses.cause(job, event.unit, event.instant, event.boot_id)
        if not concurrency.has_launcher(job):
            if event.unit != unittext.service_name(job.name):
                return Cause(False, event.at)
            return self._elapses.cause(job, event.unit, event.instant, event.boot_id)
        noted = self._store.runs.launch(launcher)
        self._store.runs.forget_launch(launcher)
        if noted is None:
            # Its timer starts nothing but the launcher.
            return Cause(False, event.at)
        by_timer, began = noted
        if by_timer is None:
            return self._elapses.cause(job, launcher, began, event.boot_id)
        return Cause(by_timer, began.at)

    def _launcher_cause(self, job: Job, event: Event, launched: tuple[str, str] | None) -> Cause:
        """Tell what started the launcher whose own record this is, or which started the unit."""
        if launched is None:
            launch, by_timer = _launch_id(event.execution_id), _ENOUGH_RUN.get(event.exit_code or 0)
        else:
            launch, by_timer = launched[0], _LETTERS[launched[1]]
        noted = self._store.runs.launch(launch)
        began = event.instant if noted is None else noted[1]
        if by_timer is None:
            launcher = unittext.launch_name(job.name)
            return self._elapses.cause(job, launcher, began, event.boot_id)
        return Cause(by_timer, began.at)

    def _wait(self, event: Event) -> None:
        """A start that came to a shut gate, or one too many: keep it until its turn."""
        found = self._store.jobs.get_with_time(unittext.job_name(event.unit) or "")
        if found is None:
            return
        job, deployed_at = found
        cause = self._cause(found, event)
        if self._store.starts.unclaim_unit(event.unit):
            return
        # What was asked for may have been the launcher of this unit.
        asked = self._asked(unittext.launch_name(job.name), cause.at, cause)
        if asked is not None:
            trigger, scheduled_at = asked.trigger, asked.scheduled_at
        elif not job.enabled and (cause.by_timer or cause.at < deployed_at):
            # It was disabled since, and what was waiting then was dropped.
            return
        else:
            trigger, scheduled_at = self._attribute(found, event, cause)
        self._store.starts.put(
            job,
            unit=event.unit,
            trigger=trigger,
            slot=scheduled_at,
            due_at=event.at,
            now=event.at,
            instead_of=asked,
        )

    def _begin(self, event: Event) -> None:
        name = unittext.job_name(event.unit)
        if name is None:
            return
        if self._store.runs.state(event.execution_id) is not None:
            return
        # A unit has one run at a time.
        for earlier in self._store.runs.open_of(event.unit, event.boot_id, but=event.execution_id):
            run = self._store.runs.get(earlier)
            since = event.at if run is None else run.started_at
            ended_at = self._end_between(event.unit, since, event.at)
            self._store.runs.end(earlier, self._silent_end, ended_at)
        found = self._store.jobs.get_with_time(name)
        cause = self._cause(found, event)
        asked = self._asked(event.unit, event.at, cause) or self._asked(
            unittext.launch_name(name), cause.at, cause
        )
        if asked is None:
            trigger, scheduled_at = self._attribute(found, event, cause)
        else:
            trigger, scheduled_at = asked.trigger, asked.scheduled_at
        run = Run(
            execution_id=event.execution_id,
            job=name,
            unit=event.unit,
            trigger=trigger,
            scheduled_at=scheduled_at,
            started_at=event.at,
            attempt=1 if asked is None else asked.attempt,
            first_attempt_id=None if asked is None else asked.first_attempt_id,
        )
        self._store.runs.begin(run, event.boot_id, event.since_boot)
        if asked is None and cause.by_timer is False:
            self._store.runs.request(event.execution_id, Trigger.MANUAL, event.at)
        self._on_begun(name)

    def _asked(self, unit: str, began: int, cause: Cause) -> Start | None:
        """Take the start of a unit that the supervisor asked for, if one that began then is it."""
        return self._store.starts.take_claimed(
            unit, began=began, by_timer=cause.by_timer is True, now=self._now()
        )

    def _attribute(
        self, found: tuple[Job, int] | None, event: Event, cause: Cause
    ) -> tuple[Trigger, int | None]:
        requested = self._store.runs.requested(event.execution_id)
        if requested is not None:
            return requested, None
        if cause.by_timer is False:
            return Trigger.MANUAL, None
        if found is None:
            return Trigger.TIMER, None
        job, deployed_at = found
        past = Past(
            deployed_at=deployed_at,
            last_start=self._store.runs.last_start(job.name),
            last_slot=self._store.runs.last_slot(job.name),
            ran_this_boot=self._store.runs.in_boot(job.name, event.boot_id),
        )
        try:
            if cause.by_timer:
                return slot.of_timer(job, cause.at, past, self._host_timezone)
            return slot.attribute(job, cause.at, past, self._host_timezone)
        except InvalidInput:
            # A schedule that an earlier version accepted: the run is what matters.
            return Trigger.TIMER, None

    def skip(self, event: Event) -> None:
        """Record that a guard or a condition of the job kept a run from going ahead."""
        state = self._store.runs.state(event.execution_id)
        if state is not None and state.spawn_failed:
            # The guard could not be executed either: it has the job's user and directory.
            self._store.runs.process_ended(
                event.execution_id, exit_code=state.spawn_exit_code, signal=None
            )
            self._store.runs.end(event.execution_id, Result.EXEC_ERROR, event.at, event.since_boot)
            return
        run = self._store.runs.get(event.execution_id)
        if run is None:
            return
        repeated = run.trigger is Trigger.MANUAL
        if repeated and self._store.runs.requested(event.execution_id) is None:
            # What started it was not known, and its slot had run: the slot guard knew the timer.
            self._store.runs.skip(event.execution_id, event.at, self._current_slot(event))
        else:
            self._store.runs.end(event.execution_id, Result.SKIPPED, event.at, event.since_boot)

    def _current_slot(self, event: Event) -> int | None:
        """The slot that a timer starts the event's job for at this time."""
        job = self._store.jobs.get(unittext.job_name(event.unit) or "")
        if job is None:
            return None
        try:
            return slot.latest_slot(job, event.at, self._host_timezone)
        except InvalidInput:
            return None

    def _end(self, event: Event) -> None:
        state = self._store.runs.state(event.execution_id)
        if state is None:
            return
        if event.kind is EventKind.STOPPED:
            self._store.runs.correct_stopped(event.execution_id, event.at - _STOPPED_USEC)
        if state.stop_requested or event.kind is EventKind.STOPPED:
            result = Result.STOPPED
        elif event.kind is EventKind.SUCCEEDED:
            result = Result.SUCCESS
        elif state.spawn_failed:
            result = Result.EXEC_ERROR
        elif event.unit_result == "timeout" and self._ended_in_time(event):
            result = Result.SUCCESS
        else:
            result = result_of(event.unit_result or "")
        self._store.runs.end(event.execution_id, result, event.at, event.since_boot)

    def _is_of_any_exit_code(self, event: Event) -> bool:
        job = self._store.jobs.get(unittext.job_name(event.unit) or "")
        return job is not None and job.any_exit_code

    def _ended_in_time(self, event: Event) -> bool:
        """Tell whether a run's own process succeeded, and only leftovers of it had to be killed.

        systemd calls that a timeout, too: of the stop that follows the end of the main process.
        It logs no success of a main process, and any failure; and it says when a limit is reached.
        Should it say neither that nor what it waited for, as another version might: no run reaches
        a limit that it does not have, or before its time.
        """
        run = self._store.runs.get(event.execution_id)
        job = None if run is None else self._store.jobs.get(run.job)
        if run is None or job is None or run.exit_code is not None or run.signal is not None:
            return False
        waited = self._waits(event.execution_id)
        if waited.for_main or waited.for_leftover:
            return not waited.for_main
        if any(name in _TIME_LIMITS for name, _ in job.directives):
            return False
        limit = job.limits.timeout
        return limit is None or event.at - run.started_at < limit * 1_000_000
