"""The check of the crontabs that lunasched runs in the place of cron."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lunasched.doctor.facts import Unseen
from lunasched.doctor.finding import error, fine, plural, unseen, warning
from lunasched.machine import crontabs
from lunasched.machine.pamvariables import PAM_FILES
from lunasched.paths import CRONTAB_SPOOLS, Mode
from lunasched.transfer.crontab.runparts import ANACRON, DIRECTORIES
from lunasched.units.commandchannels import SENDMAIL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lunasched.doctor.facts import Facts
    from lunasched.doctor.finding import Finding
    from lunasched.doctor.servicemanagercheck import ManagerFacts
    from lunasched.jobs.origin import JobOrigin
    from lunasched.machine.crontabs import FoundCrontab

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


def look(
    mode: Mode, manager: ManagerFacts | Unseen, origins: Mapping[str, JobOrigin] | Unseen
) -> ServedFacts | None:
    """Return what there is of them; ``None`` where they are cron's, or nobody's."""
    if mode is Mode.USER or isinstance(manager, Unseen) or isinstance(origins, Unseen):
        return None
    watchers = (_WATCHER, *map(watcher, WATCHED))
    is_watched = all(map(manager.is_active, watchers))
    if not manager.is_active(_WATCHER) and not origins:
        return None
    running = (cron for cron in crontabs.CRONS if manager.is_active(cron))
    not_run, noted = _read()
    return ServedFacts(len(origins), is_watched, next(running, ""), tuple(not_run), tuple(noted))


def _read() -> tuple[list[tuple[str, str, str]], list[tuple[str, str]]]:
    """Read the crontabs: what is not run, and what has no effect."""
    from lunasched.transfer.crontab.served import served

    not_run, noted = [], []
    for crontab in crontabs.of_machine():
        if crontab.ignored is not None:
            not_run.append((crontab.path, crontab.ignored.reason, crontab.ignored.fix))
            continue
        found = served(crontab.data, crontab.source(), (), lambda name: False)
        not_run += [(_place(crontab, line), message, "") for line, message in found.faults]
        noted += [(_place(crontab, line), message) for line, message in found.notes]
    return not_run, noted


def _place(crontab: FoundCrontab, line: int) -> str:
    return f"{crontab.path}:{line}" if line else crontab.path


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
            as_root=True,
        )
    for place, reason in known.noted:
        yield warning(f"{place}: {reason}", "the entry runs without that", as_root=True)
    if known.is_watched and not (known.cron or known.not_run or known.noted):
        yield fine("all that the crontabs say is a job")
