"""Drop-ins of the running system for timers that are started later than at boot.

One lasts until the next boot: until then the lines of the timer's file are not those that hold.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from lunasched.dataclass import dataclass
from lunasched.state.unitdir import UnitDirectory

FIRST_RUN = "lunasched-first-run.conf"
"""The name of each; systemd reads it with a timer that it does not know yet, without a reload."""


@dataclass(frozen=True, slots=True)
class FirstRuns:
    """Those of one service manager, in the directory of its runtime units."""

    path: Path

    def write(self, timer: str, text: str) -> None:
        """Put the drop-in of a timer there, if it is another one."""
        files = UnitDirectory(self._directory(timer), mark="#", prefix=FIRST_RUN)
        if files.read(FIRST_RUN) == text:
            return
        with files.stage({FIRST_RUN: text}) as staged:
            staged.install()

    def remove(self, timer: str) -> None:
        """Take it away; what an administrator has beside it stays."""
        directory = self._directory(timer)
        with suppress(OSError):
            (directory / FIRST_RUN).unlink()
            directory.rmdir()

    def is_all_of(self, path: Path) -> bool:
        """Tell if a path is a directory with nothing but such a drop-in."""
        try:
            here = path.parent == self.path
            return here and [file.name for file in path.iterdir()] == [FIRST_RUN]
        except OSError:
            return False

    def _directory(self, timer: str) -> Path:
        return self.path / f"{timer}.d"
