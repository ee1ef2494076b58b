"""Jobs, runs and pending starts as JSON, for the commands' ``--json`` and the web API.

The keys are documented in lunasched(1), and stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from lunasched.formats.unittext import uuid
from lunasched.history.run import HookRun, Run
from lunasched.history.starts import Start, waits_for
from lunasched.jobs.model import Job

if TYPE_CHECKING:
    from lunasched.history.timerstate import Upcoming

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def iso(usec: int | None) -> str | None:
    """A point in time in ISO 8601, UTC, microseconds."""
    if usec is None:
        return None
    try:
        moment = (_EPOCH + timedelta(microseconds=usec)).replace(tzinfo=None)
    except OverflowError:
        # No calendar has it: the history is data, whoever wrote it.
        return None
    return moment.isoformat(timespec="microseconds") + "Z"


def run_json(
    run: Run, hooks: Sequence[HookRun] = (), following: Start | None = None
) -> dict[str, Any]:
    """A run with the keys that stay; ``following`` is its pending retry."""
    span = None if run.ended_at is None else run.ended_at - run.started_at
    return {
        "execution_id": uuid(run.execution_id),
        "job": run.job,
        "trigger": run.trigger.value,
        "scheduled_at": iso(run.scheduled_at),
        "started_at": iso(run.started_at),
        "ended_at": iso(run.ended_at),
        "duration_ms": None if span is None else span // 1000,
        "result": None if run.result is None else run.result.value,
        "exit_code": run.exit_code,
        "signal": run.signal,
        "attempt": run.attempt,
        "first_attempt_id": uuid(run.first_attempt_id or run.execution_id),
        "retry_at": None if following is None else iso(following.due_at),
        "hooks": [_hook_json(hook) for hook in hooks],
        "overrun": None
        if run.overrun is None
        else {
            "count": run.overrun.count,
            "first_at": iso(run.overrun.first_at),
            "last_at": iso(run.overrun.last_at),
        },
        "output": run.output,
    }


def job_json(
    job: Job,
    upcoming: Upcoming,
    last: Run | None,
    hooks: Sequence[HookRun] = (),
    following: Start | None = None,
    *,
    show_secrets: bool = False,
) -> dict[str, Any]:
    """A job with the keys of a job file, when it elapses next, and its last run."""
    if not show_secrets:
        job = job.evolve(notifications=job.notifications.without_secrets())
    return {
        **job.to_mapping(),
        "next_elapse": iso(upcoming.at),
        "obstacle": None if upcoming.obstacle is None else upcoming.obstacle.value,
        "last_run": None if last is None else run_json(last, hooks, following),
    }


def start_json(start: Start, starts: Sequence[Start], now: int) -> dict[str, Any]:
    """A start that is to come; ``starts`` are all of them."""
    first = start.first_attempt_id
    return {
        "job": start.job,
        "unit": start.unit,
        "trigger": start.trigger.value,
        "attempt": start.attempt,
        "first_attempt_id": None if first is None else uuid(first),
        "scheduled_at": iso(start.scheduled_at),
        "waiting_since": iso(start.created_at),
        "due_at": iso(start.due_at),
        "waits_for": waits_for(start, starts, now),
    }


def _hook_json(hook: HookRun) -> dict[str, Any]:
    return {
        "event": hook.event.value,
        "execution_id": uuid(hook.execution_id) if hook.execution_id else None,
        "result": None if hook.result is None else hook.result.value,
        "exit_code": hook.exit_code,
        "signal": hook.signal,
    }
