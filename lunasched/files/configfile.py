"""A whole file of jobs: ``jobs:``, what they have in common, and settings beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lunasched.dataclass import dataclass
from lunasched.errors import InvalidJob
from lunasched.files import settings
from lunasched.files.settings import JOBS
from lunasched.formats.document import Document
from lunasched.jobs.model import Job
from lunasched.jobs.reading import NO_DEFAULTS, Defaults, dotted, job_from_mapping


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One job of a file, and where it is."""

    job: Job
    document: Document
    index: int

    def place(self, key: str = "") -> str:
        """Return the place of the job, or of a key of it: ``jobs.yaml:7: jobs[0].name: ``."""
        path = (JOBS, self.index, *((key,) if key else ()))
        return f"{self.document.source}:{self.document.line(path)}: {dotted(path)}: "


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """The content of a file."""

    source: str
    entries: tuple[FileEntry, ...]
    present: tuple[str, ...]
    """Settings that are in it and are not for its jobs alone."""
    warnings: tuple[str, ...]


def read_config(document: Document, *, base: Defaults = NO_DEFAULTS) -> ConfigFile:
    """The jobs of a file; ``base`` is what they have that say nothing else, as the file does not.

    Raises ``InvalidJob`` with all that is wrong, each as ``file:line: jobs[3].key: message``.
    """
    problems: list[str] = []
    defaults = base
    said = settings.Read(settings.Settings())
    try:
        said = settings.of_document(document, base)
        defaults = said.settings.defaults
    except InvalidJob as error:
        problems += error.problems
    entries = _entries(document, defaults, problems)
    _check_names(entries, problems)
    if problems:
        raise InvalidJob(problems)
    return ConfigFile(document.source, tuple(entries), said.present, said.warnings)


def check_distinct(files: list[ConfigFile]) -> None:
    """Refuse files of which two have a job of the same name; raises ``InvalidJob``."""
    problems: list[str] = []
    _check_names([entry for file in files for entry in file.entries], problems)
    if problems:
        raise InvalidJob(problems)


def _entries(document: Document, defaults: Defaults, problems: list[str]) -> list[FileEntry]:
    content = document.value if isinstance(document.value, Mapping) else {}
    listed: Any = content.get(JOBS)
    if listed is None:
        return []
    if not isinstance(listed, list):
        problems.append(
            f"{document.source}:{document.line((JOBS,))}: {JOBS}: it must be a list of jobs, "
            "each with its keys: - name: backup"
        )
        return []
    entries = []
    for index, mapping in enumerate(listed):
        try:
            entries.append(FileEntry(_job(document, index, mapping, defaults), document, index))
        except InvalidJob as error:
            problems += error.problems
    return entries


def _job(document: Document, index: int, mapping: object, defaults: Defaults) -> Job:
    def label(path: tuple[str | int, ...]) -> str:
        return dotted((JOBS, index, *path))

    def place(path: tuple[str | int, ...]) -> str:
        return f"{document.source}:{document.line((JOBS, index, *path))}: "

    if not isinstance(mapping, Mapping):
        raise InvalidJob([f"{place(())}{label(())}: it must be a mapping of keys to values"])
    return job_from_mapping(mapping, defaults=defaults, label=label, place=place)


def _check_names(entries: list[FileEntry], problems: list[str]) -> None:
    first: dict[str, FileEntry] = {}
    for entry in entries:
        known = first.setdefault(entry.job.name, entry)
        if known is not entry:
            other = known.place("name").removesuffix(": ")
            problems.append(
                f"{entry.place('name')}{entry.job.name!r} is the name of another job, too: {other}"
            )
