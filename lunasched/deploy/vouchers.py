"""What root has asked for, as far as the database cannot be taken at its word.

The system's database belongs to the supervisor's user, and units run as root. Whoever took the
supervisor over could write a job into the database and have ``lunasched-sync.service`` deploy it.
So what brings units up to date without root having asked for that deploys only what root is known
to have asked for: a job whose deployed service has the hash of its definition, or that a change
was about which did not come to its end. Both are in files that only root writes.

In user mode, who may write the one may write the other, and nothing needs to be vouched for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lunasched import unittext
from lunasched.compiler import job_hash, job_hash_line
from lunasched.config import Mode
from lunasched.errors import DeploymentFailed, UnitConflict
from lunasched.unitdir import UnitDirectory

if TYPE_CHECKING:
    from lunasched.config import Paths
    from lunasched.model import Job

# ":" does not occur in the names of jobs' files.
_NAME = "change:record"


class Vouchers:
    """The units of one mode, and the record of a change that is being made."""

    def __init__(self, mode: Mode, paths: Paths, units: UnitDirectory) -> None:
        self._needed = mode is Mode.SYSTEM
        self._units = units
        self._path = paths.slots / _NAME
        self._files = UnitDirectory(self._path.parent, mark="", prefix=self._path.name)

    def note(self, put: Iterable[Job], removed: Iterable[str]) -> None:
        """Say what root is about to change; what was said of an unfinished change stays."""
        if not self._needed:
            return
        hashes, names = self._noted()
        record = {
            "put": sorted({*hashes, *map(job_hash, put)}),
            "removed": sorted({*names, *removed}),
        }
        with self._files.stage({_NAME: json.dumps(record)}) as staged:
            staged.install()

    def drop(self) -> None:
        """Forget what was noted: the units are what the database says."""
        if self._needed:
            self._path.unlink(missing_ok=True)

    def stand_for(self, job: Job) -> bool:
        """Whether root has asked for this definition of the job."""
        if not self._needed:
            return True
        try:
            deployed = self._units.read(unittext.service_name(job.name)) or ""
        except UnitConflict:
            deployed = ""
        return job_hash_line(job) in deployed.splitlines()[:3] or job_hash(job) in self._noted()[0]

    def check(self, job: Job) -> None:
        """Raise ``DeploymentFailed`` where the job is not one that root has asked for."""
        if not self.stand_for(job):
            raise DeploymentFailed(UNVOUCHED.format(name=job.name))

    def removed(self) -> set[str]:
        """The jobs that root has asked to remove."""
        return self._noted()[1]

    def _noted(self) -> tuple[set[str], set[str]]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            return set(found["put"]), set(found["removed"])
        except (OSError, ValueError, KeyError, TypeError):
            return set(), set()


UNVOUCHED = (
    "its units are not those of the job {name!r} in the database; look at it, and if it shall be "
    "so, let root run: lunasched sync"
)
