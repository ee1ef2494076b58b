"""What is imported, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from enum import Enum

from lunasched.jobs.model import Job


class CronFormat(Enum):
    """Who says whom a line's command runs as, and what its fields are."""

    USER = "user"
    """``crontab -l``: five fields or a name with ``@``, and the command (crontab(5))."""
    SYSTEM = "system"
    """``/etc/crontab`` and ``/etc/cron.d``: a user before the command."""
    ANACRON = "anacron"
    """``/etc/anacrontab``: period, delay, job identifier and command (anacrontab(5))."""


@dataclass(frozen=True, slots=True)
class Source:
    """A crontab that is to be imported."""

    label: str
    """What it is called in messages: its path, ``-``, or ``crontab -l``."""
    format: CronFormat
    prefix: str = ""
    """What the names of its jobs begin with: the file's own name in /etc/cron.d."""
    user: str | None = None
    """Whom a crontab in user format belongs to; ``None`` is the owner of the manager."""
    caller: str | None = None
    """In user mode, the user whose jobs they become; ``None`` in system mode."""
    users: Container[str] | None = None
    """The names of the machine's users; ``None`` where they are not known."""
    finds: Callable[[str, str | None], bool] | None = None
    """True if a word names a program in the directories of a ``PATH``, or of cron's own."""
    tag: str = "crontab"
    """What jobs that come from here are tagged with."""
    is_guess: bool = False
    """True if nobody said what format it is in."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry that can be imported."""

    line: int
    job: Job
    differences: tuple[str, ...] = ()
    """What will be otherwise than it is under cron, besides ``Crontab.differences``."""


@dataclass(frozen=True, slots=True)
class Crontab:
    """All entries of a crontab, and what cannot be imported."""

    entries: tuple[Entry, ...]
    problems: tuple[str, ...]
    """``file:line: message``, in the order of the lines."""
    differences: tuple[str, ...]
    """What will be otherwise for each of the entries."""
