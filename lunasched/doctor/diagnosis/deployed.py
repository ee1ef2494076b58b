"""Checks of deployed units and timers against their jobs."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence

from lunasched.doctor.diagnosis.facts import DeployedFacts, Facts, UnitSeen, Unseen
from lunasched.doctor.diagnosis.finding import Finding, error, fine, unseen, warning
from lunasched.errors import InvalidInput
from lunasched.formats import unittext
from lunasched.history import slot
from lunasched.jobs.model import Job

_NAMED = 5
"""The most names that a finding lists; of the others it gives the number."""


def units(facts: Facts) -> Iterator[Finding]:
    """Tell whether the unit files are what the jobs compile to, and systemd has read them."""
    known = facts.deployed
    if isinstance(known, Unseen):
        yield unseen("the units of jobs", known)
        return
    found = [*_drift(facts, known), *_refused(facts, known), *_unread(facts)]
    count = len(known.jobs)
    yield from found or [
        fine(f"the units of {count} {_plural(count, 'job')} are as they should be")
    ]


def _drift(facts: Facts, known: DeployedFacts) -> Iterator[Finding]:
    sync, root = f"{facts.lunasched} sync", facts.is_system
    if known.missing:
        yield error(
            f"unit files are missing: {_listed(known.missing)}",
            "these jobs do not run, or not after the next boot",
            sync,
            as_root=root,
        )
    if known.changed:
        yield warning(
            f"unit files are not what lunasched makes of its jobs: {_listed(known.changed)}",
            "they were changed by hand, or made for another version, year or time zone; to have "
            "something of your own in a unit, use a drop-in (systemctl edit)",
            sync,
            as_root=root,
        )
    if known.unlinked:
        yield error(
            f"timers would not be started at boot: {_listed(known.unlinked)}",
            "their jobs do not run after the next boot",
            sync,
            as_root=root,
        )
    if known.handover:
        yield error(
            "an eject or adopt was killed half-way",
            "one job may have two timers, or none",
            sync,
            as_root=root,
        )
    for path in known.foreign:
        quoted = shlex.quote(path)
        yield error(
            f"{path} stands where a unit of a job would, and is not lunasched's",
            "the job does not run as defined",
            f"mv {quoted} {shlex.quote(path + '.saved')}",
            sync,
            as_root=root,
        )


def _refused(facts: Facts, known: DeployedFacts) -> Iterator[Finding]:
    for name, reason in known.failed:
        yield error(
            f"the job {name!r} cannot be compiled any more: {reason}",
            "its units stay as they are, and are not brought up to date",
            f"{facts.lunasched} edit {shlex.quote(name)}",
            as_root=facts.is_system,
        )


def _unread(facts: Facts) -> Iterator[Finding]:
    manager = facts.manager
    if isinstance(manager, Unseen):
        return
    if isinstance(manager.unread, Unseen):
        yield unseen("whether systemd has read the unit files", manager.unread)
        return
    # systemd remembers the failed unit of a removed job, whose file is gone.
    jobs = None if isinstance(facts.deployed, Unseen) else {job.name for job in facts.deployed.jobs}
    unread = [unit for unit in manager.unread if jobs is None or _is_of(unit, jobs)]
    if unread:
        yield warning(
            f"systemd has an older version of {_listed(unread)} than the files are",
            "the changes have no effect yet",
            f"{facts.systemctl} daemon-reload",
            as_root=facts.is_system,
        )


def _is_of(unit: str, jobs: set[str]) -> bool:
    """Tell if a unit is one of these jobs', or of no job at all."""
    name = unittext.job_name(unit)
    return name is None or name in jobs


def timers(facts: Facts) -> Iterator[Finding]:
    """Tell whether the timers of enabled jobs run, and will elapse."""
    known, manager = facts.deployed, facts.manager
    for part in (known, manager):
        if isinstance(part, Unseen):
            yield unseen("the timers of jobs", part)
            return
    assert not isinstance(known, Unseen)
    assert not isinstance(manager, Unseen)
    seen = {timer: manager.units.get(timer) for timer in known.timers}
    stopped = [timer for timer, unit in seen.items() if unit is None or unit.active != "active"]
    sleeping = [
        timer
        for timer, unit in seen.items()
        if _has_elapsed(unit) and _goes_on(known.timers[timer], facts)
    ]
    if stopped:
        yield error(
            f"timers of enabled jobs do not run: {_listed(stopped)}",
            "their jobs do not run; to keep a job from running, disable it",
            f"{facts.lunasched} sync",
            as_root=facts.is_system,
        )
    if sleeping:
        yield error(
            f"timers run and will never elapse again: {_listed(sleeping)}",
            "their jobs do not run, though their schedules have times to come",
            f"{facts.systemctl} daemon-reload",
            *_each(f"{facts.systemctl} restart", sleeping),
            as_root=facts.is_system,
        )
    if not stopped and not sleeping:
        count = len(known.timers)
        yield fine(f"{count} {_plural(count, 'timer')} of enabled jobs run and will elapse")


def _has_elapsed(unit: UnitSeen | None) -> bool:
    # "elapsed" is what a timer is that runs and has no next elapse (systemd.timer(5)).
    return unit is not None and unit.active == "active" and unit.sub == "elapsed"


def _goes_on(job: Job, facts: Facts) -> bool:
    try:
        past = slot.Past(facts.now, None, None)
        return slot.next_slot(job, facts.now, past, facts.host_timezone) is not None
    except InvalidInput:
        return False


def orphans(facts: Facts) -> Iterator[Finding]:
    """Tell whether there are units that belong to no job."""
    known = facts.deployed
    if isinstance(known, Unseen):
        yield unseen("units without jobs", known)
        return
    found = [*_orphaned_files(facts, known)]
    if not isinstance(facts.manager, Unseen):
        jobs = {job.name for job in known.jobs}
        running = [
            unit
            for unit, state in facts.manager.units.items()
            if unit.startswith(unittext.JOB_PREFIX)
            and unit.endswith(".timer")
            and state.active == "active"
            and unit not in known.orphans
            and unittext.job_name(unit) not in jobs
        ]
        if running:
            found.append(
                error(
                    f"timers run that belong to no job: {_listed(running)}",
                    "they start what nobody asks for any more",
                    *_each(f"{facts.systemctl} stop", running),
                    as_root=facts.is_system,
                )
            )
    yield from found or [fine("no unit is without a job")]


def _orphaned_files(facts: Facts, known: DeployedFacts) -> Iterator[Finding]:
    if not known.orphans:
        return
    if known.jobs:
        yield warning(
            f"unit files of lunasched belong to no job: {_listed(known.orphans)}",
            "they run what nobody asks for any more",
            f"{facts.lunasched} sync",
            as_root=facts.is_system,
        )
    else:
        yield error(
            f"there are no jobs, but {len(known.orphans)} unit files of jobs: "
            f"{_listed(known.orphans)}",
            # No command to fix it: removing the last trace of the jobs fixes nothing, unless
            # whoever reads this knows that there are meant to be none.
            f"if the database was lost, restore it and run '{facts.lunasched} sync'; only if "
            f"you want no jobs, '{facts.lunasched} sync --allow-empty' removes the units",
            as_root=facts.is_system,
        )


def cron(facts: Facts) -> Iterator[Finding]:
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


def _each(command: str, names: Sequence[str]) -> list[str]:
    """One command line for all of them, or for a lot of them several."""
    return [
        " ".join([command, *map(shlex.quote, names[start : start + 50])])
        for start in range(0, len(names), 50)
    ]


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _plural(count: int, noun: str) -> str:
    return noun if count == 1 else f"{noun}s"
