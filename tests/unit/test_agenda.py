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

from lunasched.files import configfile
from lunasched.formats.document import Format, read_document
from lunasched.history.agenda import Agenda, Slot, agenda
from lunasched.history.slot import Past, to_usec
from lunasched.history.spreading import moves
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
        store.jobs.put(job("lost", "at 02:30 except no-such-calendar"), 1)
    shown = cli("next", "--week", "--json")
    assert "note: lost has no next run: 'no-such-calendar' is not a weekday" in shown.stderr
    assert cli("spread").returncode == 0
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


# Apart


def spread_jobs(jobs: dict[str, Job], *, by_jitter: bool = False) -> dict[str, Job]:
    """The jobs after what is proposed for 15 minutes."""
    found = moves(planned(*jobs.values()), jobs, within=900, by_jitter=by_jitter)
    return {**jobs, **{move.before.name: move.after for move in found}}


def test_jobs_that_start_together_come_apart() -> None:
    schedules = {
        "a": "at 02:30", "b": "30 2 * * *", "c": "on Mon at 02:30", "d": "*/30 2 * * *",
        "e": "at 02:30,09:00", "f": "at 23:59", "g": "59 23 * * *", "h": "at 23:59 on Mon",
        "alone": "at 12:00", "never": "on demand",
    }  # fmt: skip
    jobs = {name: job(name, text) for name, text in schedules.items()}
    after = spread_jobs(jobs)
    changed = {name: one.schedule for name, one in after.items() if one != jobs[name]}
    assert changed == {
        "b": "33 2 * * *", "c": "on Mon at 02:36", "d": "*/30 2 * * *", "e": "at 02:30,09:00",
        "g": "59 23 * * *", "h": "at 23:59 on Mon",
    }  # fmt: skip
    assert {name for name, one in after.items() if one.jitter == 900} == {"d", "e", "g", "h"}
    left = planned(*(one for one in after.values() if not one.jitter))
    assert left.busiest is None


def test_a_jitter_changes_no_schedule() -> None:
    jobs = {name: job(name, "at 02:30") for name in "abc"}
    after = spread_jobs(jobs, by_jitter=True)
    assert [one.schedule for one in after.values()] == ["at 02:30"] * 3
    assert [one.jitter for one in after.values()] == [0, 900, 900]


def test_more_jobs_than_minutes_share_them_evenly() -> None:
    jobs = {f"{n:02}": job(f"{n:02}", "at 02:30") for n in range(46)}
    found = planned(*spread_jobs(jobs).values(), days=1)
    assert max(len(slot.jobs) for slot in found.slots) <= 4
    assert len(found.slots) == 16


def test_the_command_prints_what_apply_takes(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    cli("list")
    with Store.open(next(tmp_path.rglob("*.db"))) as store:
        for name in ("a", "b", "c"):
            tags = ("night",) if name < "c" else ()
            store.jobs.put(job(name, "at 02:30", tags=tags), 1)
    done = cli("spread")
    assert done.returncode == 0
    read = configfile.read_config(read_document(done.stdout.encode(), "x", Format.YAML))
    assert [(one.job.name, one.job.schedule) for one in read.entries] == [
        ("b", "at 02:35"),
        ("c", "at 02:40"),
    ]
    assert "at most 3 jobs start together in the next week, then 1 job" in done.stderr
    assert "'at 02:30' becomes 'at 02:35'" in done.stderr
    tagged = cli("spread", "--tag", "night", "--jitter")
    assert "jitter_seconds: 900" in tagged.stdout
    assert cli("spread", "--within", "1s").returncode == 2
    assert cli("spread", "--tag", "nobody").stdout == ""
