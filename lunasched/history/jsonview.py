"""Jobs, runs and pending starts as JSON, for the commands' ``--json`` and the web API.

The keys are documented in lunasched(1), and stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from lunasched.formats.unittext import uuid
from lunasched.history.pendingstarts import Start, waits_for
from lunasched.history.run import HookRun, Run
from lunasched.history.runvalues import value_of_run
from lunasched.jobs.model import Job
from lunasched.jobs.origin import JobOrigin
from lunasched.jobs.runfacts import COURSE, YIELD, Form, Medium, RunFact, given

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
        # Out of range for a date; the history may hold anything.
        return None
    return moment.isoformat(timespec="microseconds") + "Z"


_WRITERS: Mapping[Form, Callable[[Any], Any]] = {
    Form.ID: uuid,
    Form.TEXT: str,
    Form.WORD: lambda word: word.value,
    Form.TIME: iso,
    Form.COUNT: int,
    Form.SIGNAL: int,
    Form.SPAN: lambda usec: usec // 1000,
    Form.CPU_TIME: int,
    Form.SIZE: int,
}
_COURSE, _YIELD = given(COURSE, Medium.JSON), given(YIELD, Medium.JSON)


def run_json(
    run: Run, hooks: Sequence[HookRun] = (), following: Start | None = None
) -> dict[str, Any]:
    """A run with the keys that stay; ``following`` is its pending retry."""
    return {
        **facts_json(_COURSE, lambda fact: value_of_run(run, fact)),
        "retry_at": None if following is None else iso(following.due_at),
        "hooks": [_hook_json(hook) for hook in hooks],
        **facts_json(_YIELD, lambda fact: value_of_run(run, fact)),
    }


def facts_json(facts: Iterable[RunFact], value_of: Callable[[RunFact], Any]) -> dict[str, Any]:
    """Facts of a run under their keys; an object of which nothing is known is ``None``."""
    written: dict[str, Any] = {}
    for fact in facts:
        value, keys = value_of(fact), fact.keys
        if value is None:
            written.setdefault(keys[0])
        elif len(keys) == 1:
            written[keys[0]] = _WRITERS[fact.form](value)
        else:
            written.setdefault(keys[0], {})[keys[1]] = _WRITERS[fact.form](value)
    return written


def job_json(
    job: Job,
    upcoming: Upcoming,
    last: Run | None,
    hooks: Sequence[HookRun] = (),
    following: Start | None = None,
    *,
    origin: JobOrigin | None = None,
    show_secrets: bool = False,
) -> dict[str, Any]:
    """A job with the keys of a job file, where it comes from, when it elapses next, its last run.

    ``origin`` is the line of a crontab that it is.
    """
    if not show_secrets:
        job = job.evolve(notifications=job.notifications.without_secrets())
    return {
        **job.to_mapping(),
        "origin": None
        if origin is None
        else {"file": origin.source, "line": origin.line, "text": origin.text},
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
