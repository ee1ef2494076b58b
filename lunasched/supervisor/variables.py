"""The environment of hooks and commands (lunasched(1), "HOOKS" and "NOTIFICATIONS")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lunasched.formats import unittext
from lunasched.history.run import Run
from lunasched.history.slot import to_datetime
from lunasched.jobs.model import HookEvent, Job

if TYPE_CHECKING:
    from lunasched.history.report import Report
    from lunasched.notify.message import Message
    from lunasched.store import Outgoing

NAMES = frozenset(
    f"LUNASCHED_{name}"
    for name in (
        "ATTEMPT", "ENDED_AT", "EVENT", "EXECUTION_ID", "EXIT_CODE", "FAILING_SINCE", "FAILURES",
        "FIRST_ATTEMPT_ID", "HOST", "JOB", "KIND", "MAX_ATTEMPTS", "MISSED", "MISSED_FIRST_AT",
        "MISSED_LAST_AT", "NEXT_ATTEMPT", "NEXT_ATTEMPT_AT", "NOTIFICATION_ID", "OVERRUN",
        "OVERRUN_FIRST_AT", "OVERRUN_LAST_AT", "RESULT", "SCHEDULED_AT",
        "SIGNAL", "STARTED_AT", "SUBJECT", "TRIGGER", "UNIT",
    )
)  # fmt: skip
"""All of them: ``unit-templates/run-hook`` takes no others from the supervisor."""


def of_run(job: Job, run: Run, event: HookEvent) -> dict[str, str]:
    """The environment that a hook has besides the job's own."""
    facts: dict[str, object] = {
        "JOB": run.job,
        "EVENT": event.value,
        "EXECUTION_ID": unittext.uuid(run.execution_id),
        "FIRST_ATTEMPT_ID": unittext.uuid(run.first_attempt_id or run.execution_id),
        "ATTEMPT": run.attempt,
        "MAX_ATTEMPTS": job.retry.max_attempts,
        "TRIGGER": run.trigger.value,
        "UNIT": run.unit,
        "SCHEDULED_AT": iso(run.scheduled_at),
        "STARTED_AT": iso(run.started_at),
    }
    # When it begins, what is to come of it is not known, even where it is on record by now.
    if event is not HookEvent.ON_START:
        facts |= {
            "ENDED_AT": iso(run.ended_at),
            "RESULT": run.result.value if run.result else "",
            "EXIT_CODE": "" if run.exit_code is None else run.exit_code,
            "SIGNAL": "" if run.signal is None else run.signal,
        }
    return _variables(facts)


def of_message(message: Outgoing, composed: Message) -> dict[str, str]:
    """The environment that a command has besides its job's own."""
    report = message.report
    facts: dict[str, object] = {
        "NOTIFICATION_ID": message.key,
        "SUBJECT": composed.subject,
        "KIND": report.kind.value,
        "EVENT": message.event,
        "JOB": report.job or message.job,
        "HOST": report.host,
    }
    if report.execution_id is not None:
        facts |= _of_the_run(report)
    if report.failures:
        facts |= {"FAILURES": report.failures, "FAILING_SINCE": iso(report.failing_since)}
    if report.missed:
        facts |= {
            "MISSED": report.missed,
            "MISSED_FIRST_AT": iso(report.missed_first_at),
            "MISSED_LAST_AT": iso(report.missed_last_at),
        }
    if report.overrun:
        facts |= {
            "OVERRUN": report.overrun,
            "OVERRUN_FIRST_AT": iso(report.overrun_first_at),
            "OVERRUN_LAST_AT": iso(report.overrun_last_at),
        }
    return _variables(facts)


def _of_the_run(report: Report) -> dict[str, object]:
    return {
        "EXECUTION_ID": unittext.uuid(report.execution_id or ""),
        "FIRST_ATTEMPT_ID": unittext.uuid(report.first_attempt_id or report.execution_id or ""),
        "ATTEMPT": report.attempt,
        "MAX_ATTEMPTS": report.max_attempts,
        "TRIGGER": report.trigger.value if report.trigger else "",
        "SCHEDULED_AT": iso(report.scheduled_at),
        "STARTED_AT": iso(report.started_at),
        "ENDED_AT": iso(report.ended_at),
        "RESULT": report.result.value if report.result else "",
        "EXIT_CODE": "" if report.exit_code is None else report.exit_code,
        "SIGNAL": "" if report.signal is None else report.signal,
    }


def _variables(facts: dict[str, object]) -> dict[str, str]:
    # A line of a file each.
    return {f"LUNASCHED_{name}": " ".join(str(value).split("\n")) for name, value in facts.items()}


def iso(usec: int | None) -> str:
    """ISO 8601 in UTC, and empty where there is no such time."""
    if usec is None:
        return ""
    return to_datetime(usec).isoformat(timespec="microseconds").replace("+00:00", "Z")
