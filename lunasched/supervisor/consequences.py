"""The consequences of a run: retries, hooks, notifications, and jobs that depend on it.

Everything here is rows, written in the transaction that recorded the cause; nothing is started.
A run has two moments that matter: when it is known to go ahead (it was not refused), and when it
is settled (its result is final and its output on record).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lunasched import schedule
from lunasched.errors import InvalidInput
from lunasched.formats import unittext
from lunasched.history import overrun, retry
from lunasched.history.run import Outcome, Result, Run, Trigger
from lunasched.jobs.model import HookEvent, Job
from lunasched.supervisor import variables
from lunasched.supervisor.notificationqueue import NotificationQueue, Origin
from lunasched.units import concurrency

if TYPE_CHECKING:
    from collections.abc import Callable

    from lunasched.store import Start, Store


class Consequences:
    """The rows that runs give rise to."""

    def __init__(self, store: Store, origin: Origin, now: Callable[[], int]) -> None:
        self._store = store
        self._notifications = NotificationQueue(store, origin)
        self._host_timezone = origin.timezone
        self._now = now

    def went_ahead(self, execution_id: str) -> None:
        """A run's program was executed: its start hook is due, and what it replaces is not."""
        run = self._store.runs.get(execution_id)
        job = self._store.jobs.get(run.job) if run else None
        if run is None or job is None:
            return
        for replaced in self._store.starts.take_replaced(run):
            self.dropped(replaced, job)
            run = self._with_slot_of(run, replaced)
        self._hook(job, run, HookEvent.ON_START)
        self._notifications.started(job, run, self._now())

    def _with_slot_of(self, run: Run, replaced: Start) -> Run:
        """Give a run the slot of a start that waited for its turn, and is one with it."""
        slot = replaced.scheduled_at
        own = run.started_at if run.scheduled_at is None else run.scheduled_at
        if replaced.failed_id is not None or slot is None or slot >= own:
            return run
        self._store.runs.take_slot(run.execution_id, slot)
        return replace(run, scheduled_at=slot)

    def settled(self, execution_id: str) -> None:
        """A run is over for good: decide on a retry, and on what success or failure entails."""
        run = self._store.runs.get(execution_id)
        found = self._store.jobs.get_with_time(run.job) if run else None
        if run is None or run.result is None or found is None:
            return
        job, deployed_at = found
        self._overran(job, deployed_at, run)
        if run.result is Result.STOPPED:
            return
        if run.result is Result.SKIPPED:
            self._notifications.skipped(job, run, self._now())
            # A retry that was refused is the last of its chain.
            if run.first_attempt_id is not None:
                self._failed_for_good(job, run.first_attempt_id)
            return
        if run.result is not Result.EXEC_ERROR:
            # Where systemd did not say that the program was executed before it had ended.
            self.went_ahead(execution_id)
        if run.result.is_failure:
            self._failed(job, run)
        else:
            self._hook(job, run, HookEvent.ON_SUCCESS)
            self._notifications.succeeded(job, run, self._now())
            self._start_dependents(job)

    def printed(self, job: Job, execution_id: str) -> None:
        """The output of a run is on record, and there is some."""
        run = self._store.runs.get(execution_id)
        # What a skipped run has on record is the reason for that.
        if run is not None and run.result is not Result.SKIPPED:
            self._notifications.printed(job, run, self._now())

    def dropped(self, start: Start, job: Job) -> None:
        """A start will not be: if it was a retry, the failed run before it was the last."""
        if start.failed_id is not None:
            failed = self._store.runs.get(start.failed_id)
            if failed is not None:
                self._final(job, failed)

    def missed(self, job: Job, count: int, first_at: int, last_at: int) -> None:
        """Slots of a job passed without a run: so many, between two points in time (µs, UTC)."""
        self._notifications.missed(job, count, first_at, last_at, self._now())

    def overruns(self, job: Job, deployed_at: int, run: Run) -> None:
        """Notify of a run that slots of its job have passed during for long enough."""
        rule = overrun.Rule.of(job, deployed_at, self._host_timezone)
        found = overrun.overrun_of_run(rule, run, self._now())
        if found is not None:
            self._notifications.overrun(job, run, found, self._now())

    def waits(self, job: Job, deployed_at: int, start: Start) -> None:
        """Notify of a start that waits for its turn while slots have passed for long enough."""
        rule = overrun.Rule.of(job, deployed_at, self._host_timezone)
        found = overrun.overrun_of_start(rule, start, self._now())
        if found is not None:
            self._notifications.waits(job, start, found, self._now())

    def _overran(self, job: Job, deployed_at: int, run: Run) -> None:
        """Note the slots that passed during a run that is over, and notify if it took long."""
        checked = self._store.slots.checked(job.name) if run.result is Result.LOST else None
        checked_until = None if checked is None else checked.until
        rule = overrun.Rule.of(job, deployed_at, self._host_timezone)
        found = overrun.of_ended(rule, run, checked_until)
        if found is None:
            return
        self._store.runs.set_overrun(run.execution_id, found)
        over_at = found.last_at if run.ended_at is None else run.ended_at
        # A wait for its turn counts here: that was notified of, and is over with the run.
        if over_at >= overrun.notified_at(job, found.first_at, found.first_at):
            self._notifications.overrun(job, run, found, self._now())

    def _failed(self, job: Job, run: Run) -> None:
        now = self._now()
        outcome = Outcome(run.result or Result.LOST, run.exit_code, run.signal)
        following = retry.decide(job.retry, run.attempt, outcome, run.ended_at or now)
        if following is None or not job.enabled or self._store.runs.has_later(run.execution_id):
            self._final(job, run)
            return
        self._store.starts.put_retry(
            job,
            run,
            unit=concurrency.started_unit(job),
            attempt=following.attempt,
            due_at=following.due_at,
            now=now,
        )
        self._hook(job, run, HookEvent.ON_RETRY, following)

    def _failed_for_good(self, job: Job, first_attempt_id: str) -> None:
        last = self._store.runs.last_of_chain(job.name, first_attempt_id)
        if last is not None:
            self._final(job, last)

    def forget_gone(self) -> None:
        """Drop the pending work of jobs that were removed or disabled since.

        The command that did so drops it, too, unless it was killed or could not reach the history.
        """
        waiting = self._store.with_something_to_do()
        if not waiting:
            return
        known = self._store.jobs.some(waiting)
        with self._store.transaction():
            for name in waiting:
                job, changed_at = known.get(name, (None, 0))
                if job is None:
                    self._store.forget_job(name)
                elif not job.enabled:
                    for start in self._store.starts.drop_before(name, changed_at):
                        self.dropped(start, job)

    def _final(self, job: Job, run: Run) -> None:
        """A run failed, and no further attempt follows."""
        self._hook(job, run, HookEvent.ON_FAILURE)
        self._notifications.failed(job, run, self._now())

    def _start_dependents(self, job: Job) -> None:
        """Have jobs without a schedule started whose dependencies have all succeeded by now."""
        for dependent in self._store.jobs.dependents(job.name):
            if not dependent.enabled or job.name not in dependent.dependencies:
                continue
            if _is_on_demand(dependent) and self._is_due(dependent):
                now = self._now()
                self._store.starts.put(
                    dependent,
                    unit=concurrency.started_unit(dependent),
                    trigger=Trigger.DEPENDENCY,
                    slot=None,
                    due_at=now,
                    now=now,
                )

    def _is_due(self, dependent: Job) -> bool:
        last_start = self._store.runs.last_start(dependent.name) or 0
        for name in dependent.dependencies:
            latest = self._store.runs.latest_outcome(name)
            if latest is None or latest[0] is not Result.SUCCESS:
                return False
            # A user's manager may not tell when a run ended; it has, though.
            if latest[1] is not None and latest[1] < last_start:
                return False
        return True

    def _hook(
        self, job: Job, run: Run, event: HookEvent, following: retry.RetryAt | None = None
    ) -> None:
        if job.hooks.command(event) is None:
            return
        told = variables.hook_variables(job, run, event)
        if following is not None:
            told["LUNASCHED_NEXT_ATTEMPT"] = str(following.attempt)
            told["LUNASCHED_NEXT_ATTEMPT_AT"] = variables.iso_or_empty(following.due_at)
        unit = unittext.hook_name(job.name, event.value)
        self._store.hooks.put(run.execution_id, event, job.name, unit, told, self._now())


def _is_on_demand(job: Job) -> bool:
    try:
        return isinstance(schedule.parse(job.schedule), schedule.OnDemand)
    except InvalidInput:
        return False
