"""``doctor --fix``: a damaged database is made anew from what can be read of it."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from lunasched.errors import ExitCode, InvalidInput, LunaschedError, PermissionDenied
from lunasched.paths import SUPERVISOR_USER, Mode

if TYPE_CHECKING:
    from lunasched.cli.session import Session
    from lunasched.store import Inspection, Repair

_CHECKS = {"definitions": "jobs", "history": "runs"}
_SUPERVISOR = "lunasched.service"


def fix_database(session: Session, check: str, *, ask: bool) -> None:
    """Repair the database that ``check`` names; asks first.

    Raises ``StoreError`` where nothing was changed.
    """
    if check not in _CHECKS:
        raise InvalidInput(
            f"--fix repairs {' or '.join(_CHECKS)}, not {check!r}; for findings of other checks, "
            "lunasched doctor prints the commands"
        )
    if session.mode is Mode.SYSTEM and os.geteuid() != 0:
        raise PermissionDenied("only root can fix the system's databases; for your own, use --user")
    path = session.paths.history if check == "history" else session.paths.database
    looked = _inspection(session, check)
    if looked is None:
        print(f"There is no {path}; there is nothing to fix.")
        return
    if looked.problem:
        raise LunaschedError(f"{path} cannot be examined: {looked.problem}. Nothing was changed.")
    if not looked.damage:
        print(f"{path} is not damaged; there is nothing to fix.")
        return
    print(f"{path} is damaged: {looked.damage}")
    print("It is kept; all that can be read of it is copied into a new one.")
    if check == "history":
        print("Meanwhile the supervisor is stopped; jobs keep running and are recorded later.")
    if ask and not _agreed():
        print("Nothing was changed.")
        raise typer.Exit(ExitCode.FAILED)
    done = _definitions(session) if check == "definitions" else _history(session)
    print(
        f"The new database has {done.rows} {_CHECKS[check]}; the damaged one is kept as {done.kept}"
    )
    if done.lost:
        print(f"{done.lost} {_CHECKS[check]} could not be read and are lost.")


def _agreed() -> bool:
    try:
        return input("Fix it? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False


def _inspection(session: Session, check: str) -> Inspection | None:
    from lunasched.store import DEFINITIONS, inspect

    if check == "definitions":
        return inspect(session.paths.database, DEFINITIONS)
    return session.store_to_look_at.history.inspect()


def _definitions(session: Session) -> Repair:
    from lunasched.state.deploylock import DeployLock
    from lunasched.store import DEFINITIONS
    from lunasched.store.repair import repair

    with DeployLock(session.paths.deploy_lock).hold():
        return repair(session.paths.database, DEFINITIONS)


def _history(session: Session) -> Repair:
    from lunasched.store import HISTORY, RemoteHistory
    from lunasched.store.repair import repair

    path = session.paths.history
    if session.mode is Mode.USER:
        with _supervisor_stopped(session):
            return repair(path, HISTORY)
    # Root follows no link that the supervisor could have put there (ARCHITECTURE.md).
    entry = pwd.getpwnam(SUPERVISOR_USER)
    history = RemoteHistory(path, entry.pw_uid, entry.pw_gid, as_it_is=True)
    try:
        history.start()
        with _supervisor_stopped(session):
            return history.repair()
    finally:
        history.close()


@contextmanager
def _supervisor_stopped(session: Session) -> Iterator[None]:
    """Have no supervisor write to the history; one that was there is there again after it."""
    manager = session.manager
    known = manager.states(_SUPERVISOR).get(_SUPERVISOR)
    # A supervisor that keeps failing may be between two restarts.
    was_wanted = known is not None and known.active in ("active", "activating", "reloading")
    for error in manager.stop([_SUPERVISOR]).values():
        raise error
    try:
        yield
    finally:
        if was_wanted:
            for error in manager.start([_SUPERVISOR]).values():
                raise error
