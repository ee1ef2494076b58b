"""The command that adds a job: its options are the keys of a job file."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, List, Optional

import typer

from lunasched.cli import unitlisting
from lunasched.cli.app import MODE_OPTION, app, chosen_mode
from lunasched.cli.firstuse import after_adding
from lunasched.cli.joboptions import (
    definition_of,
    give_parameters,
    job_parameters,
    option_of,
    parameter,
)
from lunasched.cli.mailwarning import warn_of_mail
from lunasched.cli.needswarning import warn_of_lacks
from lunasched.cli.session import Session
from lunasched.errors import JobExists

if TYPE_CHECKING:
    from lunasched.jobs.model import Job
    from lunasched.units.compiler import CompiledJob

_REPLACE = typer.Option(False, "--replace", help="Change the job if it exists.")
_DRY_RUN = typer.Option(False, "--dry-run", help="Print the units, change nothing.")


def add(
    ctx: typer.Context, argv: Optional[List[str]], replace: bool, dry_run: bool, **options: Any
) -> None:
    """Add a job and start its timer."""
    from lunasched.jobs.reading import job_from_mapping

    session = Session.choose(chosen_mode(ctx, options.pop("system")))
    definition = definition_of(argv, options)
    job = job_from_mapping(definition, defaults=session.settings.defaults, label=option_of)
    if dry_run:
        from lunasched.systemd import verify

        _check_new(session, job, replace)
        compiled = unitlisting.units_to_show(session, job)
        verify.check_compiled(compiled, session.mode)
        unitlisting.print_units(compiled)
        _note_places(definition, job)
        warn_of_lacks(session, [job])
        return
    compiled = session.deployer.add(job, now=session.now(), replace=replace)
    unitlisting.warn_author(compiled)
    _note_places(definition, job)
    warn_of_lacks(session, [job])
    warn_of_mail(session, [job])
    _report_added(session, job, compiled)


def _note_places(definition: Mapping[str, Any], job: Job) -> None:
    """Tell which numbers job and host have chosen for a schedule."""
    from lunasched.jobs.values import schedule_text
    from lunasched.schedule import has_places

    if definition["schedule"] and has_places(schedule_text(definition["schedule"])):
        print(f"note: the schedule is {job.schedule!r} on this host", file=sys.stderr)


def _register() -> None:
    """Give the command its parameters: an option for each key that has one, and its own."""
    parameters = [
        parameter("ctx", inspect.Parameter.empty, typer.Context),
        *job_parameters(),
        parameter("replace", _REPLACE, bool),
        parameter("dry_run", _DRY_RUN, bool),
        parameter("system", MODE_OPTION, Optional[bool]),
    ]
    give_parameters(add, parameters)
    app.command()(add)


def _check_new(session: Session, job: Job, replace: bool) -> None:
    if not replace and session.store_as_is.jobs.get(job.name):
        raise JobExists(f"there is a job {job.name!r} already; use --replace to change it")


def _report_added(session: Session, job: Job, compiled: CompiledJob) -> None:
    from lunasched.cli.render import local_time
    from lunasched.history.slot import Past, next_slot_of_job

    now = session.now()
    elapse = next_slot_of_job(job, now, Past(now, None, None), session.host_timezone)
    if not job.enabled:
        state = f"it is disabled until: lunasched enable {job.name!r}"
    elif compiled.timer is None and job.dependencies:
        state = "it runs after the jobs that it depends on"
    elif compiled.timer is None:
        state = f"start it with: lunasched start {job.name!r}"
    elif elapse is None:
        state = "it runs at the next boot"
    else:
        state = f"first run {local_time(elapse)}"
    unit = compiled.timer or compiled.service
    print(f"Added job {job.name!r} as {unit.name}; {state}.")
    after_adding(session)


_register()
