"""The table of jobs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache

from lunasched.formats.printable import command_text
from lunasched.history.overview import JobLine, ListedJob
from lunasched.jobs.model import Command, Job
from lunasched.jobs.origin import JobOrigin
from lunasched.store.connection import Execute, Row


class JobTable:
    """Jobs by name."""

    def __init__(self, execute: Execute) -> None:
        self._execute = execute

    def all(self) -> list[Job]:
        """Every job, in the order of the names."""
        return [_job(row) for row in self._execute("all_jobs")]

    def get(self, name: str) -> Job | None:
        """The job of this name."""
        rows = self._execute("one_job", name=name)
        return _job(rows[0]) if rows else None

    def get_with_time(self, name: str) -> tuple[Job, int] | None:
        """The job of this name and when it was last added or changed."""
        rows = self._execute("one_job", name=name)
        return (_job(rows[0]), rows[0]["updated_at"]) if rows else None

    def some(self, names: Iterable[str]) -> dict[str, tuple[Job, int]]:
        """These jobs, by their names, each with when it was last added or changed."""
        rows = self._execute("some_jobs", names=json.dumps(list(names)))
        return {row["name"]: (_job(row), row["updated_at"]) for row in rows}

    def removed_when_over(self) -> list[str]:
        """The names of the jobs that are to be removed when they are over."""
        return [row["name"] for row in self._execute("removed_when_over")]

    def lines(self) -> list[JobLine]:
        """As much of every job as it takes to find it, in the order of the names."""
        return [
            JobLine(
                row["name"],
                bool(row["enabled"]),
                tuple(json.loads(row["tags"])),
                command_text(_frozen(json.loads(row["command"]))),
            )
            for row in self._execute("job_lines")
        ]

    def listed(self) -> list[ListedJob]:
        """As much of every job as a list shows, in the order of the names."""
        return [
            ListedJob(
                row["name"],
                row["schedule"],
                row["timezone"],
                bool(row["enabled"]),
                tuple(json.loads(row["tags"])),
                row["updated_at"],
                JobOrigin(row["source"], row["line"], "").label if row["source"] else "",
            )
            for row in self._execute("listed_jobs")
        ]

    def names(self) -> list[str]:
        """The names of all jobs, in order."""
        return [row["name"] for row in self._execute("job_names")]

    def enabled_names(self) -> list[str]:
        """The names of the jobs that are enabled, in order."""
        return [row["name"] for row in self._execute("enabled_names")]

    def possible_intervals(self) -> dict[str, int]:
        """The enabled jobs that may have an interval, each with when it was last added or changed.

        Every job that has one is among them, and no job of a schedule without the word.
        """
        return {row["name"]: row["updated_at"] for row in self._execute("possible_intervals")}

    def dependents(self, name: str) -> list[Job]:
        """The jobs that wait for a job, in the order of their names."""
        return [_job(row) for row in self._execute("dependents", name=name)]

    def dependent_names(self, name: str) -> list[str]:
        """The names of the jobs that wait for a job, in order."""
        return [row["job"] for row in self._execute("dependent_names", name=name)]

    def any_exclusive(self) -> bool:
        """Tell whether there is an Exclusive job."""
        return bool(self._execute("any_exclusive")[0][0])

    def put(self, job: Job, now: int) -> None:
        """Add the job, or put it in the place of the one that has its name."""
        self.put_as_it_was(job, now, now)

    def put_as_it_was(self, job: Job, created_at: int, updated_at: int) -> None:
        """The same of a job that was added and changed elsewhere; µs, UTC."""
        definition = json.dumps(job.to_mapping(), ensure_ascii=False, separators=(",", ":"))
        self._execute(
            "put_job",
            name=job.name,
            definition=definition,
            created_at=created_at,
            updated_at=updated_at,
        )
        self._execute("delete_dependencies", job=job.name)
        for dependency in job.waits_for:
            self._execute("put_dependency", job=job.name, depends_on=dependency)

    def delete(self, name: str) -> None:
        """Remove the job; its runs stay in the history."""
        self._execute("delete_job", name=name)
        self._execute("delete_dependencies", job=name)
        self._execute("delete_origin", job=name)
        self._execute("delete_adopted", job=name)

    def origins(self, names: Iterable[str] | None = None) -> dict[str, JobOrigin]:
        """The origins of the jobs that have one, by name; of these jobs or of all."""
        if names is None:
            rows = self._execute("origins")
        else:
            rows = self._execute("origins_of", names=json.dumps(list(names)))
        return {row["job"]: _origin(row) for row in rows}

    def put_origin(self, name: str, origin: JobOrigin) -> None:
        """Note where a job comes from."""
        self._execute(
            "put_origin",
            job=name,
            source=origin.source,
            line=origin.line,
            text=origin.text,
            inherited=" ".join(origin.inherited),
        )

    def adopt(self, name: str) -> None:
        """Make the job of a crontab one of no crontab; its entry there is to make none again."""
        self._execute("put_adopted", job=name)
        self._execute("delete_origin", job=name)

    def adopted(self) -> list[tuple[str, str, str]]:
        """The jobs that were adopted, each with the path and text of the entry that it was."""
        return [(row["job"], row["source"], row["text"]) for row in self._execute("adopted")]

    def forget_adopted(self, name: str) -> None:
        """Forget what entry a job was: it is in the crontab no more."""
        self._execute("delete_adopted", job=name)

    def updated_at(self) -> dict[str, int]:
        """Return the last time at which each job was added or changed."""
        return {row["name"]: row["updated_at"] for row in self._execute("job_times")}

    def facts(self) -> list[Row]:
        """The name, change, schedule, zone and state of every job, in the order of the names."""
        return self._execute("job_facts")


def _origin(row: Row) -> JobOrigin:
    inherited = tuple(row["inherited"].split())
    return JobOrigin(row["source"], row["line"], row["text"], inherited)


def _frozen(command: str | list[str]) -> Command:
    return command if isinstance(command, str) else tuple(command)


def _job(row: Row) -> Job:
    return _defined(row["definition"])


@lru_cache(maxsize=64)
def _defined(definition: str) -> Job:
    """Return the job of a definition; the supervisor asks for a few again and again."""
    return Job.from_mapping(json.loads(definition))
