"""The units that a change of jobs replaces, as texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lunasched.dataclass import dataclass
from lunasched.formats import unittext
from lunasched.jobs.dependencies import keeps_success
from lunasched.jobs.model import HookEvent
from lunasched.jobs.origin import JobOrigin
from lunasched.units import commandchannels
from lunasched.units.compiler import CompiledJob


@dataclass(frozen=True, slots=True)
class Change:
    """The units that a change of jobs replaces, and what was there before."""

    jobs: tuple[CompiledJob, ...]
    """The jobs that are put."""
    others: tuple[CompiledJob, ...]
    """The jobs whose services change with them."""
    removed: tuple[str, ...]
    """The names of the jobs that are gone."""
    old_texts: dict[str, str | None]
    """Of all units that the jobs may have, and of those of the others."""
    old_origins: dict[str, JobOrigin]
    """Where those of the jobs came from that were entries of a crontab."""

    @property
    def compiled(self) -> tuple[CompiledJob, ...]:
        """The jobs first."""
        return (*self.jobs, *self.others)

    @property
    def stale(self) -> list[str]:
        """The units that the jobs had and have no more; of those that are gone, all."""
        names = texts(self.jobs).keys()
        stale = [unit for job in self.removed for unit in file_names(job)]
        for item in self.jobs:
            stale += [
                unit
                for unit in file_names(item.job.name)
                if unit not in names and self.old_texts[unit] is not None
            ]
        kept = texts(self.compiled).keys()
        for unit, text in self.old_texts.items():
            if commandchannels.is_unit(unit) and text is not None and unit not in kept:
                stale.append(unit)
        return stale

    @property
    def gained(self) -> list[str]:
        """The jobs of which we have to say ourselves whether their latest run was a success."""
        return gained(self.compiled, self.old_texts)


def file_names(job: str) -> list[str]:
    """The units that a job may have, apart from those of commands, which are called after them.

    And the file beside them, if it is private.
    """
    return [
        unittext.service_name(job),
        unittext.timer_name(job),
        unittext.launch_name(job),
        *(unittext.hook_name(job, event.value) for event in HookEvent),
        unittext.private_name(job),
    ]


def texts(compiled: Iterable[CompiledJob]) -> dict[str, str]:
    """The units of jobs and the files beside them, name to text."""
    return {file.name: file.text for job in compiled for file in job.files}


def gained(compiled: Iterable[CompiledJob], old_texts: Mapping[str, str | None]) -> list[str]:
    """The jobs whose service will note its success and does not yet."""
    return [
        item.job.name
        for item in compiled
        if keeps_success(item.service.text) and not keeps_success(old_texts[item.service.name])
    ]
