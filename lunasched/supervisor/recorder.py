"""Journal events into rows: the state machine of a run.

::

    STARTING ─► starting ─ STARTED ─► running ─ SUCCEEDED, FAILED ─► ended
                   └──── SUCCEEDED, FAILED (too short, or not executable) ───┘

A program that ends at once may be reaped before systemd has noticed that it was executed: then
there is no STARTED, and only SPAWN_FAILED tells that it never ran.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from lunasched import slot, unittext
from lunasched.errors import InvalidInput
from lunasched.journal import Event, EventKind, Position
from lunasched.model import Result, Run, Trigger
from lunasched.slot import Past

if TYPE_CHECKING:
    from lunasched.store import Store

_BATCH = 500

# UNIT_RESULT of a failed unit; what is not here kept systemd from running the program at all.
_RESULTS = {
    "exit-code": Result.EXIT_CODE,
    "signal": Result.SIGNAL,
    "core-dump": Result.CORE_DUMP,
    "timeout": Result.TIMEOUT,
    "oom-kill": Result.OOM_KILL,
    "watchdog": Result.TIMEOUT,
}


def result_of(unit_result: str) -> Result:
    """The result of a failed unit whose program was executed."""
    return _RESULTS.get(unit_result, Result.EXEC_ERROR)


class Recorder:
    """Takes the journal into the store, each record once."""

    def __init__(self, store: Store, host_timezone: str) -> None:
        self._store = store
        self._host_timezone = host_timezone

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

    def _apply(self, event: Event) -> None:
        runs, run_id = self._store.runs, event.execution_id
        if event.kind is EventKind.STARTING:
            self._begin(event)
        elif event.kind is EventKind.STARTED:
            runs.running(run_id)
        elif event.kind is EventKind.SPAWN_FAILED:
            runs.spawn_failed(run_id, event.exit_code, event.at)
        elif event.kind is EventKind.PROCESS_ENDED:
            runs.process_ended(run_id, exit_code=event.exit_code, signal=event.signal)
        elif event.kind is EventKind.STOPPING:
            runs.stopping(run_id)
        elif event.kind is EventKind.SKIPPED:
            self._skip(event)
        elif event.kind is EventKind.RESOURCES:
            runs.resources(run_id, cpu_usec=event.cpu_usec, memory_peak=event.memory_peak)
        else:
            self._end(event)

    def _begin(self, event: Event) -> None:
        job = unittext.job_name(event.unit)
        if job is None:
            return
        if self._store.runs.state(event.execution_id) is not None:
            return
        # A unit has one run at a time. Where the last one has no end, it had none to be logged:
        # a user's manager keeps a success to itself, and when that was nobody knows any more.
        for earlier in self._store.runs.open_of(event.unit, event.boot_id, but=event.execution_id):
            self._store.runs.end(earlier, Result.SUCCESS, None)
        trigger, scheduled_at = self._attribute(job, event)
        run = Run(
            execution_id=event.execution_id,
            job=job,
            unit=event.unit,
            trigger=trigger,
            scheduled_at=scheduled_at,
            started_at=event.at,
        )
        self._store.runs.begin(run, event.boot_id)

    def _attribute(self, name: str, event: Event) -> tuple[Trigger, int | None]:
        requested = self._store.runs.requested(event.execution_id)
        if requested is not None:
            return requested, None
        found = self._store.jobs.get_with_time(name)
        if found is None:
            return Trigger.TIMER, None
        job, deployed_at = found
        past = Past(
            deployed_at=deployed_at,
            last_start=self._store.runs.last_start(name),
            last_slot=self._store.runs.last_slot(name),
            ran_this_boot=self._store.runs.in_boot(name, event.boot_id),
        )
        try:
            return slot.attribute(job, event.at, past, self._host_timezone)
        except InvalidInput:
            # A schedule that an earlier version accepted: the run is what matters.
            return Trigger.TIMER, None

    def _skip(self, event: Event) -> None:
        state = self._store.runs.state(event.execution_id)
        if state is not None and state.spawn_failed:
            # The guard could not be executed either: its user, its directory are the job's.
            self._store.runs.process_ended(
                event.execution_id, exit_code=state.spawn_exit_code, signal=None
            )
            self._store.runs.end(event.execution_id, Result.EXEC_ERROR, event.at)
            return
        self._store.runs.skip(event.execution_id, event.at, self._current_slot(event))

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
        if state.stop_requested or event.kind is EventKind.STOPPED:
            result = Result.STOPPED
        elif event.kind is EventKind.SUCCEEDED:
            result = Result.SUCCESS
        elif state.spawn_failed:
            result = Result.EXEC_ERROR
        else:
            result = result_of(event.unit_result or "")
        self._store.runs.end(event.execution_id, result, event.at)
