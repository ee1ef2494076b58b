"""The check of notifications: those of the last week were delivered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from lunasched.dataclass import dataclass
from lunasched.doctor.facts import NO_DATABASE, Unseen
from lunasched.doctor.finding import fine, unseen, warning

if TYPE_CHECKING:
    from lunasched.doctor.databasecheck import DatabaseFacts
    from lunasched.doctor.facts import Facts
    from lunasched.doctor.finding import Finding
    from lunasched.store import Store

_NOTIFICATIONS_MAX = 1000
_WEEK_USEC = 7 * 86_400_000_000


@dataclass(frozen=True, slots=True)
class NotificationFacts:
    """Notifications of the last week that were given up."""

    failed: int
    latest: str
    """The job and the channel of the latest of them, and the server's answer."""


def look(
    store: Callable[[], Store], known: DatabaseFacts | Unseen, now: int
) -> NotificationFacts | Unseen:
    """The notifications that were given up."""
    if isinstance(known, Unseen) or not known.is_in_order:
        return NO_DATABASE
    return NotificationFacts(0, "") if known.file is None else _given_up(store(), now)


def _given_up(store: Store, now: int) -> NotificationFacts:
    failed = [
        entry
        for entry in store.outbox.entries(None, failed=True, count=_NOTIFICATIONS_MAX)
        if (entry.settled_at or entry.created_at) > now - _WEEK_USEC
    ]
    latest = ""
    if failed:
        one = failed[0]
        latest = (
            f"{one.event} of {one.job} by {one.channel.type.value}: {one.answer or 'no answer'}"
        )
    return NotificationFacts(len(failed), latest)


def judge(facts: Facts) -> Iterator[Finding]:
    """Tell whether notifications of the last week were delivered."""
    known = facts.notifications
    if isinstance(known, Unseen):
        yield unseen("notifications", known)
    elif known.failed:
        yield warning(
            f"{known.failed} notifications of the last week were given up; the latest was "
            f"{known.latest}",
            f"nobody received them; '{facts.lunasched} notifications --failed' "
            "shows them, and 'lunasched notify-test' tries a channel",
        )
    else:
        yield fine("no notification of the last week was given up")
