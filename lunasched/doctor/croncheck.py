"""The check of crontabs: those that run what jobs run, and those that cron does not read."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from lunasched.dataclass import dataclass
from lunasched.doctor.facts import Unseen
from lunasched.doctor.finding import fine, unseen, warning
from lunasched.machine import crontabs, host
from lunasched.paths import Mode

if TYPE_CHECKING:
    from lunasched.doctor.facts import Facts
    from lunasched.doctor.finding import Finding
    from lunasched.doctor.servicemanagercheck import ManagerFacts
    from lunasched.jobs.model import Command, Job
    from lunasched.jobs.origin import JobOrigin
    from lunasched.machine.crontabs import FoundCrontab


@dataclass(frozen=True, slots=True)
class CronLine:
    """A line of a crontab that runs what a job runs."""

    file: str
    line: int
    job: str
    fix: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CronFacts:
    """What cron runs of what jobs run, and what it does not run at all."""

    lines: tuple[CronLine, ...] = ()
    ignored: tuple[FoundCrontab, ...] = ()


def look(
    mode: Mode,
    manager: ManagerFacts | Unseen,
    jobs: Sequence[Job],
    origins: Mapping[str, JobOrigin] | Unseen,
    user: str,
) -> CronFacts:
    """Return the crontabs in question, if cron runs at all.

    Jobs of crontabs are what these say: ``crontabcheck``.
    """
    if not isinstance(origins, Unseen):
        jobs = [job for job in jobs if job.name not in origins]
    if isinstance(manager, Unseen):
        return CronFacts()
    if mode is Mode.USER:
        return CronFacts(lines_of_jobs(crontabs.own_crontab(user), jobs) if jobs else ())
    if not any(manager.is_active(cron) for cron in crontabs.CRONS):
        return CronFacts()
    found = crontabs.of_machine()
    # cronie has other rules.
    knows_rules = manager.is_active(crontabs.DEBIANS_CRON) and host.is_debian()
    ignored = [crontab for crontab in found if crontab.ignored] if knows_rules else []
    return CronFacts(lines_of_jobs(found, jobs), tuple(ignored))


def lines_of_jobs(crontabs: Iterable[FoundCrontab], jobs: Sequence[Job]) -> tuple[CronLine, ...]:
    """The lines whose commands are those of enabled jobs."""
    from lunasched.transfer.crontab import CronFormat, CrontabSource, read_crontab

    commands: dict[Command, str] = {job.command: job.name for job in jobs if job.enabled}
    if not commands:
        return ()
    found = []
    for crontab in crontabs:
        if crontab.format is CronFormat.ANACRON:
            continue
        source = CrontabSource(label=crontab.label, format=crontab.format, user=crontab.user)
        for entry in read_crontab(crontab.data, source).entries:
            name = commands.get(entry.job.command)
            if name is not None:
                fix = _comment_out(crontab, entry.line)
                found.append(CronLine(crontab.label, entry.line, name, fix))
    return tuple(found)


def _comment_out(crontab: FoundCrontab, line: int) -> tuple[str, ...]:
    if crontab.user is None:
        return (f"sed -i '{line}s/^/#/' {shlex.quote(crontab.path)}",)
    # The crontabs of users must not be edited in place (crontab(1)).
    whose = "" if crontab.label == "crontab -l" else f" -u {shlex.quote(crontab.user)}"
    return (f"crontab{whose} -l | sed '{line}s/^/#/' | crontab{whose} -",)


def judge(facts: Facts) -> Iterator[Finding]:
    """Tell whether cron runs what jobs run, too."""
    known = facts.cron
    if isinstance(known, Unseen):
        yield unseen("crontabs", known)
        return
    for crontab in known.ignored:
        if crontab.ignored is not None:
            yield warning(
                f"cron does not read {crontab.path}: {crontab.ignored.reason}",
                "none of its entries runs",
                *([crontab.ignored.fix] if crontab.ignored.fix else []),
                as_root=True,
            )
    for line in known.lines:
        yield warning(
            f"{line.file}:{line.line} runs what the job {line.job!r} runs",
            "cron is running too, so it runs twice",
            *line.fix,
            as_root=facts.is_system,
        )
    if not known.lines and not known.ignored:
        yield fine("cron runs nothing that a job runs")
