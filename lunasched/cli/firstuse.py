"""The steps after a user's first jobs: their supervisor is started, and lingering explained."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from lunasched.errors import LunaschedError
from lunasched.paths import Mode, user_name

if TYPE_CHECKING:
    from lunasched.cli.session import Session

_SUPERVISOR = "lunasched.service"


def after_adding(session: Session) -> None:
    """Start a user's supervisor, and say when their jobs run; do nothing in system mode."""
    if session.mode is not Mode.USER:
        return
    # A user who has stopped their supervisor has a reason.
    first = session.store.cursor() is None
    if first:
        _start_supervisor(session)
    if session.lingers is False:
        _offer_linger(first)


def _start_supervisor(session: Session) -> None:
    manager, running = session.manager, session.is_recorded
    try:
        if not manager.file_state(_SUPERVISOR):
            # Installed since the user's manager was started.
            manager.reload()
        manager.enable(_SUPERVISOR)
        if running:
            return
        for error in manager.start([_SUPERVISOR]).values():
            raise error
    except LunaschedError as error:
        print(
            f"note: your supervisor, which records runs, could not be started: {error}\n"
            "note: jobs run without it; 'lunasched doctor' says more",
            file=sys.stderr,
        )
    else:
        print(f"Started your supervisor, {_SUPERVISOR}, which records what your jobs do.")


def _offer_linger(first: bool) -> None:
    about = "your jobs run only while you are logged in"
    # The user is named because loginctl otherwise needs a session, which su does not always open.
    command = ("loginctl", "enable-linger", user_name())
    if not first or not _asked(f"note: {about}. Let them always run ({' '.join(command)})?"):
        print(f"note: {about}; to let them always run: {' '.join(command)}", file=sys.stderr)
        return
    try:
        subprocess.run(command, check=False)
    except OSError as error:
        print(f"note: {command[0]} cannot be run: {error.strerror}", file=sys.stderr)


def _asked(question: str) -> bool:
    """The answer of somebody at a terminal; who is at none is not asked."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    with suppress(EOFError):
        return input().strip().lower() in ("y", "yes")
    return False
