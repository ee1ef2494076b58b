"""The tables of notifications: pending ones, the outcome of others, and the outages of jobs.

A notification waits in its lane, which is its job and channel: the recovery is not sent before the
failure. A notification is claimed, sent and settled; a supervisor that dies in between leaves a
claim, and the next one sends it again under the same key.
"""

from __future__ import annotations

import json
from enum import Enum
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lunasched.dataclass import dataclass
from lunasched.history.alerting import Outage
from lunasched.history.report import Report, ReportKind
from lunasched.history.run import Result
from lunasched.jobs.model import Channel, ChannelType, NotifyEvent
from lunasched.store.connection import Execute, Row

if TYPE_CHECKING:
    from collections.abc import Iterable

COMMANDS = "exec"
"""The server of all commands, which systemd runs."""
MAIL = "smtp"
"""The server of all email."""


_ID_DIGITS = 32


class NotificationState(Enum):
    """The state of a notification."""

    WAITING = "waiting"
    """It is to be sent, or is being sent."""
    HELD = "held"
    """Its channel has had its notifications of this hour; a digest will contain it."""
    SENT = "sent"
    FAILED = "failed"
    """It was refused, or tried for too long."""
    DIGESTED = "digested"
    """A digest contains it."""
    SUPERSEDED = "superseded"
    """A ping that could not be sent before the next run of the job had one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A notification that is to be sent (times µs, UTC; spans µs)."""

    id: int
    key: str
    cause: str
    job: str
    event: str
    channel: Channel
    server: str
    counter: str
    lane: str
    report: Report
    due_at: int
    waited: int
    tries: int
    subject: str | None

    @property
    def is_ping(self) -> bool:
        """True if it is one for a service that alerts when they stay away."""
        return self.channel.type is ChannelType.HEARTBEAT


@dataclass(frozen=True, slots=True)
class EndedCommand:
    """A notification whose command is over; without a result it will not run any more."""

    notification: Outgoing
    hook_id: int
    result: Result | None
    exit_code: int | None
    signal: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxEntry:
    """A notification as it is shown; its channel without secrets."""

    key: str
    cause: str
    job: str
    event: str
    kind: str
    channel: Channel
    state: NotificationState
    created_at: int
    due_at: int
    claimed_at: int | None
    tries: int
    settled_at: int | None
    subject: str | None
    answer: str | None

    @property
    def is_about_a_run(self) -> bool:
        """True if ``cause`` is an execution ID."""
        return len(self.cause) == _ID_DIGITS


class OutboxTable:
    """Messages by their keys."""

    def __init__(self, execute: Execute) -> None:
        self._execute = execute

    # Outages

    def outage(self, job: str) -> Outage | None:
        """The outage of a job, if it has one, or has recovered from one lately."""
        rows = self._execute("outage", job=job)
        if not rows:
            return None
        row = rows[0]
        return Outage(
            since=row["since"],
            failures=row["failures"],
            alerted_at=row["alerted_at"],
            relapses=row["relapses"],
            recovered_at=row["recovered_at"],
        )

    def set_outage(self, job: str, outage: Outage | None) -> None:
        """Note that a job fails, or has recovered, or with ``None`` that it is well."""
        if outage is None:
            self._execute("end_outage", job=job)
            return
        self._execute(
            "put_outage",
            job=job,
            since=outage.since,
            failures=outage.failures,
            alerted_at=outage.alerted_at,
            relapses=outage.relapses,
            recovered_at=outage.recovered_at,
        )

    # Sending

    def put(
        self,
        report: Report,
        channel: Channel,
        *,
        job: str,
        key: str,
        cause: str,
        now: int,
        complete: bool = True,
    ) -> bool:
        """Have a notification sent; once, however often this is called.

        ``job`` is what it is listed under, and may be empty; ``cause`` is the execution ID of the
        run that it is about. Unless the report is ``complete``, it waits for the output of that
        run. Returns whether it is a new one.
        """
        counter = _counter(channel, job)
        lane = f"{counter}:{job}"
        if report.kind is ReportKind.TEST:
            # A test does not wait for earlier notifications.
            lane = f"{lane}:{key}"
        added = self._execute(
            "put_notification",
            key=key,
            cause=cause,
            job=job,
            event=event_of(report),
            kind=report.kind.value,
            channel=_json(channel),
            type=channel.type.value,
            server=_server(channel),
            counter=counter,
            lane=lane,
            report=json.dumps(report.to_mapping(), ensure_ascii=False),
            awaits_output=not complete,
            now=now,
        )
        if added and channel.type is ChannelType.HEARTBEAT:
            self._execute(
                "supersede_notifications",
                lane=lane,
                id=added[0]["id"],
                cause=cause,
                shown=_json(channel.without_secrets()),
                now=now,
            )
        if added:
            self._execute("release_lane", lane=lane)
        return bool(added)

    def set_output(self, execution_id: str, output: str) -> None:
        """Give the notifications about a run its output, which they waited for."""
        lanes = self._execute("set_output_of_notifications", cause=execution_id, output=output)
        for lane in {row["lane"] for row in lanes}:
            self._execute("release_lane", lane=lane)

    def ready(self, busy: Iterable[str]) -> list[Outgoing]:
        """Of each server that is not ``busy`` the notification that is due first, or will be."""
        return [
            _outgoing(row) for row in self._execute("ready_notifications", busy=json.dumps([*busy]))
        ]

    def is_idle(self) -> bool:
        """Tell whether there is nothing to be sent, now or later."""
        return not self._execute("any_open_notifications")[0][0]

    def claim(self, notification: Outgoing, now: int) -> Outgoing | None:
        """Claim the notification for one more try; ``None`` if it is gone or claimed."""
        rows = self._execute("claim_notification", id=notification.id, now=now)
        return _outgoing(rows[0]) if rows else None

    def unclaim_all(self) -> None:
        """Give back what a supervisor that is no more was sending."""
        self._execute("unclaim_notifications")

    def settle(
        self,
        notification: Outgoing,
        state: NotificationState,
        now: int,
        *,
        subject: str | None = None,
        answer: str | None = None,
    ) -> None:
        """Note what became of the notification, and forget what was needed to send it."""
        self._execute(
            "settle_notification",
            id=notification.id,
            state=state.value,
            shown=_json(notification.channel.without_secrets()),
            subject=subject,
            answer=answer,
            now=now,
        )
        self._execute("release_lane", lane=notification.lane)
        if state is NotificationState.SENT and not notification.is_ping:
            self._execute("count_sent", counter=notification.counter, now=now)
            if not notification.channel.is_command:
                # The share of the job; a command is its job's alone.
                self._execute("count_sent", counter=notification.lane, now=now)

    def postpone(
        self, notification: Outgoing, delay: int, now: int, *, subject: str | None, answer: str
    ) -> None:
        """Retry the notification after ``delay`` µs; the others of its lane wait as long."""
        self._execute(
            "postpone_notification",
            id=notification.id,
            delay=delay,
            now=now,
            subject=subject,
            answer=answer,
        )
        self._postpone_lanes(notification.lane, notification.lane, delay, now)

    def postpone_channel(self, notification: Outgoing, delay: int, now: int) -> None:
        """Have nothing sent to the channel of a notification for ``delay`` µs."""
        self._postpone_lanes(f"{notification.counter}:", f"{notification.counter};", delay, now)

    def postpone_server(self, notification: Outgoing, delay: int, now: int) -> None:
        """Have nothing asked of the server of a notification for ``delay`` µs."""
        self._execute("postpone_server", server=notification.server, delay=delay, now=now)

    def _postpone_lanes(self, first: str, last: str, delay: int, now: int) -> None:
        self._execute("postpone_lanes", first=first, last=last, delay=delay, now=now)

    def outwaited(self, server: str, waited: int, count: int) -> list[Outgoing]:
        """The notifications to a server that have waited for as long, or longer (µs)."""
        rows = self._execute("outwaited_notifications", server=server, waited=waited, count=count)
        return [_outgoing(row) for row in rows]

    def is_superseded(self, notification: Outgoing) -> bool:
        """Tell whether it is a ping, and a later run has one in the same lane."""
        return notification.is_ping and bool(
            self._execute(
                "later_ping", lane=notification.lane, id=notification.id, cause=notification.cause
            )
        )

    def follow_clock(self, now: int) -> None:
        """After the clock was set back: nothing waits for longer than it was to.

        Nor does what a channel or a lane took count for longer, however late it is asked about.
        """
        self._execute("follow_clock", now=now)
        self._execute("count_all_sent_from_now", now=now)

    # Limits and digests

    def sent_lately(self, counter: str, since: int, now: int) -> list[int]:
        """Return when a channel, or a lane, took notifications between two times, the latest first.

        What was counted at a time that is yet to come, was sent now: the clock was set back.
        """
        self._execute("count_sent_from_now", counter=counter, now=now)
        self._execute("forget_sent", counter=counter, before=since)
        rows = self._execute("sent_lately", counter=counter, since=since)
        return [row["sent_at"] for row in rows]

    def hold(self, notification: Outgoing) -> None:
        """Leave a notification to a digest."""
        self._execute("hold_notification", id=notification.id)
        self._execute("release_lane", lane=notification.lane)

    def holds(self, lane: str) -> bool:
        """Tell if notifications of a lane are left to a digest."""
        return bool(self._execute("any_held", lane=lane)[0][0])

    def held_lanes(self, counter: str, kinds: Iterable[ReportKind]) -> list[tuple[str, bool]]:
        """The lanes of a channel with held notifications, and if some are of ``kinds``."""
        listed = json.dumps([kind.value for kind in kinds])
        rows = self._execute("held_lanes", counter=counter, kinds=listed)
        return [(row["lane"], bool(row["has_some"])) for row in rows]

    def held_counters(self) -> list[str]:
        """The channels that have notifications left to a digest."""
        return [row["counter"] for row in self._execute("held_channels")]

    def held(self, counter: str, count: int) -> list[Outgoing]:
        """The notifications to a channel that are left to a digest, the oldest first."""
        rows = self._execute("held_notifications", counter=counter, count=count)
        return [_outgoing(row) for row in rows]

    # Commands

    def give_to_hook(self, notification: Outgoing, event: str, subject: str) -> None:
        """Note that the hook of this event has taken the notification over."""
        self._execute(
            "give_notification_to_hook",
            id=notification.id,
            key=notification.key,
            event=event,
            subject=subject,
        )

    def open_commands(self) -> int:
        """Return the number of notifications whose commands have not ended."""
        return int(self._execute("count_commands")[0]["open"])

    def ended_commands(self) -> list[EndedCommand]:
        """The notifications whose commands are over."""
        return [
            EndedCommand(
                _outgoing(row),
                row["hook_id"],
                Result(row["result"]) if row["result"] else None,
                row["exit_code"],
                row["signal"],
            )
            for row in self._execute("ended_commands")
        ]

    def forget_command(self, command: EndedCommand) -> None:
        """Drop the row that had the command run."""
        self._execute("delete_hook", id=command.hook_id)

    # Listing

    def entries(self, job: str | None, *, failed: bool, count: int | None) -> list[OutboxEntry]:
        """The latest ``count`` notifications (all: ``None``), newest first."""
        query = "failed_notifications" if failed else "notifications"
        limit = -1 if count is None else count
        if job is None:
            return [_entry(row) for row in self._execute(query, count=limit)]
        return [_entry(row) for row in self._execute(f"{query}_of_job", job=job, count=limit)]

    def entry(self, key: str) -> OutboxEntry | None:
        """One notification."""
        rows = self._execute("notification", key=key)
        return _entry(rows[0]) if rows else None

    def depth(self) -> int:
        """Return the number of notifications still to be sent, those held back included."""
        return int(self._execute("open_notifications")[0]["open"])


def event_of(report: Report) -> str:
    """Return the subject of a notification: an event of a job, or ``digest``, or ``test``."""
    event: NotifyEvent | None = report.kind.event
    return report.kind.value if event is None else event.value


def _server(channel: Channel) -> str:
    if channel.type is ChannelType.EMAIL:
        return MAIL
    if channel.is_command:
        return COMMANDS
    parts = urlsplit(channel.where)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"


def _counter(channel: Channel, job: str) -> str:
    # A command is run by a unit of its job: it is a channel of its own for each.
    return f"{channel.key}/{job}" if channel.is_command else channel.key


def _json(channel: Channel) -> str:
    return json.dumps(channel.to_mapping(), ensure_ascii=False)


def _outgoing(row: Row) -> Outgoing:
    return Outgoing(
        id=row["id"],
        key=row["key"],
        cause=row["cause"],
        job=row["job"],
        event=row["event"],
        channel=Channel.from_mapping(json.loads(row["channel"])),
        server=row["server"],
        counter=row["counter"],
        lane=row["lane"],
        report=Report.from_mapping(json.loads(row["report"])),
        due_at=row["due_at"],
        waited=row["waited"],
        tries=row["tries"],
        subject=row["subject"],
    )


def _entry(row: Row) -> OutboxEntry:
    return OutboxEntry(
        key=row["key"],
        cause=row["cause"],
        job=row["job"],
        event=row["event"],
        kind=row["kind"],
        channel=Channel.from_mapping(json.loads(row["channel"])).without_secrets(),
        state=NotificationState(row["state"]),
        created_at=row["created_at"],
        due_at=row["due_at"],
        claimed_at=row["claimed_at"],
        tries=row["tries"],
        settled_at=row["settled_at"],
        subject=row["subject"],
        answer=row["answer"],
    )
