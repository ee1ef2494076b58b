"""The changes that turn the jobs in the database into the requested ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lunasched.jobs.model import Job

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

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to do."""
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
    """Plan the changes from the jobs in the database to ``jobs``; with ``prune``, to these
    alone."""
    existing = _existing(jobs, store, prune)
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
