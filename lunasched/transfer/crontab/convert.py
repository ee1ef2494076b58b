"""From the entries of a crontab to jobs, with what will differ of each."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Any

from lunasched.dataclass import dataclass
from lunasched.errors import InvalidInput, InvalidJob
from lunasched.formats.shell import base_name, condition, is_of_the_shell, leaves_behind
from lunasched.jobs.model import Job
from lunasched.jobs.reading import job_from_mapping
from lunasched.transfer.crontab.anacron import read_anacron_entry
from lunasched.transfer.crontab.command import input_directives, split_percent
from lunasched.transfer.crontab.entrytimes import read_times
from lunasched.transfer.crontab.lines import (
    COMMAND_BYTES_MAX,
    CONVERT,
    CRLF,
    VARIABLE_BYTES_MAX,
    Problems,
    RawEntry,
    raw_entries,
)
from lunasched.transfer.crontab.names import CrontabDraft, identifiers, names, stem
from lunasched.transfer.crontab.remarks import remarked_keys
from lunasched.transfer.crontab.source import CronFormat, Crontab, CrontabEntry, CrontabSource

_SHELL = "/bin/sh"
_DEFAULTS = {"SHELL": _SHELL, "PATH": "/usr/bin:/bin"}
"""The variables that Debian's cron sets and systemd sets otherwise."""

_NO_EFFECT = ("MAILFROM", "CONTENT_TYPE", "CONTENT_TRANSFER_ENCODING")
_RANDOM_DELAY_MAX = 24 * 60
_VARIABLES = {
    "timezone": "CRON_TZ",
    "working_directory": "HOME",
    "notification_config": "MAILTO",
}
"""The variables that the values of keys come from."""


def read_crontab(data: bytes, source: CrontabSource) -> Crontab:
    """All entries of a crontab as jobs, and every fault of it."""
    problems = Problems(source.label)
    is_anacron = source.format is CronFormat.ANACRON
    raw = raw_entries(data, problems, anacron=is_anacron)
    if _is_of_the_other_format(raw, source, problems):
        return Crontab((), problems.texts(), ())
    drafts = []
    for entry in raw:
        try:
            draft = _anacron_draft(entry) if is_anacron else _draft(entry, source)
            check_user(draft, source)
        except InvalidInput as error:
            problems.add(entry.line, str(error))
            continue
        drafts.append(draft)
        see_variables(entry, draft, source, problems)
    named = identifiers(drafts, problems) if is_anacron else names(drafts)
    found = [
        CrontabEntry(draft.entry.line, job, tuple(draft.differences))
        for draft, name in zip(drafts, named, strict=True)
        if (job := _job(draft, name, source, problems)) is not None
    ]
    return Crontab(tuple(found), problems.texts(), _common(source) if found else ())


# One entry


def _draft(entry: RawEntry, source: CrontabSource) -> CrontabDraft:
    plain = plain_draft(entry, source)
    draft = plain.draft
    draft.differences += _of_command(
        plain.command, plain.written, source, draft.definition["schedule"], plain.shell
    )
    _mail(entry, draft, source, failures_only=plain.mails_failures)
    return draft


@dataclass(frozen=True, slots=True)
class PlainDraft:
    """What an entry says by itself: when, as whom, what."""

    draft: CrontabDraft
    command: str
    """For the shell."""
    written: str
    """The command as it is written, its standard input with it."""
    stdin: str | None
    """What the command reads."""
    shell: str
    mails_failures: bool
    """True with OpenBSD's ``-n``: no mail of a run that succeeds."""
    blanks: str = ""
    """The white space that cron leaves before the command."""
    script: str = ""
    """The path of the one script of a directory that it runs."""

    @property
    def identity(self) -> str:
        """What makes it the same entry when its line has moved."""
        return self.script or self.draft.entry.text


def plain_draft(entry: RawEntry, source: CrontabSource) -> PlainDraft:
    """The schedule, user, command, input and variables of an entry; raises ``InvalidInput``."""
    times = read_times(entry.text)
    differences = list(times.differences)
    rest = times.rest
    user = source.user
    _check_no_star(rest)
    blanks = ""
    if source.format is CronFormat.SYSTEM:
        user, rest = _user(rest, source)
        blanks, rest = _split_blanks(rest)
    mails_failures = bool(re.match(r"-n[ \t]", rest))
    if mails_failures:
        rest = rest[2:].lstrip(" \t")
    if not rest or rest.startswith("%"):
        raise InvalidInput("it has no command")
    _check_no_star(rest)
    if re.match(r"[-&|;)]", rest):
        raise InvalidInput(
            f"no command begins with {rest[0]!r}; "
            + (
                f"is {user!r} the command, and not a user? Then use --user-format"
                if source.format is CronFormat.SYSTEM
                else "the time has five fields, and the rest of the line is the command"
            )
        )
    command, stdin = split_percent(rest)
    shell = entry.value("SHELL") or _SHELL
    if not shell.startswith("/"):
        raise InvalidInput(f"SHELL={shell} is not an absolute path")
    definition: dict[str, Any] = {
        "schedule": times.schedule,
        "command": command if shell == _SHELL else [shell, "-c", command],
        "env": _environment(entry),
    }
    if user is not None:
        definition["user"] = user
    if stdin is not None and (directives := input_directives(stdin)):
        definition["systemd"] = directives
    draft = CrontabDraft(
        entry,
        definition,
        identity="\0".join((user or "root", rest)),
        stem=stem(source.prefix, base_name(command)),
        differences=differences,
    )
    return PlainDraft(draft, command, rest, stdin, shell, mails_failures, blanks)


def plain_anacron_draft(entry: RawEntry) -> PlainDraft:
    """The same of an entry of an anacrontab."""
    found = read_anacron_entry(entry)
    draft = CrontabDraft(entry, found.definition, found.name, found.name)
    command = found.definition["command"]
    return PlainDraft(draft, command, command, None, _SHELL, mails_failures=False)


def _environment(entry: RawEntry) -> dict[str, str | None]:
    """Return the variables in their order, as mails of cron name them, and what cron adds."""
    found = {name: entry.value(name) for name in entry.variables}
    return {**found, **{name: _DEFAULTS[name] for name in _DEFAULTS if name not in found}}


def _check_no_star(rest: str) -> None:
    if rest.startswith("*"):
        after = rest.lstrip("*/0123456789 \t")
        raise InvalidInput(
            f"{rest!r} begins with '*', which no cron accepts; a time has five fields in a "
            "crontab, and none for seconds" + (f": is {after!r} the command?" if after else "")
        )


def _user(rest: str, source: CrontabSource) -> tuple[str, str]:
    match = re.match(r"([^ \t]+)(?:[ \t](.*))?\Z", rest, re.DOTALL)
    if match is None or not match[2] or not match[2].strip(" \t"):
        raise InvalidInput("it has no command; after the time come a user and a command here")
    user, rest = match[1], match[2]
    # In FreeBSD and cronie, "user:group" is not a name.
    if source.users is not None and user not in source.users:
        raise InvalidInput(
            f"there is no user {user!r}; if the crontab is a user's own and has no field for one, "
            "use --user-format"
        )
    return user, rest


def _split_blanks(text: str) -> tuple[str, str]:
    rest = text.lstrip(" \t")
    return text[: len(text) - len(rest)], rest


def check_user(draft: CrontabDraft, source: CrontabSource) -> None:
    """In user mode, whose jobs can be the caller's; then none of them names its user."""
    user = draft.definition.get("user")
    if source.caller is None:
        if user == "root":
            del draft.definition["user"]
        return
    if user not in (None, source.caller):
        raise InvalidInput(
            f"it runs as {user}, and your own jobs run as {source.caller}; import it as root"
        )
    draft.definition.pop("user", None)


def _of_command(
    command: str, raw: str, source: CrontabSource, schedule: str, shell: str = _SHELL
) -> list[str]:
    """The differences that the text of the command shows."""
    found = []
    behind = leaves_behind(command, shell)
    if behind is not None and behind.endswith(">"):
        found.append(
            f"{behind!r}: to {shell} it is '&' and '>': the command goes to the background, its "
            "output not into the file, and it is ended at once (KillMode=control-group), while "
            "cron lets it go on; write >FILE 2>&1"
        )
    elif behind is not None:
        found.append(
            f"{behind!r}: what the command leaves in the background is ended with it "
            "(KillMode=control-group); cron lets it go on"
        )
    if test := condition(command, shell):
        found.append(
            f"where {test!r} does not hold, it ends with exit code 1, of which cron says nothing "
            "and which is a failure here; write 'if ...; then ...; fi', or give the job "
            "SuccessExitStatus=1 (its key systemd), if nothing else in it ends so"
        )
    if re.search(r"/dev/(?:std(?:out|err)|fd/[12])\b", command):
        found.append(
            "/dev/stdout and /dev/stderr cannot be opened: they are a socket of the journal; "
            "write >&1 or >&2"
        )
    if "/run/systemd/system" in command:
        found.append(
            "it checks whether systemd runs (/run/systemd/system): its package may have a timer "
            "of its own"
        )
    if "\\\\" in raw.partition("%")[0]:
        found.append("a double backslash is one backslash, as Debian's cron has it; not in cronie")
    if raw.endswith("\r"):
        found.append(
            f"it ends with {CRLF}, which is a part of the command, as with cron; if that is not "
            f"meant, {CONVERT}"
        )
    if len(raw.encode()) > COMMAND_BYTES_MAX:
        found.append(
            f"Debian's cron takes no command of more than {COMMAND_BYTES_MAX} bytes, cronie does"
        )
    if schedule == "@reboot" and source.caller is not None:
        found.append("it runs when your service manager starts: at boot only if you linger")
    return found


def _mail(
    entry: RawEntry, draft: CrontabDraft, source: CrontabSource, *, failures_only: bool
) -> None:
    """Note what replaces cron's mails of a command's output."""
    to = entry.value("MAILTO")
    if to == "":
        return
    if to is None:
        user = draft.definition.get("user") or source.caller or "root"
        draft.differences.append(
            f"cron mails any output to {user}; here it is in the history, and without MAILTO "
            "nobody is notified"
        )
        return
    draft.definition["notification_config"] = {"on_failure": [{"type": "email", "to": to}]}
    if not failures_only:
        draft.differences.append(
            f"cron mails any output to {to}; here {to} is notified of failures, and output alone "
            "is no failure"
        )


# Variables


def see_variables(
    entry: RawEntry, draft: CrontabDraft, source: CrontabSource, problems: Problems
) -> None:
    """Apply the meaning of variables above an entry besides being its environment."""
    definition = draft.definition
    environment = definition["env"]
    logname = environment.pop("LOGNAME", None)
    if logname is not None and logname != (definition.get("user") or source.caller or "root"):
        draft.differences.append(
            "LOGNAME stays the user's name; cron does not let it be set, either"
        )
    is_cron = source.format is not CronFormat.ANACRON
    if is_cron and (home := entry.value("HOME")):
        definition["working_directory"] = home
        draft.differences.append(
            f"if {home} is missing it does not run (exit code 200); cron runs it elsewhere"
        )
    if is_cron and (zone := entry.value("CRON_TZ")):
        definition["timezone"] = zone
        draft.differences.append(
            f"its times are those of {zone}, as in cronie; Debian's cron does not know CRON_TZ"
        )
    _random_delay(entry, draft, problems, is_cron=is_cron)
    if named := [name for name in _NO_EFFECT if name in environment]:
        draft.differences.append(f"{' and '.join(named)} have no effect on what is mailed")
    for name, variable in entry.variables.items():
        if is_cron and variable.value != variable.value.rstrip(" \t"):
            draft.differences.append(
                f"{name} keeps the white space at its end, which Debian's cron drops"
            )
        if len(f"{name}={variable.value}".encode()) > VARIABLE_BYTES_MAX:
            draft.differences.append(
                f"{name} has all of its value; Debian's cron keeps {VARIABLE_BYTES_MAX} bytes of it"
            )


def _random_delay(
    entry: RawEntry, draft: CrontabDraft, problems: Problems, *, is_cron: bool
) -> None:
    text = entry.value("RANDOM_DELAY")
    if not text:
        return
    if not re.fullmatch(r"[0-9]{1,4}", text) or int(text) > _RANDOM_DELAY_MAX:
        problems.note(
            entry.variables["RANDOM_DELAY"].line,
            f"RANDOM_DELAY={text} is not a number of minutes from 0 to {_RANDOM_DELAY_MAX}",
        )
    elif int(text) and draft.definition["schedule"] == "@reboot":
        draft.differences.append("RANDOM_DELAY has no effect at boot")
    elif int(text):
        draft.definition["jitter"] = int(text) * 60
        what = "cronie draws it when it starts, and Debian's cron does not know it"
        draft.differences.append(
            f"it starts up to {text} minutes late, by the same time always; "
            + (what if is_cron else "anacron draws it each day")
        )


# The job


def _job(draft: CrontabDraft, name: str, source: CrontabSource, problems: Problems) -> Job | None:
    remarked = remarked_keys(draft.entry.remarks, source)
    for line, fault in remarked.faults:
        problems.add(line, fault)
    mapping = {"name": name, **draft.definition, **remarked.values}
    mapping["tags"] = [source.tag, *remarked.values.get("tags", ())]
    try:
        return job_from_mapping(mapping)
    except InvalidJob as error:
        for problem in error.problems:
            line, message = _of_variable(draft.entry, problem) or (draft.entry.line, problem)
            problems.add(line, message)
    return None


def _of_variable(entry: RawEntry, problem: str) -> tuple[int, str] | None:
    """Return the line of the variable that is at fault, and the error."""
    key, _, message = problem.partition(": ")
    name = _VARIABLES.get(key.partition(".")[0], "")
    if key == "env":
        name, _, message = message.partition(": ")
    variable = entry.variables.get(name)
    return None if variable is None else (variable.line, f"{name}={variable.value}: {message}")


# The whole file


def format_by_content(data: bytes, users: Container[str] | None) -> CronFormat:
    """Return the format that the lines of a crontab look like: with a user before each, or none."""
    words = _first_words(raw_entries(data, Problems("")))
    return CronFormat.SYSTEM if _have_users(words, users) else CronFormat.USER


def _first_words(raw: list[RawEntry]) -> list[tuple[str, str]]:
    """The word after the time and the rest of each line; none if one of them is not an entry."""
    words = []
    for entry in raw:
        try:
            rest = read_times(entry.text).rest
        except InvalidInput:
            return []
        first, _, second = rest.replace("\t", " ").partition(" ")
        words.append((first, second.lstrip()))
    return words


def _have_users(words: list[tuple[str, str]], users: Container[str] | None) -> bool:
    known = {"root"} if users is None else users
    # A word that cannot begin a command is an argument, so the word before it is the command.
    if not words or any(re.match(r"[-&|;<>]", second) for _, second in words):
        return False
    return any(first == "root" and second for first, second in words) or all(
        first in known and second for first, second in words
    )


def _is_of_the_other_format(raw: list[RawEntry], source: CrontabSource, problems: Problems) -> bool:
    """Tell whether a file taken for a user's own looks like the system's, with a user field."""
    if source.format is not CronFormat.USER or not source.is_guess or not raw:
        return False
    words = _first_words(raw)
    if _have_users(words, source.users):
        problems.add(
            raw[0].line,
            f"{words[0][0]!r} after the time looks like a user, as in /etc/crontab; say which it "
            "is: --system-format, or --user-format if it is a command",
        )
        return True
    if words and all(
        _may_be_a_user(word, after, entry, source)
        for (word, after), entry in zip(words, raw, strict=True)
    ):
        # If all of these words were users, the lines would have users.
        known = source.users or ()
        line, word = next(
            (entry.line, word)
            for (word, _), entry in zip(words, raw, strict=True)
            if word not in known
        )
        problems.add(
            line,
            f"{word!r} before the path is neither a program here nor a user: on every line it "
            "may be the user of another machine; say which it is: --system-format, or "
            "--user-format if it is a command",
        )
        return True
    return False


def _may_be_a_user(word: str, after: str, entry: RawEntry, source: CrontabSource) -> bool:
    """Tell whether a word stands where a user does, before an absolute path, and is no program."""
    return (
        source.finds is not None
        and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", word) is not None
        and after.startswith("/")
        and not is_of_the_shell(word)
        and not source.finds(word, entry.value("PATH"))
    )


def _anacron_draft(entry: RawEntry) -> CrontabDraft:
    found = read_anacron_entry(entry)
    # anacron is root's.
    found.definition["user"] = "root"
    draft = CrontabDraft(entry, found.definition, found.name, found.name, list(found.differences))
    _mail(entry, draft, CrontabSource("", CronFormat.ANACRON), failures_only=False)
    draft.differences += _of_command(
        found.definition["command"], "", CrontabSource("", CronFormat.ANACRON), ""
    )
    return draft


def _common(source: CrontabSource) -> tuple[str, ...]:
    found = [
        "output goes to the journal and into the history, not into a mail",
        "a run that is due during the last one follows it; cron runs both at the same time",
    ]
    if source.caller is None:
        found.append(
            "PAM is not asked: /etc/environment, its pam_env, limits.conf and the umask of its "
            "pam_umask have no effect"
        )
        found.append("the environment has USER, INVOCATION_ID, JOURNAL_STREAM and the like besides")
    else:
        found.append("the environment has all variables of your service manager besides")
    return tuple(found)
