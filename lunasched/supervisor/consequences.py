"""What follows a run: retries, hooks, and the jobs that waited for it to succeed.

Everything here is rows, written in the transaction that recorded the cause; nothing is started.
A run has two moments that matter: when it is known to go ahead (it was not refused), and when it
is settled (its result is final and its output on record).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lunasched import concurrency, retry, schedule, unittext
from lunasched.errors import InvalidInput
from lunasched.model import HookEvent, Job, Outcome, Result, Run, Trigger
from lunasched.slot import to_datetime

if TYPE_CHECKING:
    from collections.abc import Callable

    from lunasched.store import Start, Store


class Consequences:
    """The rows that runs give rise to."""

    def __init__(self, store: Store, now: Callable[[], int]) -> None:
        self._store = store
        self._now = now

    def went_ahead(self, execution_id: str) -> None:
        """A run's program was executed: its start hook is due, and what it replaces is not."""
        run = self._store.runs.get(execution_id)
        job = self._store.jobs.get(run.job) if run else None
        if run is None or job is None:
            return
        for replaced in self._store.starts.take_replaced(run):
            self.dropped(replaced, job)
        self._hook(job, run, HookEvent.ON_START)

    def settled(self, execution_id: str) -> None:
        """A run is over for good: decide on a retry, and on what success or failure entails."""
        run = self._store.runs.get(execution_id)
        job = self._store.jobs.get(run.job) if run else None
        if run is None or run.result is None or job is None or run.result is Result.STOPPED:
            return
        if run.result is Result.SKIPPED:
            # A retry that was refused was the last that its chain will see.
            if run.first_attempt_id is not None:
                self._failed_for_good(job, run.first_attempt_id)
            return
        if run.result is not Result.EXEC_ERROR:
            # Where systemd did not say that the program was executed before it had ended.
            self.went_ahead(execution_id)
        if run.result is Result.SUCCESS:
            self._hook(job, run, HookEvent.ON_SUCCESS)
            self._start_dependents(job)
        else:
            self._failed(job, run)

    def dropped(self, start: Start, job: Job) -> None:
        """A start will not be: if it was a retry, the failed run before it was the last."""
        if start.failed_id is not None:
            failed = self._store.runs.get(start.failed_id)
            if failed is not None:
                self._hook(job, failed, HookEvent.ON_FAILURE)

    def _failed(self, job: Job, run: Run) -> None:
        now = self._now()
        outcome = Outcome(run.result or Result.LOST, run.exit_code, run.signal)
        following = retry.decide(job.retry, run.attempt, outcome, run.ended_at or now)
        if following is None or not job.enabled or self._store.runs.has_later(run.execution_id):
            self._hook(job, run, HookEvent.ON_FAILURE)
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
            self._hook(job, last, HookEvent.ON_FAILURE)

    def _start_dependents(self, job: Job) -> None:
        """Have jobs without a schedule started whose dependencies have all succeeded by now."""
        for dependent in self._store.jobs.dependents(job.name):
            if dependent.enabled and _is_on_demand(dependent) and self._is_due(dependent):
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
        facts = _facts(job, run, event)
        if following is not None:
            facts["LUNASCHED_NEXT_ATTEMPT"] = str(following.attempt)
            facts["LUNASCHED_NEXT_ATTEMPT_AT"] = _iso(following.due_at)
        unit = unittext.hook_name(job.name, event.value)
        self._store.hooks.put(run.execution_id, event, job.name, unit, facts, self._now())


def _is_on_demand(job: Job) -> bool:
    try:
        return isinstance(schedule.parse(job.schedule), schedule.OnDemand)
    except InvalidInput:
        return False


def _facts(job: Job, run: Run, event: HookEvent) -> dict[str, str]:
    """The environment that a hook has besides the job's own (lunasched(1), "HOOKS")."""
    facts: dict[str, object] = {
        "JOB": run.job,
        "EVENT": event.value,
        "EXECUTION_ID": unittext.uuid(run.execution_id),
        "FIRST_ATTEMPT_ID": unittext.uuid(run.first_attempt_id or run.execution_id),
        "ATTEMPT": run.attempt,
        "MAX_ATTEMPTS": job.retry.max_attempts,
        "TRIGGER": run.trigger.value,
        "UNIT": run.unit,
        "SCHEDULED_AT": _iso(run.scheduled_at),
        "STARTED_AT": _iso(run.started_at),
    }
    # When it begins, what is to come of it is not known, even where it is on record by now.
    if event is not HookEvent.ON_START:
        facts |= {
            "ENDED_AT": _iso(run.ended_at),
            "RESULT": run.result.value if run.result else "",
            "EXIT_CODE": "" if run.exit_code is None else run.exit_code,
            "SIGNAL": "" if run.signal is None else run.signal,
        }
    return {f"LUNASCHED_{name}": str(value) for name, value in facts.items()}


def _iso(usec: int | None) -> str:
    """ISO 8601 in UTC, and empty where there is no such time."""
    if usec is None:
        return ""
    return to_datetime(usec).isoformat(timespec="microseconds").replace("+00:00", "Z")
