"""The questions about a machine that needs are judged by."""

from __future__ import annotations

from enum import Enum
from functools import cache
from typing import Protocol

from lunasched.dataclass import dataclass


class FileKind(Enum):
    """The type of file that a path leads to."""

    FILE = "file"
    DIRECTORY = "directory"
    OTHER = "other"
    """A device, a socket or a pipe."""


class Absence(Enum):
    """The reason why nothing is seen at a path."""

    NOTHING = "nothing"
    FORBIDDEN = "forbidden"
    """The examiner has no right to look; there may be something or not."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A file that was found at a path, links followed."""

    kind: FileKind
    mode: int
    uid: int
    gid: int
    has_acl: bool = False
    """True if more than the mode says who may do what (acl(5))."""
    no_exec: bool = False
    """True if it is on a file system from which nothing is executed."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user."""

    name: str
    uid: int
    gids: frozenset[int]
    """All groups of the user."""
    home: str
    shell: str

    @property
    def is_person(self) -> bool:
        """Tell if it is somebody's, and not one of the system's own (login.defs(5))."""
        return 1000 <= self.uid < 60000


class Machine(Protocol):
    """Answers them."""

    @property
    def path(self) -> tuple[str, ...] | None:
        """``PATH`` of units that set none; ``None`` where that is not known."""

    @property
    def callers_path(self) -> tuple[str, ...]:
        """``PATH`` of who asks."""

    def account(self, user: str | None) -> Account | None:
        """The user of this name or number, ``None`` being who owns the manager."""

    def group(self, name: str) -> int | None:
        """The number of a group."""

    def examine(self, path: str) -> Seen | Absence:
        """Return what is at a path."""

    def resolved(self, path: str) -> str:
        """The path without links."""

    def beginning(self, path: str) -> bytes:
        """The first bytes of a file; none where it cannot be read."""


class Remembered:
    """A machine that is asked each question once: ten thousand jobs have a shell in common."""

    def __init__(self, machine: Machine) -> None:
        self.path = machine.path
        self._machine = machine
        self.account = cache(machine.account)
        self.group = cache(machine.group)
        self.examine = cache(machine.examine)
        self.resolved = cache(machine.resolved)
        self.beginning = cache(machine.beginning)

    @property
    def callers_path(self) -> tuple[str, ...]:
        """``PATH`` of who asks."""
        return self._machine.callers_path
