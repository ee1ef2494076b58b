"""The check of the crontabs that lunasched runs in the place of cron."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lunasched.doctor.facts import Unseen
from lunasched.doctor.finding import error, fine, plural, unseen, warning
from lunasched.machine import crontabs
from lunasched.paths import Mode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lunasched.doctor.facts import Facts
    from lunasched.doctor.finding import Finding
    from lunasched.doctor.servicemanagercheck import ManagerFacts
    from lunasched.jobs.origin import JobOrigin

_WATCHER = "lunasched-crontabs.path"
_UNITS = f"{_WATCHER} lunasched-crontabs.service"


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


def look(
    mode: Mode, manager: ManagerFacts | Unseen, origins: Mapping[str, JobOrigin] | Unseen
) -> ServedFacts | None:
    """Return what there is of them; ``None`` where they are cron's, or nobody's."""
    if mode is Mode.USER or isinstance(manager, Unseen) or isinstance(origins, Unseen):
        return None
    is_watched = manager.is_active(_WATCHER)
    if not is_watched and not origins:
        return None
    running = (cron for cron in crontabs.CRONS if manager.is_active(cron))
    return ServedFacts(len(origins), is_watched, next(running, ""), tuple(_not_run()))


def _not_run() -> Iterator[tuple[str, str, str]]:
    from lunasched.transfer.crontab.served import served

    for crontab in crontabs.of_machine():
        if crontab.ignored is not None:
            yield crontab.path, crontab.ignored.reason, crontab.ignored.fix
            continue
        for line, message in served(crontab.data, crontab.source(), (), lambda name: False).faults:
            yield f"{crontab.path}:{line}" if line else crontab.path, message, ""


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
            "nothing watches the crontabs that jobs come from",
            "a change of one changes no job",
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
    if known.is_watched and not known.cron and not known.not_run:
        yield fine("all that the crontabs say is a job")
