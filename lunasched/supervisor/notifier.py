"""The sender of the outbox: threads wait for servers, so that recording does not.

A notification is claimed here, composed and sent by a thread of its own, and settled here. Only
the main loop touches the database. One server is asked for one thing at a time, a few servers at
the same time; what cannot be sent now is put off, and a timer is set for it: with an empty outbox
nothing wakes up.

Commands (channels of type ``exec``) are composed in a thread, too, and then run as hooks are: as
units of systemd, whose end is in the journal.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from lunasched.dataclass import dataclass
from lunasched.errors import NotifyError
from lunasched.history import delivery
from lunasched.history.report import ReportKind
from lunasched.history.run import Result
from lunasched.store import COMMANDS, EndedCommand, NotificationState, Outgoing
from lunasched.supervisor import digest, variables
from lunasched.supervisor.loop import Handle, Loop
from lunasched.units import commandchannels

if TYPE_CHECKING:
    from lunasched.files.settings import EmailSettings, Settings
    from lunasched.notify.message import Message
    from lunasched.store import Store
    from lunasched.supervisor.hookstarter import HookStarter
    from lunasched.supervisor.notificationqueue import Origin

_THREADS = 4
_COMMANDS = 16
_USEC = 1_000_000
# The work that is done before the main loop gets its turn again.
_AT_ONCE = 200
_IN_A_DIGEST = 10_000
# The command's exit status for a temporary failure (EX_TEMPFAIL of sysexits(3)).
_TEMPORARY = 75
# The first notifications of a job that was well.
_NEWS = (ReportKind.FAILURE, ReportKind.MISSED, ReportKind.OVERRUN)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """The outcome of a try: the server's answer or the error, and the subject if there was one."""

    composed: Message | None
    answer: str = ""
    error: NotifyError | None = None
    given: str = ""
    """The standard input of a command."""


class Notifier:
    """Carries out the rows of the outbox."""

    def __init__(
        self,
        loop: Loop,
        store: Store,
        hooks: HookStarter,
        origin: Origin,
        *,
        settings: Settings,
        whole_output: Callable[[str], Callable[[str], str]],
        on_tried: Callable[[], None],
    ) -> None:
        """``on_tried`` is called after each try.

        ``whole_output`` returns, for the execution ID of a run, what makes its whole output of the
        end that the history keeps; that is called in a thread.
        """
        self._whole_output = whole_output
        self._loop = loop
        self._on_tried = on_tried
        self._store = store
        self._outbox = store.outbox
        self._hooks = hooks
        self._origin = origin
        self._email = settings.email
        self._most = settings.max_notifications_per_hour
        self._sending: dict[int, Outgoing] = {}
        self._stopping = False
        self._timer = Handle()

    def begin(self) -> None:
        """Take over what an earlier supervisor left half done."""
        with self._store.transaction():
            self._outbox.unclaim_all()
            self._outbox.follow_clock(self._loop.now())
        self.send_due()

    def clock_stepped(self) -> None:
        """The clock was set: nothing waits longer than it was to, and nothing less."""
        with self._store.transaction():
            self._outbox.follow_clock(self._loop.now())
        self.send_due()

    def send_due(self) -> None:
        """Send the notifications that are due, and plan for those that are due later."""
        if self._stopping or self._outbox.is_idle():
            self._timer.cancel()
            return
        with self._store.transaction():
            self._settle_commands()
            digest_at = self._digest()
            handled = 0
            while (found := self._next_due()) is not None and handled < _AT_ONCE:
                self._take(found)
                handled += 1
            later = [
                notification.due_at
                for notification in self._ready()
                if notification.due_at > self._loop.now()
            ]
        self._plan([*later, *digest_at], at_once=found is not None)

    def finish(self, seconds: float) -> None:
        """Wait a little for sends in progress, so that the next supervisor repeats none."""
        self._stopping = True
        self._loop.run_until(lambda: not self._sending, seconds)

    # What is next

    def _ready(self) -> list[Outgoing]:
        busy = {notification.server for notification in self._sending.values()}
        if self._outbox.open_commands() >= _COMMANDS:
            busy.add(COMMANDS)
        return self._outbox.ready(busy) if len(self._sending) < _THREADS else []

    def _next_due(self) -> Outgoing | None:
        first = next(iter(self._ready()), None)
        return first if first is not None and first.due_at <= self._loop.now() else None

    def _take(self, notification: Outgoing) -> None:
        """Send a notification, or leave it to a digest where its channel has had enough."""
        if self._is_limited(notification) and (
            self._outbox.holds(notification.lane)
            or self._allowed_at(notification) > self._loop.now()
        ):
            self._outbox.hold(notification)
        elif (claimed := self._outbox.claim(notification, self._loop.now())) is not None:
            self._send(claimed)

    @staticmethod
    def _is_limited(notification: Outgoing) -> bool:
        kind = notification.report.kind
        # A digest cannot stand for what a command printed, and cron mails all of it.
        is_mailed_output = kind is ReportKind.OUTPUT and notification.channel.is_mail
        return not (
            notification.is_ping or is_mailed_output or kind in (ReportKind.DIGEST, ReportKind.TEST)
        )

    def _allowed_at(self, notification: Outgoing) -> int:
        of_channel, of_job = self._sent(notification.counter), self._sent(notification.lane)
        if notification.report.kind in _NEWS and not of_job:
            return delivery.allowed_at(of_channel, self._most, self._loop.now())
        return delivery.notification_at(of_channel, of_job, self._most, self._loop.now())

    def _digest_at(self, counter: str) -> int:
        """Return when a channel takes a digest of what is held back for it."""
        now, of_channel = self._loop.now(), self._sent(counter)
        soonest = delivery.soonest_digest_at(of_channel, self._most, now)
        if soonest > now:
            return soonest
        found = []
        for lane, has_news in self._outbox.held_lanes(counter, _NEWS):
            of_job = self._sent(lane)
            if has_news and not of_job:
                at = delivery.news_digest_at(of_channel, self._most, now)
            else:
                at = delivery.notification_at(of_channel, of_job, self._most, now)
            if at <= now:
                return now
            found.append(at)
        return min(found)

    def _sent(self, counter: str) -> list[int]:
        """Return when a channel, or a lane of it, took notifications within the last hour."""
        if not self._most:
            return []
        return self._outbox.sent_lately(
            counter, self._loop.now() - delivery.HOUR_USEC, self._loop.now()
        )

    def _digest(self) -> list[int]:
        """Make the digests that may be sent now; return when the others may."""
        later = []
        for counter in self._outbox.held_counters():
            allowed_at = self._digest_at(counter)
            if allowed_at > self._loop.now():
                later.append(allowed_at)
                continue
            held = self._outbox.held(counter, _IN_A_DIGEST)
            self._put_digest(held)
            for notification in held:
                self._outbox.settle(notification, NotificationState.DIGESTED, self._loop.now())
        return later

    def _put_digest(self, held: list[Outgoing]) -> None:
        jobs = {notification.job for notification in held}
        report = digest.digest_report(
            [notification.report for notification in held], self._origin, self._loop.now()
        )
        self._outbox.put(
            report,
            held[-1].channel,
            job=jobs.pop() if len(jobs) == 1 else "",
            key=digest.digest_key(held[0].key),
            cause="",
            now=self._loop.now(),
        )

    # Sending

    def _send(self, notification: Outgoing) -> None:
        self._sending[notification.id] = notification
        # A daemon thread, so that a server that does not answer cannot delay our stop.
        whole = self._of_whole_output(notification)
        thread = threading.Thread(target=self._work, args=(notification, whole), daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self._loop.soon(partial(self._done, notification, _unforeseen(None, error)))

    def _of_whole_output(self, notification: Outgoing) -> Callable[[str], str] | None:
        """Return what makes the whole output of a notification's, where all of it is sent."""
        report, channel = notification.report, notification.channel
        # These have room for all that a command printed.
        if report.kind is ReportKind.OUTPUT and (channel.is_mail or channel.is_command):
            return self._whole_output(report.execution_id or "")
        return None

    def _work(self, notification: Outgoing, whole: Callable[[str], str] | None) -> None:
        """In a thread: everything that may take long."""
        outcome = _attempt(notification, self._email, whole)
        self._loop.soon(partial(self._done, notification, outcome))

    def _done(self, notification: Outgoing, outcome: _Attempt) -> None:
        del self._sending[notification.id]
        with self._store.transaction():
            if outcome.error is not None:
                self._put_off(notification, outcome.error, outcome.composed)
            elif outcome.composed is not None and notification.channel.is_command:
                self._run_command(notification, outcome.composed, outcome.given)
            elif outcome.composed is not None:
                subject = outcome.composed.subject
                self._settle(notification, NotificationState.SENT, subject, outcome.answer)
        self._hooks.start_due()
        self.send_due()
        self._on_tried()

    def _settle(
        self, notification: Outgoing, state: NotificationState, subject: str | None, answer: str
    ) -> None:
        if state is NotificationState.FAILED:
            about = f"the notification of {notification.event}" + (
                f" of {notification.job}" * bool(notification.job)
            )
            type_ = notification.channel.type.value
            print(f"<4>{about} cannot be sent ({type_}): {answer}", file=sys.stderr)
        self._outbox.settle(notification, state, self._loop.now(), subject=subject, answer=answer)

    def _put_off(
        self, notification: Outgoing, error: NotifyError, composed: Message | None = None
    ) -> None:
        """Postpone the notification, and its channel or server if at fault; or give it up."""
        now, subject = self._loop.now(), composed.subject if composed else notification.subject
        if self._outbox.is_superseded(notification):
            self._settle(notification, NotificationState.SUPERSEDED, subject, str(error))
            return
        wait = delivery.delivery_delay(notification.waited / _USEC, error.retry_after)
        if error.permanent or wait is None or notification.report.kind is ReportKind.TEST:
            self._settle(notification, NotificationState.FAILED, subject, str(error))
            if error.unreachable and wait is None:
                self._give_up(notification, str(error))
            return
        delay = round(wait * _USEC)
        self._outbox.postpone(notification, delay, now, subject=subject, answer=str(error))
        if error.retry_after is not None:
            self._outbox.postpone_channel(notification, delay, now)
        elif error.unreachable:
            # A moment less: another notification is tried next, in case this one is the cause.
            self._outbox.postpone_server(notification, delay - 1, now)

    def _give_up(self, notification: Outgoing, reason: str) -> None:
        """Give up the notifications that have waited for the same server as long as this one."""
        waited = notification.waited - _USEC
        while given_up := self._outbox.outwaited(notification.server, waited, _AT_ONCE):
            for other in given_up:
                self._settle(other, NotificationState.FAILED, other.subject, reason)

    # Commands

    def _run_command(self, notification: Outgoing, composed: Message, given: str) -> None:
        event = commandchannels.event_name(notification.channel)
        job = self._store.jobs.get(notification.job)
        unit = commandchannels.channel_unit_name(notification.job, notification.channel)
        if job is None or event not in commandchannels.command_channels(job):
            self._settle(
                notification,
                NotificationState.FAILED,
                composed.subject,
                "the job no longer has this command",
            )
            return
        self._store.hooks.put(
            notification.key,
            event,
            notification.job,
            unit,
            variables.of_notification(notification, composed),
            self._loop.now(),
            text=given,
            reader=job.user,
        )
        self._outbox.give_to_hook(notification, event, composed.subject)

    def _settle_commands(self) -> None:
        for ended in self._outbox.ended_commands():
            notification, text = ended.notification, _how_it_ended(ended)
            self._outbox.forget_command(ended)
            self._hooks.forget_notification(
                commandchannels.channel_unit_name(notification.job, notification.channel)
            )
            if ended.result is Result.SUCCESS:
                self._settle(notification, NotificationState.SENT, notification.subject, text)
            else:
                # A lost command may or may not have done its work.
                again = ended.exit_code == _TEMPORARY or ended.result is Result.LOST
                self._put_off(notification, NotifyError(text, permanent=not again))

    # Wake-ups

    def _plan(self, later: list[int], *, at_once: bool) -> None:
        self._timer.cancel()
        if at_once:
            self._timer = self._loop.soon(self.send_due)
        elif later:
            self._timer = self._loop.at(min(later), self.send_due)


def _attempt(
    notification: Outgoing, email: EmailSettings, whole: Callable[[str], str] | None
) -> _Attempt:
    """One try, in a thread."""
    # Loaded where they cost no time of the main loop.
    from lunasched import notify
    from lunasched.notify.message import compose

    composed = None
    try:
        report = notification.report
        if whole is not None:
            report = replace(report, output=whole(report.output))
        composed = compose(report, notification.channel)
        if notification.channel.is_command:
            given = notify.input_of(
                notification.channel, composed, key=notification.key, settings=email
            )
            return _Attempt(composed, given=given)
        answer = notify.send(notification.channel, composed, key=notification.key, settings=email)
    except NotifyError as error:
        return _Attempt(composed, error=error)
    except Exception as error:
        return _unforeseen(composed, error)
    return _Attempt(composed, answer)


def _unforeseen(composed: Message | None, error: Exception) -> _Attempt:
    # Its text may hold anything.
    return _Attempt(composed, error=NotifyError(f"it cannot be sent: {type(error).__name__}"))


def _how_it_ended(ended: EndedCommand) -> str:
    if ended.result is None:
        return "the job was removed before the command could run"
    if ended.exit_code is not None:
        return f"exit code {ended.exit_code}"
    return ended.result.value if ended.signal is None else f"signal {ended.signal}"
