"""The check of the crontabs that lunasched runs in the place of cron."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lunasched.dataclass import dataclass
from lunasched.doctor.facts import Unseen
from lunasched.doctor.finding import error, fine, plural, unseen, warning
from lunasched.machine import crontabs
from lunasched.machine.pamvariables import PAM_FILES
from lunasched.paths import CRONTAB_SOCKET, CRONTAB_SPOOLS, Mode, is_there
from lunasched.transfer.crontab.runparts import ANACRON, DIRECTORIES
from lunasched.units.commandchannels import SENDMAIL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lunasched.doctor.facts import Facts
    from lunasched.doctor.finding import Finding
    from lunasched.doctor.servicemanagercheck import ManagerFacts
    from lunasched.jobs.origin import JobOrigin
    from lunasched.machine.crontabs import FoundCrontab
    from lunasched.paths import Paths

Adopted = Iterable[tuple[str, str, str]]
"""The jobs that were entries: the job, and the path and the text of the entry."""

_WATCHER = "lunasched-crontabs.path"
_UNITS = f"{_WATCHER} lunasched-crontabs.service"
WATCHED = (
    "/etc/cron.d", *map(str, CRONTAB_SPOOLS), *DIRECTORIES, "/etc/anacrontab", ANACRON,
    "/etc/passwd", SENDMAIL, *PAM_FILES,
)  # fmt: skip
"""The paths that units beside it watch; that of ``/etc/crontab`` starts and stops them."""


def watcher(path: str) -> str:
    """The name of the unit that watches a path; none of them has a "-"."""
    return f"lunasched-crontabs@{path.lstrip('/').replace('/', '-')}.path"


@dataclass(frozen=True, slots=True)
class ServedFacts:
    """The crontabs of which jobs were made."""

    jobs: int
    is_watched: bool
    """True if a change of them changes the jobs."""
    cron: str = ""
    """The unit of a cron that runs beside; empty if none does."""
    not_run: tuple[tuple[str, str, str], ...] = ()
    """The lines and files that are not run: the place, the reason and the command that fixes it."""
    noted: tuple[tuple[str, str], ...] = ()
    """The lines of which a part has no effect: the place and the reason."""
    jobless: tuple[str, ...] = ()
    """The places of the entries of which there is no job, though nothing is wrong with them."""


def look(
    mode: Mode,
    paths: Paths,
    manager: ManagerFacts | Unseen,
    origins: Mapping[str, JobOrigin] | Unseen,
    adopted: Adopted | Unseen,
    user: str,
) -> ServedFacts | None:
    """Return what there is of them; ``None`` where they are cron's, or nobody's."""
    if isinstance(manager, Unseen) or isinstance(origins, Unseen) or isinstance(adopted, Unseen):
        return None
    if mode is Mode.USER:
        return _of_user(paths, origins, adopted, user)
    watchers = (_WATCHER, *map(watcher, WATCHED))
    is_watched = all(map(manager.is_active, watchers))
    if not manager.is_active(_WATCHER) and not origins:
        return None
    running = next((cron for cron in crontabs.CRONS if manager.is_active(cron)), "")
    read = _CrontabsRead(crontabs.of_machine(), adopted)
    return read.facts(origins, is_watched=is_watched, cron=running)


def _of_user(
    paths: Paths,
    origins: Mapping[str, JobOrigin],
    adopted: Adopted,
    user: str,
) -> ServedFacts | None:
    """The crontab of the user's own manager, and that which the system's runs for the user."""
    own = _CrontabsRead(crontabs.crontab_of_manager(paths.crontab, user), adopted)
    # crontab(1) of lunasched speaks to it; the jobs are the system's, which the user cannot see.
    is_served = is_there(Path(CRONTAB_SOCKET))
    of_system = _CrontabsRead(crontabs.own_crontab(user) if is_served else (), ())
    if not (own.entries or own.not_run or origins or of_system.entries or of_system.not_run):
        return None
    known = own.facts(origins, is_watched=True)
    return replace(
        known,
        jobs=known.jobs + len(of_system.entries),
        not_run=(*known.not_run, *of_system.not_run),
        noted=(*known.noted, *of_system.noted),
    )


class _CrontabsRead:
    """Crontabs as they are read: the entries that can be jobs, and what cannot."""

    def __init__(self, found: Iterable[FoundCrontab], adopted: Adopted) -> None:
        from lunasched.transfer.crontab.served import served

        texts = [(path, text) for _, path, text in adopted]
        self.entries: list[JobOrigin] = []
        self.not_run: list[tuple[str, str, str]] = []
        self.noted: list[tuple[str, str]] = []
        for crontab in found:
            if crontab.ignored is not None:
                self.not_run.append((crontab.path, crontab.ignored.reason, crontab.ignored.fix))
                continue
            former = [text for path, text in texts if path == crontab.path]
            read = served(crontab.data, crontab.source(), (), lambda name: False, former)
            self.entries += [origin for _, origin in read.jobs]
            self.not_run += [(_place(crontab.path, line), said, "") for line, said in read.faults]
            self.noted += [(_place(crontab.path, line), said) for line, said in read.notes]

    def facts(
        self,
        origins: Mapping[str, JobOrigin],
        *,
        is_watched: bool,
        cron: str = "",
    ) -> ServedFacts:
        """The same beside the jobs that there are."""
        left = Counter((origin.source, origin.text) for origin in origins.values())
        jobless = []
        for origin in self.entries:
            if left[origin.source, origin.text]:
                left[origin.source, origin.text] -= 1
            else:
                jobless.append(_place(origin.source, origin.line))
        return ServedFacts(
            jobs=len(origins),
            is_watched=is_watched,
            cron=cron,
            not_run=tuple(self.not_run),
            noted=tuple(self.noted),
            jobless=tuple(jobless),
        )


def _place(path: str, line: int) -> str:
    return f"{path}:{line}" if line else path


def judge(facts: Facts) -> Iterator[Finding]:
    """Tell whether the jobs are those that the crontabs say, and nobody else runs them."""
    known = facts.crontabs
    if isinstance(known, Unseen):
        yield unseen("the crontabs that lunasched runs", known)
        return
    if known is None:
        return
    if known.cron and known.jobs:
        yield error(
            f"cron is running ({known.cron}) beside {known.jobs} {plural(known.jobs, 'job')} of "
            "crontabs",
            "each entry runs twice",
            f"systemctl disable --now {known.cron}",
            as_root=True,
        )
    if not known.is_watched:
        yield warning(
            "nothing watches the crontabs that jobs come from, or not all of them",
            "a change of one may change no job",
            f"systemctl enable --now {_UNITS}",
            as_root=True,
        )
    for place, reason, fix in known.not_run:
        yield warning(
            f"{place} is not run: {reason}",
            "all else that the crontabs say is a job",
            *([fix] if fix else []),
            as_root=facts.is_system,
        )
    for place in known.jobless:
        yield warning(
            f"{place} has no job, and is not run",
            "the crontab has changed since its jobs were made; the command makes them, or prints "
            "why it cannot",
            f"{facts.lunasched} crontabs",
            as_root=facts.is_system,
        )
    for place, reason in known.noted:
        yield warning(f"{place}: {reason}", "the entry runs without that", as_root=facts.is_system)
    if known.is_watched and not (known.cron or known.not_run or known.jobless or known.noted):
        yield fine("all that the crontabs say is a job")
