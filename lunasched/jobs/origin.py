"""The origin of a job that is an entry of a crontab: the file, the line, and what it says there."""

from __future__ import annotations

from pathlib import PurePath

from lunasched.dataclass import dataclass
from lunasched.paths import CRONTAB_SPOOLS

_ETC = PurePath("/etc")


@dataclass(frozen=True, slots=True)
class JobOrigin:
    """One entry of a crontab, or one script of a directory such as ``/etc/cron.daily``."""

    source: str
    """The path of the file."""
    line: int
    """The number of the entry's line, from 1; 0 for a script."""
    text: str
    """The line as it is written, without the end of the line; empty for a script."""
    inherited: tuple[str, ...] = ()
    """The names of the job's variables that are the machine's, and not set by the crontab."""

    @property
    def label(self) -> str:
        """The origin as a list shows it: ``crontab of alice:7``, ``cron.d/php:3``."""
        return f"{label(self.source)}:{self.line}" if self.line else label(self.source)


def label(source: str) -> str:
    """The file of an origin as a list shows it."""
    path = PurePath(source)
    if path.parent in CRONTAB_SPOOLS:
        return f"crontab of {path.name}"
    if path.parent != _ETC and path.is_relative_to(_ETC):
        return str(path.relative_to(_ETC))
    return source
