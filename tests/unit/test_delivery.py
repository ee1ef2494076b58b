"""When a message is tried again, and how many there are in an hour."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lunasched.history import delivery

HOUR = delivery.HOUR_USEC
DAY_S = 86400


def delays(retry_after: list[float | None]) -> list[float]:
    """The waits between the tries, each of which fails and says when to come back, or nothing."""
    waited, found = 0.0, []
    for said in retry_after:
        wait = delivery.delivery_delay(waited, said)
        if wait is None:
            break
        waited += wait
        found.append(wait)
    return found


def test_waits_double_from_half_a_minute_to_an_hour() -> None:
    assert delays([None] * 9) == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]


def test_what_was_put_off_with_another_goes_on_as_if_it_had_been_tried() -> None:
    assert delivery.delivery_delay(210, None) == 240


def test_after_a_day_of_waiting_it_is_given_up() -> None:
    found = delays([None] * 100)
    assert len(found) == 29
    assert DAY_S - 3600 < sum(found) <= DAY_S


def test_a_service_is_not_asked_before_it_wants_to_be() -> None:
    assert delays([2.5]) == [2.5]
    assert delays([7200.0, None]) == [7200, 3600]
    assert delays([float(DAY_S + 1)]) == []


def test_a_service_that_always_wants_to_be_asked_soon_is_asked_less_and_less_often() -> None:
    assert delays([0.0] * 5) == [1, 2, 4, 8, 16]


@given(st.lists(st.none() | st.floats(0, 1e6), max_size=200))
def test_waiting_ends_and_is_never_shorter_than_asked_for(said: list[float | None]) -> None:
    found = delays(said)
    assert sum(found) <= DAY_S
    assert all(wait >= (asked or 1) for wait, asked in zip(found, said, strict=False))


@given(st.integers(1, 5), st.lists(st.integers(0, 2 * HOUR), max_size=40))
def test_no_hour_has_more_than_the_limit(most: int, gaps: list[int]) -> None:
    sent: list[int] = []
    now = 0
    for gap in gaps:
        now += gap
        lately = [at for at in reversed(sent) if at > now - HOUR]
        at = delivery.allowed_at(lately, most, now)
        assert at >= now
        if at == now:
            sent.append(now)
        else:
            # Not later than it has to be.
            assert sum(at - HOUR < one <= at for one in sent) < most
            assert sum(at - 1 - HOUR < one <= at - 1 for one in sent) == most
    for at in sent:
        assert sum(at - HOUR < one <= at for one in sent) <= most


def test_no_limit() -> None:
    assert delivery.allowed_at([5] * 1000, 0, 7) == 7


TRAFFIC = st.lists(
    # Minutes since the message before, the job, and if it is news that a job failed.
    st.tuples(st.integers(0, 20), st.integers(0, 9), st.booleans()),
    max_size=150,
)
MINUTE = HOUR // 60


def sent_of(most: int, traffic: list[tuple[int, int, bool]]) -> list[tuple[int, int, bool, bool]]:
    """What becomes of messages: when, of which job, if it was the first news of it, if it went."""
    sent: list[tuple[int, int]] = []
    found, now = [], 0
    for after, job, is_news in traffic:
        now += after * MINUTE
        lately = [(at, other) for at, other in reversed(sent) if at > now - HOUR]
        of_channel, of_job = [at for at, _ in lately], [at for at, one in lately if one == job]
        first = is_news and not of_job
        if first:
            at = delivery.allowed_at(of_channel, most, now)
        else:
            at = delivery.notification_at(of_channel, of_job, most, now)
        if at == now:
            sent.append((now, job))
        found.append((now, job, first, at == now))
    return found


@given(st.integers(1, 30), TRAFFIC)
def test_no_job_has_more_than_its_share(most: int, traffic: list[tuple[int, int, bool]]) -> None:
    found = sent_of(most, traffic)
    sent = [(at, job, first) for at, job, first, went in found if went]
    for at, job, _ in sent:
        hour = [one for one in sent if at - HOUR < one[0] <= at]
        assert len(hour) <= most
        assert sum(other == job for _, other, _ in hour) <= max(2, most // 2)


@given(st.integers(3, 30), TRAFFIC)
def test_the_first_failure_of_a_job_goes_whatever_the_others_have_to_tell(
    most: int, traffic: list[tuple[int, int, bool]]
) -> None:
    found = sent_of(most, traffic)
    for at, _, first, went in found:
        if first and not went:
            # The channel is full of what came first of others; repeats alone cannot fill it.
            hour = [one for one in found if one[3] and at - HOUR < one[0] <= at]
            assert sum(is_first for _, _, is_first, _ in hour) >= most // 3


@given(st.integers(1, 30), st.lists(st.integers(0, HOUR), min_size=1, max_size=60))
def test_news_that_are_held_wait_for_minutes_only(most: int, ages: list[int]) -> None:
    sent = [HOUR - age for age in sorted(ages)]
    at = delivery.news_digest_at(sent, most, HOUR)
    assert HOUR <= at <= HOUR + delivery.NEWS_DIGEST_USEC
    assert delivery.soonest_digest_at(sent, most, HOUR) <= at
    # Not before it has to, either.
    assert (
        at == HOUR
        or HOUR in (at - one for one in sent)
        or (at - sent[0] == delivery.NEWS_DIGEST_USEC)
    )
