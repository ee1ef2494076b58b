"""Named sets of days: files of YAML and iCalendar, and public holidays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from itertools import islice
from pathlib import Path

import pytest
from reference import utc

from lunasched import schedule
from lunasched.doctor import calendarcheck
from lunasched.errors import CalendarError
from lunasched.formats import daycalendar
from lunasched.history.slot import slot_list
from lunasched.jobs.model import Job
from lunasched.paths import Mode, zone_identity
from lunasched.schedule import elapses, parse, timing

NOW = utc(2026, 12, 1)
Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Write a file of a calendar; what was read before is forgotten."""
    before = list(daycalendar._directories)
    daycalendar.look_in(tmp_path)

    def write_file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text)
        schedule.forget_zones()
        return path

    yield write_file
    daycalendar._directories[:] = before
    schedule.forget_zones()


def days(name: str, year: int) -> list[str]:
    found = sorted(daycalendar.calendar_days(name, year))
    return [date.fromordinal(day).isoformat() for day in found]


def test_a_list_of_days(write: Write) -> None:
    write("closed.yaml", "- 2026-12-24..2027-01-02\n- 05-01\n- 12-31..01-01\n")
    assert days("closed", 2027) == ["2027-01-01", "2027-01-02", "2027-05-01", "2027-12-31"]
    assert days("closed", 2026)[:3] == ["2026-01-01", "2026-05-01", "2026-12-24"]
    assert daycalendar.read_calendar("closed").last is None


def test_a_mapping_with_others_in_it(write: Write) -> None:
    write("bridge.yml", "[2026-05-15]")
    write("office.yaml", "description: Closed\ndays: [2026-05-01]\ninclude: [bridge]\n")
    assert days("office", 2026) == ["2026-05-01", "2026-05-15"]
    found = daycalendar.read_calendar("office")
    assert (found.description, found.last) == ("Closed", date(2026, 5, 15).toordinal())
    assert daycalendar.calendar_names() == ["bridge", "office"]
    before = found.version
    write("bridge.yml", "[2026-05-16]")
    assert daycalendar.read_calendar("office").version != before


def test_public_holidays(write: Write) -> None:
    write("holidays.yaml", "holidays: {country: DE, subdivision: BY}")
    assert {"2026-01-06", "2026-04-03", "2026-12-25"} <= set(days("holidays", 2026))
    assert "2026-10-31" not in days("holidays", 2026)  # not in Bavaria
    assert daycalendar.read_calendar("holidays").last is None


ICS = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//x//y//EN
X-WR-CALNAME:Our days
BEGIN:VEVENT
UID:1
DTSTART;VALUE=DATE:20261224
DTEND;VALUE=DATE:20261227
SUMMARY:Three days\\, the end is not one of them
END:VEVENT
BEGIN:VEVENT
UID:2
DTSTART;VALUE=DATE:20260105
RRULE:FREQ=MONTHLY;BYDAY=1MO{end}
EXDATE;VALUE=DATE:20260601
END:VEVENT
BEGIN:VEVENT
UID:3
DTSTART:20260707T100000Z
DTEND:20260707T110000Z
END:VEVENT
BEGIN:VEVENT
UID:4
DTSTART;VALUE=DATE:20261231
DURATION:P2D
RRULE:FREQ=YEARLY
END:VEVENT
END:VCALENDAR
"""


def test_an_icalendar_file(write: Write) -> None:
    write("ours.ics", ICS.replace("{end}", "").replace("\n", "\r\n"))
    found = days("ours", 2026)
    assert {"2026-12-24", "2026-12-25", "2026-12-26", "2026-12-31", "2026-02-02"} <= set(found)
    assert not {"2026-12-27", "2026-06-01", "2026-07-07", "2026-01-01"} & set(found)
    assert days("ours", 2031)[:2] == ["2031-01-01", "2031-01-06"]
    assert daycalendar.read_calendar("ours").description == "Our days"
    assert daycalendar.read_calendar("ours").last is None


def test_an_icalendar_file_that_ends(write: Write) -> None:
    text = ICS.replace("{end}", ";UNTIL=20270301").replace("RRULE:FREQ=YEARLY", "X-A:b")
    write("ours.ics", text)
    assert daycalendar.read_calendar("ours").last == date(2027, 3, 1).toordinal()
    assert days("ours", 2027) == ["2027-01-01", "2027-01-04", "2027-02-01", "2027-03-01"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 2026-13-01\n", "x.yaml:1: '2026-13-01' is not a day"),
        ("days:\n- 2026-01-01\n- 2026-01-02..2026-01-01\n", "x.yaml:3: "),
        ("days: [01-01..2026-01-02]\n", "is not a day"),
        ("dates: []\n", "'dates' is none of description, days"),
        ("days: 2026-01-01\n", "x.yaml:1: days is a list"),
        ("text\n", "a calendar is a list of days"),
        ("include: [y]\n", "there is no calendar y; it would be "),
        ("include: [x]\n", "the calendar includes itself"),
        ("holidays: DE\n", "holidays is {country: DE}"),
        ("holidays: {country: Nowhere}\n", "has no days of 2026"),
        ("[", "x.yaml:"),
    ],
)
def test_what_is_wrong_is_told(write: Write, text: str, message: str) -> None:
    write("x.yaml", text)
    with pytest.raises(CalendarError) as caught:
        daycalendar.read_calendar("x")
    assert message in str(caught.value)


def test_no_icalendar_file(write: Write) -> None:
    write("x.ics", "hello\n")
    with pytest.raises(CalendarError, match="no iCalendar file"):
        daycalendar.read_calendar("x")


def test_a_schedule_without_the_days_of_a_calendar(write: Write) -> None:
    write("holidays.yaml", "- 2026-12-25..2026-12-26\n- 2027-01-01\n")
    rule = parse("at 06:00 except holidays")
    found = [at.date().isoformat() for at in islice(elapses(rule, timezone="UTC", after=NOW), 30)]
    assert "2026-12-24" in found
    assert not {"2026-12-25", "2026-12-26"} & set(found)
    lines = timing(rule, timezone=None, host_timezone="UTC", now=NOW).on_calendar
    assert "2026-12-01..24,27..31 06:00:00" in lines
    business = parse("0 9 25 * * shift next-business-day")
    assert next(elapses(business, timezone="UTC", after=utc(2026, 12, 20))) == utc(2026, 12, 28, 9)


def test_other_days_are_another_list_of_slots_and_other_zones(write: Write, tmp_path: Path) -> None:
    assert "calendars" not in zone_identity(tmp_path)
    write("closed.yaml", "- 2026-12-25\n")
    before = zone_identity(tmp_path)
    text = "at 06:00 except closed"
    known = slot_list(parse(text), "UTC", 0)
    assert known.is_for(parse(text), "UTC")
    write("closed.yaml", "- 2026-12-25\n- 2026-12-28\n")
    assert not known.is_for(parse(text), "UTC")
    assert zone_identity(tmp_path) != before


def test_a_calendar_that_is_not_there(write: Write) -> None:
    for text in (
        "at 06:00 except closed",
        "at 06:00 only Sat,closed",
        "at 06:00; at 7:00 except x",
    ):
        with pytest.raises(CalendarError, match=r"there is no calendar (closed|x); it would be /"):
            parse(text)
    write("x.yaml", "[]")
    assert parse("at 6:00; at 7:00 except x")


def test_the_facts_of_the_doctor(write: Write) -> None:
    path = write("closed.yaml", "- 2026-12-25\n")
    jobs = [
        Job(name="a", schedule="at 06:00 except closed", command="true"),
        Job(name="b", schedule="at 06:00 except gone", command="true"),
        Job(name="c", schedule="every 5m", command="true"),
    ]
    path.chmod(0o600)
    facts = calendarcheck.look(Mode.SYSTEM, jobs)
    (found,) = facts.found
    assert (found.name, found.jobs, found.last) == (
        "closed",
        ("a",),
        date(2026, 12, 25).toordinal(),
    )
    assert not found.readable_by_supervisor
    ((job, problem),) = facts.broken
    assert job == "b"
    assert "there is no calendar gone" in problem
