"""When a message is tried again, and how many there are in an hour."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lunasched import delivery

HOUR = delivery.HOUR_USEC
DAY_S = 86400


def delays(retry_after: list[float | None]) -> list[float]:
    """The waits between the tries, each of which fails and says when to come back, or nothing."""
    waited, found = 0.0, []
    for said in retry_after:
        wait = delivery.delay(waited, said)
        if wait is None:
            break
        waited += wait
        found.append(wait)
    return found


def test_waits_double_from_half_a_minute_to_an_hour() -> None:
    assert delays([None] * 9) == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]


def test_what_was_put_off_with_another_goes_on_as_if_it_had_been_tried() -> None:
    assert delivery.delay(210, None) == 240


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
