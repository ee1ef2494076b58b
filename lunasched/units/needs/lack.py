"""One thing that a job needs and that is not there."""

from __future__ import annotations

from lunasched.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Lack:
    """Something is missing: of which job, by which key, and what to do about it."""

    job: str
    key: str
    """As in a job file: ``working_directory``, ``hooks.on_failure``, ``systemd.Group``."""
    value: str
    what: str
    """The problem, with the value in it."""
    effect: str
    """The effect on the runs as long as it is so."""
    remedy: str
    is_certain: bool = True
    """True if systemd itself would refuse each run that is to come, as things are now."""
    fix: str = ""
    """A command line that fixes it, apart from changing the job."""

    @property
    def is_of_account(self) -> bool:
        """Tell if it is about users and groups, and not about files."""
        return self.key in ("user", "systemd.Group", "systemd.SupplementaryGroups")

    def __str__(self) -> str:
        return f"{self.job}: {self.key}: {self.what}; {self.effect}; {self.remedy}"
