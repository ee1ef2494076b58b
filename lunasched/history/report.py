"""The facts of a notification, which are kept until it is sent.

A ``Report`` has all that a notification needs, so that one can be written when the run was pruned
or the job removed. It holds no secrets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import Enum
from typing import Any

from lunasched.dataclass import dataclass
from lunasched.history.run import Result, Run, RunFields, Trigger
from lunasched.jobs.model import NotifyEvent


class ReportKind(Enum):
    """The subject of a notification."""

    START = "start"
    SUCCESS = "success"
    FAILURE = "failure"
    REMINDER = "reminder"
    """A failure of a job that goes on failing."""
    RECOVERY = "recovery"
    SKIPPED = "skipped"
    MISSED = "missed"
    OVERRUN = "overrun"
    """A run that goes on while slots pass, or has ended after that."""
    OUTPUT = "output"
    """A run that printed anything."""
    DIGEST = "digest"
    """All that was held back, in one notification."""
    TEST = "test"

    @property
    def event(self) -> NotifyEvent | None:
        """The event of a job that it is about, and ``None`` where there is none."""
        return _EVENTS.get(self)


_EVENTS: Mapping[ReportKind, NotifyEvent] = {
    ReportKind.START: NotifyEvent.ON_START,
    ReportKind.SUCCESS: NotifyEvent.ON_SUCCESS,
    ReportKind.FAILURE: NotifyEvent.ON_FAILURE,
    ReportKind.REMINDER: NotifyEvent.ON_FAILURE,
    ReportKind.RECOVERY: NotifyEvent.ON_RECOVERY,
    ReportKind.SKIPPED: NotifyEvent.ON_SKIPPED,
    ReportKind.MISSED: NotifyEvent.ON_MISSED,
    ReportKind.OVERRUN: NotifyEvent.ON_OVERRUN,
    ReportKind.OUTPUT: NotifyEvent.ON_OUTPUT,
}


@dataclass(frozen=True, slots=True)
class Held:
    """Messages of one kind and job that were held back: how many, and when the last was due."""

    kind: ReportKind
    job: str
    count: int
    last_at: int
    what: str
    """The latest event, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(RunFields):
    """The facts of an event. Times are microseconds since the epoch in UTC, durations seconds."""

    kind: ReportKind
    job: str
    """Empty in a digest, and in a test of a channel alone."""
    host: str
    at: int
    """The time of the event."""
    timezone: str
    """The time zone of the times in its text."""
    user_mode: bool = False
    execution_id: str | None = None
    trigger: Trigger | None = None
    max_attempts: int = 1
    scheduled_at: int | None = None
    started_at: int | None = None
    time_limit: float | None = None
    memory_limit: int | None = None
    output: str = ""
    """The end of what the run wrote."""
    failures: int = 0
    """Failures in a row up to this one, or up to the success that ended them."""
    failing_since: int | None = None
    """The end of the first of them."""
    flapping: bool = False
    """True if the job fails and recovers again and again, and not each time is notified."""
    missed: int = 0
    """Slots that passed without a run."""
    missed_first_at: int | None = None
    missed_last_at: int | None = None
    overrun: int = 0
    """Slots that passed during the run."""
    waiting_since: int | None = None
    """Of a start that waits for its turn, and is no run yet."""
    overrun_first_at: int | None = None
    overrun_last_at: int | None = None
    held: tuple[Held, ...] = ()
    """The notifications that a digest stands for."""
    user: str = ""
    """The user whom the run had, where a mail in cron's style is to name them."""
    command: str = ""
    """The job's command as one text, likewise."""
    environment: tuple[tuple[str, str], ...] = ()
    """The job's own variables, likewise."""

    @classmethod
    def of(cls, run: Run, **more: Any) -> Report:
        """The report of a run: what both have, and ``more``.

        The slots that passed are in it only if they are among the latter.
        """
        common = {name: getattr(run, name) for name in _COMMON}
        return cls(**common, output=run.output or "", **more)

    @property
    def duration(self) -> int | None:
        """Microseconds from the start to the end; ``None`` where one of them is not known."""
        if self.started_at is None or self.ended_at is None:
            return None
        return self.ended_at - self.started_at

    @property
    def reason(self) -> str:
        """The reason why a run was skipped: the last line of the condition that refused it."""
        if self.result is not Result.SKIPPED:
            return ""
        return next(
            (line.strip() for line in reversed(self.output.splitlines()) if line.strip()), ""
        )

    def to_mapping(self) -> dict[str, Any]:
        """Return the report for JSON, without empty fields."""
        mapping = {
            item.name: _plain(getattr(self, item.name))
            for item in dataclasses.fields(self)
            if getattr(self, item.name) != item.default
        }
        if self.held:
            mapping["held"] = [
                [_plain(part) for part in dataclasses.astuple(one)] for one in self.held
            ]
        return mapping

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Report:
        """Read back what ``to_mapping`` gave, also that of a version with fewer facts."""
        fields = dict(mapping)
        for name, kind in (("kind", ReportKind), ("trigger", Trigger), ("result", Result)):
            if fields.get(name) is not None:
                fields[name] = kind(fields[name])
        fields["held"] = tuple(
            Held(ReportKind(kind), *rest) for kind, *rest in mapping.get("held", ())
        )
        fields["environment"] = tuple(map(tuple, mapping.get("environment", ())))
        return cls(**fields)


_COMMON = [
    item.name
    for item in dataclasses.fields(Report)
    if item.name in {own.name for own in dataclasses.fields(Run)} - {"output", "overrun"}
]


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value
