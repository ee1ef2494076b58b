"""Commands that start and stop runs by hand: start, stop."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Optional

import typer

from lunasched.cli.app import MODE_OPTION, NAME_ARGUMENT, app, chosen_mode
from lunasched.cli.session import Session
from lunasched.errors import LunaschedError

if TYPE_CHECKING:
    from lunasched.systemd import Invocation

_OUTPUT_SECONDS = 0.1
_LAG_SECONDS = 10


@app.command()
def start(
    ctx: typer.Context,
    name: str = NAME_ARGUMENT,
    wait: bool = typer.Option(
        False, "--wait", help="Print what the run prints and exit with its exit code."
    ),
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Run a job now, whatever its schedule."""
    from lunasched import unittext
    from lunasched.cli.render import execution_id
    from lunasched.model import Trigger
    from lunasched.slotfile import SlotDirectory

    session = Session.choose(chosen_mode(ctx, system))
    session.job(name)
    unit = unittext.service_name(name)
    manager = session.manager
    manager.hold(unit)
    before = manager.invocation(unit)
    if not before.ended:
        raise LunaschedError(
            f"the job {name!r} is running (execution {execution_id(before.execution_id)}); "
            f"wait until it is over, or end it with: lunasched stop {name!r}"
        )
    since = session.now()
    with SlotDirectory(session.paths.slots).by_hand(name):
        failures = manager.start([unit])
    invocation = manager.invocation(unit)
    if invocation.execution_id == before.execution_id:
        for error in failures.values():
            raise error
    session.store.runs.request(invocation.execution_id, Trigger.MANUAL, session.now())
    if not wait:
        print(f"Started job {name!r}, execution {execution_id(invocation.execution_id)}.")
        return
    raise typer.Exit(_wait(session, unit, invocation, since))


@app.command()
def stop(
    ctx: typer.Context,
    name: str = NAME_ARGUMENT,
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Stop the run of a job that is in progress; its timer goes on."""
    from lunasched import unittext

    session = Session.choose(chosen_mode(ctx, system))
    session.job(name)
    unit = unittext.service_name(name)
    state = session.manager.states(unit).get(unit)
    if state is None or not state.is_active:
        print(f"Job {name!r} is not running.")
        return
    for error in session.manager.stop([unit]).values():
        raise error
    print(f"Stopped job {name!r}.")


def _wait(session: Session, unit: str, invocation: Invocation, since: int) -> int:
    """Follow a run to its end; its own exit status, 128 + the number of a signal otherwise."""
    from lunasched.journal import RunWindow

    with session.journal.follow(RunWindow(invocation.execution_id, unit, since, None)) as output:

        def show() -> None:
            sys.stdout.write(output.drain())
            sys.stdout.flush()

        ended = session.manager.wait_ended(unit, show, _OUTPUT_SECONDS)
        # systemd may know of the end before journald has taken in the last lines.
        deadline = time.monotonic() + _LAG_SECONDS
        while not output.ended and time.monotonic() < deadline:
            output.wait(_OUTPUT_SECONDS)
            show()
        while output.wait(_OUTPUT_SECONDS) and time.monotonic() < deadline:
            show()
        show()
    if ended.result != "success" or ended.signal:
        how = (
            f"exit code {ended.exit_code}"
            if ended.exit_code is not None
            else f"signal {ended.signal}"
            if ended.signal is not None
            else "no process"
        )
        print(f"lunasched: the run failed: {ended.result} ({how})", file=sys.stderr)
    if ended.exit_code is not None:
        return ended.exit_code or (0 if ended.result == "success" else 1)
    return 128 + ended.signal if ended.signal else 1
