"""All jobs of a database together, into the text of their units."""

from __future__ import annotations

from collections.abc import Iterable

from lunasched.dataclass import dataclass
from lunasched.errors import InvalidInput
from lunasched.jobs.model import ExecutionMode, Job
from lunasched.units import compiler
from lunasched.units.compiler import CompiledJob, Context
from lunasched.units.concurrency import has_launcher


@dataclass(frozen=True, slots=True)
class Compilation:
    """The units that should be deployed."""

    compiled: tuple[CompiledJob, ...]
    failed: tuple[tuple[str, str], ...]
    """The jobs that cannot be compiled any more, and why."""
    depended_on: frozenset[str]
    """The names of the jobs that others wait for."""


def compile_all(jobs: Iterable[Job], context: Context) -> Compilation:
    """The units of jobs that are all there are."""
    jobs = list(jobs)
    depended_on = frozenset(name for job in jobs for name in job.waits_for)
    launched = {job.name for job in jobs if has_launcher(job)}
    compiled, failed = [], []
    for job in jobs:
        try:
            compiled.append(
                compiler.compile(
                    job,
                    context,
                    depended_on=job.name in depended_on,
                    launched=launched.intersection(job.waits_for),
                )
            )
        except InvalidInput as error:
            failed.append((job.name, str(error)))
    return Compilation(tuple(compiled), tuple(failed), depended_on)


def needs_gate(jobs: Iterable[Job], max_concurrent_jobs: int) -> bool:
    """Tell whether jobs have to look at the gate: there is an Exclusive one, or a limit to all."""
    return bool(max_concurrent_jobs) or any(job.mode is ExecutionMode.EXCLUSIVE for job in jobs)
