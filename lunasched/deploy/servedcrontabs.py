"""The use case that makes the jobs of all crontabs what their files say.

One entry that cannot be a job does not keep the others from being some: it is reported. All that
changes is one change of jobs, so that a machine with a hundred crontabs has one reload for them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from lunasched.errors import InvalidJobs
from lunasched.transfer.crontab.served import served

if TYPE_CHECKING:
    from lunasched.deploy.plan import Entries
    from lunasched.jobs.origin import JobOrigin
    from lunasched.store.jobtable import JobTable
    from lunasched.transfer.crontab import CrontabSource


@dataclass(frozen=True, slots=True)
class CrontabFault:
    """An entry that is not run, or not as it is written."""

    source: str
    """The path of the file."""
    line: int
    """0 for the whole file."""
    message: str


_Done = TypeVar("_Done")


def serve(
    put: Callable[[Callable[[JobTable], Mapping[str, Entries]]], _Done],
    crontabs: Iterable[tuple[bytes, CrontabSource]],
) -> tuple[_Done, list[CrontabFault]]:
    """Make the jobs of crontabs those of these files, and of no others.

    ``put`` makes the jobs those that its argument gives for the jobs there are
    (``Deployer.put_sources``); what it returns is returned, with what is not run. Raises what it
    raises, apart from ``InvalidJobs`` of entries: they are left out.
    """
    reading = _Reading(list(crontabs))
    while True:
        try:
            done = put(reading.entries)
        except InvalidJobs as error:
            if not reading.leave_out(error.faults):
                raise
        else:
            return done, reading.faults


class _Reading:
    """The crontabs as they are read: again without what turned out to be no job."""

    def __init__(self, crontabs: list[tuple[bytes, CrontabSource]]) -> None:
        self._crontabs = crontabs
        self._left_out: dict[str, str] = {}
        self.faults: list[CrontabFault] = []

    def leave_out(self, faults: Iterable[tuple[str, str]]) -> bool:
        """Leave out jobs for what is wrong with them; ``False`` if all of them are already."""
        new = {name: problem for name, problem in faults if name not in self._left_out}
        self._left_out |= new
        return bool(new)

    def entries(self, jobs: JobTable) -> Mapping[str, Entries]:
        """The jobs of each crontab, by its path."""
        known: dict[str, list[tuple[str, JobOrigin]]] = defaultdict(list)
        for name, origin in jobs.origins().items():
            known[origin.source].append((name, origin))
        # In the order of their lines, which is that in which names were given.
        for each in known.values():
            each.sort(key=lambda one: one[1].line)
        taken = set(jobs.names())
        self.faults = []
        found: dict[str, Entries] = {}
        for data, source in self._crontabs:
            own = {name for name, _ in known[source.label]}
            entries = served(data, source, known[source.label], (taken - own).__contains__)
            taken |= {job.name for job, _ in entries.jobs}
            said = sorted((*entries.faults, *entries.notes))
            self.faults += [CrontabFault(source.label, *one) for one in said]
            self.faults += [
                CrontabFault(source.label, origin.line, self._left_out[job.name])
                for job, origin in entries.jobs
                if job.name in self._left_out
            ]
            found[source.label] = [
                (job, origin) for job, origin in entries.jobs if job.name not in self._left_out
            ]
        return found
