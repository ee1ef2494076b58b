"""The changes that turn the jobs in the database into the requested ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING

from lunasched.dataclass import dataclass
from lunasched.errors import InvalidInput
from lunasched.jobs.model import Job
from lunasched.jobs.origin import JobOrigin

if TYPE_CHECKING:
    from lunasched.store import Store

# Up to this number, jobs are read one by one.
_FEW = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """A change of jobs, in the order in which they were requested."""

    added: tuple[Job, ...] = ()
    changed: tuple[tuple[Job, Job], ...] = ()
    """Each as it is, and as it was requested."""
    removed: tuple[Job, ...] = ()
    unchanged: tuple[Job, ...] = ()
    origins: Mapping[str, JobOrigin] = field(default_factory=dict)
    """Where those of the jobs come from that are entries of a crontab."""

    @property
    def is_empty(self) -> bool:
        """True if no job changes; where one comes from still may."""
        return not (self.added or self.changed or self.removed)

    @property
    def put(self) -> tuple[Job, ...]:
        """The jobs whose definitions change, as they were requested."""
        return (*self.added, *(after for _, after in self.changed))

    @property
    def before(self) -> dict[str, Job | None]:
        """The jobs in question as they are; ``None`` for those that there are not."""
        return {
            **{job.name: None for job in self.added},
            **{job.name: job for job, _ in self.changed},
            **{job.name: job for job in self.removed},
        }

    @property
    def after(self) -> dict[str, Job | None]:
        """The same as they were requested."""
        return {
            **{job.name: job for job in self.put},
            **{job.name: None for job in self.removed},
        }


def plan(jobs: Sequence[Job], store: Store, *, prune: bool = False) -> Plan:
    """Plan the changes from the jobs in the database to ``jobs``; with ``prune``, to these alone.

    The entries of crontabs are jobs of others: none is removed, and ``InvalidInput`` is raised
    where one would change.
    """
    existing = _existing(jobs, store, prune)
    origins = store.jobs.origins(existing)
    names = {job.name for job in jobs}
    own = {name: job for name, job in existing.items() if name in names or name not in origins}
    found = _changes(jobs, own)
    for job, _ in found.changed:
        check_own(job.name, origins.get(job.name))
    return found


Entries = Sequence[tuple[Job, JobOrigin]]
"""The jobs of a crontab, each with its line."""


def plan_sources(entries: Mapping[str, Entries], store: Store) -> Plan:
    """Plan the changes that make the jobs of all crontabs those of ``entries`` (by path).

    A crontab that is not among them has no jobs any more. Raises ``InvalidInput`` where an entry
    has the name of a job that is of no crontab, or two have one name.
    """
    wanted = [entry for each in entries.values() for entry in each]
    existing = {name: job for name, (job, _) in store.jobs.some(store.jobs.origins()).items()}
    new = [job.name for job, _ in wanted if job.name not in existing]
    for name in store.jobs.some(new):
        raise InvalidInput(f"there is a job {name!r} already, and it is of no crontab")
    found = _changes([job for job, _ in wanted], existing)
    origins = {job.name: origin for job, origin in wanted}
    if len(origins) != len(wanted):
        raise InvalidInput("two entries of crontabs have the same name")
    return replace(found, origins=origins)


def check_own(name: str, origin: JobOrigin | None) -> None:
    """Raise ``InvalidInput`` for the job of a crontab, which is not to be changed elsewhere."""
    if origin is not None:
        raise InvalidInput(
            f"the job {name!r} comes from a crontab ({origin.label}), and is changed there alone"
        )


def check_entry(name: str, origin: JobOrigin | None) -> JobOrigin:
    """Return the origin of a job; raises ``InvalidInput`` where that is not an entry."""
    if origin is None:
        raise InvalidInput(f"the job {name!r} comes from no crontab: it is one of its own")
    if not origin.line:
        raise InvalidInput(
            f"the job {name!r} is the script {origin.source}, which a crontab runs; to make it a "
            "job of its own, add one, and take the script out of the directory"
        )
    return origin


def _changes(jobs: Sequence[Job], existing: Mapping[str, Job]) -> Plan:
    """The changes from the ``existing`` jobs to ``jobs`` alone."""
    added, changed, unchanged = [], [], []
    for job in jobs:
        before = existing.get(job.name)
        if before is None:
            added.append(job)
        elif before == job:
            unchanged.append(job)
        else:
            changed.append((before, job))
    names = {job.name for job in jobs}
    removed = [job for name, job in existing.items() if name not in names]
    return Plan(tuple(added), tuple(changed), tuple(removed), tuple(unchanged))


def _existing(jobs: Sequence[Job], store: Store, prune: bool) -> dict[str, Job]:
    """The jobs that there are, of those in question."""
    if prune or len(jobs) > _FEW:
        names = {job.name for job in jobs}
        return {job.name: job for job in store.jobs.all() if prune or job.name in names}
    found = (store.jobs.get(job.name) for job in jobs)
    return {job.name: job for job in found if job is not None}
