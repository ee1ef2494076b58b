"""Calendars of the machine: jobs leave their days out, and follow what becomes of their files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from installed import Lunasched

pytestmark = pytest.mark.machine

OVER = "systemctl show -P ActiveState lunasched-sync.service | grep -qxE 'inactive|failed'"
"""The condition that no sync is carried out; one that met a job it cannot compile has failed."""
DIRECTORY = "/etc/lunasched/calendars.d"


@pytest.fixture
def calendars(luna: Lunasched) -> Iterator[Lunasched]:
    """No calendar before and after."""
    yield luna
    luna.machine.exec(f"rm -rf {DIRECTORY}")
    luna.machine.wait_for(OVER)


def timer(luna: Lunasched) -> str:
    return luna.machine.read_file(f"/etc/systemd/system/lunasched-job@{luna.name}.timer")


def findings(luna: Lunasched) -> list[str]:
    """What the doctor finds wrong with calendars."""
    found = json.loads(luna("doctor", "--json", check=False).stdout)["findings"]
    wrong = [one for one in found if one["severity"] != "ok"]
    return [one["what"] for one in wrong if one["check"] == "calendars"]


def test_a_job_follows_its_calendar(calendars: Lunasched) -> None:
    luna, machine = calendars, calendars.machine
    machine.exec(f"mkdir -p {DIRECTORY}")
    machine.write_file(f"{DIRECTORY}/closed.yaml", "[2027-05-03, 2035-12-31]\n")
    luna("add", "--name", luna.name, "--schedule", "at 04:30 except closed", "--command", "true")
    assert "2027-05-01,02,04..31 04:30:00\n" in timer(luna)
    assert findings(luna) == []
    (shown,) = [one for one in luna.json("calendar", "list") if one["name"] == "closed"]
    assert (shown["days_this_year"], shown["last"]) == (0, "2035-12-31")

    machine.write_file(f"{DIRECTORY}/closed.yaml", "[2027-05-04, 2035-12-31]\n")
    machine.wait_for(lambda: "2027-05-01..03,05..31 04:30" in timer(luna), what="the new day")
    machine.wait_for(OVER)
    assert "as it should be" in luna("sync").stdout

    # What cannot be read changes nothing that runs.
    before = timer(luna)
    machine.write_file(f"{DIRECTORY}/closed.yaml", "[2027-05-32]\n")
    machine.wait_for(lambda: findings(luna) != [], what="the doctor to see it")
    (found,) = findings(luna)
    assert "'2027-05-32' is not a day" in found
    machine.wait_for(OVER)
    luna("sync", check=False)
    assert timer(luna) == before
    machine.exec(f"systemctl is-active lunasched-job@{luna.name}.timer")
    assert luna("next", luna.name).stderr.count("'2027-05-32' is not a day") == 1
    luna("list")

    machine.exec(f"rm {DIRECTORY}/closed.yaml")
    luna("sync", check=False)
    assert timer(luna) == before
    machine.write_file(f"{DIRECTORY}/closed.yaml", "[2027-05-05, 2035-12-31]\n")
    machine.wait_for(lambda: "2027-05-01..04,06..31 04:30" in timer(luna), what="the last day")
    machine.wait_for(OVER)
    assert findings(luna) == []


def test_a_day_of_a_calendar_has_no_slot(calendars: Lunasched) -> None:
    """By systemd's own reckoning, and by real elapses."""
    luna, machine = calendars, calendars.machine
    machine.exec(f"mkdir -p {DIRECTORY}")
    today = machine.exec("date +%F").stdout.strip()
    machine.write_file(f"{DIRECTORY}/today.yaml", f"[{today}, 2035-12-31]\n")
    each = f"calendar:*:*:0/{min(30, luna.period(3))}"
    luna(
        *("add", "--name", luna.name, "--command", "true"),
        *("--schedule", f"{each} except today"),
    )
    on_days = f"{luna.name}-only"
    luna("add", "--name", on_days, "--command", "true", "--schedule", f"{each} only today")
    runs = luna.wait_for_runs(on_days, 2)
    assert {run["trigger"] for run in runs} == {"timer"}
    assert all(run["scheduled_at"].startswith(today) for run in runs)
    if machine.exec("date +%F").stdout.strip() == today:
        assert luna.history(luna.name) == []
    elapse = machine.exec(
        f"systemctl show -P NextElapseUSecRealtime lunasched-job@{luna.name}.timer"
    ).stdout
    assert today not in elapse
    assert " 00:00:00 " in elapse


def test_the_keys_of_a_file_are_clauses(calendars: Lunasched) -> None:
    """They are written as the text of the schedule, which says the same."""
    luna = calendars
    luna.apply(
        {
            "name": luna.name,
            "schedule": ["at 02:30", "at 17:30"],
            "except": ["Sat,Sun", "2035-12-24..2036-01-02"],
            "from": "2026-11-01",
            "until": "2036-12-31",
            "command": "true",
        }
    )
    clauses = "except Sat,Sun except 2035-12-24..2036-01-02 from 2026-11-01 until 2036-12-31"
    text = f"at 02:30 {clauses}; at 17:30 {clauses}"
    assert luna.json("get", luna.name)["schedule"] == text
    exported = luna("export-config").stdout
    assert text in exported.replace("\n", " ")
    luna.machine.write_file("/tmp/exported.yaml", exported)
    assert luna("apply", "--dry-run", "/tmp/exported.yaml").stdout == (
        "Plan: 0 to add, 0 to change, 0 to remove, 1 unchanged.\n"
    )
