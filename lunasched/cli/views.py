"""Commands that show what there is: list, get, history, logs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Optional

import typer

from lunasched.cli import render
from lunasched.cli.app import JSON_OPTION, MODE_OPTION, NAME_ARGUMENT, app, chosen_mode
from lunasched.cli.session import Session
from lunasched.errors import InvalidInput, NoSuchJob
from lunasched.model import Job, Run

if TYPE_CHECKING:
    from collections.abc import Mapping

_RECENT = 5


@app.command("list")
def list_jobs(
    ctx: typer.Context,
    tag: Optional[str] = typer.Option(
        None, "--tag", help="Only jobs with this tag.", show_default=False
    ),
    as_json: bool = JSON_OPTION,
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """List the jobs with their last result and next elapse."""
    session = Session.choose(chosen_mode(ctx, system))
    jobs = [job for job in session.store.jobs.all() if tag is None or tag in job.tags]
    latest = session.store.runs.latest()
    upcoming = _next_elapses(session, jobs, latest)
    if as_json:
        render.print_json(
            [render.job_json(job, upcoming[job.name], latest.get(job.name)) for job in jobs]
        )
        return
    rows = []
    for job in jobs:
        run = latest.get(job.name)
        rows.append(
            (
                job.name,
                job.schedule,
                "yes" if job.enabled else "no",
                render.local_time(run.started_at) if run else "-",
                render.run_ended(run) if run else "-",
                render.local_time(upcoming[job.name]),
                ",".join(job.tags) or "-",
            )
        )
    header = ("NAME", "SCHEDULE", "ENABLED", "LAST START", "RESULT", "NEXT ELAPSE", "TAGS")
    render.print_table(header, rows)
    session.note_supervisor()


@app.command()
def get(
    ctx: typer.Context,
    name: str = NAME_ARGUMENT,
    as_json: bool = JSON_OPTION,
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Show one job: its definition, its units, its last run and next elapse."""
    from lunasched import unittext

    session = Session.choose(chosen_mode(ctx, system))
    job = session.job(name)
    last = next(iter(session.store.runs.history(name, 1)), None)
    elapse = _next_elapses(session, [job], {name: last} if last else {})[name]
    if as_json:
        render.print_json(render.job_json(job, elapse, last))
        return
    limits = job.limits
    shown = {
        "Name": job.name,
        "Schedule": job.schedule,
        "Time zone": job.timezone or f"{session.host_timezone} (the host's)",
        "Command": render.command_text(job.command),
        "User": job.user or ("root" if session.mode.value == "system" else "yourself"),
        "Directory": job.working_directory or "the user's home",
        "Environment": "\n".join(f"{key}={value}" for key, value in job.environment),
        "Timeout": f"{limits.timeout:g}s" if limits.timeout else "",
        "Memory limit": render.size(limits.max_memory) if limits.max_memory else "",
        "CPU quota": f"{limits.cpu_quota:g} cores" if limits.cpu_quota else "",
        "Jitter": f"{job.jitter:g}s" if job.jitter else "",
        "Priority": job.priority.value,
        "Tags": ", ".join(job.tags),
        "Enabled": "yes" if job.enabled else "no",
        "Next elapse": render.local_time(elapse),
        "Last run": _last_run(last),
        "Units": "\n".join(
            str(session.paths.units / unit)
            for unit in (unittext.timer_name(name), unittext.service_name(name))
        ),
    }
    for key, value in shown.items():
        if value:
            indented = render.printable(value).replace("\n", "\n" + " " * 14)
            print(f"{key + ':':<13} {indented}")
    session.note_supervisor()


@app.command()
def history(
    ctx: typer.Context,
    name: Optional[str] = typer.Argument(
        None, help="Name of the job.  [default: all jobs]", show_default=False
    ),
    everything: bool = typer.Option(False, "--all", help="All runs, not the last 5."),
    count: Optional[int] = typer.Option(
        None, "-n", "--count", min=1, help="The last N runs.", show_default=False
    ),
    as_json: bool = JSON_OPTION,
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Show the runs of a job or of all jobs, newest first."""
    if everything and count is not None:
        raise InvalidInput("--all and -n exclude each other; leave one out")
    session = Session.choose(chosen_mode(ctx, system))
    known = name is None or session.store.jobs.get(name) or session.store.runs.exist_for(name)
    if not known:
        raise NoSuchJob(str(name))
    runs = session.store.runs.history(name, None if everything else count or _RECENT)
    if as_json:
        render.print_json([render.run_json(run) for run in runs])
        return
    header = ("EXECUTION ID", "JOB", "TRIGGER", "SCHEDULED", "STARTED", "TOOK", "RESULT", "OUTPUT")
    render.print_table(header, [_history_row(run) for run in runs])
    session.note_supervisor()


@app.command()
def logs(
    ctx: typer.Context,
    name: str = NAME_ARGUMENT,
    execution: Optional[str] = typer.Option(
        None, "--execution", metavar="ID", help="Only this run.", show_default=False
    ),
    follow: bool = typer.Option(False, "--follow", "-f", help="Show what is added, as it comes."),
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Show what a job printed and what systemd said of it (journalctl)."""
    from lunasched import unittext
    from lunasched.journal import RunWindow, journalctl

    session = Session.choose(chosen_mode(ctx, system))
    if not session.store.jobs.get(name) and not session.store.runs.exist_for(name):
        raise NoSuchJob(name)
    window = None
    if execution is not None:
        run = session.store.runs.get(_execution_id(execution))
        if run is None or run.job != name:
            raise InvalidInput(
                f"--execution: job {name!r} has no run {execution}; "
                f"'lunasched history {name}' shows them"
            )
        following = session.store.runs.next_start(run.execution_id)
        window = RunWindow.between(
            run.execution_id, run.unit, run.started_at, run.ended_at, following
        )
    options = ["--all", *(["--follow"] if follow else ["--no-pager"])]
    unit = unittext.service_name(name)
    command = journalctl(session.mode, os.getuid(), unit, window, *options)
    session.store.close()
    try:
        os.execvp(command[0], command)
    except OSError as error:
        raise InvalidInput(f"journalctl cannot be run ({error.strerror})") from error


def _history_row(run: Run) -> tuple[str, ...]:
    span = None if run.ended_at is None else run.ended_at - run.started_at
    lines = [line for line in (run.output or "").splitlines() if line.strip()]
    return (
        render.execution_id(run.execution_id),
        run.job,
        run.trigger.value,
        render.local_time(run.scheduled_at),
        render.local_time(run.started_at),
        render.duration(span),
        render.run_ended(run),
        render.one_line(lines[-1] if lines else "", 40),
    )


def _last_run(run: Run | None) -> str:
    if run is None:
        return "never"
    ended = render.run_ended(run)
    return f"{render.local_time(run.started_at)}, {ended}, {render.execution_id(run.execution_id)}"


def _next_elapses(
    session: Session, jobs: list[Job], latest: Mapping[str, Run]
) -> dict[str, int | None]:
    """When each job elapses next, from its schedule; a schedule that is not one any more: never."""
    from lunasched.slot import Past, next_slot

    now, deployed = session.now(), session.store.jobs.updated_at()
    elapses: dict[str, int | None] = {}
    for job in jobs:
        run = latest.get(job.name)
        past = Past(deployed.get(job.name, now), run.started_at if run else None, None)
        try:
            elapses[job.name] = next_slot(job, now, past, session.host_timezone)
        except InvalidInput:
            elapses[job.name] = None
    return elapses


def _execution_id(text: str) -> str:
    compact = text.replace("-", "").lower()
    if len(compact) != 32 or not all(char in "0123456789abcdef" for char in compact):
        raise InvalidInput(
            f"--execution: {text!r} is no execution ID; 'lunasched history' shows them"
        )
    return compact
