"""The arguments of crontab(1), as Debian's takes them, and ``-T`` of cronie's."""

from __future__ import annotations

import getopt
from collections.abc import Sequence
from enum import Enum

from lunasched.dataclass import dataclass

USAGE = """\
usage:\tcrontab [-u user] [-n | -T] file
\tcrontab [ -u user ] [ -i ] { -e | -l | -r }

\t-h\t(displays this help message)

\tfile\t(default operation is replace, per 1003.2; - is standard input)
\t-n, -T\t(dry run: checks the syntax, then bails out)
\t-u user\t(choose the user whose crontab is touched)

\t-e\t(edit user's crontab)
\t-l\t(list user's crontab)
\t-r\t(delete user's crontab)

\t-i\t(prompt before deleting user's crontab)
"""

STANDARD_INPUT = "-"


class UsageError(Exception):
    """The arguments say nothing that can be done; the text is what is wrong, empty for ``-h``."""


class Act(Enum):
    """The things that the program does."""

    REPLACE = "replace"
    CHECK = "check"
    LIST = "list"
    REMOVE = "remove"
    EDIT = "edit"


@dataclass(frozen=True, slots=True)
class Action:
    """What is to be done, and with whose crontab."""

    act: Act
    user: str | None = None
    """``None`` for the user who calls."""
    file: str = STANDARD_INPUT
    """The file of a new crontab."""
    asks: bool = False
    """True if a removal is to be confirmed."""


_ACTS = {"-l": Act.LIST, "-r": Act.REMOVE, "-e": Act.EDIT}


def read_action(arguments: Sequence[str]) -> Action:
    """The action that arguments ask for; raises ``UsageError``."""
    try:
        options, files = getopt.gnu_getopt(list(arguments), "u:lreinTh")
    except getopt.GetoptError as error:
        raise UsageError(f"crontab: {error.msg}") from None
    names = [name for name, _ in options]
    if "-h" in names:
        raise UsageError("")
    acts = {_ACTS[name] for name in names if name in _ACTS}
    is_check = "-n" in names or "-T" in names
    if len(acts) + is_check > 1:
        raise UsageError("crontab: usage error: only one operation permitted")
    if acts and files:
        raise UsageError("crontab: usage error: no arguments permitted after this option")
    if is_check and not files:
        raise UsageError("crontab: usage error: file name must be specified for replace")
    user = next((value for name, value in reversed(options) if name == "-u"), None)
    act = acts.pop() if acts else Act.CHECK if is_check else Act.REPLACE
    return Action(act, user, files[0] if files else STANDARD_INPUT, asks="-i" in names)
