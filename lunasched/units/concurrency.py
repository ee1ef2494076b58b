"""Concurrent runs: the part of their rules that the units themselves can say.

Sequential is what systemd does with any service, and needs nothing. Where a trigger during a run
shall start another one (Parallel), or a new one in its place (``overlap: replace``), the timer does
not start the service but a *launcher*, a service of its own. Exclusive jobs and the limit to all
jobs are conditions on files of the runtime directory; see ``lunasched.supervisor.starter``.
"""

from __future__ import annotations

from lunasched.formats import unittext
from lunasched.formats.pattern import pattern
from lunasched.jobs.model import ExecutionMode, Job, Overlap
from lunasched.paths import EXCLUSIVE_DIRECTORY, SUPERVISOR_DIRECTORY

_OF_GATE = pattern(
    r"ConditionPathExists=\|?!?/[^ ]*/"
    rf"(?:{EXCLUSIVE_DIRECTORY}|lunasched/{SUPERVISOR_DIRECTORY})/?"
)


def has_launcher(job: Job) -> bool:
    """Tell whether the job's timer starts a launcher in place of the job's service."""
    return job.mode is ExecutionMode.PARALLEL or job.overlap is Overlap.REPLACE


def started_unit(job: Job) -> str:
    """Return the unit to start so that the job runs as its timer would run it."""
    name = job.name
    return unittext.launch_name(name) if has_launcher(job) else unittext.service_name(name)


def is_of_gate(text: str) -> bool:
    """Tell if a condition in a text is one of those by which starts wait for their turn."""
    return bool(_OF_GATE.search(text))
