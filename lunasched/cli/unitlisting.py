"""The units of a job, for the commands that show them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from lunasched.machine import terminal

if TYPE_CHECKING:
    from lunasched.cli.session import Session
    from lunasched.jobs.model import Job
    from lunasched.units.compiler import CompiledJob


def units_to_show(session: Session, job: Job) -> CompiledJob:
    """The units of a job as they are compiled now; warnings go to standard error."""
    from lunasched.deploy.intendedjobs import IntendedJobs

    # A dry run makes no database.
    found = IntendedJobs(session.store_as_is, session.context, {}).compile(job)
    warn_author(found)
    return found


def print_units(job: CompiledJob) -> None:
    """The text of all units of a job, and of the file beside them, each below its name."""
    for number, file in enumerate(job.files):
        if number:
            print()
        print(f"# {file.name}")
        terminal.print_exact(file.text)


def warn_author(job: CompiledJob) -> None:
    """Say what its author should know about a job."""
    for warning in job.warnings:
        print(f"warning: {warning}", file=sys.stderr)
