"""The check of unit files: they are what the jobs compile to, and systemd has read them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from lunasched.dataclass import dataclass
from lunasched.doctor.facts import Unseen
from lunasched.doctor.finding import error, fine, listed, plural, unseen, warning
from lunasched.errors import UnitConflict
from lunasched.formats import unittext
from lunasched.paths import is_there
from lunasched.state.unitdir import UnitDirectory
from lunasched.units import compiler
from lunasched.units.compilation import compile_all, needs_gate

if TYPE_CHECKING:
    from lunasched.doctor.facts import Facts
    from lunasched.doctor.finding import Finding
    from lunasched.jobs.model import Job
    from lunasched.paths import Paths
    from lunasched.units.compiler import Context

_HANDOVER = "handover:record"


@dataclass(frozen=True, slots=True)
class DeployedFacts:
    """The deployed units beside the jobs in the database."""

    jobs: tuple[Job, ...]
    timers: Mapping[str, Job]
    """The timers that should run, by name."""
    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    """Paths of files that stand where ours would, and are not ours."""
    unlinked: tuple[str, ...] = ()
    """Timers that would not be started at boot."""
    orphans: tuple[str, ...] = ()
    """Files of ours that belong to no job, and links to them."""
    failed: tuple[tuple[str, str], ...] = ()
    """Jobs that cannot be compiled any more, and why."""
    handover: bool = False
    """True if an ``eject`` or ``adopt`` was killed half-way."""


def look(jobs: Sequence[Job], paths: Paths, context: Context, limit: int) -> DeployedFacts:
    """Return what is deployed of ``jobs``, which are all; ``limit`` is ``max_concurrent_jobs``."""
    directory = UnitDirectory(
        paths.units,
        mark=unittext.OWNERSHIP_MARK,
        prefix=(unittext.JOB_PREFIX, unittext.LAUNCH_PREFIX, unittext.HOOK_PREFIX),
    )
    found = compile_all(jobs, context)
    wanted = {file.name: file.text for item in found.compiled for file in item.files}
    missing, changed, foreign = [], [], []
    for name, text in (wanted | _gate(jobs, context, limit)).items():
        try:
            deployed = directory.read(name)
        except UnitConflict:
            foreign.append(str(paths.units / name))
            continue
        if deployed is None:
            missing.append(name)
        elif deployed != text:
            changed.append(name)
    failed = {name for name, _ in found.failed}
    owned = {name for name in directory.owned(but=wanted) if unittext.job_name(name) not in failed}
    enabled = [
        item.timer.name for item in found.compiled if item.job.enabled and item.timer is not None
    ]
    linked = directory.wanted()
    orphaned_links = {name for name in linked if name not in wanted} - owned
    return DeployedFacts(
        jobs=tuple(jobs),
        timers={
            item.timer.name: item.job
            for item in found.compiled
            if item.job.enabled and item.timer is not None and not item.at_boot_only
        },
        missing=tuple(missing),
        changed=tuple(changed),
        foreign=tuple(foreign),
        unlinked=tuple(sorted(set(enabled) - linked)),
        orphans=tuple(
            sorted(owned) + sorted(f"timers.target.wants/{one}" for one in orphaned_links)
        ),
        failed=found.failed,
        handover=is_there(paths.slots / _HANDOVER),
    )


def _gate(jobs: Sequence[Job], context: Context, limit: int) -> dict[str, str]:
    """The drop-in that has to be there while something needs the gate."""
    gate = compiler.gate(context)
    return {gate.name: gate.text} if needs_gate(jobs, limit) else {}


def judge(facts: Facts) -> Iterator[Finding]:
    """Tell whether the unit files are what the jobs compile to, and systemd has read them."""
    known = facts.deployed
    if isinstance(known, Unseen):
        yield unseen("the units of jobs", known)
        return
    found = [*_drift(facts, known), *_refused(facts, known), *_unread(facts)]
    count = len(known.jobs)
    yield from found or [fine(f"the units of {count} {plural(count, 'job')} are as they should be")]


def _drift(facts: Facts, known: DeployedFacts) -> Iterator[Finding]:
    sync, root = f"{facts.lunasched} sync", facts.is_system
    if known.missing:
        yield error(
            f"unit files are missing: {listed(known.missing)}",
            "these jobs do not run, or not after the next boot",
            sync,
            as_root=root,
        )
    if known.changed:
        yield warning(
            f"unit files are not what lunasched makes of its jobs: {listed(known.changed)}",
            "they were changed by hand, or made for another version, year or time zone; to have "
            "something of your own in a unit, use a drop-in (systemctl edit)",
            sync,
            as_root=root,
        )
    if known.unlinked:
        yield error(
            f"timers would not be started at boot: {listed(known.unlinked)}",
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
            f"systemd has an older version of {listed(unread)} than the files are",
            "the changes have no effect yet",
            f"{facts.systemctl} daemon-reload",
            as_root=facts.is_system,
        )


def _is_of(unit: str, jobs: set[str]) -> bool:
    """Tell if a unit is one of these jobs', or of no job at all."""
    name = unittext.job_name(unit)
    return name is None or name in jobs
