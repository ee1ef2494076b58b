"""The entries of a crontab that lunasched serves itself, as jobs that do what cron does.

The import makes jobs for who has left cron: it names what will differ, and refuses a file for one
fault. Here nobody is there to read that. Each entry that is exact becomes a job, the others are
faults, and a job keeps its name when its line moves, or when its command is edited.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from lunasched.dataclass import dataclass
from lunasched.errors import InvalidInput, InvalidJob
from lunasched.formats.pattern import pattern
from lunasched.jobs.channels import read_address
from lunasched.jobs.model import Job
from lunasched.jobs.origin import JobOrigin
from lunasched.jobs.reading import job_from_mapping
from lunasched.jobs.values import read_environment
from lunasched.paths import user_home
from lunasched.transfer.crontab.convert import (
    PlainDraft,
    check_user,
    plain_anacron_draft,
    plain_draft,
    see_variables,
)
from lunasched.transfer.crontab.lines import Problems, RawEntry, raw_entries
from lunasched.transfer.crontab.remarks import remarked_keys
from lunasched.transfer.crontab.runparts import RunParts, run_parts
from lunasched.transfer.crontab.source import CronFormat, CronScript, CrontabSource

ENTRIES_MAX = 1000
"""The most entries of a user's crontab that become jobs: each is two units to systemd."""

_PLAIN_TIME = pattern(r"(?P<minute>[0-9]+) (?P<hour>[0-9]+|\*) (?P<days>.+)")
FAULTS_MAX = 200
"""The most faults of a crontab that are named: each is a line of the journal, and of a mail."""

# What tells apart jobs of the same program.
_NUMBER = pattern(r"-[0-9]+\Z")

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
    mailto: Mapping[int, str]
    """``MAILTO`` where it is set, by the line of each entry."""
    gone: tuple[str, ...] = ()
    """Of the entries that were adopted, those that are not there."""


def served(
    data: bytes,
    source: CrontabSource,
    known: Known,
    is_taken: Callable[[str], bool],
    adopted: Collection[str] = (),
) -> ServedCrontab:
    """The jobs of a crontab; ``source.label`` is its path, and all names begin with its prefix.

    ``known`` are the jobs that it had before, and ``is_taken`` tells if a job of another origin has
    a name. ``adopted`` are the texts of entries that make no jobs, each as often as it is there.
    """
    left_out = Counter(adopted)
    problems = Problems(source.label)
    drafts: list[PlainDraft] = []
    entries = raw_entries(data, problems, anacron=source.format is CronFormat.ANACRON)
    # What cron ignores (a last line without its end) could be read all the same.
    ignored = {line for line, _ in problems.found}
    for entry in entries:
        if entry.line in ignored:
            continue
        if left_out[entry.text]:
            left_out[entry.text] -= 1
            continue
        try:
            found = _drafts(entry, source, problems)
        except InvalidInput as error:
            problems.add(entry.line, str(error))
            continue
        if source.user is not None and len(drafts) == ENTRIES_MAX:
            said = f"there are more than {ENTRIES_MAX} entries; this and all below are not run"
            problems.add(entry.line, said)
            break
        drafts += found
    session = _of_session(source)
    jobs: list[tuple[Job, JobOrigin]] = []
    before: dict[int, list[str]] = defaultdict(list)
    for plain, name in zip(drafts, _names(drafts, known, is_taken), strict=True):
        line = plain.draft.entry.line
        definition = {
            **_definition(plain, name, source, problems),
            "env": {**session, **plain.draft.definition["env"]},
            "after": before[line],
        }
        job = _job(definition, plain, source, problems)
        if job is not None:
            inherited = tuple(name for name in session if name not in plain.draft.definition["env"])
            jobs.append((job, replace(_origin(plain, source), inherited=inherited)))
            if plain.script:
                before[line] = [*before[line], name]
    return ServedCrontab(
        tuple(jobs),
        _first(problems.found, "lines that are not run"),
        _first(problems.notes, "lines of which a part has no effect"),
        {entry.line: to for entry in entries if (to := entry.value("MAILTO")) is not None},
        tuple(left_out.elements()),
    )


def _first(found: Collection[tuple[int, str]], what: str) -> tuple[tuple[int, str], ...]:
    """The faults in the order of their lines, and how many more there are, as one of the file."""
    faults = sorted(found)
    more = len(faults) - FAULTS_MAX
    named = tuple(faults[:FAULTS_MAX])
    return named if more <= 0 else (*named, (0, f"there are {more} more {what}"))


def _drafts(entry: RawEntry, source: CrontabSource, problems: Problems) -> list[PlainDraft]:
    """What an entry runs: its command, or each of the scripts that this would run.

    Raises ``InvalidInput``.
    """
    if source.format is CronFormat.ANACRON:
        plain = plain_anacron_draft(entry)
    else:
        # A word of a user's command does not stand in for what says whose job it is.
        plain = plain_draft(entry, replace(source, prefix=""))
    check_user(plain.draft, source)
    see_variables(entry, plain.draft, source, problems)
    parts = _parts(plain, source)
    if parts is None:
        plain.draft.stem = _stem(source.prefix, plain.draft.stem)
        return [plain if source.format is CronFormat.ANACRON else _as_given(plain, source)]
    if parts.unless_anacron and parts.directory in source.by_anacron:
        return []
    scripts = source.scripts(parts.directory) if source.scripts else ()
    return [_script_draft(plain, script, parts, source) for script in scripts]


def _as_given(plain: PlainDraft, source: CrontabSource) -> PlainDraft:
    """The entry with all that cron gives a command: white space, a directory and ``HOME``."""
    definition = plain.draft.definition
    command = plain.blanks + plain.command
    is_plain = isinstance(definition["command"], str)
    definition["command"] = command if is_plain else [plain.shell, "-c", command]
    if directory := definition.get("working_directory"):
        definition["working_directory"] = f"-{directory}"
    elif source.caller is None:
        user = definition.get("user") or "root"
        home = user_home(user)
        # What systemd takes for the home of these, whatever the list of users says.
        known = {"root": "/root", "nobody": None}.get(user, None if home == "/" else home)
        if home and home != known:
            definition["working_directory"] = f"-{home}"
            definition["env"] = {**definition["env"], "HOME": home}
    return replace(plain, command=command)


def _parts(plain: PlainDraft, source: CrontabSource) -> RunParts | None:
    """The directory whose scripts are to be jobs; ``None`` for any other command."""
    definition = plain.draft.definition
    if source.scripts is None or plain.stdin is not None or plain.shell != "/bin/sh":
        return None
    parts = run_parts(plain.command)
    if parts is not None and "jitter" in definition and _delayed(plain, parts, source) is None:
        # By a random delay each, they would not keep their order.
        return None
    return parts


def _script_draft(
    plain: PlainDraft, script: CronScript, parts: RunParts, source: CrontabSource
) -> PlainDraft:
    """One script, with the variables of the entry; it starts without a shell, as from run-parts."""
    definition = {
        **plain.draft.definition,
        "command": list(script.command),
        "working_directory": "/",
        "schedule": _delayed(plain, parts, source) or plain.draft.definition["schedule"],
        # An entry that leaves its work to anacron has it done as anacron does.
        "catch_up": plain.draft.definition.get("catch_up", parts.unless_anacron),
    }
    definition.pop("jitter", None)
    if parts.is_nice:
        definition["priority"] = "Low"
    directory, name = parts.directory.rpartition("/")[2], script.path.rpartition("/")[2]
    draft = replace(plain.draft, definition=definition, stem=f"{directory}-{name}")
    return replace(plain, draft=draft, script=script.path)


def _delayed(plain: PlainDraft, parts: RunParts, source: CrontabSource) -> str | None:
    """The schedule with one delay for all of the scripts, which is another on each machine.

    ``None`` without a delay, and where it leads into another day, or hour of an hourly entry.
    """
    definition = plain.draft.definition
    fields = _PLAIN_TIME.fullmatch(definition["schedule"])
    most = definition.get("jitter", 0) // 60
    if not most or fields is None:
        return None
    digest = hashlib.sha256(f"{source.spread}{parts.directory}".encode()).digest()
    delay = int.from_bytes(digest[:8], "big") % (most + 1)
    hour = 0 if fields["hour"] == "*" else int(fields["hour"])
    late = hour * 60 + int(fields["minute"]) + delay
    if late >= 24 * 60 or (fields["hour"] == "*" and late >= 60):
        return None
    return f"{late % 60} {'*' if fields['hour'] == '*' else late // 60} {fields['days']}"


def _origin(plain: PlainDraft, source: CrontabSource) -> JobOrigin:
    if plain.script:
        return JobOrigin(plain.script, 0, "")
    return JobOrigin(source.label, plain.draft.entry.line, plain.draft.entry.text)


def _job(
    definition: dict[str, Any], plain: PlainDraft, source: CrontabSource, problems: Problems
) -> Job | None:
    """The job, without the keys of a comment that is at fault."""
    entry = plain.draft.entry
    remarked = remarked_keys(entry.remarks, source)
    faults = list(remarked.faults)
    if plain.script and remarked.values.pop("execution_mode", None):
        faults.append((remarked.line, "execution_mode: the scripts of a directory run in order"))
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
    is_alone = plain.script or source.format is CronFormat.ANACRON
    overlaps = definition["schedule"] != "@reboot" and not is_alone
    channel = _mail(plain.draft.entry, definition, source, problems)
    told = "on_failure" if plain.mails_failures else "on_output"
    if source.is_private and plain.stdin:
        _feed(plain, definition)
    return {
        **definition,
        "name": name,
        "private": source.is_private,
        # Cron does not look at the exit code, and starts a run beside one that is not over.
        # run-parts says so of a script that fails, and starts one after the other.
        "any_exit_code": not plain.mails_failures and not plain.script,
        "execution_mode": "Parallel" if overlaps else "Sequential",
        # What a command leaves in the background lives on: a daemon that @reboot starts, too.
        "systemd": {**definition.get("systemd", {}), "KillMode": "process"},
        "notification_config": {told: channel} if channel else {},
    }


def _of_session(source: CrontabSource) -> dict[str, str]:
    """The variables that reach a command from outside of its crontab; some others cron sets itself.

    What no unit can say is left out: it is nothing that the crontab could be at fault for.
    """
    found: dict[str, str] = {}
    for name, value in source.environment:
        if name not in ("HOME", "LOGNAME"):
            with suppress(InvalidInput):
                found |= read_environment({name: value})
    return found


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
        by_text[origin.text or origin.source].append(name)
    for number, plain in enumerate(plains):
        if same := by_text[plain.identity]:
            names[number] = same.pop(0)
    kept = {*names}
    by_stem: dict[str, list[str]] = defaultdict(list)
    for name, origin in known:
        if name not in kept and origin.line:
            by_stem[_NUMBER.sub("", name)].append(name)
    for number, plain in enumerate(plains):
        if names[number] or plain.script:
            continue
        if edited := by_stem[_NUMBER.sub("", plain.draft.stem)]:
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
