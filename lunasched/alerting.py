"""Whether what became of a run is worth a message: alerting by change of state.

::

    well ── failed: the first alert ──► failing ── succeeded: recovery ──► well
                                        │     ▲
                                        └─────┘ failed: a reminder, if the last alert is long ago

Pure. The outage of a job is kept in the database, and changes in the transaction of the run that
changes it: however often a supervisor is killed, a failure counts once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum

from lunasched.model import Notifications


class Alert(Enum):
    """Why somebody is told of a failure, or of its end."""

    FIRST = "first"
    """The job was well before."""
    REMINDER = "reminder"
    """It has failed before, and the last alert is ``remind_every`` ago."""
    FAILURE = "failure"
    """It has failed before, and each failure is told (``every_failure``)."""
    RECOVERY = "recovery"
    """It has failed before, and is well again."""


@dataclass(frozen=True, slots=True)
class Outage:
    """A job whose last run failed for good: times are µs, UTC."""

    since: int
    """When the first run of it failed."""
    failures: int
    """How many runs have failed since; the attempts at one are one."""
    alerted_at: int | None
    """The failure that was last told; ``None`` while there was nobody to be told."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows for the one who is told, and for the job."""

    alert: Alert | None
    about: Outage | None
    """The outage that the run belongs to, or has ended."""
    outage: Outage | None
    """The outage from now on; ``None`` is a job that is well."""


def failed(policy: Notifications, outage: Outage | None, now: int, *, heard: bool) -> Decision:
    """What follows a failure that is final, at ``now``; ``heard`` is whether anybody listens.

    What nobody heard of is told as the first alert as soon as there is somebody. Where the clock
    was set back behind the last alert, the next reminder is due a whole ``remind_every`` later.
    """
    alerted_at = None if outage is None else outage.alerted_at
    if alerted_at is not None:
        alerted_at = min(alerted_at, now)
    alert = _alert(policy, alerted_at, now) if heard else None
    after = Outage(
        since=now if outage is None else outage.since,
        failures=1 if outage is None else outage.failures + 1,
        alerted_at=alerted_at if alert is None else now,
    )
    return Decision(alert, after, after)


def succeeded(outage: Outage | None) -> Decision:
    """What follows a success."""
    return Decision(None if outage is None else Alert.RECOVERY, outage, None)


def _alert(policy: Notifications, alerted_at: int | None, now: int) -> Alert | None:
    if alerted_at is None:
        return Alert.FIRST
    if policy.every_failure:
        return Alert.FAILURE
    if policy.remind_every and now - alerted_at >= round(policy.remind_every * 1_000_000):
        return Alert.REMINDER
    return None


def message_key(cause: str, event: str, channel: str, number: int = 0) -> str:
    """The idempotency key of a message: the same for the same one, whoever makes it up again.

    ``cause`` is the execution ID of the run that it is about, ``channel`` the key of where it goes,
    ``number`` tells channels apart that have the same key.
    """
    text = "\0".join((cause, event, channel, str(number)))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
