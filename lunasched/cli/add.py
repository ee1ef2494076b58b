"""The command that adds a job: its options are the keys of a job file."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Optional

import typer

from lunasched.cli import units
from lunasched.cli.app import MODE_OPTION, app, chosen_mode, environment
from lunasched.cli.firstuse import after_adding
from lunasched.cli.mail import warn_of_mail
from lunasched.cli.needs import warn_of_lacks
from lunasched.cli.session import Session
from lunasched.errors import InvalidInput, JobExists

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lunasched.jobs.model import Job
    from lunasched.units.compiler import CompiledJob

# What the keys of a job are called on the command line, where it is not the key with dashes.
_OPTIONS = {"user": "--run-as", "dependencies": "--depends-on"}

_NOTIFICATIONS = {"on_failure": "--notify-email", "heartbeat": "--heartbeat-from"}


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
    schedule: Optional[str] = typer.Option(
        None,
        "--schedule",
        help="'every 1h', 'at 02:30 on Mon,Fri', '0 3 * * *'; see lunasched-schedule(5).",
        show_default=False,
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
    tasks_max: Optional[str] = typer.Option(
        None,
        "--tasks-max",
        metavar="N",
        help="Most processes and threads.",
        show_default=False,
    ),
    io_weight: Optional[str] = typer.Option(
        None,
        "--io-weight",
        metavar="N",
        help="Share of the disks, 1 to 10000.  [default: 100]",
        show_default=False,
    ),
    kill_after: Optional[str] = typer.Option(
        None,
        "--kill-after",
        metavar="TIME",
        help="From SIGTERM to SIGKILL.  [default: systemd's, 90s]",
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
    max_retries: Optional[str] = typer.Option(
        None,
        "--max-retries",
        metavar="N",
        help="How often a failed run is tried again.  [default: 0]",
        show_default=False,
    ),
    backoff: Optional[str] = typer.Option(
        None,
        "--backoff",
        metavar="HOW",
        help="Exponential, Linear or Fixed.  [default: Exponential]",
        show_default=False,
    ),
    retry_delay: Optional[str] = typer.Option(
        None,
        "--retry-delay",
        metavar="TIME",
        help="Before the first retry.  [default: 1m]",
        show_default=False,
    ),
    retry_max_delay: Optional[str] = typer.Option(
        None,
        "--retry-max-delay",
        metavar="TIME",
        help="Before any retry, at most.  [default: 1h]",
        show_default=False,
    ),
    retry_on: Optional[str] = typer.Option(
        None,
        "--retry-on-exit-codes",
        metavar="A,B",
        help="The exit codes after which alone to try again.",
        show_default=False,
    ),
    no_retry_on: Optional[str] = typer.Option(
        None,
        "--no-retry-on-exit-codes",
        metavar="A,B",
        help="The exit codes after which not to.",
        show_default=False,
    ),
    on_start: Optional[str] = typer.Option(
        None,
        "--on-start",
        metavar="CMD",
        help="Command line that follows each start.",
        show_default=False,
    ),
    on_success: Optional[str] = typer.Option(
        None,
        "--on-success",
        metavar="CMD",
        help="Command line that follows a success.",
        show_default=False,
    ),
    on_failure: Optional[str] = typer.Option(
        None,
        "--on-failure",
        metavar="CMD",
        help="Command line that follows a failure that is not retried.",
        show_default=False,
    ),
    on_retry: Optional[str] = typer.Option(
        None,
        "--on-retry",
        metavar="CMD",
        help="Command line that follows a failure that is retried.",
        show_default=False,
    ),
    hook_timeout: Optional[str] = typer.Option(
        None,
        "--hook-timeout",
        metavar="TIME",
        help="Longest running time of these.  [default: 1m]",
        show_default=False,
    ),
    notify_email: List[str] = typer.Option(
        [],
        "--notify-email",
        metavar="A,B",
        help="Addresses to write to when it begins to fail, and when it has recovered.",
        show_default=False,
    ),
    heartbeat_from: Optional[Path] = typer.Option(
        None,
        "--heartbeat-from",
        metavar="FILE",
        help="File with the URL to ping at each start, success and failure; - is stdin.",
        show_default=False,
    ),
    execution_mode: Optional[str] = typer.Option(
        None,
        "--execution-mode",
        metavar="MODE",
        help="Sequential, Parallel or Exclusive.  [default: Sequential]",
        show_default=False,
    ),
    overlap: Optional[str] = typer.Option(
        None,
        "--overlap",
        metavar="HOW",
        help="When due while it runs: queue, skip or replace.  [default: queue]",
        show_default=False,
    ),
    max_concurrent: Optional[str] = typer.Option(
        None,
        "--max-concurrent",
        metavar="N",
        help="Most runs at a time of a Parallel job.  [default: 0, no limit]",
        show_default=False,
    ),
    depends_on: List[str] = typer.Option(
        [],
        "--depends-on",
        metavar="A,B",
        help="Jobs whose last run must have succeeded; can be repeated.",
        show_default=False,
    ),
    sandbox: List[str] = typer.Option(
        [],
        "--sandbox",
        metavar="KEY[=VALUE]",
        help="Keep the job from something, see lunasched(1); can be repeated.",
        show_default=False,
    ),
    systemd: List[str] = typer.Option(
        [],
        "--systemd",
        metavar="DIRECTIVE=VALUE",
        help="A directive of [Service]; can be repeated.",
        show_default=False,
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
    from lunasched.jobs.reading import job_from_mapping

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
        "tasks_max": tasks_max,
        "io_weight": io_weight,
        "kill_after": kill_after,
        "jitter": jitter,
        "env": environment(env),
        "working_directory": working_directory,
        "priority": priority,
        "tags": tags.split(",") if tags is not None else None,
        "max_retries": max_retries,
        "backoff": backoff,
        "retry_delay": retry_delay,
        "retry_max_delay": retry_max_delay,
        "retry_on_exit_codes": retry_on,
        "no_retry_on_exit_codes": no_retry_on,
        "on_start": on_start,
        "on_success": on_success,
        "on_failure": on_failure,
        "on_retry": on_retry,
        "hook_timeout": hook_timeout,
        "notification_config": {
            "on_failure": [{"type": "email", "to": ",".join(notify_email)}]
            if notify_email
            else None,
            "heartbeat": _first_line(heartbeat_from) if heartbeat_from is not None else None,
        },
        "execution_mode": execution_mode,
        "overlap": overlap,
        "max_concurrent": max_concurrent,
        "dependencies": [name for names in depends_on for name in names.split(",")],
        "sandbox": _settings("--sandbox", sandbox, alone=True),
        "systemd": _settings("--systemd", systemd),
        "enabled": False if disabled else None,
        "catch_up": catch_up,
    }
    job = job_from_mapping(definition, defaults=session.settings.defaults, label=_option)
    if dry_run:
        from lunasched.systemd import verify

        _check_new(session, job, replace)
        compiled = units.compiled(session, job)
        verify.check(compiled, session.mode)
        units.print_units(compiled)
        warn_of_lacks(session, [job])
        return
    compiled = session.deployer.add(job, now=session.now(), replace=replace)
    units.warn(compiled)
    warn_of_lacks(session, [job])
    warn_of_mail(session, [job])
    _report_added(session, job, compiled)


def _command(command: Optional[str], argv: Optional[List[str]]) -> Any:
    """A shell command, or with arguments after ``--`` a program to run without a shell."""
    if argv:
        return [command, *argv] if command is not None else list(argv)
    return command


def _settings(option: str, pairs: List[str], *, alone: bool = False) -> dict[str, Any]:
    """A value for each key, or a list where one is repeated; ``alone``: a key alone is true."""
    chosen: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals and not alone:
            raise InvalidInput(f"{option}: {pair!r} is not of the form DIRECTIVE=VALUE")
        value = text if equals else True
        chosen[key] = [*_listed(chosen[key]), value] if key in chosen else value
    return chosen


def _first_line(path: Path) -> str:
    """What a file says; as an argument, any user of the machine could read it."""
    try:
        with nullcontext(sys.stdin) if str(path) == "-" else path.open(encoding="utf-8") as file:
            text = file.read(4096)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidInput(f"--heartbeat-from: {path} cannot be read: {reason}") from None
    return text.strip().partition("\n")[0].strip()


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _option(path: Sequence[str | int]) -> str:
    """What a key of a job, or one in it, is called on the command line."""
    key, *rest = map(str, path)
    if key == "notification_config":
        return _NOTIFICATIONS[rest[0]]
    return ".".join([_OPTIONS.get(key, f"--{key.replace('_', '-')}"), *rest])


def _check_new(session: Session, job: Job, replace: bool) -> None:
    if not replace and session.store_as_is.jobs.get(job.name):
        raise JobExists(f"there is a job {job.name!r} already; use --replace to change it")


def _report_added(session: Session, job: Job, compiled: CompiledJob) -> None:
    from lunasched.cli.render import local_time
    from lunasched.history.slot import Past, next_slot

    now = session.now()
    elapse = next_slot(job, now, Past(now, None, None), session.host_timezone)
    if not job.enabled:
        state = f"it is disabled until: lunasched enable {job.name!r}"
    elif compiled.timer is None and job.dependencies:
        state = "it runs after the jobs that it depends on"
    elif compiled.timer is None:
        state = f"it runs by: lunasched start {job.name!r}"
    elif elapse is None:
        state = "it runs at the next boot"
    else:
        state = f"first run {local_time(elapse)}"
    unit = compiled.timer or compiled.service
    print(f"Added job {job.name!r} as {unit.name}; {state}.")
    after_adding(session)
