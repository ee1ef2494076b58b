"""The programs of a job: its command's, and those of hooks and channels."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from posixpath import basename, join, normpath

from lunasched.dataclass import dataclass
from lunasched.formats import unitfile
from lunasched.jobs.model import Command
from lunasched.units import commandchannels, confinement
from lunasched.units.needs import shelltext
from lunasched.units.needs.lack import Lack
from lunasched.units.needs.machinequestions import Absence, FileKind, Seen
from lunasched.units.needs.place import EXECUTE, READ, Place

_EXEC = 203
"""EXIT_EXEC of systemd.exec(5)."""
_INSTALL = "install it, or name another"
_NOT_FOUND = "its shell will not find it when a run comes to it"


@dataclass(frozen=True, slots=True)
class _Use:
    """The place where a program is named, and the effect if it cannot be run."""

    key: str
    exits: int | None
    effect: str = ""
    path: tuple[str, ...] | None = ()
    """The directories in which it is looked for; ``None`` where they are not known."""


def program_lacks(place: Place) -> Iterator[Lack]:
    """Find programs that cannot be run, and scripts whose interpreters cannot."""
    job = place.job
    main = [*place.lines("ExecStart")]
    for name, line in [*main, *place.lines("ExecStartPre", "ExecStartPost")]:
        (one,) = unitfile.commands(line)
        if "-" not in one.prefixes and not re.search(r"[%$]", one.words[0]):
            yield from _command(place, f"systemd.{name}", one.words)
    if not main:
        yield from _command(place, "command", job.command)
    for event in job.hooks.events():
        command = job.hooks.command(event)
        assert command is not None
        yield from _command(place, f"hooks.{event.value}", command, effect="the hook fails")
    for channel in commandchannels.command_channels(job).values():
        yield from _command(
            place,
            "notification_config",
            commandchannels.command_of(channel),
            effect="this command notifies nobody",
        )


def _command(place: Place, key: str, command: Command, effect: str = "") -> Iterator[Lack]:
    argv = ("/bin/sh", "-c", command) if isinstance(command, str) else tuple(command)
    path = place.path if effect else place.exec_path
    use = _Use(key, None if effect else _EXEC, effect, path)
    found = [*_program(place, use, argv[0], by_systemd=not effect)]
    yield from found
    if found:
        return
    is_shell = basename(argv[0]) in shelltext.SHELLS and len(argv) == 3
    if is_shell and argv[1] == "-c":
        yield from _of_text(place, key, argv[2], argv[0])
    else:
        yield from _script(place, key, argv, place.directory)


def _of_text(place: Place, key: str, text: str, shell: str) -> Iterator[Lack]:
    path = None if shelltext.sets_path(text) else place.path
    use = _Use(key, None, _NOT_FOUND, path)
    for step in shelltext.steps(text, shell, place.directory):
        program = step.words[0]
        if program == "cd":
            missing = [*_directory(place, key, step.words[1])]
            yield from missing
            if missing:
                # Whether the rest runs then depends on its syntax.
                return
            continue
        if "/" in program and not program.startswith("/"):
            if step.directory is None:
                continue
            program = normpath(join(step.directory, program))
        yield from _program(place, use, program)
        yield from _script(place, key, step.words, step.directory)


def _directory(place: Place, key: str, path: str) -> Iterator[Lack]:
    if place.examine(path) is Absence.NOTHING:
        yield place.lack(
            key,
            path,
            f"{path} is not there now",
            effect="'cd' fails when a run comes to it",
            remedy="make or mount it, or name another",
        )


def _script(
    place: Place, key: str, words: tuple[str, ...], directory: str | None
) -> Iterator[Lack]:
    """The file that an interpreter is to read."""
    path = shelltext.script(words)
    if path is not None and not path.startswith("/") and directory is not None:
        path = normpath(join(directory, path))
    if path is None or not path.startswith("/"):
        return
    seen = place.examine(path)
    if seen is Absence.FORBIDDEN:
        return
    if hidden := place.hides(path):
        what, remedy = f"{hidden} hides {path}", f"put it elsewhere, or leave {hidden} out"
    elif isinstance(seen, Absence):
        what, remedy = f"{path} is not there now", "make or mount it, or name another"
    elif (at := place.obstacle(path, seen, READ)) and place.account:
        what, remedy = f"{place.account.name} may not read {at}", "change its mode or owner"
    else:
        return
    yield place.lack(
        key, path, what, effect=f"{words[0]} will not find it when it is run", remedy=remedy
    )


def _program(place: Place, use: _Use, program: str, *, by_systemd: bool = False) -> Iterator[Lack]:
    """Find what is wrong with a program by its path, or by its name alone."""
    if program.startswith("/"):
        yield from _file(place, use, program, by_systemd=by_systemd)
        return
    if use.path is None or not program or "/" in program:
        return
    seen = [(path, place.examine(path)) for path in (join(each, program) for each in use.path)]
    if any(found is not Absence.NOTHING for _, found in seen):
        return
    elsewhere = _elsewhere(place, program)
    yield place.lack(
        use.key,
        program,
        f"there is no program {program!r} in {':'.join(use.path)}",
        exits=use.exits,
        effect=use.effect,
        remedy=f"it is {elsewhere}: write that" if elsewhere else _INSTALL,
    )


def _elsewhere(place: Place, program: str) -> str | None:
    """The path of a program that is in the ``PATH`` of who asks, and in no unit's."""
    for directory in place.machine.callers_path:
        path = join(directory, program)
        seen = place.machine.examine(path) if directory.startswith("/") else Absence.NOTHING
        if isinstance(seen, Seen) and seen.kind is FileKind.FILE and seen.mode & 0o111:
            return path
    return None


def _file(place: Place, use: _Use, path: str, *, by_systemd: bool) -> Iterator[Lack]:
    seen = place.examine(path)
    if seen is Absence.FORBIDDEN or (isinstance(seen, Seen) and seen.kind is FileKind.OTHER):
        return
    fix = ""
    if isinstance(seen, Absence):
        what = f"{path} is not there now"
        remedy = "install, make or mount it, or name another"
    elif hidden := place.hides(path):
        what, remedy = f"{hidden} hides {path}", f"put it elsewhere, or leave {hidden} out"
    elif seen.kind is FileKind.DIRECTORY:
        what, remedy = f"{path} is a directory", "name a program in it"
    elif not seen.mode & 0o111:
        what, fix = f"{path} is not executable", f"chmod a+x {shlex.quote(path)}"
        remedy = f"make it so ('{fix}')"
    elif seen.no_exec:
        what = f"{path} is on a file system that is mounted with noexec"
        remedy = "put it elsewhere, or give it to its interpreter to read"
    elif option := confinement.forbids_execution(place.job, place.machine.resolved(path)):
        what, remedy = f"{option} forbids to execute {path}", "add it to exec_paths"
    elif (at := place.obstacle(path, seen, EXECUTE)) and place.account:
        verb = "execute" if at == path else "enter"
        what, remedy = f"{place.account.name} may not {verb} {at}", "change its mode or owner"
    else:
        yield from _interpreter(place, use, path, by_systemd=by_systemd)
        return
    yield place.lack(
        use.key, path, what, exits=use.exits, effect=use.effect, remedy=remedy, fix=fix
    )


def _interpreter(place: Place, use: _Use, path: str, *, by_systemd: bool) -> Iterator[Lack]:
    """Find what is wrong with the first line of a script (execve(2))."""
    begin = place.machine.beginning(path)
    if not begin.startswith(b"#!"):
        # A shell reads such a file itself; the kernel refuses it.
        if by_systemd and begin and b"\0" not in begin:
            what = f"{path} is a script that names no interpreter"
            remedy = "begin it with a line such as '#!/bin/sh'"
            yield place.lack(use.key, path, what, exits=use.exits, effect=use.effect, remedy=remedy)
        return
    line = begin[2:].partition(b"\n")[0].decode(errors="replace").strip(" \t")
    interpreter, *rest = re.split(r"[ \t]+", line)
    remedy, fix = "install it, or name another in its first line", ""
    by_env = _by_env(place, rest) if basename(interpreter) == "env" else None
    wanted = by_env or interpreter
    if wanted.endswith("\r"):
        what = f"the first line of {path} ends with a carriage return, as on Windows"
        fix = f"sed -i 's/\\r$//' {shlex.quote(path)}"
        remedy = "give it the line ends of Unix"
    elif by_env:
        what = f"{path} wants {by_env}, which is not in {':'.join(place.path or ())}"
    elif interpreter.startswith("/") and place.examine(interpreter) is Absence.NOTHING:
        what = f"{path} wants the interpreter {interpreter}, which is not there"
    else:
        return
    exits, effect = (
        (use.exits, use.effect)
        if not by_env
        else (None, "env(1) will not find it when a run comes to it")
    )
    yield place.lack(use.key, path, what, exits=exits, effect=effect, remedy=remedy, fix=fix)


def _by_env(place: Place, words: Sequence[str]) -> str | None:
    """The program that env(1) would not find."""
    words = words[words[:1] == ["-S"] :]
    if not words or place.path is None or not re.fullmatch(r"\w[\w.+-]*\r?", words[0]):
        return None
    seen = (place.examine(join(each, words[0])) for each in place.path)
    return words[0] if all(one is Absence.NOTHING for one in seen) else None
