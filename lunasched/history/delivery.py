"""The rules for sending notifications: retries, giving up, and the hourly limit of a channel.

Of the notifications of a channel in an hour, no job has more than half, and a third is kept for
news: the first failure of a job of which the channel got nothing within the hour. So a busy job
cannot hold back another's first failure. If even that third is used up, a digest reports news
within minutes.

Pure. What counts is the time that was spent waiting, never the difference of two clock readings: a
clock that is set makes no notification too old, and none early.
"""

from __future__ import annotations

from collections.abc import Sequence

_USEC = 1_000_000
HOUR_USEC = 3600 * _USEC

FIRST_DELAY = 30
LONGEST_DELAY = 3600
GIVEN_UP_AFTER = 86400
"""Seconds of waiting in all."""
NEWS_DIGEST_USEC = 300 * _USEC
"""The least time between the last notification and a digest that has news."""


def delivery_delay(waited: float, retry_after: float | None) -> float | None:
    """Seconds from a try that failed to the next one; ``None``: it is given up.

    ``waited`` are the seconds that were waited so far: the waits are 30 s and twice as long each
    time, up to an hour. A service that says when to come back is not asked before; one that always
    wants to be asked soon, less and less often.
    """
    if retry_after is None:
        wait = min(waited + FIRST_DELAY, LONGEST_DELAY)
    else:
        wait = max(retry_after, min(waited + 1, LONGEST_DELAY))
    return None if waited + wait > GIVEN_UP_AFTER else float(wait)


def allowed_at(sent: Sequence[int], most: int, now: int) -> int:
    """Return when a channel takes the next notification, at most ``most`` (0: any number) an hour.

    ``sent`` is when it took the last ones, the latest first, as far as that is in the last hour.
    All times are µs, UTC.
    """
    if not most or len(sent) < most:
        return now
    return sent[most - 1] + HOUR_USEC


def notification_at(of_channel: Sequence[int], of_job: Sequence[int], most: int, now: int) -> int:
    """Return when a channel takes a notification of a job that is no news.

    ``of_channel`` and ``of_job`` are when it took the last ones, of all jobs and of this one.
    """
    return max(_repeat_at(of_channel, most, now), allowed_at(of_job, _share(most), now))


def soonest_digest_at(of_channel: Sequence[int], most: int, now: int) -> int:
    """The time before which a channel takes no digest, whatever it is of."""
    return min(_repeat_at(of_channel, most, now), news_digest_at(of_channel, most, now))


def news_digest_at(of_channel: Sequence[int], most: int, now: int) -> int:
    """Return when a channel takes a digest that has news."""
    at = allowed_at(of_channel, most, now)
    return max(now, min(at, of_channel[0] + NEWS_DIGEST_USEC)) if of_channel else now


def _repeat_at(of_channel: Sequence[int], most: int, now: int) -> int:
    return allowed_at(of_channel, most - most // 3, now)


def _share(most: int) -> int:
    # At least a failure and its recovery; 0 means no limit.
    return max(2, most // 2) if most else 0
