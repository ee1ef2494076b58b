"""The use case that makes the jobs of all crontabs what their files say.

One entry that cannot be a job does not keep the others from being some: it is reported. All that
changes is one change of jobs, so that a machine with a hundred crontabs has one reload for them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from lunasched.dataclass import dataclass
from lunasched.errors import InvalidInput, InvalidJobs
from lunasched.jobs.channels import read_address
from lunasched.transfer.crontab.served import served

if TYPE_CHECKING:
    from lunasched.deploy.plan import Entries
    from lunasched.jobs.model import Job
    from lunasched.jobs.origin import JobOrigin
    from lunasched.store.jobtable import JobTable
    from lunasched.transfer.crontab import CrontabSource
    from lunasched.transfer.crontab.served import ServedCrontab


@dataclass(frozen=True, slots=True)
class CrontabFault:
    """An entry that is not run, or not as it is written."""

    source: str
    """The path of the file."""
    line: int
    """0 for the whole file."""
    message: str
    text: str = ""
    """The line as it is written."""
    user: str = "root"
    """The user whose crontab it is."""
    mailed_to: str = ""
    """The addresses of those whom cron mails what the entry prints; empty if it runs all the same,
    and if nobody is mailed."""


_Done = TypeVar("_Done")


def _of_texts(jobs: Mapping[str, str], texts: Iterable[str]) -> list[str]:
    """As many jobs of each text as it is among ``texts``."""
    left = Counter(texts)
    found = []
    for name, text in jobs.items():
        if left[text]:
            left[text] -= 1
            found.append(name)
    return found


def _addresses(mailto: str | None, source: CrontabSource) -> str:
    """The addresses to which cron mails; none where it mails nobody."""
    if mailto is not None and not mailto.strip():
        return ""
    with suppress(InvalidInput):
        if mailto is not None:
            return read_address(mailto)
    return source.user or "root"


def serve(
    put: Callable[[Callable[[JobTable], Mapping[str, Entries]]], _Done],
    crontabs: Iterable[tuple[bytes, CrontabSource]],
    forget: Callable[[Sequence[str]], None] = lambda jobs: None,
) -> tuple[_Done, list[CrontabFault]]:
    """Make the jobs of crontabs those of these files, and of no others.

    ``put`` makes the jobs those that its argument gives for the jobs there are
    (``Deployer.put_sources``); what it returns is returned, with what is not run. Raises what it
    raises, apart from ``InvalidJobs`` of entries: they are left out. ``forget`` is called with the
    jobs that were adopted whose entries are not there any more.
    """
    reading = _Reading(list(crontabs))
    while True:
        try:
            done = put(reading.entries)
        except InvalidJobs as error:
            if not reading.leave_out(error.faults):
                raise
        else:
            if reading.gone:
                forget(reading.gone)
            return done, reading.faults


class _Reading:
    """The crontabs as they are read: again without what turned out to be no job."""

    def __init__(self, crontabs: list[tuple[bytes, CrontabSource]]) -> None:
        self._crontabs = crontabs
        self._left_out: dict[str, str] = {}
        self.faults: list[CrontabFault] = []
        self.gone: list[str] = []
        """The jobs that were adopted whose entries are not there any more."""

    def leave_out(self, faults: Iterable[tuple[str, str]]) -> bool:
        """Leave out jobs for what is wrong with them; ``False`` if all of them are already."""
        new = {name: problem for name, problem in faults if name not in self._left_out}
        self._left_out |= new
        return bool(new)

    def _faults(
        self, data: bytes, source: CrontabSource, entries: ServedCrontab
    ) -> Iterator[CrontabFault]:
        lines = data.decode(errors="replace").split("\n")

        def fault(line: int, message: str, path: str = source.label) -> CrontabFault:
            text = lines[line - 1] if 0 < line <= len(lines) else ""
            to = _addresses(entries.mailto.get(line), source)
            return CrontabFault(path, line, message, text, source.user or "root", to)

        noted = {*entries.notes}
        for said in sorted((*entries.faults, *entries.notes)):
            yield CrontabFault(source.label, *said) if said in noted else fault(*said)
        for job, origin in entries.jobs:
            if job.name in self._left_out:
                yield fault(origin.line, self._left_out[job.name], origin.source)

    def _without_left_out(self, job: Job) -> Job:
        after = tuple(name for name in job.after if name not in self._left_out)
        return job if after == job.after else job.evolve(after=after)

    def entries(self, jobs: JobTable) -> Mapping[str, Entries]:
        """The jobs of each crontab, by its path."""
        known: dict[str, list[tuple[str, JobOrigin]]] = defaultdict(list)
        for name, origin in jobs.origins().items():
            known[origin.source].append((name, origin))
        # In the order of their lines, which is that in which names were given.
        for each in known.values():
            each.sort(key=lambda one: one[1].line)
        taken = set(jobs.names())
        # A script keeps its job when another crontab runs it.
        of_scripts = [
            (name, origin) for each in known.values() for name, origin in each if not origin.line
        ]
        adopted: dict[str, dict[str, str]] = defaultdict(dict)
        for name, path, text in jobs.adopted():
            adopted[path][name] = text
        self.faults, self.gone = [], []
        found: dict[str, Entries] = {}
        for data, source in self._crontabs:
            before = [*known[source.label], *of_scripts]
            own = {name for name, _ in before}
            is_taken = (taken - own).__contains__
            former = adopted[source.label]
            entries = served(data, source, before, is_taken, former.values())
            self.gone += _of_texts(former, entries.gone)
            names = {job.name for job, _ in entries.jobs}
            taken |= names
            of_scripts = [one for one in of_scripts if one[0] not in names]
            self.faults += self._faults(data, source, entries)
            found[source.label] = [
                (self._without_left_out(job), origin)
                for job, origin in entries.jobs
                if job.name not in self._left_out
            ]
        return found
