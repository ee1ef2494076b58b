"""Crontabs that run what jobs run."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lunasched.doctor.diagnosis import CronLine

if TYPE_CHECKING:
    from lunasched.jobs.model import Command, Job
    from lunasched.machine.host import FoundCrontab


def lines_of_jobs(crontabs: Iterable[FoundCrontab], jobs: Sequence[Job]) -> tuple[CronLine, ...]:
    """The lines whose commands are those of enabled jobs."""
    from lunasched.transfer.crontab import CronFormat, CrontabSource, read

    commands: dict[Command, str] = {job.command: job.name for job in jobs if job.enabled}
    found = []
    for crontab in crontabs:
        format_ = CronFormat.SYSTEM if crontab.user is None else CronFormat.USER
        source = CrontabSource(label=crontab.label, format=format_, user=crontab.user)
        for entry in read(crontab.data, source).entries:
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
