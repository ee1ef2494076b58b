"""Jobs that are over, and want to be removed then: ``lunasched at``, ``until``, ``count``.

The supervisor knows whether a run is on record with all that follows from it, and asks for the
removal of a job. What it is told is not believed: the definition says whether that may be.
"""

from __future__ import annotations

from lunasched.deploy.manualstart import busy_units
from lunasched.errors import InvalidInput
from lunasched.history.slot import has_no_slot
from lunasched.jobs.model import Job
from lunasched.systemd.manager import Manager


def is_over(job: Job, manager: Manager, *, now: int, host_timezone: str) -> bool:
    """Tell whether a job that wants it may be removed: no slot is to come, and none is running."""
    if not job.remove_when_over or busy_units(manager, job.name):
        return False
    try:
        return has_no_slot(job, now, host_timezone)
    except InvalidInput:
        return False
