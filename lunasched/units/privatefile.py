"""The file that keeps what a private job runs: for root alone, and for the job's own processes.

Everybody may read units, and ask systemd for what is in them. What is in an ``EnvironmentFile=``
systemd reads each time when it starts a process, and says to nobody; and ``${NAME}`` in a command
is one argument, whatever is in the variable (systemd.exec(5), systemd.service(5)).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from lunasched.formats import unittext
from lunasched.formats.pattern import pattern
from lunasched.formats.unittext import UnitText
from lunasched.jobs.model import Command, Job

_VARIABLE = "LUNASCHED_ARGUMENT"
# systemd takes the path for a pattern, and a backslash there for an escape (glob(7)).
_OF_PATTERNS = pattern(r"([\\*?\[\]])")


class PrivateFile:
    """The variables of a job: its own, and the arguments of its commands."""

    def __init__(self, job: Job, directory: Path) -> None:
        """``directory`` is that of the units."""
        self.name = unittext.private_name(job.name)
        self._path = str(directory / self.name)
        self._variables = [unittext.assigned(*pair) for pair in job.environment]

    @property
    def reference(self) -> UnitText:
        """The value of ``EnvironmentFile=``."""
        return unittext.directory(_OF_PATTERNS.sub(r"\\\1", self._path))

    def hide(self, command: Command, of: str = "") -> list[str | UnitText]:
        """Return a command whose arguments stand in the file; ``of`` tells apart those of a job."""
        shown, hidden = command[:1], command[1:]
        if isinstance(command, str):
            shown, hidden = unittext.SHELL, (command,)
        found: list[str | UnitText] = [*shown]
        for number, argument in enumerate(hidden, 1):
            name = "_".join(filter(None, (_VARIABLE, of.upper(), str(number))))
            name = re.sub(r"[^A-Z0-9_]", "_", name)
            self._variables.append(unittext.assigned(name, argument))
            found.append(UnitText(f"${{{name}}}"))
        return found

    def text(self, heading: Iterable[UnitText]) -> str:
        """The content of the file, once all commands of the job are hidden."""
        lines = [*(line.text for line in heading), *(one.text for one in self._variables)]
        return "".join(f"{line}\n" for line in lines)
