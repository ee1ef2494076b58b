"""Alerting by change of state: which failures and successes of a job are worth a notification.

::

    well ── failed: the first alert ──► failing ── succeeded: recovery ──► recovered ── calm ─► well
                                        │     ▲                            │
                                        └─────┘ failed: a reminder,        └─ failed: a relapse
                                        if the last alert is long ago

A job that relapses again and again is flapping: the alert says so, and from then on there are only
reminders, and no notifications of failures or recoveries, until it has not failed for
``CALM_USEC``.

Pure. The outage of a job is kept in the database, and changes in the transaction of the run that
changes it: however often a supervisor is killed, a failure counts once.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from enum import Enum

from lunasched.dataclass import dataclass
from lunasched.jobs.model import Notifications

CALM_USEC = 3600 * 1_000_000
"""After so long without a failure, the next one is an outage of its own."""
FLAPPING = 2
"""After so many relapses a job is flapping."""


class Alert(Enum):
    """The reason for a notification of a failure, or of its end."""

    FIRST = "first"
    """The job was well before."""
    REMINDER = "reminder"
    """It has failed before, and the last alert is ``remind_every`` ago."""
    FAILURE = "failure"
    """It has failed before, and each failure is notified (``every_failure``)."""
    RECOVERY = "recovery"
    """It has failed before, and is well again."""


@dataclass(frozen=True, slots=True)
class Outage:
    """A job whose last run failed for good: times are µs, UTC."""

    since: int
    """The time at which the first of the failed runs ended."""
    failures: int
    """The number of failed runs since then; the attempts of one run count once."""
    alerted_at: int | None
    """The failure that was last notified; ``None`` while there was nobody to notify."""
    relapses: int = 0
    """The number of failures soon after a recovery."""
    recovered_at: int | None = None
    """The first success since the last failure; ``None`` while the job fails."""

    @property
    def is_flapping(self) -> bool:
        """Tell if the job fails and recovers too often for each time to be notified."""
        return self.relapses >= FLAPPING

    def is_calm(self, now: int) -> bool:
        """Tell if the job has recovered, and not failed for long enough since."""
        return self.recovered_at is not None and now - self.recovered_at >= CALM_USEC


@dataclass(frozen=True, slots=True)
class Decision:
    """The consequence of a run for notifications and for the job."""

    alert: Alert | None
    about: Outage | None
    """The outage that the run belongs to, or has ended."""
    outage: Outage | None
    """The outage from now on, also one that is over and may come back; ``None``: all is well."""


def failed(policy: Notifications, outage: Outage | None, now: int, *, heard: bool) -> Decision:
    """Decide about a final failure at ``now``; ``heard``: the job has a channel for failures.

    A failure that no channel got is the first alert as soon as the job has a channel. If the clock
    was set back behind the last alert, the next reminder is due a whole ``remind_every`` later.
    """
    relapses = 0
    alerted_at = None
    if outage is not None and _is_over(policy, outage, now):
        outage = None
    if outage is not None:
        is_relapse = outage.recovered_at is not None
        relapses = outage.relapses + is_relapse
        # Each relapse is notified, up to the one that makes the job flapping.
        if not is_relapse or relapses > FLAPPING:
            alerted_at = outage.alerted_at
    if alerted_at is not None:
        alerted_at = min(alerted_at, now)
    alert = _alert(policy, alerted_at, now) if heard else None
    after = Outage(
        since=now if outage is None else outage.since,
        failures=1 if outage is None else outage.failures + 1,
        alerted_at=alerted_at if alert is None else now,
        relapses=relapses,
    )
    return Decision(alert, after, after)


def succeeded(policy: Notifications, outage: Outage | None, now: int) -> Decision:
    """Decide about a success at ``now``."""
    if outage is None:
        return Decision(None, None, None)
    damped = outage.is_flapping and not policy.every_failure
    if outage.recovered_at is None:
        alert = None if damped else Alert.RECOVERY
        # With every_failure, each outage is notified anyway.
        after = None if policy.every_failure else replace(outage, recovered_at=now)
        return Decision(alert, outage, after)
    if not _is_over(policy, outage, now):
        recovered_at = min(outage.recovered_at, now)
        return Decision(None, outage, replace(outage, recovered_at=recovered_at))
    return Decision(Alert.RECOVERY if damped else None, outage, None)


def _is_over(policy: Notifications, outage: Outage, now: int) -> bool:
    return outage.recovered_at is not None and (policy.every_failure or outage.is_calm(now))


def _alert(policy: Notifications, alerted_at: int | None, now: int) -> Alert | None:
    if alerted_at is None:
        return Alert.FIRST
    if policy.every_failure:
        return Alert.FAILURE
    if policy.remind_every and now - alerted_at >= round(policy.remind_every * 1_000_000):
        return Alert.REMINDER
    return None


def notification_key(cause: str, event: str, channel: str, number: int = 0) -> str:
    """The idempotency key of a notification: the same for the same one, whoever makes it up again.

    ``cause`` is the execution ID of the run that it is about, ``channel`` the key of where it goes,
    ``number`` tells channels apart that have the same key.
    """
    text = "\0".join((cause, event, channel, str(number)))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
