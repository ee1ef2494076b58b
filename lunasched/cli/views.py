"""Commands that show what there is: list, get, history, logs."""

from __future__ import annotations

import codecs
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Optional

import typer

from lunasched.cli import render
from lunasched.cli.app import JSON_OPTION, MODE_OPTION, NAME_ARGUMENT, ROWS_MAX, app, chosen_mode
from lunasched.cli.session import Session
from lunasched.errors import InvalidInput, NoSuchJob, PermissionDenied
from lunasched.history import jsonview, runvalues
from lunasched.history.pendingstarts import waits_for
from lunasched.history.run import HookRun, Result, Run
from lunasched.history.timerstate import Timers, Upcoming
from lunasched.jobs.runfacts import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Protocol

    from lunasched.history.slot import Scheduled
    from lunasched.jobs.model import Job
    from lunasched.store import MissedTotal, Start

    class _Listed(Scheduled, Protocol):
        """A job as far as ``_upcoming`` knows it."""

        @property
        def name(self) -> str: ...


_RECENT = 5
_COLUMNS = tuple(
    BY_NAME[name]
    for name in (
        "execution_id", "job", "trigger", "scheduled_at", "started_at", "duration", "attempt",
        "result", "output",
    )
)  # fmt: skip
# The latest runs in which logs searches for output of processes that have left their unit.
_LOCATED_RUNS = 50
_RELAY_BYTES = 64 << 10


@app.command("list")
def list_jobs(
    ctx: typer.Context,
    tag: Optional[str] = typer.Option(
        None, "--tag", help="Only jobs with this tag.", show_default=False
    ),
    names: bool = typer.Option(False, "--names", help="Print the names only, one a line."),
    as_json: bool = JSON_OPTION,
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """List the jobs with their last result and next elapse."""
    session = Session.choose(chosen_mode(ctx, system))
    if names:
        # Completions ask for the names, which must not create a database.
        for job in session.listed(as_is=True):
            if tag is None or tag in job.tags:
                print(job.name)
        return
    if as_json:
        _print_jobs(session, [job for job in session.jobs() if tag is None or tag in job.tags])
        return
    jobs = [job for job in session.listed() if tag is None or tag in job.tags]
    latest = _so_far(session, session.store.runs.latest_of(job.name for job in jobs))
    upcoming = _upcoming(session, jobs, latest, {job.name: job.updated_at for job in jobs})
    retries = session.retries()
    rows: list[tuple[str, ...]] = []
    for job in jobs:
        run = latest.get(job.name)
        rows.append(
            (
                job.name,
                job.schedule,
                "yes" if job.enabled else "no",
                render.local_time(run.started_at) if run else "-",
                _ended(run, retries) if run else "-",
                render.next_time(upcoming[job.name]),
                ",".join(job.tags) or "-",
            )
        )
    header: tuple[str, ...] = (
        "NAME", "SCHEDULE", "ENABLED", "LAST START", "RESULT", "NEXT ELAPSE", "TAGS",
    )  # fmt: skip
    if any(job.origin for job in jobs):
        header = (*header, "FROM")
        rows = [(*row, job.origin or "-") for row, job in zip(rows, jobs, strict=True)]
    render.print_table(header, rows)
    session.note_supervisor()


def _print_jobs(session: Session, jobs: Sequence[Job]) -> None:
    """Print jobs whole, as JSON."""
    latest = _so_far(session, session.store.runs.latest_of(job.name for job in jobs))
    upcoming = _upcoming(session, jobs, latest, session.store.jobs.updated_at())
    retries = session.retries()
    hooks = session.store.hooks.of(run.execution_id for run in latest.values())
    origins = session.store.jobs.origins()
    render.print_json(
        [
            jsonview.job_json(
                job,
                upcoming[job.name],
                run := latest.get(job.name),
                hooks.get(run.execution_id, ()) if run else (),
                retries.get(run.execution_id) if run else None,
                origin=origins.get(job.name),
            )
            for job in jobs
        ]
    )


@app.command()
def get(
    ctx: typer.Context,
    name: str = NAME_ARGUMENT,
    show_secrets: bool = typer.Option(
        False, "--show-secrets", help="Show URLs and tokens of channels in full (as root)."
    ),
    as_json: bool = JSON_OPTION,
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Show one job: definition, units, last run, next elapse."""
    from lunasched.units import summary

    session = Session.choose(chosen_mode(ctx, system))
    if show_secrets and session.mode.value == "system" and os.geteuid() != 0:
        raise PermissionDenied("--show-secrets: the secrets of the system's jobs are for root")
    job = session.job(name)
    last = next(iter(session.store.runs.history(name, 1)), None)
    last = _so_far(session, {name: last})[name] if last else None
    deployed = {one: at for one, (_, at) in session.store.jobs.some([name]).items()}
    upcoming = _upcoming(session, [job], {name: last} if last else {}, deployed)[name]
    hooks = session.store.hooks.of([last.execution_id]).get(last.execution_id, []) if last else []
    retries = session.retries()
    missed = session.store.slots.missed(name)
    origin = session.store.jobs.origins([name]).get(name)
    if as_json:
        following = retries.get(last.execution_id) if last else None
        shown_job = jsonview.job_json(
            job, upcoming, last, hooks, following, origin=origin, show_secrets=show_secrets
        )
        render.print_json({**shown_job, "missed_slots": missed.count})
        return
    default_user = "root" if session.mode.value == "system" else "yourself"
    shown = {
        "From": origin.label if origin else "",
        "Its line": origin.text if origin else "",
        **summary.rows(
            job,
            host_timezone=session.host_timezone,
            default_user=default_user,
            show_secrets=show_secrets,
        ),
        "Next elapse": render.next_time(upcoming),
        "Waits for": _waits_for(session, name),
        "Last run": _last_run(last, retries),
        "Missed slots": _missed(missed),
        "Its hooks": "\n".join(f"{hook.event.value}: {render.hook_ended(hook)}" for hook in hooks),
        "Units": "\n".join(str(session.paths.units / unit) for unit in summary.units(job)),
    }
    for key, value in shown.items():
        if value:
            indented = render.printable(value).replace("\n", "\n" + " " * 14)
            print(f"{key + ':':<13} {indented}")
    session.note_supervisor()


def _missed(missed: MissedTotal) -> str:
    if missed.latest is None:
        return ""
    first, last = (render.local_time(at) for at in (missed.latest.first_at, missed.latest.last_at))
    if missed.latest.count == 1:
        return f"{missed.count}, the last of them at {last}"
    return f"{missed.count}, the last {missed.latest.count} of them from {first} to {last}"


@app.command()
def history(
    ctx: typer.Context,
    name: Optional[str] = typer.Argument(
        None, help="Name of the job.  [default: all jobs]", show_default=False
    ),
    everything: bool = typer.Option(False, "--all", help="All runs, not the last 5."),
    count: Optional[int] = typer.Option(
        None,
        "-n",
        "--count",
        min=1,
        max=ROWS_MAX,
        help="The last N runs.",
        show_default=False,
    ),
    as_json: bool = JSON_OPTION,
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Show the runs of a job or of all jobs, newest first."""
    if everything and count is not None:
        raise InvalidInput("--all and -n exclude each other; leave one out")
    session = Session.choose(chosen_mode(ctx, system))
    known = name is None or session.store.jobs.get(name) or session.store.runs.exist_for(name)
    if not known or not session.store.runs.history(name, 1):
        session.check_not_lost()
    if not known:
        raise NoSuchJob(str(name))
    retries = session.retries()
    pages = _pages(session, name, None if everything else count or _RECENT)
    if as_json:
        render.print_json_list(
            jsonview.run_json(run, hooks.get(run.execution_id, ()), retries.get(run.execution_id))
            for runs, hooks in pages
            for run in runs
        )
        return
    table = render.Table([fact.label.upper() for fact in _COLUMNS])
    for runs, hooks in pages:
        table.add([_history_row(run, hooks.get(run.execution_id, ()), retries) for run in runs])
    session.note_supervisor()


def _pages(
    session: Session, name: str | None, count: int | None
) -> Iterator[tuple[list[Run], Mapping[str, Sequence[HookRun]]]]:
    """The latest runs and their hooks, so many at a time as take little memory."""
    for part in session.store.runs.history_in_parts(name, count):
        runs = [*_so_far(session, {run.execution_id: run for run in part}).values()]
        yield runs, session.store.hooks.of(run.execution_id for run in runs)


@app.command()
def logs(
    ctx: typer.Context,
    name: str = NAME_ARGUMENT,
    execution: Optional[str] = typer.Option(
        None, "--execution", metavar="ID", help="Only this run.", show_default=False
    ),
    follow: bool = typer.Option(False, "--follow", "-f", help="Show new output as it comes."),
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Show the output of a job, and systemd's messages about it."""
    from lunasched.formats import unittext
    from lunasched.systemd.journal import RunWindow, journalctl

    session = Session.choose(chosen_mode(ctx, system))
    job = session.store.jobs.get(name)
    if not job and not session.store.runs.exist_for(name):
        session.check_not_lost()
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
            run.execution_id, run.unit, run.started_at, run.ended_at, following, job
        )
        window = session.journal.located(session.journal.delayed(window))
    options = ["--all", "--no-pager", *(["--follow"] if follow else [])]
    units = [] if window else session.journal.units(unittext.service_name(name))
    streams = [] if window else _streams_elsewhere(session, name, job)
    command = journalctl(session.mode, os.getuid(), units, window, *options, streams=streams)
    session.store.close()
    try:
        if not sys.stdout.isatty():
            os.execvp(command[0], command)
        raise typer.Exit(_relay(command))
    except OSError as error:
        raise InvalidInput(f"journalctl cannot be run ({error.strerror})") from error


def _streams_elsewhere(session: Session, name: str, job: Optional[Job]) -> list[str]:
    """The streams of a job's latest runs whose output is not all under its units."""
    from lunasched.systemd.journal import RunWindow

    # The journal can be shown where there is no history.
    none: list[Run] = []
    runs = session.of_history(lambda: session.store.runs.recent(name, _LOCATED_RUNS), none)
    starts: list[int | None] = [None, *(run.started_at for run in runs)]
    return session.journal.streams_elsewhere(
        RunWindow.between(run.execution_id, run.unit, run.started_at, run.ended_at, start, job)
        for run, start in zip(runs, starts, strict=False)
    )


def _relay(command: Sequence[str]) -> int:
    """Print the output of a command as it comes; return its exit status."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        try:
            while data := os.read(child.stdout.fileno(), _RELAY_BYTES):
                sys.stdout.write(decoder.decode(data))
                sys.stdout.flush()
            sys.stdout.write(decoder.decode(b"", final=True))
        except BaseException:
            child.terminate()
            raise
    return child.returncode


def _ended(run: Run, retries: Mapping[str, Start]) -> str:
    following = retries.get(run.execution_id)
    if following is None:
        return render.run_ended(run)
    return f"{render.run_ended(run)}, retry {render.local_time(following.due_at)}"


def _history_row(
    run: Run, hooks: Sequence[HookRun], retries: Mapping[str, Start]
) -> tuple[str, ...]:
    lines = [line for line in (run.output or "").splitlines() if line.strip()]
    own = {
        "result": ", ".join([_ended(run, retries), *(_failed_hooks(hooks))]),
        "output": render.one_line(lines[-1] if lines else "", 40),
    }
    return tuple(
        own[fact.name] if fact.name in own else runvalues.fact_shown(run, fact) for fact in _COLUMNS
    )


def _waits_for(session: Session, name: str) -> str:
    """Return what the starts of a job that are due are waiting for."""
    starts, now = session.store.starts.all(), session.now()
    return "\n".join(
        f"{waits_for(start, starts, now)}, since {render.local_time(start.due_at)}"
        for start in starts
        if start.job == name and start.due_at <= now
    )


def _failed_hooks(hooks: Sequence[HookRun]) -> list[str]:
    return [
        f"{hook.event.value} {render.hook_ended(hook)}"
        for hook in hooks
        if hook.result not in (None, Result.SUCCESS)
    ]


def _last_run(run: Run | None, retries: Mapping[str, Start]) -> str:
    if run is None:
        return "never"
    ended = _ended(run, retries)
    return f"{render.local_time(run.started_at)}, {ended}, {render.execution_id(run.execution_id)}"


def _so_far(session: Session, runs: Mapping[str, Run]) -> dict[str, Run]:
    """Runs, those in progress with the slots that have passed during them by now."""
    if all(run.result is not None for run in runs.values()):
        return dict(runs)
    from lunasched.history import overrun

    found = overrun.so_far(
        runs.values(),
        session.store.jobs.some,
        now=session.now(),
        host_timezone=session.host_timezone,
    )
    return dict(zip(runs, found, strict=True))


def _upcoming(
    session: Session,
    jobs: Sequence[_Listed],
    latest: Mapping[str, Run],
    deployed: Mapping[str, int],
) -> dict[str, Upcoming]:
    """Return the next elapse of each job, or the obstacle that its timer has.

    ``deployed`` is when they were last added or changed (µs, UTC).
    """
    if not jobs:
        return {}
    from lunasched.history.slot import next_elapse

    now = session.now()
    found: dict[str, Upcoming] = {}
    for job in jobs:
        run = latest.get(job.name)
        started = run.started_at if run else None
        by_schedule = next_elapse(
            job, now, deployed.get(job.name, now), started, session.host_timezone
        )
        # If no job has a next run, systemd need not be asked.
        timers = Timers() if by_schedule is None else session.timers
        found[job.name] = timers.upcoming(job.name, by_schedule, run)
    return found


def _execution_id(text: str) -> str:
    compact = text.replace("-", "").lower()
    if len(compact) != 32 or not all(char in "0123456789abcdef" for char in compact):
        raise InvalidInput(
            f"--execution: {text!r} is not an execution ID; 'lunasched history' shows them"
        )
    return compact
