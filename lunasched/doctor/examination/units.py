"""Unit files beside what the jobs compile to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lunasched.doctor.diagnosis import DeployedFacts
from lunasched.errors import UnitConflict
from lunasched.formats import unittext
from lunasched.state.unitdir import UnitDirectory
from lunasched.units import compiler
from lunasched.units.compilation import compile_all, needs_gate

if TYPE_CHECKING:
    from lunasched.jobs.model import Job
    from lunasched.paths import Paths
    from lunasched.units.compiler import Context

_HANDOVER = "handover:record"


def deployed_facts(
    jobs: Sequence[Job], paths: Paths, context: Context, limit: int
) -> DeployedFacts:
    """Return what is deployed of ``jobs``, which are all; ``limit`` is ``max_concurrent_jobs``."""
    directory = UnitDirectory(
        paths.units,
        mark=compiler.OWNERSHIP_MARK,
        prefix=(unittext.JOB_PREFIX, unittext.LAUNCH_PREFIX, unittext.HOOK_PREFIX),
    )
    found = compile_all(jobs, context)
    wanted = {unit.name: unit.text for item in found.compiled for unit in item.units}
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
        handover=(paths.slots / _HANDOVER).exists(),
    )


def _gate(jobs: Sequence[Job], context: Context, limit: int) -> dict[str, str]:
    """The drop-in that has to be there while something needs the gate."""
    gate = compiler.gate(context)
    return {gate.name: gate.text} if needs_gate(jobs, limit) else {}
