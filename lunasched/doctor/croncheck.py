"""The check of crontabs that run what jobs run."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lunasched.doctor.facts import Unseen
from lunasched.doctor.finding import fine, unseen, warning
from lunasched.machine import host
from lunasched.paths import Mode

if TYPE_CHECKING:
    from lunasched.doctor.facts import Facts
    from lunasched.doctor.finding import Finding
    from lunasched.doctor.servicemanagercheck import ManagerFacts
    from lunasched.jobs.model import Command, Job
    from lunasched.machine.host import FoundCrontab

_CRONS = ("cron.service", "crond.service", "cronie.service")


@dataclass(frozen=True, slots=True)
class CronLine:
    """A line of a crontab that runs what a job runs."""

    file: str
    line: int
    job: str
    fix: tuple[str, ...]


def look(
    mode: Mode, manager: ManagerFacts | Unseen, jobs: Sequence[Job], user: str
) -> tuple[CronLine, ...]:
    """Return the lines of crontabs that run what jobs run, if cron runs at all."""
    if isinstance(manager, Unseen) or not jobs:
        return ()
    if mode is Mode.SYSTEM:
        if not any(_is_active(manager, cron) for cron in _CRONS):
            return ()
        return lines_of_jobs(host.crontabs(), jobs)
    return lines_of_jobs(host.own_crontab(user), jobs)


def _is_active(manager: ManagerFacts, unit: str) -> bool:
    return unit in manager.units and manager.units[unit].active == "active"


def lines_of_jobs(crontabs: Iterable[FoundCrontab], jobs: Sequence[Job]) -> tuple[CronLine, ...]:
    """The lines whose commands are those of enabled jobs."""
    from lunasched.transfer.crontab import CronFormat, CrontabSource, read_crontab

    commands: dict[Command, str] = {job.command: job.name for job in jobs if job.enabled}
    found = []
    for crontab in crontabs:
        format_ = CronFormat.SYSTEM if crontab.user is None else CronFormat.USER
        source = CrontabSource(label=crontab.label, format=format_, user=crontab.user)
        for entry in read_crontab(crontab.data, source).entries:
            name = commands.get(entry.job.command)
            if name is not None:
                fix = _comment_out(crontab, entry.line)
                found.append(CronLine(crontab.label, entry.line, name, fix))
    return tuple(found)


def _comment_out(crontab: FoundCrontab, line: int) -> tuple[str, ...]:
    if crontab.user is None:
        return (f"sed -i '{line}s/^/#/' {shlex.quote(crontab.label)}",)
    # The crontabs of users must not be edited in place (crontab(1)).
    whose = "" if crontab.label == "crontab -l" else f" -u {shlex.quote(crontab.user)}"
    return (f"crontab{whose} -l | sed '{line}s/^/#/' | crontab{whose} -",)


def judge(facts: Facts) -> Iterator[Finding]:
    """Tell whether cron runs what jobs run, too."""
    known = facts.cron_lines
    if isinstance(known, Unseen):
        yield unseen("crontabs", known)
        return
    for line in known:
        yield warning(
            f"{line.file}:{line.line} runs what the job {line.job!r} runs",
            "cron is running too, so it runs twice",
            *line.fix,
            as_root=facts.is_system,
        )
    if not known:
        yield fine("cron runs nothing that a job runs")
