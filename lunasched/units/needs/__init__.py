"""The needs of a job, and those that the machine does not meet. Pure: the machine is asked.

::

    Job ─► accounts: user, groups, home     ─┐
           files: directories, files, mounts ├─► Lack: job, key, value, what is wrong, what to do
           programs: commands, interpreters ─┘

Only what is known is said. Where directives give a job files of its own, where a path is mounted
for it, or where nobody here may look, nothing is known, and nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from lunasched.units.needs import accounts, openedfiles, programs
from lunasched.units.needs.lack import Lack
from lunasched.units.needs.machinequestions import Absence, Account, FileKind, Machine, Seen
from lunasched.units.needs.place import Place

if TYPE_CHECKING:
    from lunasched.jobs.model import Job


def lacking(jobs: Iterable[Job], machine: Machine) -> list[Lack]:
    """Return what jobs need and the machine has not, in the order of the jobs."""
    return [lack for job in jobs for lack in _of(job, machine)]


def _of(job: Job, machine: Machine) -> Iterator[Lack]:
    place = Place.of(job, machine)
    for look in (accounts.account_lacks, openedfiles.file_lacks, programs.program_lacks):
        yield from look(place)


__all__ = ["Absence", "Account", "FileKind", "Lack", "Machine", "Seen", "lacking"]
