"""The rules for retries: when a failed run is retried, if at all.

Pure: the supervisor asks once a run is over for good, and keeps the answer in the database.
"""

from __future__ import annotations

from lunasched.dataclass import dataclass
from lunasched.history.run import Outcome, Result
from lunasched.jobs.model import Backoff, RetryPolicy

# A run that was lost with the machine is not retried: it may have done a part of its work.
_TRIED_AGAIN = frozenset(result for result in Result if result.is_failure) - {Result.LOST}


@dataclass(frozen=True, slots=True)
class RetryAt:
    """The next attempt: its number, and when it is due (µs, UTC)."""

    attempt: int
    due_at: int


def decide(policy: RetryPolicy, attempt: int, outcome: Outcome, now: int) -> RetryAt | None:
    """Decide about attempt number ``attempt`` (from 1), which ended with ``outcome`` at ``now``.

    ``now`` is in µs, UTC. ``None`` is a success, or a failure that is final.
    """
    if outcome.result not in _TRIED_AGAIN or attempt >= policy.max_attempts:
        return None
    # Without an exit code of its own (a signal, a program that could not be executed), a run can
    # be in neither list.
    code = outcome.exit_code if outcome.result is Result.EXIT_CODE else None
    if policy.retry_on and code not in policy.retry_on:
        return None
    if code in policy.no_retry_on:
        return None
    return RetryAt(attempt + 1, now + round(retry_delay(policy, attempt) * 1_000_000))


def retry_delay(policy: RetryPolicy, attempt: int) -> float:
    """Seconds from the end of attempt number ``attempt`` (from 1) to the next one."""
    failed = attempt - 1
    if policy.backoff is Backoff.FIXED:
        factor = 1
    elif policy.backoff is Backoff.LINEAR:
        factor = failed + 1
    else:
        # Beyond 64 doublings every delay is the longest; Python's integers would grow for ever.
        factor = 1 << min(failed, 64)
    return min(policy.initial_delay * factor, policy.max_delay)
