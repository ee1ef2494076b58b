"""The source of an import, and its result."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from enum import Enum

from lunasched.dataclass import dataclass
from lunasched.jobs.model import Job


class CronFormat(Enum):
    """The format of a crontab: the fields of a line, and where the user of its command is."""

    USER = "user"
    """``crontab -l``: five fields or a name with ``@``, and the command (crontab(5))."""
    SYSTEM = "system"
    """``/etc/crontab`` and ``/etc/cron.d``: a user before the command."""
    ANACRON = "anacron"
    """``/etc/anacrontab``: period, delay, job identifier and command (anacrontab(5))."""


@dataclass(frozen=True, slots=True)
class CronScript:
    """A script of a directory such as ``/etc/cron.daily``."""

    path: str
    command: tuple[str, ...]
    """The program and its arguments that run it as run-parts(8) does."""


@dataclass(frozen=True, slots=True)
class CrontabSource:
    """A crontab that is to be imported."""

    label: str
    """Its name in messages: its path, ``-``, or ``crontab -l``."""
    format: CronFormat
    prefix: str = ""
    """The prefix of its jobs' names: the file's own name in /etc/cron.d."""
    user: str | None = None
    """The user of a crontab in user format; ``None`` is the user of the manager."""
    caller: str | None = None
    """In user mode, the user whose jobs they become; ``None`` in system mode."""
    users: Container[str] | None = None
    """The names of the machine's users; ``None`` where they are not known."""
    finds: Callable[[str, str | None], bool] | None = None
    """True if a word names a program in the directories of a ``PATH``, or of cron's own."""
    tag: str = "crontab"
    """The tag of jobs that come from here."""
    is_private: bool = False
    """True if other users may not read it, nor what its jobs run."""
    mails: bool = True
    """True if the machine has a program that mails what its jobs print."""
    scripts: Callable[[str], Sequence[CronScript]] | None = None
    """The scripts of a directory, in their order; ``None`` where they are not to be jobs."""
    by_anacron: frozenset[str] = frozenset()
    """The directories whose scripts anacron runs, or its table, instead of a crontab."""
    environment: tuple[tuple[str, str], ...] = ()
    """The variables that each command has, where the crontab does not set them."""
    spread: str = ""
    """What tells apart machines: a random delay is another on each."""
    is_guess: bool = False
    """True if nobody said what format it is in."""


@dataclass(frozen=True, slots=True)
class CrontabEntry:
    """One entry that can be imported."""

    line: int
    job: Job
    differences: tuple[str, ...] = ()
    """The differences to cron, besides ``Crontab.differences``."""


@dataclass(frozen=True, slots=True)
class Crontab:
    """All entries of a crontab, and what cannot be imported."""

    entries: tuple[CrontabEntry, ...]
    problems: tuple[str, ...]
    """``file:line: message``, in the order of the lines."""
    differences: tuple[str, ...]
    """The differences to cron for each of the entries."""
