"""Commands that change jobs: add, remove, enable, disable, compile, sync."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Optional

import typer

from lunasched.cli.app import MODE_OPTION, NAME_ARGUMENT, app, chosen_mode
from lunasched.cli.session import Session
from lunasched.errors import InvalidInput, InvalidJob, JobExists

if TYPE_CHECKING:
    from lunasched.compiler import CompiledJob
    from lunasched.model import Job

# What the keys of a job are called on the command line.
_OPTIONS = {
    "user": "--run-as",
    "max_memory": "--max-memory",
    "cpu_quota": "--cpu-quota",
    "working_directory": "--working-directory",
}


@app.command()
def add(
    ctx: typer.Context,
    argv: Optional[List[str]] = typer.Argument(
        None,
        metavar="[-- ARGV...]",
        help="The program and its arguments, run without a shell; after --command CMD, "
        "arguments for it.",
        show_default=False,
    ),
    name: str = typer.Option(..., "--name", help="Name of the job."),
    schedule: str = typer.Option(
        ...,
        "--schedule",
        help="'every 1h', 'at 02:30 on Mon,Fri', '0 3 * * *'; see lunasched-schedule(5).",
    ),
    command: Optional[str] = typer.Option(
        None, "--command", help="Command line for /bin/sh.", show_default=False
    ),
    run_as: Optional[str] = typer.Option(
        None,
        "--run-as",
        metavar="USER",
        help="User to run as.  [default: root]",
        show_default=False,
    ),
    timezone: Optional[str] = typer.Option(
        None,
        "--timezone",
        metavar="ZONE",
        help="Zone of the schedule, such as Europe/Berlin.  [default: the host's]",
        show_default=False,
    ),
    timeout: Optional[str] = typer.Option(
        None,
        "--timeout",
        metavar="TIME",
        help="Longest running time: 90, 15m, 1h30m.",
        show_default=False,
    ),
    max_memory: Optional[str] = typer.Option(
        None, "--max-memory", metavar="SIZE", help="Most memory: 512M, 2G.", show_default=False
    ),
    cpu_quota: Optional[str] = typer.Option(
        None,
        "--cpu-quota",
        metavar="SHARE",
        help="Share of one core: 0.5, 50%, 2.",
        show_default=False,
    ),
    jitter: Optional[str] = typer.Option(
        None,
        "--jitter",
        metavar="TIME",
        help="Delay starts by up to this, the same for each.",
        show_default=False,
    ),
    env: List[str] = typer.Option(
        [],
        "--env",
        metavar="K=V",
        help="Environment variable; can be repeated.",
        show_default=False,
    ),
    working_directory: Optional[str] = typer.Option(
        None,
        "--working-directory",
        metavar="DIR",
        help="Where to run.  [default: the user's home]",
        show_default=False,
    ),
    priority: Optional[str] = typer.Option(
        None,
        "--priority",
        metavar="LEVEL",
        help="Low, Normal, High or Critical.  [default: Normal]",
        show_default=False,
    ),
    tags: Optional[str] = typer.Option(
        None, "--tags", metavar="A,B", help="Tags to list the job by.", show_default=False
    ),
    catch_up: Optional[bool] = typer.Option(
        None,
        "--catch-up/--no-catch-up",
        help="Run once at boot for slots missed while the machine was off.  [default: no]",
        show_default=False,
    ),
    disabled: bool = typer.Option(False, "--disabled", help="Do not start the timer."),
    replace: bool = typer.Option(False, "--replace", help="Change the job if it exists."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Print the units, change nothing."),
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Add a job and start its timer."""
    from lunasched.jobfile import job_from_mapping

    session = Session.choose(chosen_mode(ctx, system))
    definition: dict[str, Any] = {
        "name": name,
        "schedule": schedule,
        "command": _command(command, argv),
        "user": run_as,
        "timezone": timezone,
        "timeout": timeout,
        "max_memory": max_memory,
        "cpu_quota": cpu_quota,
        "jitter": jitter,
        "env": _environment(env),
        "working_directory": working_directory,
        "priority": priority,
        "tags": tags.split(",") if tags is not None else None,
        "enabled": not disabled,
        "catch_up": catch_up,
    }
    job = job_from_mapping(definition, label=lambda key: _OPTIONS.get(key, f"--{key}"))
    if dry_run:
        _check_new(session, job, replace)
        _print_units(_compiled(session, job))
        return
    compiled = session.deployer.add(job, now=session.now(), replace=replace)
    _warn(compiled)
    _report_added(session, job, compiled)


@app.command()
def remove(
    ctx: typer.Context,
    name: str = NAME_ARGUMENT,
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Remove a job and its units; a run in progress ends by itself, the history stays."""
    session = Session.choose(chosen_mode(ctx, system))
    session.deployer.remove(name)
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
    """Stop a job's timer, now and at boot; the job can still be started by hand."""
    _set_enabled(Session.choose(chosen_mode(ctx, system)), name, enabled=False)


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
    """Print or write the units of a job, without touching systemd."""
    session = Session.choose(chosen_mode(ctx, system))
    job = session.job(name)
    compiled = _compiled(session, job)
    if output is None:
        _print_units(compiled)
        return
    from lunasched.compiler import OWNERSHIP_MARK
    from lunasched.unitdir import UnitDirectory

    directory = UnitDirectory(output, mark=OWNERSHIP_MARK, prefix="")
    with directory.stage({unit.name: unit.text for unit in compiled.units}) as staged:
        staged.install()
    for unit in compiled.units:
        print(output / unit.name)


@app.command()
def sync(
    ctx: typer.Context,
    allow_empty: bool = typer.Option(
        False, "--allow-empty", help="Remove all units if the database has no jobs."
    ),
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Make the deployed units and timers equal the database."""
    session = Session.choose(chosen_mode(ctx, system))
    report = session.deployer.sync(now=session.now(), allow_empty=allow_empty)
    for verb, units in (
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


def _command(command: Optional[str], argv: Optional[List[str]]) -> Any:
    """A shell command, or with arguments after ``--`` a program to run without a shell."""
    if argv:
        return [command, *argv] if command is not None else list(argv)
    return command


def _environment(pairs: List[str]) -> dict[str, str]:
    environment = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InvalidInput(f"--env: {pair!r} is not of the form NAME=value")
        environment[name] = value
    return environment


def _check_new(session: Session, job: Job, replace: bool) -> None:
    if not replace and session.paths.database.exists() and session.store.jobs.get(job.name):
        raise JobExists(f"there is a job {job.name!r} already; use --replace to change it")


def _compiled(session: Session, job: Job) -> CompiledJob:
    from lunasched import compiler

    compiled = compiler.compile(job, session.context)
    _warn(compiled)
    return compiled


def _print_units(compiled: CompiledJob) -> None:
    for number, unit in enumerate(compiled.units):
        if number:
            print()
        print(f"# {unit.name}")
        sys.stdout.write(unit.text)


def _warn(compiled: CompiledJob) -> None:
    for warning in compiled.warnings:
        print(f"warning: {warning}", file=sys.stderr)


def _report_added(session: Session, job: Job, compiled: CompiledJob) -> None:
    from lunasched.cli.render import local_time
    from lunasched.slot import Past, next_slot

    now = session.now()
    elapse = next_slot(job, now, Past(now, None, None), session.host_timezone)
    if not job.enabled:
        state = f"it is disabled until: lunasched enable {job.name!r}"
    elif elapse is None:
        state = "it runs at the next boot"
    else:
        state = f"first run {local_time(elapse)}"
    print(f"Added job {job.name!r} as {compiled.timer.name}; {state}.")
    session.note_linger()


def _set_enabled(session: Session, name: str, *, enabled: bool) -> None:
    changed = session.deployer.set_enabled(name, enabled, now=session.now())
    state = "enabled" if enabled else "disabled"
    print(f"Job {name!r} is {state}." if changed else f"Job {name!r} was {state} already.")
