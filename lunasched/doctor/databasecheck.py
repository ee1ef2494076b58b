"""The checks of the two databases: whole, and in the right hands."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lunasched.dataclass import dataclass
from lunasched.doctor.facts import NO_DATABASE, FileFacts, Unseen, file_seen
from lunasched.doctor.finding import error, fine, unseen, warning
from lunasched.machine import host
from lunasched.paths import SUPERVISOR_USER
from lunasched.store import DEFINITIONS, inspect

if TYPE_CHECKING:
    from lunasched.doctor.facts import Facts
    from lunasched.doctor.finding import Finding
    from lunasched.jobs.model import Job
    from lunasched.jobs.origin import JobOrigin
    from lunasched.paths import Paths
    from lunasched.store import Inspection, Store

_OTHERS = 0o007
_WRITABLE = 0o022


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """One of the two databases."""

    path: Path
    file: FileFacts | None
    directory: FileFacts | None
    damage: str
    """The damage that SQLite finds."""
    state: str
    """``current``, ``older``, ``newer``, ``1.x``, ``2.0`` or ``foreign``."""
    checked: bool
    """True if it was read as a whole."""
    problem: str = ""
    """The reason why it cannot be read at all."""

    @property
    def is_in_order(self) -> bool:
        """Tell if it can be read, or is not there yet."""
        return not self.damage and not self.problem and self.state == "current"


def _no_database(path: Path) -> DatabaseFacts:
    return DatabaseFacts(path, None, None, "", "current", checked=True)


def _database(path: Path, looked: Inspection | None) -> DatabaseFacts:
    if looked is None:
        return _no_database(path)
    file = FileFacts(path, looked.owner, looked.group, looked.mode)
    return DatabaseFacts(
        path,
        file,
        file_seen(path.parent),
        looked.damage,
        looked.state,
        looked.checked,
        looked.problem,
    )


def look_at_definitions(paths: Paths) -> DatabaseFacts:
    """The file of the jobs."""
    if host.file_facts(paths.database) is None:
        return _no_database(paths.database)
    return _database(paths.database, inspect(paths.database, DEFINITIONS))


def look_at_history(paths: Paths, store: Callable[[], Store]) -> DatabaseFacts:
    """The file of the runs, looked at by who owns it."""
    if host.file_facts(paths.database) is None:
        return _no_database(paths.history)
    return _database(paths.history, store().history.inspect())


def jobs_in(known: DatabaseFacts | Unseen, store: Callable[[], Store]) -> tuple[Job, ...] | Unseen:
    """The jobs that there are, where their database can be read."""
    if isinstance(known, Unseen):
        return NO_DATABASE
    if known.file is None:
        return ()
    if not known.is_in_order:
        return NO_DATABASE
    return tuple(store().jobs.all())


def origins_in(
    known: DatabaseFacts | Unseen, store: Callable[[], Store]
) -> Mapping[str, JobOrigin] | Unseen:
    """The lines of crontabs that jobs are, by job, where their database can be read."""
    jobs = jobs_in(known, store)
    return jobs if isinstance(jobs, Unseen) else store().jobs.origins() if jobs else {}


def adopted_in(
    known: DatabaseFacts | Unseen, store: Callable[[], Store]
) -> Sequence[tuple[str, str, str]] | Unseen:
    """The jobs that were lines of crontabs, where their database can be read."""
    jobs = jobs_in(known, store)
    return jobs if isinstance(jobs, Unseen) else store().jobs.adopted() if jobs else ()


def judge_definitions(facts: Facts) -> Iterator[Finding]:
    """Look at the database of jobs: whole, and in the right hands."""
    known = facts.definitions
    if isinstance(known, Unseen):
        yield unseen("the database of jobs", known)
        return
    if known.file is None:
        yield fine("there is no database yet; the first job makes it")
        return
    found = [*_definitions_in_wrong_hands(facts, known), *_not_in_order(facts, known)]
    yield from found or [_in_order("the database of jobs", known)]


def judge_history(facts: Facts) -> Iterator[Finding]:
    """Look at the database of runs: whole, and in the right hands."""
    known = facts.history
    if isinstance(known, Unseen):
        yield unseen("the history", known)
        return
    if known.file is None:
        yield fine("there is no history yet; the supervisor makes it")
        return
    found = [*_history_in_wrong_hands(facts, known), *_not_in_order(facts, known)]
    yield from found or [_in_order("the history", known)]


def _in_order(what: str, known: DatabaseFacts) -> Finding:
    if known.problem:
        return unseen(what, Unseen(f"{known.path}: {known.problem}"))
    checked = "whole" if known.checked else "in order, and too large to be read as a whole here"
    return fine(f"{known.path} is {checked}")


def _not_in_order(facts: Facts, known: DatabaseFacts) -> Iterator[Finding]:
    if known.damage:
        check = "history" if known.path == facts.paths.history else "definitions"
        option = "" if facts.is_system else " --user"
        yield error(
            f"{known.path} is damaged: {known.damage}",
            "restore it from a backup; without one, this command keeps it and makes a new one of "
            "what can be read",
            f"lunasched{option} doctor --fix {check}",
            as_root=facts.is_system,
        )
    if known.state in _STATES:
        yield _other_state(facts, known.path, known.state)


_STATES = {
    "older": "is of an earlier version of lunasched",
    "1.x": "is of Lunasched 1.x and has not been taken over yet",
    "2.0": "is of lunasched 2.0 and holds jobs that were not taken over yet",
    "newer": "is of a newer version of lunasched",
    "foreign": "is a database, but not one of lunasched",
}


def _other_state(facts: Facts, path: Path, state: str) -> Finding:
    what = f"{path} {_STATES[state]}"
    if state in ("older", "1.x"):
        return warning(
            what,
            "it is brought up to date when the supervisor starts",
            f"{facts.systemctl} restart lunasched.service",
            as_root=facts.is_system,
        )
    why = "nothing is recorded, and no job can be changed"
    if state == "2.0":
        # The supervisor cannot do that: only root may say which jobs are its own.
        option = "" if facts.is_system else " --user"
        fix = (f"lunasched{option} migrate", f"{facts.systemctl} restart lunasched.service")
        return error(what, why, *fix, as_root=facts.is_system)
    if state == "newer":
        return error(what, f"{why}; upgrade lunasched")
    # Its owner and purpose are unknown, so no command of ours touches it.
    return error(what, f"{why}; somebody put it there: move it away, and restore what was there")


def _definitions_in_wrong_hands(facts: Facts, known: DatabaseFacts) -> Iterator[Finding]:
    assert known.file is not None
    owner = "root" if facts.is_system else facts.user
    path = shlex.quote(str(known.path))
    if known.file.owner != owner:
        yield error(
            f"{known.path} belongs to {known.file.owner}, not to {owner}",
            f"{known.file.owner} decides which jobs run, and as which user; review all jobs",
            f"chown {owner} {path}",
            as_root=True,
        )
    elif known.file.mode & _WRITABLE:
        yield error(
            f"{known.path} has mode {known.file.mode:04o}",
            "other users can decide which jobs run, and as which user",
            f"chmod go-w {path}",
            as_root=facts.is_system,
        )
    elif known.file.mode & _OTHERS:
        yield error(
            f"{known.path} has mode {known.file.mode:04o}",
            "every user of the machine can read the secrets of jobs",
            f"chmod o= {path}",
            as_root=facts.is_system,
        )
    elif facts.is_system and known.file.group != SUPERVISOR_USER and facts.has_supervisor_user:
        yield error(
            f"{known.path} cannot be read by the group {SUPERVISOR_USER}",
            "the supervisor cannot read the jobs: no run is recorded",
            f"chgrp {SUPERVISOR_USER} {path}",
            f"chmod 0640 {path}",
            f"{facts.systemctl} restart lunasched.service",
            as_root=True,
        )


def _history_in_wrong_hands(facts: Facts, known: DatabaseFacts) -> Iterator[Finding]:
    assert known.file is not None
    owner = SUPERVISOR_USER if facts.is_system else facts.user
    if known.file.owner != owner:
        yield error(
            f"{known.path} belongs to {known.file.owner}, not to {owner}",
            "the supervisor cannot write to it: no run is recorded",
            *(() if facts.has_supervisor_user else ("systemd-sysusers",)),
            # systemd restores the owner of the whole directory, and follows no link in it.
            f"{facts.systemctl} stop lunasched.service",
            f"chown root {shlex.quote(str(known.path.parent))}",
            f"{facts.systemctl} start lunasched.service",
            as_root=True,
        )
    shut = known.directory is not None and not known.directory.mode & _OTHERS
    if known.file.mode & _OTHERS and not shut:
        yield error(
            f"{known.path} has mode {known.file.mode:04o}",
            "every user of the machine can read what jobs print",
            *_as_owner(facts, known.path, f"chmod o= {_NAME}*"),
            as_root=facts.is_system,
        )


# In the scripts that are run in the directory of a database.
_NAME = '"$0"'


def _as_owner(facts: Facts, path: Path, script: str) -> tuple[str, ...]:
    """A command that runs a script in the directory of a database, with its owner's rights.

    Root would follow the links that the supervisor can put there. Neither is it a program on
    root's terminal: whoever can trace it could type there.
    """
    line = f"cd {shlex.quote(str(path.parent))} && {script}"
    command = f"sh -c {shlex.quote(line)} {shlex.quote(path.name)}"
    if facts.is_system and path == facts.paths.history:
        return (
            f"systemd-run --quiet --wait --uid={SUPERVISOR_USER} --gid={SUPERVISOR_USER} {command}",
        )
    return (command,)
