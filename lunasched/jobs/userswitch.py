"""Commands by which a job becomes another user in a session: ``su``, ``runuser -l``, ``sudo -i``.

pam_systemd(8) moves what they run out of the job's unit into the scope of a session. Of the PAM
configurations of Debian 12 and 13 these have it: su (with and without ``-``), runuser-l and sudo-i,
through common-session; not runuser and sudo.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence

from lunasched.dataclass import dataclass
from lunasched.formats.shell import plain_words, simple_commands
from lunasched.jobs import directivelines
from lunasched.jobs.model import Job

_SHELLS = frozenset(("sh", "bash", "dash", "zsh", "ksh", "mksh", "busybox"))
_ROOT = "root"


@dataclass(frozen=True, slots=True)
class Switch:
    """A command that becomes another user in a session."""

    text: str
    """The command as far as the user."""
    user: str | None
    """``None`` where it is a variable's value."""
    command: str | None
    """The command for the user's shell, where the job does nothing else."""


def users(job: Job) -> tuple[str, ...]:
    """Return the names of the users whom a job's command becomes."""
    return tuple(dict.fromkeys(one.user for one in of_job(job) if one.user is not None))


def switch_warning(job: Job) -> str | None:
    """Return the drawback of the way in which a job becomes another user, and a better way."""
    found = of_job(job)
    if not found:
        return None
    switch = found[0]
    lost = (
        f"{switch.text!r} moves what it runs into a session, out of the job: its time limit and "
        "'lunasched stop' do not end that, its limits of memory and CPU do not hold for it, and "
        "a part of its output may not be found"
    )
    return f"{lost}; {_better(switch)}"


def _better(switch: Switch) -> str:
    if switch.user == _ROOT:
        return "leave it out: the job runs as root"
    if switch.user is None:
        return "have the job run as that user: --run-as USER (in a file, the key user)"
    run_as = f"--run-as {shlex.quote(switch.user)} (in a file, user: {switch.user})"
    if switch.command is None:
        return f"have the job run as {switch.user} without it: {run_as}"
    command = shlex.quote(switch.command)
    return f"have the job run as {switch.user}: {run_as}, with the command {command}"


def of_job(job: Job) -> list[Switch]:
    """Return the commands of a job of root's that become another user in a session."""
    if job.user not in (None, _ROOT):
        # It would be asked for a password.
        return []
    written = directivelines.command(job.directives)
    command = job.command if written is None else written
    if isinstance(command, str):
        return _of_text(command)
    words = list(command)
    shell = words[0].rpartition("/")[2] if words else ""
    if shell in _SHELLS and "-c" in words[1:-1]:
        return _of_text(words[words.index("-c") + 1])
    switch = _switch(words)
    return [] if switch is None else [switch]


def _of_text(text: str) -> list[Switch]:
    # Without the marks that may stand within a word, one that names a program has its letters.
    bare = text.translate(_MARKS)
    if not any(name in bare for name in _PROGRAMS):
        return []
    found = []
    for words in plain_words(simple_commands(text)):
        switch = _switch(words, is_all=words == _split(text))
        if switch is not None:
            found.append(switch)
    return found


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return []


def _switch(words: Sequence[str], *, is_all: bool = True) -> Switch | None:
    """A simple command, from the name of its program on, as a switch."""
    name = words[0].rpartition("/")[2] if words else ""
    read = _PROGRAMS.get(name)
    return None if read is None else read(_Arguments.of(words, *_OPTIONS[name]), is_all)


@dataclass(frozen=True, slots=True)
class _Arguments:
    """Options with their values, and the words that are no options."""

    name: str
    options: Mapping[str, str]
    rest: Sequence[str]
    """Behind a ``-`` of ``su``, which is an option."""

    @classmethod
    def of(cls, words: Sequence[str], valued: str, named: Mapping[str, str]) -> _Arguments:
        """Read them as getopt_long(3) does.

        ``valued`` letters take a value, and ``named`` has the letters of long options.
        """
        options: dict[str, str] = {}
        rest: list[str] = []
        queue = list(words[1:])
        while queue:
            word = queue.pop(0)
            if word == "--" or (rest and words[0].endswith("sudo")):
                rest += [word, *queue] if word != "--" else queue
                break
            if word == "-":
                options["l"] = ""
            elif word.startswith("--"):
                long, equals, value = word[2:].partition("=")
                letter = named.get(long, "?")
                has_value = letter in valued and not equals and queue
                options[letter] = queue.pop(0) if has_value else value
            elif word.startswith("-"):
                _read_letters(word[1:], queue, valued, options)
            else:
                rest.append(word)
        return cls(words[0], options, rest)


def _read_letters(letters: str, queue: list[str], valued: str, options: dict[str, str]) -> None:
    for position, letter in enumerate(letters):
        if letter in valued:
            value = letters[position + 1 :]
            options[letter] = value or (queue.pop(0) if queue else "")
            return
        options[letter] = ""


def _su(arguments: _Arguments, is_all: bool) -> Switch:
    user = arguments.rest[0] if arguments.rest else _ROOT
    dash = " -" if "l" in arguments.options else ""
    command = arguments.options.get("c")
    return _made(f"{arguments.name}{dash} {user}", user, command if is_all else None)


def _runuser(arguments: _Arguments, is_all: bool) -> Switch | None:
    is_login = "l" in arguments.options and "u" not in arguments.options
    return _su(arguments, is_all) if is_login else None


def _sudo(arguments: _Arguments, is_all: bool) -> Switch | None:
    if "i" not in arguments.options:
        return _switch(arguments.rest, is_all=False)
    user = arguments.options.get("u", _ROOT)
    command = shlex.join(arguments.rest) if arguments.rest and is_all else None
    return _made(f"{arguments.name} -i -u {user}", user, command)


def _made(text: str, user: str, command: str | None) -> Switch:
    return Switch(text, None if "$" in user or "`" in user else user, command)


_PROGRAMS: Mapping[str, Callable[[_Arguments, bool], Switch | None]] = {
    "su": _su,
    "runuser": _runuser,
    "sudo": _sudo,
}
_MARKS = dict.fromkeys(map(ord, "\"'\\\n"))
_LOGIN = {"login": "l", "command": "c", "session-command": "c", "shell": "s", "group": "g"}
_OPTIONS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "su": ("csgGwT", {**_LOGIN, "supp-group": "G", "whitelist-environment": "w"}),
    "runuser": (
        "csgGwTu",
        {**_LOGIN, "supp-group": "G", "whitelist-environment": "w", "user": "u"},
    ),
    "sudo": (
        "ugpCDhRrtTU",
        {"login": "i", "user": "u", "group": "g", "chdir": "D", "host": "h", "prompt": "p"},
    ),
}
