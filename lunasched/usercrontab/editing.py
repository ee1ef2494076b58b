"""A user edits a crontab: a copy of it, an editor, and both again until it can be installed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lunasched.errors import LunaschedError
from lunasched.usercrontab.syntax import check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lunasched.usercrontab.spool import UserCrontabs

TEMPLATE = b"""\
# An entry is a line: minute, hour, day of the month, month, day of the week, and the command.
#
#   30 2 * * *    /usr/local/bin/backup     # each night at half past two
#   */10 8-18 * * 1-5    check-mail         # on working days, every ten minutes
#
# What a command prints is mailed to you, or to MAILTO=ADDRESS above it. A comment such as
# "# lunasched: timeout=1h" limits the next entry; see crontab(5) and lunasched-concepts(7).
"""
"""The text to begin with, where there is no crontab yet."""

_EDITORS = ("/usr/bin/editor", "/usr/bin/sensible-editor", "/usr/bin/vi", "/bin/vi")


def edit_crontab(crontabs: UserCrontabs, user: str) -> int:
    """Have a user edit a crontab, and install what they made of it; the exit status.

    Raises ``LunaschedError``; what was edited is then still there, in the file that it names.
    """
    before = crontabs.read(user)
    directory = Path(tempfile.mkdtemp(prefix="crontab."))
    path = directory / "crontab"
    try:
        path.write_bytes(TEMPLATE if before is None else before)
        text = _edited(path, user)
    except _Unchanged:
        shutil.rmtree(directory)
        _say("No modification made")
        return 0
    except _EditorFailed as error:
        shutil.rmtree(directory)
        raise LunaschedError(str(error)) from None
    except (_GivenUp, KeyboardInterrupt):
        _say(f"crontab: edits left in {path}")
        return 1
    try:
        if crontabs.read(user) != before:
            raise LunaschedError("the crontab was changed by somebody else meanwhile")
        _say("crontab: installing new crontab")
        crontabs.write(user, text)
    except LunaschedError as error:
        raise LunaschedError(f"{error}; edits left in {path}") from error
    shutil.rmtree(directory)
    return 0


class _Unchanged(Exception):
    """The text is as it was."""


class _EditorFailed(Exception):
    """The editor did not end as it should; nothing is to be done with the text."""


class _GivenUp(Exception):
    """The text has faults, and the user does not want to edit it again."""


def _edited(path: Path, user: str) -> bytes:
    """The text that the user has made of a file, once it is one that can be run."""
    before = path.read_bytes()
    while True:
        _run_editor(path)
        text = path.read_bytes()
        if text == before:
            raise _Unchanged
        checked = check(text, user, str(path))
        for line in (*checked.faults, *checked.notes):
            _say(line)
        if not checked.faults:
            return text
        _say("errors in crontab file, can't install.")
        if not confirmed("Do you want to retry the same edit? (y/n) "):
            raise _GivenUp


def confirmed(question: str) -> bool:
    """Ask until the answer is yes or no; the end of the input is a no."""
    print(question, end="", flush=True)
    while answer := sys.stdin.readline():
        if answer.strip()[:1].lower() in ("y", "n"):
            return answer.strip()[:1].lower() == "y"
        print("Please enter Y or N: ", end="", flush=True)
    print()
    return False


def _run_editor(path: Path) -> None:
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or _editor_of_machine()
    with _interrupted_alone():
        # As cron does, and every program that heeds these variables: they may hold options.
        done = subprocess.run(["/bin/sh", "-c", f'{editor} "$1"', "sh", path], check=False)
    if done.returncode:
        raise _EditorFailed(f'"{editor}" exited with status {done.returncode}')


def _editor_of_machine() -> str:
    return next((one for one in _EDITORS if os.access(one, os.X_OK)), "vi")


@contextmanager
def _interrupted_alone() -> Iterator[None]:
    """Leave Ctrl-C to the program in the foreground, as system(3) does."""
    kept = {
        number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGQUIT)
    }
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
