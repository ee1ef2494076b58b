"""Commands that start and stop runs by hand: start, stop."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, List, Optional

import typer

from lunasched.cli.app import MODE_OPTION, NAME_ARGUMENT, app, chosen_mode, environment
from lunasched.cli.session import Session
from lunasched.errors import ExitCode, InvalidInput
from lunasched.machine import terminal
from lunasched.paths import Mode

if TYPE_CHECKING:
    from lunasched.deploy.manualstart import ManualStart
    from lunasched.history.run import Outcome, Result
    from lunasched.jobs.model import Job
    from lunasched.systemd.manager import Invocation

_OUTPUT_SECONDS = 0.1
_LAG_SECONDS = 10
# A user's manager does not log a success, so silence counts as one.
_SILENCE_SECONDS = 1


@app.command()
def start(
    ctx: typer.Context,
    name: str = NAME_ARGUMENT,
    argv: Optional[List[str]] = typer.Argument(
        None,
        metavar="[-- ARGV...]",
        help="Further arguments of the command, for this run.",
        show_default=False,
    ),
    wait: bool = typer.Option(
        False, "--wait", help="Print the run's output and exit with its exit code."
    ),
    env: List[str] = typer.Option(
        [],
        "--env",
        metavar="K=V",
        help="Environment variable for this run; can be repeated.",
        show_default=False,
    ),
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Run a job now, whatever its schedule."""
    session = Session.choose(chosen_mode(ctx, system))
    job = session.job(name)
    start_now(session, job, _for_this_run(job, argv or [], env), wait=wait)


def start_now(session: Session, job: Job, this_run: Job, *, wait: bool) -> None:
    """Start a job, and end the command: with ``wait``, as the run does."""
    from lunasched.cli.render import execution_id
    from lunasched.history.run import Trigger

    name, since = job.name, session.now()
    manual = _manual(session)
    started = manual.start(job, this_run, wait=wait)
    invocation = started.run
    if invocation is None and (unmet := manual.unmet(started.name, since)):
        print(f"lunasched: the run was skipped: {unmet} does not hold", file=sys.stderr)
        raise typer.Exit(ExitCode.FAILED)
    if invocation is None:
        print(f"Job {name!r} waits until others have ended.")
        raise typer.Exit(ExitCode.FAILED if wait else ExitCode.DONE)
    execution = invocation.execution_id
    session.of_history(
        lambda: session.store.runs.request(execution, Trigger.MANUAL, session.now()), None
    )
    if not wait:
        print(f"Started job {name!r}, execution {execution_id(invocation.execution_id)}.")
        return
    raise typer.Exit(_wait(session, this_run, started.name, invocation, since))


@app.command()
def stop(
    ctx: typer.Context,
    name: str = NAME_ARGUMENT,
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Stop the runs in progress of a job. Its retry is dropped; its timer keeps running."""
    from lunasched.cli import stopping
    from lunasched.cli.queue import drop_starts
    from lunasched.deploy.manualstart import busy_units

    session = Session.choose(chosen_mode(ctx, system))
    session.job(name)
    # A run can be stopped even if the history cannot be read.
    dropped = session.of_history(lambda: drop_starts(session, name, retries_only=False), 0)
    units = sorted(busy_units(session.manager, name))
    before = stopping.processes(session, units)
    for error in session.manager.stop(units).values():
        raise error
    if units and stopping.tell(session, name, before):
        raise typer.Exit(ExitCode.FAILED)
    if units:
        print(f"Stopped job {name!r}.")
    else:
        print(f"Job {name!r} is not running{'; its pending start was dropped' if dropped else ''}.")


def _for_this_run(job: Job, argv: List[str], env: List[str]) -> Job:
    """Return the job with the changes for this run; raises ``InvalidJob``."""
    if not argv and not env:
        return job
    from lunasched.jobs import directivelines
    from lunasched.jobs.reading import job_from_mapping

    command = job.command
    if argv and directivelines.command(job.directives) is not None:
        raise InvalidInput(
            f"the command of the job {job.name!r} is lines of ExecStart=, which take no arguments"
        )
    if argv:
        if isinstance(command, str):
            # Like "sh -c COMMAND NAME ARGV...": the command finds the arguments from $1 on.
            command = ("/bin/sh", "-c", command, job.name)
        command = (*command, *argv)
    # Read again, because reading checks the values.
    checked = job_from_mapping(
        {
            "name": job.name,
            "schedule": job.schedule,
            "command": list(command) if isinstance(command, tuple) else command,
            "env": {**dict(job.environment), **environment(env)},
        },
        label=lambda path: f"--{path[0]}",
    )
    return job.evolve(command=checked.command, environment=checked.environment)


def _manual(session: Session) -> ManualStart:
    """Return the use case, which reads the queue as far as the history can be read."""
    from lunasched.deploy.manualstart import ManualStart

    return ManualStart(
        session.manager,
        session.store,
        session.paths,
        context=lambda: session.context,
        waiting=lambda: session.of_history(session.store.starts.all, None),
        is_recorded=lambda: session.is_recorded,
        now=session.now,
    )


def _wait(session: Session, job: Job, unit: str, invocation: Invocation, since: int) -> int:
    """Follow a run to its end; its own exit status, 128 + the number of a signal otherwise."""
    from lunasched.systemd.journal import RunWindow

    run = RunWindow(invocation.execution_id, unit, since, None).of_job(job)
    with session.journal.follow(run) as output:

        def show() -> None:
            terminal.print_exact(output.drain())
            sys.stdout.flush()

        ended = session.manager.wait_ended(unit, show, _OUTPUT_SECONDS)
        # systemd may know of the end before journald has taken in the last lines.
        logged = session.mode is Mode.SYSTEM or ended.result != "success"
        deadline = time.monotonic() + (_LAG_SECONDS if logged else _SILENCE_SECONDS)
        while not output.ended and time.monotonic() < deadline:
            output.wait(_OUTPUT_SECONDS)
            show()
        while output.wait(_OUTPUT_SECONDS) and time.monotonic() < deadline:
            show()
        show()
    return _tell(_verdict(session, ended))


def _verdict(session: Session, ended: Invocation) -> Outcome:
    """Return the end of a run, as the history has it.

    systemd does not tell a program that could not be executed from one that says so, nor a guard
    that refused the run from one that could not be executed: the history knows both. It is waited
    for where it may say something else than systemd, and records at all: for its last word, as a
    signal that systemd calls a clean end is a success at first.
    """
    from lunasched.history.run import Outcome, Result

    if ended.result == "success" and not ended.signal:
        return Outcome(Result.SUCCESS, 0, None)
    if session.is_recorded:
        deadline = time.monotonic() + _LAG_SECONDS
        while time.monotonic() < deadline:
            run = session.of_history(lambda: session.store.runs.final(ended.execution_id), None)
            if run is not None and run.result is not None:
                # systemd does not log a signal that it sent itself.
                known = run if (run.exit_code, run.signal) != (None, None) else ended
                return Outcome(run.result, known.exit_code, known.signal)
            time.sleep(_OUTPUT_SECONDS)
    if ended.result == "exec-condition":
        return Outcome(Result.SKIPPED, None, None)
    result = Result.SIGNAL if ended.result == "success" else _result_of(ended.result)
    return Outcome(result, ended.exit_code, ended.signal)


def _result_of(unit_result: str) -> Result:
    from lunasched.history.run import Result

    try:
        return Result(unit_result)
    except ValueError:
        return Result.TIMEOUT if unit_result == "watchdog" else Result.EXEC_ERROR


def _tell(outcome: Outcome) -> int:
    """Print how a run failed, if it did; return the exit status that stands for its end."""
    from lunasched.history.run import Result

    if outcome.result is Result.SUCCESS:
        return 0
    if outcome.result is Result.SKIPPED:
        print("lunasched: the run was skipped", file=sys.stderr)
        return 1
    how = (
        f"exit code {outcome.exit_code}"
        if outcome.exit_code is not None
        else f"signal {outcome.signal}"
        if outcome.signal is not None
        else "no process"
    )
    print(f"lunasched: the run failed: {outcome.result.value} ({how})", file=sys.stderr)
    if outcome.exit_code is not None:
        return outcome.exit_code or 1
    return 128 + outcome.signal if outcome.signal else 1
