"""From the facts to a message: a subject, a text, and the parts of it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lunasched.dataclass import dataclass
from lunasched.errors import TemplateFailed
from lunasched.formats import template
from lunasched.formats.unittext import uuid
from lunasched.history.report import Report, ReportKind
from lunasched.history.run import Trigger
from lunasched.history.runvalues import value_of_report
from lunasched.jobs.model import Channel
from lunasched.jobs.runfacts import RUN_FACTS, YIELD, Form, Medium, RunFact, given
from lunasched.notify.message import wording
from lunasched.notify.message.output import clean, last_lines, subject_line, whole_lines

SUBJECT_MAX = 200
"""Characters of a subject."""
_HELD_MAX = 100

_LABELS = {fact.name: fact.label for fact in RUN_FACTS}
_VALUES: Mapping[Form, Callable[[Any], object]] = {
    Form.ID: uuid,
    Form.TEXT: clean,
    Form.WORD: lambda word: word.value,
    Form.COUNT: int,
    Form.SIGNAL: lambda number: wording.signal_name(number) if number else None,
    Form.SPAN: lambda usec: usec / 1_000_000,
    Form.CPU_TIME: lambda usec: usec / 1_000_000,
    Form.SIZE: int,
}
# The resources of a run are part of each notification about it, as far as they are known.
_USED: Mapping[Form, Callable[[Any], str]] = {
    Form.CPU_TIME: lambda usec: wording.span(usec / 1_000_000),
    Form.SIZE: wording.short_size,
}

_TRIGGERS = {
    Trigger.MANUAL: "by hand",
    Trigger.RETRY: "as a retry",
    Trigger.CATCH_UP: "to catch up",
    Trigger.DEPENDENCY: "after the jobs that it depends on",
}


@dataclass(frozen=True, slots=True)
class Message:
    """A message that any channel can show. Nothing in it is markup."""

    report: Report
    subject: str
    """One line."""
    text: str
    """All of it: ours, or what a template made."""
    facts: tuple[tuple[str, str], ...] = ()
    """The name and the value of each fact."""
    output: str = ""
    """The last lines of the output."""
    commands: tuple[str, ...] = ()
    """The commands that show more."""
    note: str = ""
    """The reason why a template was left out."""
    custom: bool = False
    """True if the text is a template's, and takes the place of facts and output."""


def compose(report: Report, channel: Channel | None = None) -> Message:
    """The message of a report, with the templates of the channel that it is for.

    A template that cannot be filled in is left out, and a note says why.
    """
    subject = subject_line(wording.headline(report), SUBJECT_MAX)
    lines = [(label, subject_line(text, 500)) for label, text in _facts(report)]
    facts = tuple((label, text) for label, text in lines if text)
    commands = tuple(subject_line(command, 600) for command in _commands(report))
    output = last_lines(report.output)
    shown = whole_lines(report.output) if report.kind is ReportKind.OUTPUT else output
    text = _text(subject, facts, shown, commands, report)
    variables = _variables(report, subject, text, shown)
    notes, custom = [], None
    if channel is not None and report.kind is not ReportKind.DIGEST:
        try:
            subject = _filled(channel.subject, variables, one_line_of=SUBJECT_MAX) or subject
        except TemplateFailed as error:
            notes.append(f"The template of the subject was left out: {error}")
        try:
            custom = _filled(channel.body, variables)
        except TemplateFailed as error:
            notes.append(f"The template of the body was left out: {error}")
    note = " ".join(subject_line(one, 300) for one in notes)
    whole = custom or text
    if note:
        whole = f"{whole.rstrip()}\n\n{note}\n"
    return Message(report, subject, whole, facts, output, commands, note, bool(custom))


def _filled(source: str | None, variables: dict[str, object], one_line_of: int = 0) -> str:
    """Fill in a template; return an empty text where there is none, or nothing in it."""
    if source is None:
        return ""
    text = template.render(source, variables)
    if one_line_of:
        return subject_line(text, one_line_of)
    return clean(text) if text.strip() else ""


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    def when(usec: int | None) -> str:
        return wording.moment(usec, report.timezone)

    if report.kind is ReportKind.DIGEST:
        return
    yield _LABELS["job"], report.job
    yield "Host", report.host
    if report.kind not in (ReportKind.START, ReportKind.TEST):
        yield _LABELS["result"], wording.what_happened(report)
    yield "Due", when(report.scheduled_at)
    yield "Waits since", when(report.waiting_since)
    yield _LABELS["started_at"], when(report.started_at)
    yield _LABELS["ended_at"], when(report.ended_at)
    if report.duration is not None:
        yield _LABELS["duration"], wording.span(max(0, report.duration) / 1_000_000)
    if report.max_attempts > 1 or report.attempt > 1:
        yield _LABELS["attempt"], f"{report.attempt} of {max(report.attempt, report.max_attempts)}"
    yield "Ran", _TRIGGERS.get(report.trigger, "") if report.trigger else ""
    for fact in YIELD:
        value = value_of_report(report, fact)
        if fact.form in _USED and value is not None:
            yield fact.label, _USED[fact.form](value)
    if report.overrun == 1:
        yield "Slot passed", when(report.overrun_first_at)
    else:
        yield _LABELS["overrun_first_at"], when(report.overrun_first_at)
        yield _LABELS["overrun_last_at"], when(report.overrun_last_at)
    if report.kind is ReportKind.OVERRUN and report.result is None:
        yield from _advice(report)
    yield "First missed", when(report.missed_first_at)
    yield "Last missed", when(report.missed_last_at)
    if report.kind is not ReportKind.RECOVERY and report.failures > 1:
        yield "Failing since", f"{when(report.failing_since)}, {report.failures} failures"
        if report.flapping:
            yield "Flapping", "only reminders follow until it has not failed for an hour"
    elif report.failing_since is not None and report.kind is ReportKind.RECOVERY:
        yield "Failed from", when(report.failing_since)
        yield "Outage", wording.outage(report)
    yield _LABELS["execution_id"], uuid(report.execution_id) if report.execution_id else ""


def _advice(report: Report) -> Iterator[tuple[str, str]]:
    """Yield the commands that help with a run that goes on and on."""
    lunasched = ["lunasched", *(["--user"] if report.user_mode else [])]
    if report.waiting_since is not None:
        yield "To see why", shlex.join([*lunasched, "queue"])
        return
    stop, edit = (shlex.join([*lunasched, verb, report.job]) for verb in ("stop", "edit"))
    yield "To stop it", stop
    if not report.time_limit:
        yield "To limit it", f"{edit}, and give it a timeout"


def _commands(report: Report) -> Iterator[str]:
    if not report.job or report.kind is ReportKind.TEST:
        return
    lunasched = ["lunasched", *(["--user"] if report.user_mode else [])]
    if report.execution_id:
        run = ["logs", report.job, "--execution", uuid(report.execution_id)]
        yield shlex.join([*lunasched, *run])
    yield shlex.join([*lunasched, "history", report.job])


def _text(
    subject: str,
    facts: tuple[tuple[str, str], ...],
    output: str,
    commands: tuple[str, ...],
    report: Report,
) -> str:
    parts = [subject + "."]
    if report.kind is ReportKind.DIGEST:
        parts.append(_held(report))
    if facts:
        width = max(len(label) for label, _ in facts) + 2
        parts.append("\n".join(f"{label + ':':<{width}}{text}" for label, text in facts))
    if output:
        parts.append(f"{_extent(output, report)}:")
        parts.append(_indented(output.split("\n")))
    if commands:
        parts.append("To see more:")
        parts.append(_indented(commands))
    return "\n\n".join(parts) + "\n"


def _extent(output: str, report: Report) -> str:
    if report.kind is ReportKind.OUTPUT:
        return "Its output"
    count = output.count("\n") + 1
    return "The last line of its output" if count == 1 else f"The last {count} lines of its output"


def _held(report: Report) -> str:
    """Return the content of a digest, a line each, the latest last."""
    shown = report.held[-_HELD_MAX:]
    lines = [
        subject_line(
            f"{one.count} x {one.job or 'lunasched'}, {one.kind.value}: {one.what}; "
            f"last {wording.moment(one.last_at, report.timezone)}",
            300,
        )
        for one in shown
    ]
    if len(report.held) > len(shown):
        lines.insert(0, f"(and of {len(report.held) - len(shown)} more)")
    return "There were more notifications than a channel takes within an hour:\n\n" + _indented(
        lines
    )


def _indented(lines: list[str] | tuple[str, ...]) -> str:
    return "\n".join(f"    {line}".rstrip() for line in lines)


def _variables(report: Report, subject: str, text: str, output: str) -> dict[str, object]:
    """Return the variables of templates (``runfacts.TEMPLATE_VARIABLES``)."""

    def when(usec: int | None) -> str | None:
        return None if usec is None else wording.moment(usec, report.timezone)

    event = report.kind.event
    return {
        "event": event.value if event else report.kind.value,
        "host": clean(report.host),
        "subject": subject,
        "text": text,
        "what": clean(wording.what_happened(report)),
        **{fact.name: _value(report, fact) for fact in given(RUN_FACTS, Medium.TEMPLATE)},
        "output": output,
        "output_lines": output.split("\n") if output else [],
        "failures": report.failures or None,
        "failing_since": when(report.failing_since),
        "missed": report.missed or None,
        "overrun": report.overrun or None,
    }


def _value(report: Report, fact: RunFact) -> object:
    """A fact of the run as templates have it; ``None`` where there is none."""
    value = value_of_report(report, fact)
    if value is None:
        return None
    if fact.form is Form.TIME:
        return wording.moment(value, report.timezone)
    return _VALUES[fact.form](value)
