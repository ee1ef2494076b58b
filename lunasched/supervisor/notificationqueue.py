"""The queue of notifications of runs: rows of the outbox, in the transaction of their cause."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lunasched.dataclass import dataclass
from lunasched.formats.printable import command_text
from lunasched.history import alerting
from lunasched.history.alerting import Alert, Decision
from lunasched.history.report import Report, ReportKind
from lunasched.history.run import Overrun, Run
from lunasched.jobs.model import Channel, ChannelType, Job, NotifyEvent
from lunasched.jobs.runfacts import OWN_PREFIX, RUN_FACTS
from lunasched.paths import Mode, host_timezone, user_home, user_name

if TYPE_CHECKING:
    from lunasched.store import Start, Store


@dataclass(frozen=True, slots=True)
class Origin:
    """The machine that notifications come from."""

    host: str
    timezone: str
    """The host's own."""
    mode: Mode

    @classmethod
    def here(cls, mode: Mode) -> Origin:
        """This machine."""
        return cls(os.uname().nodename, host_timezone(), mode)


_UNKNOWN: dict[str, Any] = {
    fact.name: None for fact in RUN_FACTS if fact.is_kept and fact.is_of_end
}


class NotificationQueue:
    """Writes notifications of runs. Every call belongs in the transaction of its cause."""

    def __init__(self, store: Store, origin: Origin) -> None:
        self._store = store
        self._origin = origin

    def started(self, job: Job, run: Run, now: int) -> None:
        """A run's program was executed."""
        # The outcome is not part of this event, even if it is recorded by now.
        begun = replace(run, **_UNKNOWN)
        report = self._report(ReportKind.START, job, run.started_at, begun)
        self._notify(job, report, run.execution_id, now, complete=True)

    def succeeded(self, job: Job, run: Run, now: int) -> None:
        """A run succeeded."""
        at = run.ended_at or now
        self._notify_of_run(job, self._report(ReportKind.SUCCESS, job, at, run), run, now)
        outage = self._store.outbox.outage(job.name)
        decision = alerting.succeeded(job.notifications, outage, at)
        if decision.alert is not None:
            self._notify_of_run(
                job, self._of_outage(ReportKind.RECOVERY, job, at, run, decision), run, now
            )
        if decision.outage != outage:
            self._store.outbox.set_outage(job.name, decision.outage)

    def failed(self, job: Job, run: Run, now: int) -> None:
        """A run failed, and no further attempt follows."""
        at = run.ended_at or now
        outage = self._store.outbox.outage(job.name)
        listening = [
            one
            for one in job.notifications.channels(NotifyEvent.ON_FAILURE)
            if one.type is not ChannelType.HEARTBEAT
        ]
        decision = alerting.failed(job.notifications, outage, at, heard=bool(listening))
        self._store.outbox.set_outage(job.name, decision.outage)
        kind = ReportKind.REMINDER if decision.alert is Alert.REMINDER else ReportKind.FAILURE
        report = self._of_outage(kind, job, at, run, decision)
        # Pings report each run; other channels are notified only of changes.
        self._notify_of_run(job, report, run, now, pings_only=decision.alert is None)

    def skipped(self, job: Job, run: Run, now: int) -> None:
        """A run that was due was refused."""
        at = run.ended_at or run.started_at
        self._notify_of_run(job, self._report(ReportKind.SKIPPED, job, at, run), run, now)

    def printed(self, job: Job, run: Run, now: int) -> None:
        """A run printed something; its output is on record."""
        about: dict[str, Any] = {}
        if any(one.style for one in job.notifications.channels(NotifyEvent.ON_OUTPUT)):
            user = job.user or user_name(None if self._origin.mode is Mode.USER else 0)
            origin = self._store.jobs.origins([job.name]).get(job.name)
            inherited = origin.inherited if origin else ()
            about = {"user": user, **_as_in_crontab(job, user, inherited)}
        report = self._report(ReportKind.OUTPUT, job, run.ended_at or now, run, **about)
        self._notify_of_run(job, report, run, now)

    def overrun(self, job: Job, run: Run, overrun: Overrun, now: int) -> None:
        """Notify of slots that passed during a run, in progress or over, for long enough."""
        facts = {
            "overrun": overrun.count,
            "overrun_first_at": overrun.first_at,
            "overrun_last_at": overrun.last_at,
        }
        if run.result is None:
            report = self._report(ReportKind.OVERRUN, job, now, run, **facts)
            # A cause of its own: at the end of the run there is another notification.
            self._notify(job, report, f"{run.execution_id}/overrun", now, complete=True)
        else:
            report = self._report(ReportKind.OVERRUN, job, run.ended_at or now, run, **facts)
            self._notify_of_run(job, report, run, now)

    def waits(self, job: Job, start: Start, overrun: Overrun, now: int) -> None:
        """Slots passed while a start waits for its turn."""
        report = Report(
            kind=ReportKind.OVERRUN,
            job=job.name,
            host=self._origin.host,
            at=now,
            timezone=job.timezone or self._origin.timezone,
            user_mode=self._origin.mode is Mode.USER,
            trigger=start.trigger,
            scheduled_at=start.scheduled_at,
            waiting_since=start.created_at,
            overrun=overrun.count,
            overrun_first_at=overrun.first_at,
            overrun_last_at=overrun.last_at,
        )
        self._notify(job, report, f"{job.name}/start/{start.id}", now, complete=True)

    def missed(self, job: Job, count: int, first_at: int, last_at: int, now: int) -> None:
        """Slots passed without a run."""
        report = Report(
            kind=ReportKind.MISSED,
            job=job.name,
            host=self._origin.host,
            at=last_at,
            timezone=job.timezone or self._origin.timezone,
            user_mode=self._origin.mode is Mode.USER,
            missed=count,
            missed_first_at=first_at,
            missed_last_at=last_at,
        )
        self._notify(job, report, f"{job.name}/{first_at}/{last_at}", now, complete=True)

    def _of_outage(
        self, kind: ReportKind, job: Job, at: int, run: Run, decision: Decision
    ) -> Report:
        about = decision.about
        assert about is not None
        return self._report(
            kind,
            job,
            at,
            run,
            failures=about.failures,
            failing_since=about.since,
            flapping=about.is_flapping and not job.notifications.every_failure,
        )

    def _notify_of_run(
        self, job: Job, report: Report, run: Run, now: int, *, pings_only: bool = False
    ) -> None:
        complete = run.output is not None
        self._notify(job, report, run.execution_id, now, complete=complete, pings_only=pings_only)

    def _notify(
        self,
        job: Job,
        report: Report,
        cause: str,
        now: int,
        *,
        complete: bool,
        pings_only: bool = False,
    ) -> None:
        event = report.kind.event
        assert event is not None
        for channel, key in keys(cause, event, job.notifications.channels(event)):
            if channel.type is ChannelType.HEARTBEAT or not pings_only:
                self._store.outbox.put(
                    report, channel, job=job.name, key=key, cause=cause, now=now, complete=complete
                )

    def _report(self, kind: ReportKind, job: Job, at: int, run: Run, **outage: Any) -> Report:
        return Report.of(
            run,
            kind=kind,
            host=self._origin.host,
            at=at,
            timezone=job.timezone or self._origin.timezone,
            user_mode=self._origin.mode is Mode.USER,
            max_attempts=job.retry.max_attempts,
            time_limit=job.limits.timeout,
            memory_limit=job.limits.max_memory,
            **outage,
        )


def keys(
    cause: str, event: NotifyEvent, channels: Iterable[Channel]
) -> Iterable[tuple[Channel, str]]:
    """The channels, each with the key of its notification about ``cause``."""
    seen: Counter[str] = Counter()
    for channel in channels:
        yield channel, alerting.notification_key(cause, event.value, channel.key, seen[channel.key])
        seen[channel.key] += 1


def _as_in_crontab(job: Job, user: str, inherited: Container[str]) -> dict[str, Any]:
    """Return a job's command as a crontab has it, and the variables that cron would set for it.

    ``inherited`` are names of those that reach each command of the machine, of which cron does not
    tell.
    """
    command = job.command
    # What is run by another shell than /bin/sh, or is fed an input.
    is_for_shell = not isinstance(command, str) and command[-2:-1] == ("-c",)
    variables = [
        pair
        for pair in job.environment
        if not pair[0].startswith(OWN_PREFIX) and pair[0] not in inherited
    ]
    known = {name for name, _ in variables}
    own = (("HOME", user_home(user)), ("LOGNAME", user))
    return {
        "command": command[-1] if is_for_shell else command_text(command),
        "environment": (*variables, *(pair for pair in own if pair[1] and pair[0] not in known)),
    }
