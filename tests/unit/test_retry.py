"""Whether and when a failed run is tried again: arithmetic, for any policy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lunasched.history import retry
from lunasched.history.run import Outcome, Result
from lunasched.jobs.model import Backoff, RetryPolicy

FAILED = Outcome(Result.EXIT_CODE, exit_code=1)
# Delays count in microseconds.
DELAYS = st.integers(0, 10**6) | st.floats(1e-6, 10**6)


@st.composite
def policies(draw: st.DrawFn) -> RetryPolicy:
    initial = draw(DELAYS)
    return RetryPolicy(
        max_attempts=draw(st.integers(1, 1000)),
        backoff=draw(st.sampled_from(Backoff)),
        initial_delay=initial,
        max_delay=initial + draw(DELAYS),
    )


@given(policies(), st.integers(1, 1000), st.integers(0, 2**52))
def test_delays_grow_as_the_policy_says_and_never_beyond_its_end(
    policy: RetryPolicy, attempt: int, now: int
) -> None:
    following = retry.decide(policy, attempt, FAILED, now)
    assert (following is None) == (attempt >= policy.max_attempts)
    if following is None:
        return
    assert following.attempt == attempt + 1
    waits = (following.due_at - now) / 1_000_000
    factor = {
        Backoff.FIXED: 1,
        Backoff.LINEAR: attempt,
        Backoff.EXPONENTIAL: 2 ** (attempt - 1),
    }[policy.backoff]
    expected = min(policy.initial_delay * factor, policy.max_delay)
    assert waits == pytest.approx(expected, abs=1e-6)
    assert 0 <= waits <= policy.max_delay + 1e-6


@given(policies(), st.integers(1, 999))
def test_a_later_attempt_never_waits_less(policy: RetryPolicy, attempt: int) -> None:
    assert retry.retry_delay(policy, attempt) <= retry.retry_delay(policy, attempt + 1)


@given(policies())
def test_a_chain_has_exactly_as_many_attempts_as_allowed(policy: RetryPolicy) -> None:
    attempts, now = 1, 0
    while following := retry.decide(policy, attempts, FAILED, now):
        assert following.due_at >= now
        attempts, now = following.attempt, following.due_at
    assert attempts == policy.max_attempts


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [
        (Backoff.FIXED, [10, 10, 10, 10]),
        (Backoff.LINEAR, [10, 20, 30, 35]),
        (Backoff.EXPONENTIAL, [10, 20, 35, 35]),
    ],
)
def test_the_three_backoffs(backoff: Backoff, delays: list[float]) -> None:
    policy = RetryPolicy(5, backoff, 10, 35)
    assert [retry.retry_delay(policy, attempt) for attempt in (1, 2, 3, 4)] == delays


@pytest.mark.parametrize("result", Result)
def test_what_is_tried_again(result: Result) -> None:
    again = retry.decide(RetryPolicy(2), 1, Outcome(result), 0)
    assert (again is None) == (result.value in {"success", "skipped", "stopped", "lost"})


def test_exit_codes_decide() -> None:
    only = RetryPolicy(2, retry_on=(75, 111))
    never = RetryPolicy(2, no_retry_on=(2,))
    for code in range(1, 256):
        outcome = Outcome(Result.EXIT_CODE, exit_code=code)
        assert (retry.decide(only, 1, outcome, 0) is not None) == (code in (75, 111))
        assert (retry.decide(never, 1, outcome, 0) is not None) == (code != 2)


def test_what_has_no_exit_code_of_its_own_is_in_no_list() -> None:
    for outcome in (
        Outcome(Result.SIGNAL, signal=9),
        Outcome(Result.TIMEOUT, signal=15),
        Outcome(Result.EXEC_ERROR, exit_code=203),
    ):
        assert retry.decide(RetryPolicy(2, retry_on=(203, 9)), 1, outcome, 0) is None
        assert retry.decide(RetryPolicy(2, no_retry_on=(203, 9)), 1, outcome, 0) is not None
