"""The environment of hooks and commands (lunasched-concepts(7), "HOOKS" and "NOTIFICATIONS")."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lunasched.formats.unittext import uuid
from lunasched.history import runvalues
from lunasched.history.run import Run
from lunasched.history.slot import to_datetime
from lunasched.jobs.model import HookEvent, Job
from lunasched.jobs.runfacts import BY_NAME, COURSE, RUN_FACTS, YIELD, Form, Medium, RunFact, given

if TYPE_CHECKING:
    from lunasched.notify.message import Message
    from lunasched.store import Outgoing

_BESIDES = (
    "EVENT", "FAILING_SINCE", "FAILURES", "HOST", "KIND", "MISSED", "MISSED_FIRST_AT",
    "MISSED_LAST_AT", "NEXT_ATTEMPT", "NEXT_ATTEMPT_AT", "NOTIFICATION_ID", "SUBJECT",
)  # fmt: skip
NAMES = frozenset(
    [f"LUNASCHED_{name}" for name in _BESIDES]
    + [fact.variable for fact in given(RUN_FACTS, Medium.HOOK | Medium.EXEC)]
)
"""All of them: ``unit-templates/run-hook`` takes no others from the supervisor."""

_COURSE, _YIELD = given(COURSE, Medium.EXEC), given(YIELD, Medium.EXEC)


def hook_variables(job: Job, run: Run, event: HookEvent) -> dict[str, str]:
    """The environment that a hook has besides the job's own."""
    # At the start the outcome is not part of the event, even if it is recorded by now.
    facts = [
        fact
        for fact in given(RUN_FACTS, Medium.HOOK)
        if fact.is_kept and (event is not HookEvent.ON_START or not fact.is_of_end)
    ]
    most = BY_NAME["max_attempts"]
    return {
        "LUNASCHED_EVENT": event.value,
        **{fact.variable: _text(fact, runvalues.value_of_run(run, fact)) for fact in facts},
        most.variable: _text(most, job.retry.max_attempts),
    }


def of_notification(notification: Outgoing, composed: Message) -> dict[str, str]:
    """The environment that a command has besides its job's own."""
    report = notification.report
    facts: dict[str, object] = {
        "LUNASCHED_NOTIFICATION_ID": notification.key,
        "LUNASCHED_SUBJECT": composed.subject,
        "LUNASCHED_KIND": report.kind.value,
        "LUNASCHED_EVENT": notification.event,
        "LUNASCHED_HOST": report.host,
    }
    if report.execution_id is not None:
        facts |= {
            fact.variable: _text(fact, runvalues.value_of_report(report, fact)) for fact in _COURSE
        }
    if report.failures:
        facts["LUNASCHED_FAILURES"] = report.failures
        facts["LUNASCHED_FAILING_SINCE"] = iso_or_empty(report.failing_since)
    if report.missed:
        facts["LUNASCHED_MISSED"] = report.missed
        facts["LUNASCHED_MISSED_FIRST_AT"] = iso_or_empty(report.missed_first_at)
        facts["LUNASCHED_MISSED_LAST_AT"] = iso_or_empty(report.missed_last_at)
    said = {fact.attributes[0] for fact in _YIELD if runvalues.value_of_report(report, fact)}
    for fact in _YIELD:
        if fact.attributes[0] in said:
            facts[fact.variable] = _text(fact, runvalues.value_of_report(report, fact))
    facts["LUNASCHED_JOB"] = report.job or notification.job
    return {name: _in_one_line(value) for name, value in facts.items()}


def _text(fact: RunFact, value: Any) -> str:
    """A fact of a run as an environment has it; empty where there is none."""
    return "" if value is None else _in_one_line(_TEXTS.get(fact.form, str)(value))


def _in_one_line(value: object) -> str:
    # A line of a file each.
    return " ".join(str(value).split("\n"))


def iso_or_empty(usec: int | None) -> str:
    """ISO 8601 in UTC, and empty where there is no such time."""
    if usec is None:
        return ""
    return to_datetime(usec).isoformat(timespec="microseconds").replace("+00:00", "Z")


_TEXTS: Mapping[Form, Callable[[Any], str]] = {
    Form.ID: uuid,
    Form.WORD: lambda word: str(word.value),
    Form.TIME: iso_or_empty,
}
