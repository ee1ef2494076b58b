"""One point in time, as `lunasched at` reads it."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from reference import utc

from lunasched.errors import InvalidInput
from lunasched.schedule.moment import parse_moment

NOW = utc(2026, 11, 28, 12, 0, 5)  # a Saturday, 13:00:05 in Berlin


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("now", utc(2026, 11, 28, 12, 0, 5)),
        ("now + 2h", utc(2026, 11, 28, 14, 0, 5)),
        ("now+2 hours and 30 minutes", utc(2026, 11, 28, 14, 30, 5)),
        ("in 90s", utc(2026, 11, 28, 12, 1, 35)),
        ("18:00", utc(2026, 11, 28, 17)),
        ("at 9am", utc(2026, 11, 29, 8)),
        ("13:00", utc(2026, 11, 29, 12)),
        ("noon", utc(2026, 11, 29, 11)),
        ("midnight", utc(2026, 11, 28, 23)),
        ("tomorrow 03:00", utc(2026, 11, 29, 2)),
        ("03:00 tomorrow", utc(2026, 11, 29, 2)),
        ("today at 23:59:59", utc(2026, 11, 28, 22, 59, 59)),
        ("Mon 9:30 pm", utc(2026, 11, 30, 20, 30)),
        ("18:00 on Saturday", utc(2026, 12, 5, 17)),
        ("2026-12-24 18:00", utc(2026, 12, 24, 17)),
        ("2026-12-24T18:00", utc(2026, 12, 24, 17)),
        ("2026-12-24 18:00 Asia/Tokyo", utc(2026, 12, 24, 9)),
        ("18:00 UTC", utc(2026, 11, 28, 18)),
        ("2027-10-31 02:30", utc(2027, 10, 31, 0, 30)),  # of two, the first
    ],
)
def test_a_point_in_time(text: str, moment: datetime) -> None:
    assert parse_moment(text, now=NOW, zone="Europe/Berlin") == moment


def test_a_part_of_a_second_is_rounded_up() -> None:
    late = NOW + timedelta(microseconds=1)
    assert parse_moment("now + 1s", now=late, zone="UTC") == utc(2026, 11, 28, 12, 0, 7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no time of day"),
        ("tomorrow", "has no time of day"),
        ("teatime", "is not a point in time"),
        ("25:00", "hour goes from 0 to 23"),
        ("2026-02-30 10:00", "is not a date"),
        ("2026-11-28 12:00", "has passed: it was 2026-11-28 11:00:00 UTC"),
        ("today 09:00", "has passed"),
        ("2027-03-28 02:30", "there is no 02:30 on 2027-03-28 in Europe/Berlin"),
        ("now + soon", "is not a span of time"),
        ("now + 2 months", "is not a span of time"),
        ("18:00 Europe/Berln", "is not a time zone"),
    ],
)
def test_what_is_none(text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_moment(text, now=NOW, zone="Europe/Berlin")
    assert message in str(caught.value)
