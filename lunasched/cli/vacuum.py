"""The command that makes the history smaller."""

from __future__ import annotations

import time
from typing import Optional

import typer

from lunasched.cli.app import MODE_OPTION, app, chosen_mode
from lunasched.cli.session import Session
from lunasched.formats import quantities


@app.command()
def vacuum(
    ctx: typer.Context,
    history_days: Optional[int] = typer.Option(
        None,
        "--history-days",
        metavar="N",
        min=0,
        max=36500,
        help="Keep runs for N days; 0 keeps all.  [default: the configuration's]",
        show_default=False,
    ),
    max_history: Optional[int] = typer.Option(
        None,
        "--max-history",
        metavar="N",
        min=0,
        max=1_000_000_000,
        help="Keep N runs of each job; 0 means no limit.  [default: the configuration's]",
        show_default=False,
    ),
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Remove old runs from the history, and free their space."""
    from lunasched.store import Pruning, space

    session = Session.choose(chosen_mode(ctx, system))
    kept = session.settings.retention
    before = session.store.size()
    pruning = Pruning(
        session.store,
        history_days=kept.history_days if history_days is None else history_days,
        max_history_per_job=kept.max_history_per_job if max_history is None else max_history,
        now=session.now(),
        # A number of days on the command line counts from today.
        trust_clock=history_days is not None,
    )
    removed, began = 0, time.monotonic()
    while (count := pruning.step()) is not None:
        removed += count
        began = _yield_to_others(began)
    for _ in space.give_back(session.store):
        began = _yield_to_others(began)
    after, was = session.store.size(), quantities.mebibytes(before)
    print(f"Removed {removed} runs from the history.")
    print(f"The database has {quantities.mebibytes(after)}, and had {was}.")


def _yield_to_others(began: float) -> float:
    """Pause as long as the work since ``began`` took: those who wait for the lock poll for it."""
    time.sleep(min(0.2, max(0.001, time.monotonic() - began)))
    return time.monotonic()
