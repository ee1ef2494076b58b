"""Commands about notifications: notifications, notify-test."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, List, Optional

import typer

from lunasched.cli import render
from lunasched.cli.app import JSON_OPTION, MODE_OPTION, app, chosen_mode
from lunasched.cli.session import Session
from lunasched.errors import ExitCode, InvalidInput, LunaschedError, NoSuchJob
from lunasched.history import jsonview

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lunasched.jobs.model import Channel, Job
    from lunasched.store import OutboxEntry

_RECENT = 20
# The most notifications that are listed; the history holds those of some weeks.
_ENTRIES_MAX = 100_000
_POLL_SECONDS = 0.1
# The time for one notification, and for those before it to the same server.
_PATIENCE_SECONDS = 90


@app.command()
def notifications(
    ctx: typer.Context,
    name: Optional[str] = typer.Argument(
        None, help="Name of the job.  [default: all jobs]", show_default=False
    ),
    failed: bool = typer.Option(False, "--failed", help="Only those that could not be sent."),
    everything: bool = typer.Option(
        False, "--all", help="All of them (100,000 at most), not the last 20."
    ),
    count: Optional[int] = typer.Option(
        None,
        "-n",
        "--count",
        min=1,
        max=_ENTRIES_MAX,
        help="The last N of them.",
        show_default=False,
    ),
    as_json: bool = JSON_OPTION,
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Show the notifications about jobs and their delivery, newest first."""
    if everything and count is not None:
        raise InvalidInput("--all and -n exclude each other; leave one out")
    session = Session.choose(chosen_mode(ctx, system))
    limit = _ENTRIES_MAX if everything else count or _RECENT
    entries = session.store.outbox.entries(name, failed=failed, count=limit)
    store = session.store
    known = name is None or entries or store.jobs.get(name) or store.runs.exist_for(name)
    if not entries:
        session.check_not_lost()
    if not known:
        raise NoSuchJob(str(name))
    if as_json:
        render.print_json([_json(entry) for entry in entries])
        return
    header = (
        "WRITTEN",
        "JOB",
        "EVENT",
        "CHANNEL",
        "STATE",
        "TRIES",
        "NEXT TRY",
        "SUBJECT",
        "ANSWER",
    )
    render.print_table(header, [_row(entry, session.now()) for entry in entries])
    session.note_supervisor()


@app.command("notify-test")
def notify_test(
    ctx: typer.Context,
    name: List[str] = typer.Argument(
        ...,
        metavar="NAME...",
        help="Job whose channels to test, or a type of channel, to test in all jobs.",
        show_default=False,
    ),
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Send a test notification to channels, and print the answer of each."""
    session = Session.choose(chosen_mode(ctx, system))
    chosen = [pair for one in name for pair in _chosen(session, one)]
    if not session.is_recorded:
        option = "--user " if session.mode.value == "user" else ""
        raise LunaschedError(
            "the supervisor sends notifications, and it is not running; "
            f"start it: systemctl {option}start lunasched.service"
        )
    keys = _put(session, chosen)
    session.manager.nudge()
    failures = 0
    for entry in _settled(session, keys):
        sent = entry.state.value == "sent"
        failures += not sent
        print(f"{_channel(entry.channel)}: {entry.state.value}: {_answer(entry)}")
    if failures:
        raise typer.Exit(ExitCode.FAILED)


def _chosen(session: Session, what: str) -> Iterator[tuple[Job, Channel]]:
    """The channels of a job, or those of a type that any job has, each once."""
    from lunasched.jobs.model import ChannelType

    job = session.store.jobs.get(what)
    if job is not None:
        channels = dict.fromkeys(_channels(job))
        if not channels:
            raise InvalidInput(f"job {what!r} notifies nobody; see notification_config")
        yield from ((job, channel) for channel in channels)
        return
    types = [one for one in ChannelType if one.value == what.lower()]
    if not types:
        session.check_not_lost()
        raise NoSuchJob(what)
    found = {
        (channel, job.name if channel.is_command else ""): job
        for job in session.jobs()
        for channel in _channels(job)
        if channel.type is types[0]
    }
    if not found:
        raise InvalidInput(f"no job has a channel of type {types[0].value}")
    yield from ((job, channel) for (channel, _), job in found.items())


def _channels(job: Job) -> Iterable[Channel]:
    from lunasched.jobs.model import NotifyEvent

    return (one for event in NotifyEvent for one in job.notifications.channels(event))


def _put(session: Session, chosen: list[tuple[Job, Channel]]) -> list[str]:
    from lunasched.history.report import Report, ReportKind
    from lunasched.paths import Mode
    from lunasched.supervisor.notificationqueue import Origin

    origin, now, keys = Origin.here(session.mode), session.now(), []
    with session.store.transaction():
        for job, channel in chosen:
            report = Report(
                kind=ReportKind.TEST,
                job=job.name,
                host=origin.host,
                at=now,
                timezone=job.timezone or origin.timezone,
                user_mode=session.mode is Mode.USER,
            )
            keys.append(secrets.token_hex(16))
            session.store.outbox.put(report, channel, job=job.name, key=keys[-1], cause="", now=now)
    return keys


def _settled(session: Session, keys: list[str]) -> Iterator[OutboxEntry]:
    """The notifications as they are sent, in their order."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    for key in keys:
        while True:
            entry = session.store.outbox.entry(key)
            if entry is not None and entry.settled_at is not None:
                yield entry
                break
            if time.monotonic() > deadline:
                raise LunaschedError(
                    "there is no answer yet; see: lunasched notifications, "
                    "and journalctl -u lunasched"
                )
            time.sleep(_POLL_SECONDS)


def _row(entry: OutboxEntry, now: int) -> tuple[str, ...]:
    waits = entry.state.value == "waiting" and entry.claimed_at is None
    return (
        render.local_time(entry.created_at),
        entry.job or "-",
        entry.event,
        render.one_line(_channel(entry.channel), 50),
        entry.state.value,
        str(entry.tries),
        (render.local_time(entry.due_at) if entry.due_at > now else "now") if waits else "-",
        render.one_line(entry.subject or "-", 50),
        render.one_line(_answer(entry), 60),
    )


def _answer(entry: OutboxEntry) -> str:
    return render.printable(entry.answer or "-").replace("\n", " ")


def _channel(channel: Channel) -> str:
    return f"{channel.type.value} {channel.where}"


def _json(entry: OutboxEntry) -> dict[str, object]:
    return {
        "id": entry.key,
        "job": entry.job or None,
        "event": entry.event,
        "kind": entry.kind,
        "execution_id": render.execution_id(entry.cause) if entry.is_about_a_run else None,
        "channel": entry.channel.to_mapping(),
        "state": entry.state.value,
        "tries": entry.tries,
        "written_at": jsonview.iso(entry.created_at),
        "next_try_at": jsonview.iso(entry.due_at) if entry.state.value == "waiting" else None,
        "settled_at": jsonview.iso(entry.settled_at),
        "subject": entry.subject,
        "answer": entry.answer,
    }
