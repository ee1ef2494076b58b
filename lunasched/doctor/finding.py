"""The finding of a check."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING

from lunasched.dataclass import dataclass

if TYPE_CHECKING:
    from lunasched.doctor.facts import Unseen


class Severity(Enum):
    """The severity of a finding."""

    OK = "ok"
    UNKNOWN = "unknown"
    """It could not be looked at."""
    WARNING = "warning"
    """Something works less well than it could, or will stop working."""
    ERROR = "error"
    """Jobs do not run, or are not recorded, as they should be."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is right or wrong."""

    severity: Severity
    what: str
    why: str = ""
    """The consequence of it."""
    fix: tuple[str, ...] = ()
    """Command lines for a shell that fix it, one after the other."""
    as_root: bool = False
    """True if these need root."""
    check: str = ""

    def of(self, check: str) -> Finding:
        """The same as found by a check."""
        return replace(self, check=check)


def fine(what: str) -> Finding:
    """Nothing wrong here."""
    return Finding(Severity.OK, what)


def warning(what: str, why: str, *fix: str, as_root: bool = False) -> Finding:
    """Something that should not stay as it is."""
    return Finding(Severity.WARNING, what, why, fix, as_root)


def error(what: str, why: str, *fix: str, as_root: bool = False) -> Finding:
    """Something that keeps jobs from running, or from being recorded."""
    return Finding(Severity.ERROR, what, why, fix, as_root)


def unseen(what: str, reason: Unseen) -> Finding:
    """Something that could not be looked at."""
    return Finding(Severity.UNKNOWN, f"{what} could not be checked: {reason.reason}")


_NAMED = 5
"""The most names that a finding lists; of the others it gives the number."""


def listed(names: Iterable[str]) -> str:
    """The first of the names, and the number of the others."""
    names = list(names)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def plural(count: int, noun: str) -> str:
    """The noun as it goes with a number."""
    return noun if count == 1 else f"{noun}s"


def for_each(command: str, names: Sequence[str]) -> list[str]:
    """One command line for all of them, or for a lot of them several."""
    return [
        " ".join([command, *map(shlex.quote, names[start : start + 50])])
        for start in range(0, len(names), 50)
    ]
