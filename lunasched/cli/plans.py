"""Plans of changes, for the commands that make many at once: what is shown, and what is done."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lunasched.cli import render
from lunasched.errors import InvalidInput, InvalidJob, InvalidJobs

if TYPE_CHECKING:
    from lunasched.cli.session import Session
    from lunasched.deploy.plan import Plan
    from lunasched.files.configfile import FileEntry
    from lunasched.jobs.model import Job
    from lunasched.units.compiler import CompiledJob

_ABSENT: Any = object()
_PRIVATE = ("command", "env", "hooks", "notification_config")
"""The keys with what ``private`` keeps out of the units."""


def check_plan(session: Session, wanted: Plan) -> tuple[CompiledJob, ...]:
    """The units that a plan would deploy; raises what deploying it would."""
    from lunasched.deploy.checks import compiled_if_valid
    from lunasched.deploy.intendedjobs import IntendedJobs

    jobs = IntendedJobs(session.store_as_is, session.context, wanted.after)
    return compiled_if_valid(wanted, jobs, session.context, session.now())


def show(wanted: Plan) -> None:
    """Print what a plan adds (+), changes (~) field by field, and removes (-)."""
    for job in wanted.added:
        print(f"+ {_named(job)}")
    for before, after in wanted.changed:
        print(f"~ {_named(after)}")
        for line in differences(before, after):
            print(f"    {line}")
    for job in wanted.removed:
        print(f"- {_named(job)}")


def counted(wanted: Plan, words: tuple[str, str, str]) -> str:
    """Return the number of each: ``1 to add, 0 to change, ...``."""
    counts = (len(wanted.added), len(wanted.changed), len(wanted.removed))
    said = [f"{count} {word}" for count, word in zip(counts, words, strict=True)]
    return ", ".join([*said, f"{len(wanted.unchanged)} unchanged"])


def differences(before: Job, after: Job) -> list[str]:
    """Return the changes of a job, a line for each field: ``schedule: "@daily" -> "@weekly"``.

    Of a private job, what it runs is left out: what root's services print is in the journal.
    """
    old, new = (dict(_fields(_shown(job))) for job in (before, after))
    is_private = before.private or after.private
    lines = []
    for key in dict.fromkeys((*old, *new)):
        left, right = (_text(fields.get(key, _ABSENT)) for fields in (old, new))
        if left != right:
            hidden = is_private and key.partition(".")[0] in _PRIVATE
            lines.append(f"{key}: it changes" if hidden else f"{key}: {left} -> {right}")
    if before.notifications != after.notifications and _shown(before) == _shown(after):
        lines.append("notification_config: a secret in it changes")
    return [render.printable(line) for line in lines]


def _shown(job: Job) -> dict[str, Any]:
    return job.evolve(notifications=job.notifications.without_secrets()).to_mapping()


def _fields(mapping: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _fields(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(value: Any) -> str:
    return "(none)" if value is _ABSENT or value is None else json.dumps(value, ensure_ascii=False)


def _named(job: Job) -> str:
    return render.printable(f"{job.name}  {job.schedule}")


def with_places(error: InvalidInput, entries: Iterable[FileEntry]) -> InvalidInput:
    """The same error with the places in files of what is wrong."""
    if not isinstance(error, InvalidJobs):
        return error
    of = {entry.job.name: entry for entry in entries}
    problems = []
    for name, problem in error.faults:
        key, _, message = problem.partition(": ")
        entry = of.get(name)
        problems.append(f"{entry.place(key)}{message}" if entry else f"job {name!r}: {problem}")
    return InvalidJob(problems)


def warn_authors(compiled: Iterable[CompiledJob]) -> None:
    """Say what the authors of jobs should know about them."""
    compiled = list(compiled)
    for item in compiled:
        for warning in item.warnings:
            print(f"warning: {item.job.name}: {warning}", file=sys.stderr)
