"""Commands that change jobs: remove, enable, disable, compile, sync."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Optional

import typer

from lunasched.cli.app import MODE_OPTION, NAME_ARGUMENT, app, chosen_mode
from lunasched.cli.needswarning import warn_of_lacks
from lunasched.cli.session import Session
from lunasched.cli.unitlisting import print_units
from lunasched.cli.unitlisting import units_to_show as compiled_now
from lunasched.errors import InvalidInput, InvalidJob, LunaschedError, ZonesChanged


@app.command()
def remove(
    ctx: typer.Context,
    name: str = NAME_ARGUMENT,
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Remove a job and its units. A run in progress ends by itself, the history stays."""
    session = Session.choose(chosen_mode(ctx, system))
    deployer = session.deployer
    session.job(name)
    deployer.remove(name, now=session.now())
    print(f"Removed job {name!r}.")


@app.command()
def enable(
    ctx: typer.Context,
    name: str = NAME_ARGUMENT,
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Start a job's timer, now and at boot."""
    _set_enabled(Session.choose(chosen_mode(ctx, system)), name, enabled=True)


@app.command()
def disable(
    ctx: typer.Context,
    name: str = NAME_ARGUMENT,
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Stop a job's timer, now and at boot. The job can still be started by hand."""
    from lunasched.cli.queue import drop_starts

    session = Session.choose(chosen_mode(ctx, system))
    session.job(name)
    # If this fails, the supervisor does it when it sees that the job is disabled.
    dropped = session.of_history(lambda: drop_starts(session, name, retries_only=False), 0)
    try:
        _set_enabled(session, name, enabled=False)
    except LunaschedError as error:
        if dropped:
            error.nothing_changed = False
            print(f"note: {dropped} of its pending starts were dropped", file=sys.stderr)
        raise


@app.command("compile")
def compile_units(
    ctx: typer.Context,
    name: str = NAME_ARGUMENT,
    output: Optional[Path] = typer.Option(
        None,
        "--output",
        "-o",
        metavar="DIR",
        help="Write the units into this directory.",
        show_default=False,
    ),
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Print or write the units of a job, and change nothing."""
    session = Session.choose(chosen_mode(ctx, system))
    job = session.job(name)
    compiled = compiled_now(session, job)
    if output is None:
        print_units(compiled)
        return
    from lunasched.formats.unittext import OWNERSHIP_MARK
    from lunasched.state.unitdir import UnitDirectory

    directory = UnitDirectory(output, mark=OWNERSHIP_MARK, prefix="")
    with directory.stage({file.name: file.text for file in compiled.files}) as staged:
        staged.install()
    for file in compiled.files:
        print(output / file.name)


@app.command()
def sync(
    ctx: typer.Context,
    allow_empty: bool = typer.Option(
        False, "--allow-empty", help="Remove all units if the database has no jobs."
    ),
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Make the deployed units and timers match the database."""
    report = None
    while report is None:
        session = Session.choose(chosen_mode(ctx, system))
        # The zones are read now, because this command may have waited long for the lock.
        with suppress(ZonesChanged):
            report = session.deployer.sync(now=session.now(), allow_empty=allow_empty)
    for verb, units in (
        ("settled", report.settled),
        ("wrote", report.written),
        ("removed", report.removed),
        ("started", report.started),
        ("stopped", report.stopped),
    ):
        for unit in units:
            print(f"{verb} {unit}")
    if not report.changed:
        print("Everything is as it should be.")
    if report.failed:
        raise InvalidJob([f"job {name!r}: {reason}" for name, reason in report.failed])


@app.command("remove-over", hidden=True)
def remove_over(instance: str, system: Optional[bool] = MODE_OPTION) -> None:
    """Remove the job of an instance if that is over; lunasched-over@.service runs this."""
    from lunasched.formats import unittext

    session = Session.choose(system)
    name = unittext.job_name(f"{unittext.JOB_PREFIX}{instance}.service")
    if name is None:
        raise InvalidInput(f"{instance!r} is not the instance of a job's units")
    try:
        removed = session.deployer.remove_over(name, now=session.now())
    except InvalidInput as error:
        # Another job waits for it: as much as it may be over, it stays.
        print(f"Job {name!r} stays: {error}")
        return
    print(f"Removed job {name!r}, which is over." if removed else f"Job {name!r} is not over.")


def _set_enabled(session: Session, name: str, *, enabled: bool) -> None:
    deployer = session.deployer
    session.job(name)
    changed = deployer.set_enabled(name, enabled, now=session.now())
    state = "enabled" if enabled else "disabled"
    print(f"Job {name!r} is {state}." if changed else f"Job {name!r} was {state} already.")
    if enabled:
        warn_of_lacks(session, [session.job(name)])
