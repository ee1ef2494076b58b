"""Instants: the nights on which clocks change, rare dates, and the slot that a run belongs to."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice

import pytest
import reference
from croniter import croniter
from reference import utc

from lunasched.schedule import elapses, forget_zones, latest_elapse, parse, transitions

SPRING = utc(2026, 3, 28, 23)  # midnight in Berlin before 02:00 becomes 03:00
AUTUMN = utc(2026, 10, 24, 22)  # midnight in Berlin before 03:00 becomes 02:00


def following(text: str, zone: str, after: datetime, count: int) -> list[datetime]:
    return list(islice(elapses(parse(text), timezone=zone, after=after), count))


def hours(text: str, zone: str, after: datetime, count: int) -> list[str]:
    return [f"{instant:%d %H:%M}" for instant in following(text, zone, after, count)]


@pytest.mark.parametrize(
    ("text", "zone", "after", "expected"),
    [
        ("at 02:30", "Europe/Berlin", SPRING, ["29 01:00", "30 00:30"]),
        ("0,15,30 2 * * *", "Europe/Berlin", SPRING, ["29 01:00", "30 00:00"]),
        ("0 2,3 * * *", "Europe/Berlin", SPRING, ["29 01:00", "30 00:00"]),
        ("0 1 * * *", "Europe/Berlin", SPRING, ["29 00:00", "29 23:00"]),
        ("*/30 2 * * *", "Europe/Berlin", SPRING, ["30 00:00", "30 00:30"]),
        ("at 02:30", "Europe/Berlin", AUTUMN, ["25 00:30", "26 01:30"]),
        ("*/30 2 * * *", "Europe/Berlin", AUTUMN, ["25 00:00", "25 00:30", "25 01:00", "25 01:30"]),
        ("0 */2 * * *", "Europe/Berlin", AUTUMN, ["25 00:00", "25 01:00", "25 03:00"]),
        ("at 00:00", "America/Santiago", utc(2026, 9, 5, 12), ["06 04:00", "07 03:00"]),
        ("at 00:30", "Asia/Beirut", utc(2026, 3, 28, 12), ["28 22:00", "29 21:30"]),
        ("at 23:30", "America/Santiago", utc(2026, 4, 4, 12), ["05 02:30", "06 03:30"]),
        ("at 02:15", "Australia/Lord_Howe", utc(2026, 10, 3, 12), ["03 15:30", "04 15:15"]),
        ("at 01:45", "Australia/Lord_Howe", utc(2026, 4, 4, 12), ["04 14:45", "05 15:15"]),
        ("at 02:30", "Africa/Casablanca", utc(2026, 3, 22, 0), ["22 02:00", "23 01:30"]),
        ("at 01:30", "Europe/Dublin", utc(2026, 10, 24, 12), ["25 00:30", "26 01:30"]),
        ("at 02:59", "Pacific/Chatham", utc(2026, 9, 26, 0), ["26 14:00", "27 13:14"]),
        ("at 02:30", "Asia/Kolkata", utc(2026, 3, 28), ["28 21:00", "29 21:00"]),
        # A change of a day, and one of exactly three hours, is a correction of the clock.
        ("at 12:00", "Pacific/Apia", utc(2011, 12, 29, 12), ["29 22:00", "30 22:00"]),
        ("at 02:30", "Antarctica/Casey", utc(2012, 2, 21, 12), ["21 15:30", "21 18:30"]),
    ],
)
def test_nights_on_which_the_clock_changes(
    text: str, zone: str, after: datetime, expected: list[str]
) -> None:
    assert hours(text, zone, after, len(expected)) == expected


def test_rare_dates_are_found() -> None:
    assert following("0 0 29 2 *", "UTC", utc(2096, 3, 1), 1) == [utc(2104, 2, 29)]
    assert following("0 0 29 feb */7", "UTC", utc(2032, 3, 1), 1) == [utc(2060, 2, 29)]
    assert following("0 0 * 2 L0", "UTC", utc(2026, 3, 1), 2) == [
        utc(2027, 2, 28),
        utc(2028, 2, 27),
    ]
    assert following("0 0 * 2 1#5", "UTC", utc(2026, 3, 1), 1) == [utc(2044, 2, 29)]


def test_instants_end_where_there_are_none() -> None:
    schedule = parse("calendar:2026,2027-06-01 12:00")
    assert len(list(elapses(schedule, timezone="UTC", after=utc(2026, 1, 1)))) == 2
    for text in ("@reboot", "on demand"):
        assert list(elapses(parse(text), timezone="UTC", after=utc(2026, 1, 1))) == []


def test_two_schedules_have_one_slot_at_one_instant() -> None:
    text = "at 09:00; 0 9,17 * * Mon-Fri; @boot+5m"
    assert following(text, "Asia/Tokyo", utc(2026, 1, 2), 4) == [
        utc(2026, 1, 2, 8),
        utc(2026, 1, 3),
        utc(2026, 1, 4),
        utc(2026, 1, 5),
    ]
    ends = parse("calendar:2026-06-01; calendar:2026-06-01 00:00; calendar:2026-05-01 UTC")
    assert list(elapses(ends, timezone="UTC", after=utc(2026, 1, 1))) == [
        utc(2026, 5, 1),
        utc(2026, 6, 1),
    ]


def test_an_interval_counts_from_after() -> None:
    found = following("every 90m", "UTC", utc(2026, 1, 1, 0, 0, 30), 2)
    assert found == [utc(2026, 1, 1, 1, 30, 30), utc(2026, 1, 1, 3, 0, 30)]


@pytest.mark.parametrize(
    ("text", "zone", "at", "expected"),
    [
        ("at 02:30", "Europe/Berlin", utc(2026, 3, 29, 0, 59), utc(2026, 3, 28, 1, 30)),
        ("at 02:30", "Europe/Berlin", utc(2026, 3, 29, 1, 0), utc(2026, 3, 29, 1, 0)),
        ("at 02:30", "Europe/Berlin", utc(2026, 10, 25, 1, 30), utc(2026, 10, 25, 0, 30)),
        ("*/30 2 * * *", "Europe/Berlin", utc(2026, 10, 25, 1, 31), utc(2026, 10, 25, 1, 30)),
        ("0 0 29 2 *", "UTC", utc(2027, 1, 1), utc(2024, 2, 29)),
        ("calendar:2020-01-01", "UTC", utc(2027, 1, 1), utc(2020, 1, 1)),
        ("calendar:2030-01-01", "UTC", utc(2027, 1, 1), None),
        ("every 5m", "UTC", utc(2027, 1, 1), None),
        ("@reboot", "UTC", utc(2027, 1, 1), None),
        ("at 02:30; at 01:00; @boot", "UTC", utc(2026, 3, 1, 2), utc(2026, 3, 1, 1)),
        ("calendar:2030-01-01; at 02:30", "UTC", utc(2026, 3, 1), utc(2026, 2, 28, 2, 30)),
        ("every 5m; @boot+1m", "UTC", utc(2027, 1, 1), None),
        ("on demand", "UTC", utc(2027, 1, 1), None),
    ],
)
def test_the_slot_of_a_run_is_the_latest_one(
    text: str, zone: str, at: datetime, expected: datetime | None
) -> None:
    assert latest_elapse(parse(text), timezone=zone, at=at) == expected


def test_instants_are_those_after_fractions_of_a_second_too() -> None:
    at = utc(2026, 1, 1, 9, 0, 0, 500)
    schedule = parse("at 09:00")
    assert next(elapses(schedule, timezone="UTC", after=at)) == utc(2026, 1, 2, 9)
    assert latest_elapse(schedule, timezone="UTC", at=at) == utc(2026, 1, 1, 9)


@pytest.mark.parametrize(
    "text", ["*/7 8-18 * * 1-5", "0 0 13 * 5", "5 4 * 2,3 *", "0 12 L * *", "30 6 * * 5#2"]
)
def test_croniter_agrees_where_no_clock_changes(text: str) -> None:
    start = utc(2026, 1, 1)
    other = croniter(text, start)
    assert following(text, "UTC", start, 200) == [other.get_next(datetime) for _ in range(200)]


def test_transitions_are_told_with_both_offsets() -> None:
    found = transitions("Europe/Berlin", utc(2026, 1, 1), utc(2027, 1, 1))
    assert [change.at for change in found] == [utc(2026, 3, 29, 1), utc(2026, 10, 25, 1)]
    assert [change.shift for change in found] == [timedelta(hours=1), timedelta(hours=-1)]
    assert (found[0].before, found[0].after) == (timedelta(hours=1), timedelta(hours=2))
    assert transitions("Asia/Kolkata", utc(2026, 1, 1), utc(2036, 1, 1)) == ()
    apia = transitions("Pacific/Apia", utc(2011, 12, 1), utc(2012, 1, 1))
    assert [change.shift for change in apia] == [timedelta(hours=24)]


def test_the_reference_itself_knows_the_rule() -> None:
    def count(text: str, after: datetime) -> int:
        return len(reference.runs(text, "Europe/Berlin", after, after + timedelta(hours=24)))

    assert [count("30 2 * * *", day) for day in (SPRING, AUTUMN)] == [1, 1]
    assert [count("*/15 * * * *", day) for day in (SPRING, AUTUMN)] == [96, 96]
    assert [count("0 * * * *", day) for day in (SPRING, AUTUMN)] == [24, 24]
    assert [count("0,30 2 * * *", day) for day in (SPRING, AUTUMN)] == [1, 2]


def test_what_is_known_of_zones_can_be_forgotten() -> None:
    before = following("at 02:30", "Europe/Berlin", SPRING, 3)
    forget_zones()
    assert following("at 02:30", "Europe/Berlin", SPRING, 3) == before
