"""The machine's zones: those that systemd takes, and those that it had under an old name."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path

import pytest
from reference import utc

from lunasched import schedule
from lunasched.errors import InvalidInput, ScheduleError
from lunasched.formats import quantities, tzdatabase
from lunasched.jobs import values
from lunasched.jobs.model import Job
from lunasched.paths import zone_identity
from lunasched.schedule import parse
from lunasched.units.compiler import lost_zones

NOW = utc(2026, 11, 26)
LINKS = """# version 2026f
L America/New_York US/Eastern
L US/Eastern Old/Eastern
L A/Gone B/Gone
"""


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A database without old names, as Debian's without tzdata-legacy."""
    system = tzdatabase.DIRECTORY
    for name in ("America/New_York", "Europe/Berlin"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(system / name, tmp_path / name)
    (tmp_path / tzdatabase.TEXT).write_text(LINKS)
    monkeypatch.setattr(tzdatabase, "DIRECTORY", tmp_path)
    schedule.forget_zones()
    yield tmp_path
    monkeypatch.undo()
    schedule.forget_zones()


def instants(text: str, zone: str) -> list[datetime]:
    return list(islice(schedule.elapses(parse(text), timezone=zone, after=NOW), 200))


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("name", ["Asia/Tokyo", "Etc/GMT+5", "A/Gone", "B/Gone"])
def test_what_systemd_has_no_file_for_is_no_zone(name: str) -> None:
    """Python may have it from elsewhere, such as PyPI's tzdata."""
    with pytest.raises(InvalidInput, match="is not a time zone"):
        schedule.check_timezone(name)
    with pytest.raises(ScheduleError, match="is not a time zone"):
        parse(f"calendar:09:00 {name}")


@pytest.mark.usefixtures("database")
def test_utc_needs_no_file() -> None:
    schedule.check_timezone("UTC")
    assert quantities.zone_time(0, "Etc/UTC").startswith("Thu 1970-01-01 00:00:00")


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("name", ["US/Eastern", "Old/Eastern"])
def test_an_old_name_is_refused_with_the_ways_out(name: str) -> None:
    for read, value in (
        (values.read_timezone, name),
        (values.read_schedule, f"calendar:09:00 {name}"),
        (values.read_schedule, f"at 10:00; calendar:09:00 {name}"),
    ):
        with pytest.raises(InvalidInput, match=r"America/New_York.*tzdata-legacy"):
            read(value)


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("name", ["US/Eastern", "Old/Eastern"])
def test_a_job_of_an_old_name_has_its_times_and_a_timer_with_the_new_one(name: str) -> None:
    found = schedule.timing(parse("at 02:30"), timezone=name, host_timezone="UTC", now=NOW)
    new = schedule.timing(
        parse("at 02:30"), timezone="America/New_York", host_timezone="UTC", now=NOW
    )
    assert found == new
    assert instants("at 02:30", name) == instants("at 02:30", "America/New_York")
    own = parse(f"calendar:09:00 {name}")
    lines = schedule.timing(own, timezone=None, host_timezone="UTC", now=NOW).on_calendar
    assert lines == ("*-*-* 09:00:00 America/New_York",)
    assert quantities.zone_time(0, name) == quantities.zone_time(0, "America/New_York")
    job = Job(name="a", schedule=f"calendar:09:00 {name}", command="true", timezone=name)
    said = lost_zones(job)
    assert len(said) == 2
    assert all("tzdata-legacy" in sentence and repr(name) in sentence for sentence in said)


@pytest.mark.usefixtures("database")
def test_a_zone_that_is_there_is_not_lost() -> None:
    job = Job(name="a", schedule="at 09:00", command="true", timezone="Europe/Berlin")
    assert lost_zones(job) == []


def test_the_identity_of_the_zones_tells_old_names_that_come_or_go(tmp_path: Path) -> None:
    directory = tmp_path / "usr/share/zoneinfo"
    (directory / "US").mkdir(parents=True)
    (directory / "tzdata.zi").write_text(LINKS)
    before = zone_identity(tmp_path / "calendars.d", tmp_path)
    (directory / "US").rmdir()
    assert zone_identity(tmp_path / "calendars.d", tmp_path) != before
    assert before.startswith("UTC # version 2026f")
