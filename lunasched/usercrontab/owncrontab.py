"""The crontab of a user who has lunasched for themselves alone, in their own service manager."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from lunasched.errors import LunaschedError
from lunasched.paths import Mode, Paths
from lunasched.usercrontab.spool import Spool


class OwnCrontab(Spool):
    """The same as the spool, of one file; its entries are jobs as soon as it is written."""

    def __init__(self) -> None:
        self._file = Paths.of(Mode.USER, os.environ).crontab
        super().__init__(self._file.parent)

    def write(self, user: str, text: bytes, owner: tuple[int, int] | None = None) -> None:
        """Replace the text, and make its jobs."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        super().write(user, text, owner)
        self._serve()

    def remove(self, user: str) -> bool:
        """Remove the file, and its jobs; ``False`` if there is none."""
        removed = super().remove(user)
        if removed:
            self._serve()
        return removed

    def _path(self, user: str) -> Path:
        return self._file

    def _serve(self) -> None:
        beside = Path(sys.argv[0]).resolve().with_name("lunasched")
        program = str(beside) if beside.exists() else shutil.which("lunasched")
        if program is None:
            raise LunaschedError("the crontab is changed, and its jobs are not: no lunasched found")
        command = [program, "--user", "crontabs"]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise LunaschedError("the crontab is changed, and its jobs are not, as said above")
