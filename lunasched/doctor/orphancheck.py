"""The check of units that belong to no job."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lunasched.doctor.facts import Unseen
from lunasched.doctor.finding import error, fine, for_each, listed, unseen, warning
from lunasched.formats import unittext

if TYPE_CHECKING:
    from lunasched.doctor.facts import Facts
    from lunasched.doctor.finding import Finding
    from lunasched.doctor.unitcheck import DeployedFacts


def judge(facts: Facts) -> Iterator[Finding]:
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
                    f"timers run that belong to no job: {listed(running)}",
                    "they start what nobody asks for any more",
                    *for_each(f"{facts.systemctl} stop", running),
                    as_root=facts.is_system,
                )
            )
    yield from found or [fine("no unit is without a job")]


def _orphaned_files(facts: Facts, known: DeployedFacts) -> Iterator[Finding]:
    if not known.orphans:
        return
    if known.jobs:
        yield warning(
            f"unit files of lunasched belong to no job: {listed(known.orphans)}",
            "they run what nobody asks for any more",
            f"{facts.lunasched} sync",
            as_root=facts.is_system,
        )
    else:
        yield error(
            f"there are no jobs, but {len(known.orphans)} unit files of jobs: "
            f"{listed(known.orphans)}",
            # No command to fix it: removing the last trace of the jobs fixes nothing, unless
            # whoever reads this knows that there are meant to be none.
            f"if the database was lost, restore it and run '{facts.lunasched} sync'; only if "
            f"you want no jobs, '{facts.lunasched} sync --allow-empty' removes the units",
            as_root=facts.is_system,
        )
