"""The command that the slot guard asks (``unit-templates/slot-guard``); not for people."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from lunasched.cli.app import app
from lunasched.cli.session import Session
from lunasched.errors import ExitCode


@app.command("slot-check", hidden=True)
def slot_check(
    file: Path = typer.Argument(...),
    durable: str = typer.Argument(...),
    name: str = typer.Argument(...),
    zone: str = typer.Argument(...),
    schedule: str = typer.Argument(...),
) -> None:
    """Decide for the slot guard whether a start of a job may go on (exit code 0) or not (1)."""
    from lunasched.guard import may_start
    from lunasched.slot import Moment
    from lunasched.slotfile import SlotDirectory, clock_offset

    session = Session.choose(None)
    now = session.now()
    # The supervisor may have recorded this very start already.
    this_run = os.environ.get("INVOCATION_ID", "")
    allowed = may_start(
        name,
        _started_unit(session, name),
        schedule,
        zone,
        Moment(now, clock_offset(now)),
        slots=SlotDirectory(file.parent),
        recorded=lambda: session.store.runs.last_slot(name, but=this_run),
        manager=lambda: session.manager,
        durable=durable == "sync",
    )
    if not allowed:
        print("this slot ran already")
        raise typer.Exit(ExitCode.FAILED)


def _started_unit(session: Session, name: str) -> str:
    """What the timer of a job starts; of a job that is not on record, its service."""
    from lunasched import concurrency, unittext

    job = session.store.jobs.get(name)
    return unittext.service_name(name) if job is None else concurrency.started_unit(job)
