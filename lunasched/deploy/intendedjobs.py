"""All jobs as a change would have them, and what each compiles to among the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lunasched.units import compiler
from lunasched.units.concurrency import has_launcher

if TYPE_CHECKING:
    from lunasched.jobs.model import Job
    from lunasched.store import Store
    from lunasched.units.compiler import CompiledJob, Context


class IntendedJobs:
    """The jobs in the database, some of them changed."""

    def __init__(self, store: Store, context: Context, changed: Mapping[str, Job | None]) -> None:
        """``changed`` has the jobs that differ, by name; ``None`` for one that is gone."""
        self._store = store
        self._context = context
        self._changed = changed
        self._dependents: dict[str, list[str]] = {}
        for name, job in changed.items():
            for dependency in job.waits_for if job else ():
                self._dependents.setdefault(dependency, []).append(name)

    def get(self, name: str) -> Job | None:
        """The job of this name."""
        return self._changed[name] if name in self._changed else self._store.jobs.get(name)

    def is_removed(self, name: str) -> bool:
        """Tell whether the change takes the job away."""
        return name in self._changed and self._changed[name] is None

    def dependent_names(self, name: str) -> list[str]:
        """The names of the jobs that wait for a job, in order."""
        stored = self._store.jobs.dependent_names(name)
        others = (dependent for dependent in stored if dependent not in self._changed)
        return sorted({*others, *self._dependents.get(name, ())})

    def waits_for(self, name: str) -> Sequence[str]:
        """The names of the jobs that a job waits for."""
        job = self.get(name)
        return () if job is None else job.waits_for

    def compile(self, job: Job, depended_on: bool | None = None) -> CompiledJob:
        """The units of a job; ``depended_on`` says otherwise than the jobs do."""
        if depended_on is None:
            depended_on = bool(self.dependent_names(job.name))
        found = (self.get(name) for name in job.waits_for)
        launched = [one.name for one in found if one is not None and has_launcher(one)]
        return compiler.compile(job, self._context, depended_on=depended_on, launched=launched)
