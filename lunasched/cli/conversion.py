"""Commands that hand jobs over to plain units, and units that somebody wrote to lunasched."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Optional

import typer

from lunasched.cli.app import MODE_OPTION, NAME_ARGUMENT, app, chosen_mode
from lunasched.cli.firstuse import after_adding
from lunasched.cli.needswarning import warn_of_lacks
from lunasched.cli.session import Session
from lunasched.machine import terminal


@app.command()
def eject(
    ctx: typer.Context,
    name: str = NAME_ARGUMENT,
    as_name: Optional[str] = typer.Option(
        None,
        "--as",
        metavar="UNIT",
        help="Name of the units, without suffix.  [default: the name of the job]",
        show_default=False,
    ),
    force: bool = typer.Option(False, "--force", help="Leave out what plain units cannot do."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Print the units, change nothing."),
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Turn a job into units that need no lunasched. The job is forgotten."""
    session = Session.choose(chosen_mode(ctx, system))
    if dry_run:
        from lunasched.transfer import ejection

        found = ejection.ejected_units(session.job(name), session.context, as_name)
        for number, unit in enumerate(found.units):
            print(f"{chr(10) if number else ''}# {unit.name}")
            terminal.print_exact(unit.text)
        _print_notes((*found.losses, *found.notes))
        return
    found = session.deployer.eject(name, as_name=as_name, force=force, now=session.now())
    units = " and ".join(str(session.paths.units / unit.name) for unit in found.units)
    print(f"Ejected job {name!r}: it is {units} now.")
    _print_notes((*found.losses, *found.notes))


@app.command()
def adopt(
    ctx: typer.Context,
    unit: str = typer.Argument(..., help="Name of the timer.", show_default=False),
    name: Optional[str] = typer.Option(
        None,
        "--name",
        metavar="NAME",
        help="Name of the job.  [default: that of the timer]",
        show_default=False,
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Print the units, change nothing."),
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Turn a timer and its service into a job. Their files are kept, renamed."""
    from lunasched.cli import unitlisting

    session = Session.choose(chosen_mode(ctx, system))
    if dry_run:
        found = session.deployer.find_units(unit, name, now=session.now())
        compiled = unitlisting.units_to_show(session, found.adoption.job)
        unitlisting.print_units(compiled)
    else:
        found, compiled = session.deployer.adopt(unit, name, now=session.now())
        unitlisting.warn_author(compiled)
        made = compiled.timer or compiled.service
        print(f"Adopted {unit} as job {found.adoption.job.name!r}: it is {made.name} now.")
        for _, kept in found.moves:
            print(f"Kept {kept}")
    warn_of_lacks(session, [found.adoption.job])
    _print_notes(found.adoption.notes)
    if not dry_run:
        after_adding(session)


def _print_notes(notes: Iterable[str]) -> None:
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
