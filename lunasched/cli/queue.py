"""Commands about pending starts: queue, retry cancel."""

from __future__ import annotations

from typing import Optional

import typer

from lunasched.cli import render
from lunasched.cli.app import JSON_OPTION, MODE_OPTION, NAME_ARGUMENT, app, chosen_mode
from lunasched.cli.session import Session
from lunasched.history import jsonview
from lunasched.history.pendingstarts import in_turn, waits_for

_retry = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Pending retries.")
app.add_typer(_retry, name="retry")


@app.command()
def queue(
    ctx: typer.Context,
    as_json: bool = JSON_OPTION,
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Show the starts that wait for their time or their turn."""
    session = Session.choose(chosen_mode(ctx, system))
    now = session.now()
    starts = in_turn(session.store.starts.all(), now)
    if not starts:
        session.check_not_lost()
    if as_json:
        render.print_json([jsonview.start_json(start, starts, now) for start in starts])
        return
    rows = [
        (
            start.job,
            start.trigger.value,
            str(start.attempt),
            render.local_time(start.scheduled_at),
            render.local_time(start.created_at),
            render.local_time(start.due_at) if start.due_at > now else "now",
            waits_for(start, starts, now),
        )
        for start in starts
    ]
    header = ("JOB", "TRIGGER", "ATTEMPT", "SCHEDULED", "WAITING SINCE", "DUE", "WAITS FOR")
    render.print_table(header, rows)
    due = sum(start.due_at <= now for start in starts)
    print(f"{due} waiting for their turn, {len(starts) - due} for their time.")
    session.note_supervisor()


@_retry.command("cancel")
def cancel(
    ctx: typer.Context,
    name: str = NAME_ARGUMENT,
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Drop the pending retry of a job. The failure of its last attempt is final."""
    session = Session.choose(chosen_mode(ctx, system))
    session.job(name)
    dropped = drop_starts(session, name, retries_only=True)
    print(f"Dropped the retry of job {name!r}." if dropped else f"Job {name!r} has no retry.")


def drop_starts(session: Session, name: str, *, retries_only: bool) -> int:
    """Drop the pending starts of a job, with the consequences; return their number."""
    starts, consequences = session.store.starts, session.consequences
    with session.store.transaction():
        dropped = starts.drop_retries(name) if retries_only else starts.drop_job(name)
        job = session.store.jobs.get(name)
        for start in dropped:
            if job is not None:
                consequences.dropped(start, job)
    if dropped:
        session.manager.nudge()
    return len(dropped)
