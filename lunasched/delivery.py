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


def delay(waited: float, retry_after: float | None) -> float | None:
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
    """When a channel takes the next message, at most ``most`` (0: any number) an hour.

    ``sent`` is when it took the last ones, the latest first, as far as that is in the last hour.
    All times are µs, UTC.
    """
    if not most or len(sent) < most:
        return now
    return sent[most - 1] + HOUR_USEC
