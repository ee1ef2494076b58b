"""The check of a crontab before it is installed: what would not be run, and why."""

from __future__ import annotations

from lunasched.dataclass import dataclass
from lunasched.transfer.crontab import CronFormat, CrontabSource
from lunasched.transfer.crontab.served import served


@dataclass(frozen=True, slots=True)
class CheckedCrontab:
    """What a crontab would do; each text is ``"file":line: message``."""

    faults: tuple[str, ...]
    """The lines that would not be run."""
    notes: tuple[str, ...]
    """The lines of which a part would have no effect."""


def check(text: bytes, user: str, label: str) -> CheckedCrontab:
    """Read a crontab as it would be run for a user; ``label`` is the name of its file."""
    source = CrontabSource(label, CronFormat.USER, prefix="crontab", user=user)
    found = served(text, source, (), lambda name: False)
    return CheckedCrontab(_texts(label, found.faults), _texts(label, found.notes))


def _texts(label: str, said: tuple[tuple[int, str], ...]) -> tuple[str, ...]:
    return tuple(
        f'"{label}":{line}: {message}' if line else f'"{label}": {message}'
        for line, message in said
    )
