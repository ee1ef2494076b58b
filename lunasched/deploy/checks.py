"""Whether jobs may depend on one another as a change would have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lunasched import dependencies
from lunasched.errors import InvalidInput, InvalidJob
from lunasched.model import ExecutionMode, Job

if TYPE_CHECKING:
    from lunasched.store import Store


def check_dependencies(job: Job, store: Store) -> None:
    """Refuse a job that cannot be, among those that there are; raises ``InvalidJob``."""
    problems = []
    for name in job.dependencies:
        dependency = job if name == job.name else store.jobs.get(name)
        if dependency is None:
            problems.append(f"dependencies: there is no job {name!r}; add it first")
        elif dependency.mode is ExecutionMode.PARALLEL:
            problems.append(
                f"dependencies: {name!r} is a Parallel job: its runs overlap, and there is no "
                "latest one that could be waited for"
            )
    dependents = store.jobs.dependent_names(job.name)
    if job.mode is ExecutionMode.PARALLEL and dependents:
        problems.append(
            f"execution_mode: a job that others depend on ({_listed(dependents)}) "
            "cannot be Parallel"
        )
    if not problems:
        circle = dependencies.cycle(job.name, job.dependencies, _dependencies_in(store))
        if circle is not None:
            problems.append(f"dependencies: they go round in a circle: {' -> '.join(circle)}")
    if problems:
        raise InvalidJob(problems)


def check_removable(name: str, store: Store) -> None:
    """Refuse to remove a job that others depend on."""
    dependents = store.jobs.dependent_names(name)
    if dependents:
        raise InvalidInput(
            f"the job {name!r} was not removed, because others depend on it: "
            f"{_listed(dependents)}; remove or change them first"
        )


def _dependencies_in(store: Store) -> dependencies.Dependencies:
    def of(name: str) -> Sequence[str]:
        job = store.jobs.get(name)
        return () if job is None else job.dependencies

    return of


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
