"""The lines that common schedules become: readable, and exactly these."""

from __future__ import annotations

import re
from datetime import datetime
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from analyze import evaluate
from reference import utc

from lunasched.errors import InvalidInput, ScheduleError
from lunasched.schedule import Timing, elapses, parse, timing

NOW = utc(2026, 6, 1)


def lines(text: str, zone: str | None = "Asia/Kolkata") -> tuple[str, ...]:
    return timing(parse(text), timezone=zone, host_timezone="Etc/UTC", now=NOW).on_calendar


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("at 09:00", ["*-*-* 09:00:00"]),
        ("at 09:00:30 on Mon,Wed", ["Mon,Wed *-*-* 09:00:30"]),
        ("0 9 * * 1-5", ["Mon..Fri *-*-* 09:00:00"]),
        ("*/15 * * * *", ["*-*-* *:00/15:00"]),
        ("*/7 * * * *", ["*-*-* *:00..56/7:00"]),
        ("0 8-18/2 * * *", ["*-*-* 08..18/2:00:00"]),
        ("0 */6 * * *", ["*-*-* 00..18/6:00:00"]),
        ("1,2,3,30 5 * * *", ["*-*-* 05:01..03,30:00"]),
        ("30 4 1,15 * 5", ["*-*-01,15 04:30:00", "Fri *-*-* 04:30:00"]),
        ("0 0 */2 * 1", ["Mon *-*-01..31/2 00:00:00"]),
        ("on 1st Mon at 09:00", ["Mon *-*-01..07 09:00:00"]),
        ("on 5th Mon at 09:00", ["Mon *-*-29..31 09:00:00"]),
        ("on last Fri at 09:00", ["Fri *-*~01..07 09:00:00"]),
        ("0 9 * * 1,5#2", ["Mon *-*-* 09:00:00", "Fri *-*-08..14 09:00:00"]),
        ("0 0 L * *", ["*-*~01 00:00:00"]),
        ("0 0 15,L * *", ["*-*-15 00:00:00", "*-*~01 00:00:00"]),
        ("0 0 1 jan,jul *", ["*-01,07-01 00:00:00"]),
        ("@yearly", ["*-01-01 00:00:00"]),
        ("* * * * * */10", ["*-*-* *:*:00/10"]),
        ("0 0 29 2 *", ["*-02-29 00:00:00"]),
        ("calendar:weekly", ["Mon *-*-* 00:00:00"]),
    ],
)
def test_common_schedules_become_readable_lines(text: str, expected: list[str]) -> None:
    assert lines(text) == tuple(f"{line} Asia/Kolkata" for line in expected)
    assert lines(text, None) == tuple(expected)
    assert lines(text, "UTC") == tuple(f"{line} UTC" for line in expected)


def test_a_schedule_that_no_offset_of_the_zone_changes_is_one_utc_line() -> None:
    assert lines("*/15 * * * *", "Europe/Berlin") == ("*-*-* *:00/15:00 UTC",)
    assert lines("10 * * * *", "Asia/Kathmandu") == ("*-*-* *:10:00 Asia/Kathmandu",)
    assert lines("*/15 * * * *", "Pacific/Chatham") == ("*-*-* *:00/15:00 UTC",)
    assert lines("10 * * * *", "Pacific/Chatham") == ("*-*-* *:25:00 UTC",)


def test_a_skipped_slot_is_one_dated_line_each_spring() -> None:
    found = lines("30 2 * * *", "Europe/Berlin")
    assert found[:2] == ("*-*-* 02:30:00 Europe/Berlin", "2027-03-28 01:00:00 UTC")
    assert len(found) >= 11


@pytest.mark.parametrize(
    ("text", "zone", "recurring"),
    [
        ("30 2 * 3 L0", "Europe/Berlin", ()),
        ("0,20 2 * 3 0#2", "America/New_York", ()),
        ("30 2 15 3 L0", "Europe/Berlin", ("*-03-15 02:30:00",)),
        ("30 2,3 * 3 L0", "Europe/Berlin", ("Sun *-03-25..31 02,03:30:00",)),
    ],
)
def test_what_a_change_of_the_clock_always_skips_does_not_recur(
    text: str, zone: str, recurring: tuple[str, ...]
) -> None:
    """systemd would look for it at each start of the timer, in vain, and say so."""
    found = timing(parse(text), timezone=None, host_timezone=zone, now=NOW).on_calendar
    count = len(recurring)
    assert found[:count] == recurring
    assert [line[:4] for line in found[count:]] == [str(year) for year in range(2027, 2037)]
    answers = evaluate(found, base=NOW, iterations=1, host_zone=zone)
    assert [answer.gave_up for answer in answers] == [False] * len(found)


def test_a_repeated_hour_is_one_dated_line_each_autumn() -> None:
    found = lines("*/20 2 * * *", "Europe/Berlin")
    assert found[:2] == ("*-*-* 02:00/20:00 Europe/Berlin", "2026-10-25 01:00/20:00 UTC")


def test_the_end_of_a_month_is_written_as_dates_where_its_night_has_a_repeated_hour() -> None:
    found = lines("0 2 * * L0", "Europe/Berlin")
    assert found[:4] == (
        "Sun *-01,03,05,07,08,10,12-25..31 02:00:00 Europe/Berlin",
        "Sun *-04,06,09,11-24..30 02:00:00 Europe/Berlin",
        "Sun 2000/4-02-23..29 02:00:00 Europe/Berlin",
        "Sun 2001/4,2002/4,2003/4-02-22..28 02:00:00 Europe/Berlin",
    )


def test_added_within_the_repeated_hour_the_date_is_left_out() -> None:
    now = utc(2026, 10, 25, 1, 10)
    found = timing(parse("30 2 * * *"), timezone=None, host_timezone="Europe/Berlin", now=now)
    assert found.on_calendar[:3] == (
        "*-01..09,11,12-* 02:30:00",
        "2027..2036-10-* 02:30:00",
        "2026-10-01..24,26..31 02:30:00",
    )


def test_lines_say_how_long_they_are_exact() -> None:
    def until(text: str, zone: str) -> object:
        return timing(parse(text), timezone=zone, host_timezone="UTC", now=NOW).valid_until

    assert until("30 2 * * *", "Europe/Berlin") == utc(2036, 5, 31)
    assert until("30 2 29 2 *", "Europe/Berlin") == utc(2036, 5, 31)
    assert until("0 9 * * *", "Europe/Berlin") is None
    assert until("*/15 * * * *", "Europe/Berlin") is None
    assert until("30 2 * * *", "Asia/Kolkata") is None


def test_intervals_and_reboot_have_no_calendar() -> None:
    every = timing(parse("every 90s"), timezone=None, host_timezone="UTC", now=NOW)
    assert every == Timing(on_unit_active_sec=90, on_active_sec=90)
    reboot = timing(parse("@reboot"), timezone=None, host_timezone="UTC", now=NOW)
    assert reboot == Timing(on_startup_sec=0)
    assert not every.is_empty
    assert not reboot.is_empty


def test_what_is_due_after_a_boot_is_not_in_the_lines_for_the_rest_of_it() -> None:
    def found(text: str) -> Timing:
        return timing(parse(text), timezone=None, host_timezone="Europe/Berlin", now=NOW)

    alone, every = found("@boot+15m"), found("every 1d; @boot+15m")
    assert alone == Timing(on_boot_sec=900)
    assert (alone.at_boot_only, alone.rest_of_boot()) == (True, None)
    assert every == Timing(on_boot_sec=900, on_unit_active_sec=86_400)
    assert every.rest_of_boot() == found("every 1d")
    assert not every.at_boot_only
    assert not every.is_empty
    times = found("at 09:00; 30 2 * * *; @reboot+90s")
    assert (times.on_startup_sec, times.at_boot_only) == (90, False)
    assert times.rest_of_boot() == found("at 09:00; 30 2 * * *")
    assert found("at 09:00").rest_of_boot() is None


def test_several_schedules_have_the_lines_of_each() -> None:
    def found(text: str, zone: str | None = "Europe/Berlin") -> Timing:
        return timing(parse(text), timezone=zone, host_timezone="UTC", now=NOW)

    both = found("at 09:00; 30 2 * * *; at 09:00")
    assert both.on_calendar == (
        *found("at 09:00").on_calendar,
        *found("30 2 * * *").on_calendar,
    )
    assert both.valid_until == found("30 2 * * *").valid_until
    # One that is over is left out, unless all are.
    assert found("calendar:2020-01-01; at 09:00").on_calendar == found("at 09:00").on_calendar
    with pytest.raises(ScheduleError, match="never elapses again"):
        found("calendar:2020-01-01; calendar:2021-01-01")


@pytest.mark.parametrize("text", ["0 9 * * *", "30 2 * * *", "*/15 * * * *", "weekdays at 9am"])
def test_a_zone_in_front_is_that_of_the_job(text: str) -> None:
    of_text, of_job = (
        timing(parse(one), timezone=zone, host_timezone="UTC", now=NOW)
        for one, zone in ((f"TZ=Europe/Berlin {text}", "Asia/Tokyo"), (text, "Europe/Berlin"))
    )
    assert of_text == of_job
    own = elapses(parse(f"TZ=Europe/Berlin {text}"), timezone="Asia/Tokyo", after=NOW)
    jobs = elapses(parse(text), timezone="Europe/Berlin", after=NOW)
    assert list(islice(own, 500)) == list(islice(jobs, 500))


def test_on_demand_has_no_timer() -> None:
    found = timing(parse("on demand"), timezone="Asia/Tokyo", host_timezone="UTC", now=NOW)
    assert found == Timing()
    assert found.is_empty


def test_the_zone_of_a_systemd_expression_wins_over_the_jobs() -> None:
    assert lines("calendar:09:00 Asia/Tokyo", "Europe/Berlin") == ("*-*-* 09:00:00 Asia/Tokyo",)
    assert lines("calendar:09:00", "Europe/Berlin") == ("*-*-* 09:00:00 Europe/Berlin",)
    assert lines("calendar:09:00", None) == ("*-*-* 09:00:00",)


@pytest.mark.parametrize("text", ["calendar:2020-01-01", "calendar:@1000", "calendar:2026-05-31"])
def test_what_never_elapses_again_is_refused(text: str) -> None:
    with pytest.raises(ScheduleError, match="never elapses again"):
        lines(text)


@pytest.mark.parametrize("text", ["0 0 */2 * L5", "0 0 *,L * 5#4"])
def test_days_that_no_line_can_say_are_refused(text: str) -> None:
    if text == "0 0 *,L * 5#4":  # every day is the last or another: no restriction at all
        assert lines(text) == ("Fri *-*-22..28 00:00:00 Asia/Kolkata",)
        return
    with pytest.raises(ScheduleError, match="have the command look at one"):
        lines(text)


@pytest.mark.parametrize(
    ("zone", "host"),
    [("CET", "Europe/Berlin"), ("GMT", "Europe/London"), ("EST", "America/New_York")],
)
def test_a_zone_that_the_host_takes_for_an_abbreviation_is_refused(zone: str, host: str) -> None:
    with pytest.raises(InvalidInput, match="abbreviation"):
        timing(parse("at 09:00"), timezone=zone, host_timezone=host, now=NOW)
    timing(parse("at 09:00"), timezone=zone, host_timezone="Asia/Tokyo", now=NOW)


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(InvalidInput, match="did you mean Europe/Berlin"):
        lines("at 09:00", "Europe/Berlin2")


@pytest.mark.parametrize(
    ("written", "zone"),
    [
        ("GMT+2", "Etc/GMT-2"),
        ("gmt+02", "Etc/GMT-2"),
        ("UTC+2", "Etc/GMT-2"),
        ("UTC +2", "Etc/GMT-2"),
        ("+02:00", "Etc/GMT-2"),
        ("+0200", "Etc/GMT-2"),
        ("UTC-5", "Etc/GMT+5"),
        ("UTC\u22125", "Etc/GMT+5"),
        ("-05", "Etc/GMT+5"),
        ("Z+14", "Etc/GMT-14"),
    ],
)
def test_an_offset_is_answered_with_the_zone_that_has_it(written: str, zone: str) -> None:
    with pytest.raises(InvalidInput, match=f"is {re.escape(zone)} there") as caught:
        lines("at 09:00", written)
    offset = ZoneInfo(zone).utcoffset(datetime(2026, 1, 1))
    assert offset is not None
    sign = "-" if offset.days < 0 else "+"
    assert f"UTC{sign}{abs(offset.total_seconds()) // 3600:02.0f}:00" in str(caught.value)


@pytest.mark.parametrize("written", ["UTC+5:30", "+0545", "GMT-13", "UTC+15", "+99"])
def test_an_offset_that_no_zone_is_named_after_is_explained(written: str) -> None:
    with pytest.raises(InvalidInput, match="none has the name of an offset") as caught:
        lines("at 09:00", written)
    assert "Etc/" not in str(caught.value)


@pytest.mark.parametrize("written", ["UTC+0", "+00:00", "UTC-0"])
def test_no_offset_is_utc(written: str) -> None:
    with pytest.raises(InvalidInput, match="write it UTC"):
        lines("at 09:00", written)


@pytest.mark.parametrize("written", ["GTM+2", "GTM-11", "GMT+2x", "EST+5"])
def test_no_offset_is_suggested_for_looking_alike(written: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        lines("at 09:00", written)
    assert "GMT" not in str(caught.value).removeprefix(f"{written!r}")
