"""The runs to come of many jobs: together, often, as a calendar."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import icalendar
import pytest
from commandline import Cli
from reference import utc
from web_server import History, served

from lunasched.history.agenda import Agenda, Slot, agenda
from lunasched.history.slot import Past, to_usec
from lunasched.jobs.model import Job
from lunasched.store import Store
from lunasched.web.calendarfeed import SPAN_USEC, calendar_text

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86_400_000_000
NOW = to_usec(utc(2026, 11, 30))  # a Monday
PAST = Past(NOW - DAY, None, None)


def planned(*jobs: Job, days: int = 7) -> Agenda:
    pasts = [(job, PAST) for job in jobs]
    return agenda(pasts, now=NOW, until=NOW + days * DAY, host_timezone="UTC")


def job(name: str, schedule: str, **more: Any) -> Job:
    return Job(name=name, schedule=schedule, command="true", **more)


def test_jobs_at_one_time_are_one_slot() -> None:
    found = planned(
        job("b", "at 02:30"),
        job("a", "30 2 * * 1-5"),
        job("c", "at 09:00 on Wed"),
        job("off", "at 02:30", enabled=False),
        job("gone", "at 02:30 except no-such-calendar"),
        job("none", "on demand"),
    )
    half_past = [utc(2026, 11, 30, 2, 30) + timedelta(days=n) for n in range(7)]
    expected = [Slot(to_usec(at), ("a", "b") if at.weekday() < 5 else ("b",)) for at in half_past]
    expected.append(Slot(to_usec(utc(2026, 12, 2, 9)), ("c",)))
    assert sorted(found.slots, key=lambda slot: slot.at) == sorted(
        expected, key=lambda slot: slot.at
    )
    assert found.busiest == Slot(to_usec(utc(2026, 11, 30, 2, 30)), ("a", "b"))


def test_what_starts_often_is_told_once() -> None:
    found = planned(job("poll", "*/5 * * * *"), job("beat", "every 90s"), job("day", "every 1d"))
    assert found.often == (("beat", 960.0), ("poll", 288.0))
    assert {name for slot in found.slots for name in slot.jobs} == {"day"}
    assert found.busiest is None


def test_the_end_is_included_and_the_begin_is_not() -> None:
    found = planned(job("x", "at 00:00"), days=1)
    assert [slot.at for slot in found.slots] == [NOW + DAY]


def events(content: bytes) -> list[Any]:
    """The events as a library of others reads them."""
    calendar: Any = icalendar.Calendar.from_ical(content)
    return list(calendar.walk("VEVENT"))


NASTY = "a;b, c\\d \u00e9\u00e9 " + "x" * 90


def test_a_calendar_that_others_read() -> None:
    one = job(NASTY, "at 02:30; at 09:00", tags=("x,y", "z"))
    found = planned(one, days=2)
    text = calendar_text(found, {one.name: one}, host="web1", now=NOW)
    assert all(len(line) <= 75 for line in text.split(b"\r\n"))
    read = events(text)
    assert [str(event["SUMMARY"]) for event in read] == [NASTY] * 4
    assert {str(event["DESCRIPTION"]) for event in read} == {"at 02:30; at 09:00"}
    assert [event["DTSTART"].dt for event in read][:2] == [
        utc(2026, 11, 30, 2, 30),
        utc(2026, 11, 30, 9),
    ]
    again = events(calendar_text(found, {}, host="web1", now=NOW + 5))
    assert [event["UID"] for event in again] == [event["UID"] for event in read]
    assert len({event["UID"] for event in read}) == 4


@pytest.fixture
def history(store: Store) -> History:
    return History(store)


def test_the_page_has_it(history: History, store: Store, tmp_path: Path) -> None:
    store.jobs.put(job("nightly", "at 02:30"), 1)
    store.jobs.put(job("poll", "* * * * *"), 1)
    with served(tmp_path / "lunasched.db") as server:
        answer = server.get("/calendar.ics")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/calendar; charset=utf-8"
    read = events(answer.body)
    assert {str(event["SUMMARY"]) for event in read} == {"nightly"}
    assert len(read) == SPAN_USEC // DAY
    assert all(event["DTSTART"].dt > datetime.now(timezone.utc) for event in read)


def test_the_commands(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    cli("list")
    with Store.open(next(tmp_path.rglob("*.db"))) as store:
        store.jobs.put(job("a", "at 02:30"), 1)
        store.jobs.put(job("b", "at 02:30"), 1)
        store.jobs.put(job("poll", "* * * * *"), 1)
    shown = cli("next", "--week", "--json")
    answer = json.loads(shown.stdout)
    assert list(answer) == ["from", "until", "slots", "often"]
    assert [slot["jobs"] for slot in answer["slots"]] == [["a", "b"]] * 7
    assert answer["often"] == [{"job": "poll", "starts_a_day": 1440.0}]
    read = events(cli("next", "a", "--ics").stdout.encode())
    assert [str(event["SUMMARY"]) for event in read] == ["a"] * 28
    text = cli("next", "--week").stdout
    assert text.count("  2 jobs  ") == 7
    assert "poll starts often, 1440 times a day." in text
    assert "Most start together at " in text
