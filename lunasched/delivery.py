"""When a message is tried again, when it is given up, and how many a channel takes in an hour.

Pure. What counts is the time that was spent waiting, never the difference of two clock readings: a
clock that is set makes no message too old, and none early.
"""

from __future__ import annotations

from collections.abc import Sequence

_USEC = 1_000_000
HOUR_USEC = 3600 * _USEC

FIRST_DELAY = 30
LONGEST_DELAY = 3600
GIVEN_UP_AFTER = 86400
"""Seconds of waiting in all."""


def backoff(tries: int) -> float:
    """Seconds between try number ``tries`` (from 1) and the next: 30 s, doubled up to an hour."""
    return float(min(FIRST_DELAY << min(tries - 1, 32), LONGEST_DELAY))


def delay(tries: int, waited: float, retry_after: float | None) -> float | None:
    """Seconds from try number ``tries``, which failed, to the next one; ``None``: given up.

    ``waited`` are the seconds that were waited between the tries so far. A service that says when
    to come back is not asked before; one that says so again and again, less and less often.
    """
    wait = backoff(tries)
    if retry_after is not None:
        wait = max(retry_after, min(1 << min(tries - 1, 32), LONGEST_DELAY))
    return None if waited + wait > GIVEN_UP_AFTER else float(wait)


def allowed_at(sent: Sequence[int], most: int, now: int) -> int:
    """When a channel takes the next message, at most ``most`` (0: any number) an hour.

    ``sent`` is when it took the last ones, the latest first, as far as that is in the last hour.
    All times are µs, UTC.
    """
    if not most or len(sent) < most:
        return now
    return sent[most - 1] + HOUR_USEC
