"""The command that prints metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import typer

from lunasched.cli.app import MODE_OPTION, app, chosen_mode
from lunasched.cli.session import Session
from lunasched.machine import terminal


@app.command("metrics")
def print_metrics(
    ctx: typer.Context,
    textfile: Optional[Path] = typer.Option(
        None,
        "--textfile",
        metavar="PATH",
        help="Write them to this file, whole, for node_exporter.",
        show_default=False,
    ),
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Print the metrics of all jobs, as Prometheus scrapes them from the supervisor."""
    from lunasched.web.metrics import Metrics, Supervision, write_textfile

    session = Session.choose(chosen_mode(ctx, system))
    supervision = Supervision(running=session.store_as_is.history.is_recorded())
    metrics = Metrics(
        session.host_timezone,
        lambda: supervision,
        duration_ms=session.settings.metrics.duration_ms,
        timers=lambda: session.timers_if_known,
    )
    session.jobs(as_is=True)
    text = metrics.render(session.store_as_is, session.now())
    if textfile is None:
        terminal.print_exact(text.decode())
        return
    write_textfile(textfile.absolute(), text)
