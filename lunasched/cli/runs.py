"""Commands that start and stop runs by hand: start, stop."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, List, Optional

import typer

from lunasched.cli.app import MODE_OPTION, NAME_ARGUMENT, app, chosen_mode, environment
from lunasched.cli.session import Session
from lunasched.errors import ExitCode, InvalidInput, LunaschedError
from lunasched.machine import terminal
from lunasched.paths import Mode

if TYPE_CHECKING:
    from lunasched.history.run import Outcome, Result
    from lunasched.jobs.model import Job
    from lunasched.state.unitdir import UnitDirectory
    from lunasched.systemd.manager import Invocation

_OUTPUT_SECONDS = 0.1
_LAG_SECONDS = 10
# How long a start without --wait waits to see whether it is its turn right away.
_TURN_SECONDS = 1
# A user's manager does not log that a run succeeded: then silence has to do.
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
    from lunasched.cli.render import execution_id
    from lunasched.history.run import Trigger

    session = Session.choose(chosen_mode(ctx, system))
    job = session.job(name)
    this_run = _for_this_run(job, argv or [], env)
    since = session.now()
    unit, invocation = _start(session, job, this_run, wait=wait)
    if invocation is None and (unmet := _own_unmet(session, unit, since)):
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
    raise typer.Exit(_wait(session, this_run, unit, invocation, since))


@app.command()
def stop(
    ctx: typer.Context,
    name: str = NAME_ARGUMENT,
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Stop the runs in progress of a job. Its retry is dropped; its timer keeps running."""
    from lunasched.cli import stopping
    from lunasched.cli.queue import drop_starts

    session = Session.choose(chosen_mode(ctx, system))
    session.job(name)
    # A run that has to be stopped is stopped, whatever the history is on.
    dropped = session.of_history(lambda: drop_starts(session, name, retries_only=False), 0)
    units = sorted(_busy_units(session, name))
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
    from lunasched.jobs import directives
    from lunasched.jobs.reading import job_from_mapping

    if not argv and not env:
        return job
    command = job.command
    if argv and directives.command(job.directives) is not None:
        raise InvalidInput(
            f"the command of the job {job.name!r} is lines of ExecStart=, which take no arguments"
        )
    if argv:
        if isinstance(command, str):
            # As "sh -c COMMAND NAME ARGV...": the command finds them as its $1 and on.
            command = ("/bin/sh", "-c", command, job.name)
        command = (*command, *argv)
    # Read again, for what was typed is checked there.
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


def _start(
    session: Session, job: Job, this_run: Job, *, wait: bool
) -> tuple[str, Invocation | None]:
    """Start a job, each kind in its way; the unit, and its run if there is one already."""
    from lunasched.formats import unittext
    from lunasched.jobs.model import ExecutionMode
    from lunasched.state.runtimedir import GateView, MarkDirectory

    gate, manager = GateView(session.paths.runtime), session.manager
    unit = unittext.service_name(job.name)
    _check_not_running(session, job)
    if job.mode is ExecutionMode.PARALLEL or this_run != job:
        unit = _make_instance(session, this_run)
    manager.hold(unit)
    exclusive = job.mode is ExecutionMode.EXCLUSIVE or gate.exclusive_runs()
    if exclusive or gate.is_shut():
        return unit, _queue(session, job, unit, wait=wait)
    with MarkDirectory(session.paths.runtime).by_hand(job.name):
        return unit, manager.begin(unit, patient=wait)


def _own_unmet(session: Session, unit: str, since: int) -> str | None:
    """The condition of a job's own that kept it from running; those of the gate are not its own."""
    from lunasched.units import concurrency

    unmet = session.manager.unmet(unit, since)
    return next((one for one in unmet if not concurrency.is_of_gate(one)), None)


def _check_not_running(session: Session, job: Job) -> None:
    from lunasched.jobs.model import ExecutionMode

    busy = _busy_units(session, job.name)
    if job.mode is ExecutionMode.PARALLEL:
        if 0 < job.max_concurrent <= len(busy):
            raise LunaschedError(
                f"{len(busy)} runs of the job {job.name!r} are in progress, the most there may be "
                f"at a time; wait until one is over, or end them: lunasched stop {job.name!r}"
            )
    elif busy:
        raise LunaschedError(
            f"the job {job.name!r} is running; wait until it is over, or end it with: "
            f"lunasched stop {job.name!r}"
        )


def _queue(session: Session, job: Job, unit: str, *, wait: bool) -> Invocation | None:
    """Have the supervisor start a job when its turn has come."""
    from lunasched.history.run import Trigger

    if not session.is_recorded:
        raise LunaschedError(
            "the supervisor, which has to keep other jobs from running, is not running; "
            "see: systemctl status lunasched.service"
        )
    manager, now = session.manager, session.now()
    before = manager.invocation(unit).execution_id
    with session.store.transaction():
        session.store.starts.put(
            job, unit=unit, trigger=Trigger.MANUAL, slot=None, due_at=now, now=now
        )
    manager.nudge()
    begun = manager.wait_begun(unit, before, _TURN_SECONDS)
    while wait and not begun:
        waits = _waits(session, job.name)
        # What is not waiting any more has begun by now, or will not.
        begun = manager.wait_begun(unit, before, _TURN_SECONDS)
        if waits or begun:
            continue
        if _own_unmet(session, unit, now):
            return None
        raise LunaschedError(
            f"the start of the job {job.name!r} was dropped before its turn had come; "
            f"see: lunasched history {job.name!r}"
        )
    return manager.invocation(unit) if begun else None


def _waits(session: Session, name: str) -> bool:
    """Tell whether a start of a job is in the queue, as far as the history can be read."""
    waiting = session.of_history(session.store.starts.all, None)
    return waiting is None or any(start.job == name and not start.is_retry for start in waiting)


def _make_instance(session: Session, job: Job) -> str:
    """A unit for one run, in the directory that is gone with the next boot; its name."""
    import secrets

    from lunasched.formats import unittext
    from lunasched.state.unitdir import UnitDirectory
    from lunasched.units import compiler, concurrency

    jobs = session.store.jobs
    dependencies = [found for name in job.dependencies if (found := jobs.get(name))]
    service = compiler.compile(
        job,
        session.context,
        depended_on=bool(jobs.dependent_names(job.name)),
        launched=[found.name for found in dependencies if concurrency.has_launcher(found)],
    ).service
    # Its guard knows by the letter that it is by hand, as of what a launcher starts.
    unit = unittext.run_service_name(job.name, f"{secrets.token_hex(6)}h")
    directory = UnitDirectory(
        session.paths.runtime_units, mark=compiler.OWNERSHIP_MARK, prefix=unittext.JOB_PREFIX
    )
    _remove_old_instances(session, job.name, directory)
    with directory.stage({unit: service.text}) as staged:
        staged.install()
    return unit


def _remove_old_instances(session: Session, name: str, directory: UnitDirectory) -> None:
    """Remove the units of earlier runs, but not of those in progress or waiting."""
    from lunasched.formats import unittext

    waiting = session.of_history(session.store.starts.all, None)
    if waiting is None:
        return
    needed = _busy_units(session, name) | {start.unit for start in waiting}
    prefix = f"{unittext.JOB_PREFIX}{unittext.instance_name(name)}:"
    directory.remove(
        unit for unit in directory.owned() if unit.startswith(prefix) and unit not in needed
    )


def _busy_units(session: Session, name: str) -> set[str]:
    """The units of a job that are running, or about to."""
    from lunasched.formats import unittext

    instance = unittext.instance_name(name)
    unit = unittext.service_name(name)
    waiting = {unit} if session.manager.is_busy(unit) else set()
    return waiting | session.manager.busy(f"{unittext.JOB_PREFIX}{instance}:*.service")


def _wait(session: Session, job: Job, unit: str, invocation: Invocation, since: int) -> int:
    """Follow a run to its end; its own exit status, 128 + the number of a signal otherwise."""
    from lunasched.jobs import userswitch
    from lunasched.systemd.journal import RunWindow

    run = RunWindow(invocation.execution_id, unit, since, None, names=userswitch.users(job))
    with session.journal.follow(run) as output:

        def show() -> None:
            terminal.exact(output.drain())
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
                # systemd does not log that a signal ended it which it asked for itself.
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
