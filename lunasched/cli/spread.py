"""Command spread: a plan that moves apart what starts together."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Optional

import typer

from lunasched.cli.app import MODE_OPTION, app, chosen_mode
from lunasched.cli.nextruns import past_of
from lunasched.cli.session import Session
from lunasched.errors import InvalidInput
from lunasched.history.agenda import agenda
from lunasched.history.spreading import moves
from lunasched.machine import terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lunasched.history.agenda import Agenda
    from lunasched.jobs.model import Job

_WEEK_USEC = 7 * 86_400_000_000
_WITHIN_MAX = 12 * 3600


@app.command()
def spread(
    ctx: typer.Context,
    tag: Optional[str] = typer.Option(
        None, "--tag", metavar="TAG", help="Jobs with this tag alone.", show_default=False
    ),
    within: str = typer.Option(
        "15m", "--within", metavar="TIME", help="How far apart they may come."
    ),
    by_jitter: bool = typer.Option(
        False, "--jitter", help="By a jitter everywhere; no schedule is changed."
    ),
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Print a file for apply in which jobs that start together do not."""
    from lunasched.files.dump import dump
    from lunasched.formats.document import Format
    from lunasched.jobs.values import read_duration

    session = Session.choose(chosen_mode(ctx, system))
    seconds = int(read_duration(within))
    if not 60 <= seconds <= _WITHIN_MAX:
        raise InvalidInput(f"--within: {within!r} is out of range: a minute to 12 hours")
    of_crontabs = session.store.jobs.origins()
    jobs = [job for job in session.jobs() if tag is None or tag in job.tags]
    own = {job.name: job for job in jobs if job.name not in of_crontabs}
    before = _planned(session, jobs)
    found = moves(before, own, within=seconds, by_jitter=by_jitter)
    after_of = {move.before.name: move.after for move in found}
    after = _planned(session, [after_of.get(job.name, job) for job in jobs])
    for move in found:
        if move.after.schedule != move.before.schedule:
            change = f"{move.before.schedule!r} becomes {move.after.schedule!r}"
        else:
            change = f"gets a jitter of {move.after.jitter:g}s"
        _note(f"{move.before.name}: {change}")
    _note(f"at most {_together(before)} start together in the next week, then {_together(after)}")
    kept = [name for name in of_crontabs if any(name in slot.jobs for slot in before.slots)]
    if kept:
        _note(f"{len(kept)} entries of crontabs stay as they are: change the crontabs")
    if found:
        text = dump(after_of.values(), Format.YAML, defaults=session.settings.defaults).text
        terminal.print_exact(text)


def _planned(session: Session, jobs: Sequence[Job]) -> Agenda:
    """What starts in the next week of the jobs that have no jitter: the others are apart."""
    deployed = session.store.jobs.updated_at()
    now = session.now()
    pasts = (
        (job, past_of(session, job, deployed.get(job.name, 0))) for job in jobs if not job.jitter
    )
    host = session.host_timezone
    return agenda(pasts, now=now, until=now + _WEEK_USEC, host_timezone=host)


def _together(planned: Agenda) -> str:
    """How many jobs start at the busiest time."""
    count = len(planned.busiest.jobs) if planned.busiest is not None else min(1, len(planned.slots))
    return "1 job" if count == 1 else f"{count} jobs"


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)
