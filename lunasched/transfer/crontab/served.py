"""The entries of a crontab that lunasched serves itself, as jobs that do what cron does.

The import makes jobs for who has left cron: it names what will differ, and refuses a file for one
fault. Here nobody is there to read that. Each entry that is exact becomes a job, the others are
faults, and a job keeps its name when its line moves, or when its command is edited.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lunasched.errors import InvalidInput, InvalidJob
from lunasched.jobs.channels import read_address
from lunasched.jobs.model import Job
from lunasched.jobs.origin import JobOrigin
from lunasched.jobs.reading import job_from_mapping
from lunasched.transfer.crontab.convert import PlainDraft, check_user, plain_draft, see_variables
from lunasched.transfer.crontab.lines import Problems, RawEntry, raw_entries
from lunasched.transfer.crontab.remarks import remarked_keys
from lunasched.transfer.crontab.source import CrontabSource

ENTRIES_MAX = 1000
"""The most entries of a user's crontab that become jobs: each is two units to systemd."""

# What tells apart jobs of the same program.
_NUMBER = re.compile(r"-[0-9]+\Z")

Known = Sequence[tuple[str, JobOrigin]]
"""The jobs that a crontab had before, by name."""


@dataclass(frozen=True, slots=True)
class ServedCrontab:
    """The jobs of a crontab, in the order of its lines, and the lines that are none."""

    jobs: tuple[tuple[Job, JobOrigin], ...]
    faults: tuple[tuple[int, str], ...]
    """Line, or 0 for the file, and why it is not run."""
    notes: tuple[tuple[int, str], ...]
    """The same of what does not keep its entry from running."""


def served(
    data: bytes, source: CrontabSource, known: Known, is_taken: Callable[[str], bool]
) -> ServedCrontab:
    """The jobs of a crontab; ``source.label`` is its path, and all names begin with its prefix.

    ``known`` are the jobs that it had before, and ``is_taken`` tells if a job of another origin has
    a name.
    """
    problems = Problems(source.label)
    drafts: list[PlainDraft] = []
    # A word of a user's command does not stand in for what says whose job it is.
    plainly = replace(source, prefix="")
    entries = raw_entries(data, problems)
    # What cron ignores (a last line without its end) could be read all the same.
    ignored = {line for line, _ in problems.found}
    for entry in entries:
        if entry.line in ignored:
            continue
        try:
            plain = plain_draft(entry, plainly)
            check_user(plain.draft, source)
        except InvalidInput as error:
            problems.add(entry.line, str(error))
            continue
        if source.user is not None and len(drafts) == ENTRIES_MAX:
            said = f"there are more than {ENTRIES_MAX} entries; this and all below are not run"
            problems.add(entry.line, said)
            break
        see_variables(entry, plain.draft, source, problems)
        plain.draft.stem = _stem(source.prefix, plain.draft.stem)
        drafts.append(plain)
    found = []
    for plain, name in zip(drafts, _names(drafts, known, is_taken), strict=True):
        entry = plain.draft.entry
        job = _job(_definition(plain, name, source, problems), entry, source, problems)
        if job is not None:
            found.append((job, JobOrigin(source.label, entry.line, entry.text)))
    return ServedCrontab(tuple(found), tuple(sorted(problems.found)), tuple(sorted(problems.notes)))


def _job(
    definition: dict[str, Any], entry: RawEntry, source: CrontabSource, problems: Problems
) -> Job | None:
    """The job, without the keys of a comment that is at fault."""
    remarked = remarked_keys(entry.remarks, source)
    faults = list(remarked.faults)
    job = None
    if remarked.values:
        try:
            job = job_from_mapping({**definition, **remarked.values})
        except InvalidJob as error:
            faults += [(remarked.line, problem) for problem in error.problems]
    for line, fault in faults:
        problems.note(line, f"{fault}; this comment has no effect")
    if job is not None:
        return job
    try:
        return job_from_mapping(definition)
    except InvalidJob as error:
        for problem in error.problems:
            problems.add(entry.line, problem)
    return None


def _definition(
    plain: PlainDraft, name: str, source: CrontabSource, problems: Problems
) -> dict[str, Any]:
    definition = plain.draft.definition
    definition.pop("notification_config", None)
    at_boot = definition["schedule"] == "@reboot"
    channel = _mail(plain.draft.entry, definition, source, problems)
    told = "on_failure" if plain.mails_failures else "on_output"
    if source.is_private and plain.stdin:
        _feed(plain, definition)
    return {
        **definition,
        "name": name,
        "private": source.is_private,
        # Cron does not look at the exit code, and starts a run beside one that is not over.
        "any_exit_code": not plain.mails_failures,
        "execution_mode": "Sequential" if at_boot else "Parallel",
        # What a command leaves in the background lives on: a daemon that @reboot starts, too.
        "systemd": {**definition.get("systemd", {}), "KillMode": "process"},
        "notification_config": {told: channel} if channel else {},
    }


# The directives for a standard input are read by everybody. Bash and env leave no variable behind.
_FEED = (
    "input=$LUNASCHED_INPUT; unset LUNASCHED_INPUT; "
    'exec /usr/bin/env -u PWD -u OLDPWD -u SHLVL -u _ "$@" < <(printf %s "$input")'
)


def _feed(plain: PlainDraft, definition: dict[str, Any]) -> None:
    """Give a private command its standard input by a variable."""
    definition.pop("systemd")
    definition["env"] = {**definition["env"], "LUNASCHED_INPUT": plain.stdin}
    run = [plain.shell, "-c", plain.command]
    definition["command"] = ["/bin/bash", "-p", "-c", _FEED, "-", *run]


def _mail(
    entry: RawEntry, definition: dict[str, Any], source: CrontabSource, problems: Problems
) -> dict[str, str] | None:
    """The channel of cron's mail: to ``MAILTO`` or else the user, and none if that is empty."""
    to = entry.value("MAILTO")
    if not source.mails:
        # As cron does, which logs "No MTA installed, discarding output".
        return None
    if to is None:
        to = definition.get("user") or source.caller or "root"
    elif not to.strip():
        return None
    try:
        return {"type": "sendmail", "to": read_address(to), "style": "cron"}
    except InvalidInput as error:
        line = entry.variables["MAILTO"].line if "MAILTO" in entry.variables else entry.line
        problems.note(line, f"MAILTO={to}: {error}; what is printed is mailed to nobody")
    return None


def _names(
    plains: Sequence[PlainDraft], known: Known, is_taken: Callable[[str], bool]
) -> list[str]:
    """The names of entries: of the job that was the same line, else the same program, else new."""
    names = ["" for _ in plains]
    by_text: dict[str, list[str]] = defaultdict(list)
    for name, origin in known:
        by_text[origin.text].append(name)
    for number, plain in enumerate(plains):
        if same := by_text[plain.draft.entry.text]:
            names[number] = same.pop(0)
    kept = {*names}
    by_stem: dict[str, list[str]] = defaultdict(list)
    for name, _ in known:
        if name not in kept:
            by_stem[_NUMBER.sub("", name)].append(name)
    for number, plain in enumerate(plains):
        if not names[number] and (edited := by_stem[_NUMBER.sub("", plain.draft.stem)]):
            names[number] = edited.pop(0)
    # A job that is gone leaves its name to none of the others in the same change.
    used = {*names, *(name for name, _ in known)}
    for number, plain in enumerate(plains):
        if not names[number]:
            names[number] = _free(plain.draft.stem, used, is_taken)
            used.add(names[number])
    return names


def _stem(prefix: str, base: str) -> str:
    """Return a name without its number: the prefix alone where the program has the file's name."""
    if not prefix or prefix.endswith(f"-{base}"):
        return prefix or base
    return f"{prefix}-{base}"


def _free(stem: str, used: set[str], is_taken: Callable[[str], bool]) -> str:
    name, number = stem, 1
    while name in used or is_taken(name):
        number += 1
        name = f"{stem}-{number}"
    return name
