"""The report on a database of Lunasched 1.x, for people."""

from __future__ import annotations

from pathlib import Path

from lunasched.dataclass import dataclass
from lunasched.store.legacy.oldjobs import Converted


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationReport:
    """The jobs and runs that were taken over, and those that were not."""

    database: Path
    schema: int
    """The schema version of 1.x; 0 is the one before versions."""
    backup: Path
    """The file as it was."""
    written: Path
    """The file that holds ``text``."""
    jobs: tuple[Converted, ...]
    runs: int
    runs_left: int
    """Runs without a time that can be read."""

    def summary(self) -> list[str]:
        """A line for each thing to know; without commands, which may hold secrets."""
        taken = sum(one.job is not None for one in self.jobs)
        lines = [
            f"{self.database} was a database of Lunasched 1.x: {taken} of {len(self.jobs)} jobs "
            f"and {self.runs} runs were taken over; the file as it was is {self.backup}"
        ]
        if self.runs_left:
            lines.append(f"{self.runs_left} runs have no time that can be read and were left out")
        for one in self.jobs:
            lines += [f"job {one.name!r} was not taken over: {text}" for text in one.problems]
            lines += [f"job {one.name!r}: {text}" for text in one.notes if one.job is not None]
        return [*lines, f"all of this, and how to add what was left out, is in {self.written}"]

    def text(self) -> str:
        """All of it, with the commands that add what was not taken over."""
        left = [one for one in self.jobs if one.job is None]
        lines = [*self.summary()[:-1], ""]
        lines += [
            "Commands of 1.x ran in /tmp, and hooks as the daemon's user. Now they run in the home",
            "directory of the job's user, and as that user. Limits of memory and CPU are enforced.",
            "Retries in progress and the log of notifications are in the backup only.",
            "",
            "The jobs have timers once this has run, which the supervisor does when it takes a "
            "database over:",
            "",
            "    lunasched sync",
        ]
        if left:
            lines += ["", "To add what was left out, put right what is wrong in:", ""]
            lines += [f"    {one.command}" for one in left]
        return "\n".join(lines) + "\n"
