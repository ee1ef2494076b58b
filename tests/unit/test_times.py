"""`lunasched explain` and `lunasched next`: what a schedule means, and what comes next."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from commandline import Cli

from lunasched.errors import ExitCode
from lunasched.jobs.reading import job_from_mapping
from lunasched.store import Store

if TYPE_CHECKING:
    from pathlib import Path

KEYS = ["schedule", "kind", "words", "warning", "timezone", "calendars", "exact_until",
        "on_calendar", "on_unit_active_sec", "on_boot_sec", "on_startup_sec", "next"]  # fmt: skip


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def explained(cli: Cli, schedule: str, *options: str) -> dict[str, Any]:
    done = cli("explain", schedule, "--json", *options)
    assert done.returncode == 0, done
    answer: dict[str, Any] = json.loads(done.stdout)
    assert list(answer) == KEYS
    return answer


def test_a_fixed_time_through_a_spring_night(cli: Cli) -> None:
    options = ("--timezone", "Europe/Berlin", "--from", "2027-03-27T12:00", "-n", "3")
    answer = explained(cli, "30 2 * * *", *options)
    assert (answer["kind"], answer["timezone"]) == ("calendar", "Europe/Berlin")
    assert answer["on_unit_active_sec"] is None
    assert answer["on_calendar"][:2] == [
        "*-*-* 02:30:00 Europe/Berlin",
        "2027-03-28 01:00:00 UTC",
    ]
    assert answer["next"] == [
        "2027-03-28T01:00:00.000000Z",
        "2027-03-29T00:30:00.000000Z",
        "2027-03-30T00:30:00.000000Z",
    ]


def test_a_wildcard_through_an_autumn_night(cli: Cli) -> None:
    options = ("--timezone", "Europe/Berlin", "--from", "2027-10-31T02:50+02:00", "-n", "2")
    answer = explained(cli, "*/30 * * * *", *options)
    assert answer["on_calendar"] == ["*-*-* *:00,30:00 UTC"]
    assert answer["next"] == ["2027-10-31T01:00:00.000000Z", "2027-10-31T01:30:00.000000Z"]


def test_the_text_says_what_happens_when_the_clock_changes(cli: Cli) -> None:
    shown = cli(
        *("explain", "30 2 * * *", "--timezone", "Europe/Berlin", "--from", "2027-03-01")
    ).stdout
    assert shown.startswith("At 02:30 every day.\n")
    assert "OnCalendar=*-*-* 02:30:00 Europe/Berlin\n" in shown
    assert "03:00:00 +0200: 60 minutes skipped; runs around it: 03:00:00 +0200\n" in shown
    assert "02:00:00 +0100: 60 minutes repeated; runs around it: 02:30:00 +0200\n" in shown
    fixed = cli("explain", "30 2 * * *", "--timezone", "Asia/Tokyo").stdout
    assert "does not change" in fixed


def test_a_zone_in_front_is_that_of_the_times(cli: Cli) -> None:
    words = ("TZ=Asia/Tokyo weekdays at 9am", "--from", "2027-03-26T12:00", "-n", "1")
    answer = explained(cli, *words, "--timezone", "Europe/Berlin")
    assert answer["timezone"] == "Asia/Tokyo"
    assert answer["on_calendar"] == ["Mon..Fri *-*-* 09:00:00 Asia/Tokyo"]
    assert answer["next"] == ["2027-03-29T00:00:00.000000Z"]
    assert "\nTime zone: Asia/Tokyo\n" in cli("explain", *words).stdout


def test_an_interval(cli: Cli) -> None:
    answer = explained(cli, "every 1h30m", "--from", "2027-01-01T00:00Z", "-n", "2")
    assert (answer["kind"], answer["on_unit_active_sec"]) == ("every", 5400)
    assert answer["on_calendar"] == []
    assert answer["next"] == ["2027-01-01T01:30:00.000000Z", "2027-01-01T03:00:00.000000Z"]


def test_a_boot(cli: Cli) -> None:
    assert explained(cli, "@reboot")["next"] == []
    assert "OnStartupSec=0s" in cli("explain", "@reboot").stdout
    answer = explained(cli, "@boot+1h; at 09:00; at 10:00", "-n", "2")
    assert (answer["kind"], answer["on_boot_sec"], len(answer["next"])) == ("several", 3600, 2)
    shown = cli("explain", "every 1d; @boot+15m").stdout
    assert "  OnUnitActiveSec=86400s\n  OnBootSec=900s\n" in shown


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("0 9 W15 * *",), "is 15W."),
        (("0 9 */2 * L5",), "have the command look at one"),
        (("0 0 30 2 *",), "No such date"),
        (("61 * * * *",), "0 to 59"),
        (("calendar:2020-01-01",), "never elapses again"),
        (("@daily", "--timezone", "Europe/Berlim"), "Europe/Berlin"),
        (("@daily", "--from", "yesterday"), "ISO 8601"),
    ],
)
def test_what_cannot_be_said_exactly_is_refused(
    cli: Cli, arguments: tuple[str, ...], says: str
) -> None:
    assert says in cli.fails(ExitCode.USAGE, "explain", *arguments)


def test_seconds_that_seem_to_come_first_are_warned_of(cli: Cli) -> None:
    assert "it is '0 12 * * *' here" in cli("explain", "0 0 12 * * *").stderr
    assert cli("explain", "0 12 * * *").stderr == ""


def test_the_next_runs_of_all_jobs_are_in_the_order_of_time(cli: Cli) -> None:
    now = datetime.now(timezone.utc)
    jobs = {
        "minutely": "* * * * *",
        "hourly": "0 * * * *",
        "interval": "every 45m",
        "boot": "@reboot",
        "off": "* * * * *",
    }
    with Store.open(cli.database) as store:
        for name, schedule in jobs.items():
            mapping = {"name": name, "schedule": schedule, "command": "true"}
            job = job_from_mapping({**mapping, "enabled": name != "off"})
            store.jobs.put(job, int(now.timestamp() * 1_000_000))
    runs = json.loads(cli("next", "-n", "200", "--json").stdout)
    assert len(runs) == 200
    assert [run["at"] for run in runs] == sorted(run["at"] for run in runs)
    assert {run["job"] for run in runs} == {"minutely", "hourly", "interval"}
    first = next(run["at"] for run in runs if run["job"] == "interval")
    due = now + timedelta(minutes=45)
    assert abs(datetime.fromisoformat(first.replace("Z", "+00:00")) - due) < timedelta(seconds=1)
    only = json.loads(cli("next", "hourly", "-n", "3", "--json").stdout)
    assert [run["job"] for run in only] == ["hourly"] * 3
    assert all(run["at"].endswith(":00:00.000000Z") for run in only)
    assert "hourly" in cli("next", "hourly").stdout
    assert cli("next", "nothing").returncode == ExitCode.NO_SUCH_JOB


def test_a_job_on_demand_has_no_times(cli: Cli) -> None:
    answer = explained(cli, "On Demand")
    assert (answer["schedule"], answer["kind"]) == ("on demand", "on demand")
    assert (answer["on_calendar"], answer["on_unit_active_sec"], answer["next"]) == ([], None, [])
    shown = cli("explain", "on demand").stdout
    assert "Timer:\n  none\n" in shown
    assert "Next times" not in shown
    assert "clock" not in shown
    cli.put(job_from_mapping({"name": "backup", "schedule": "on demand", "command": "true"}))
    assert json.loads(cli("next", "--json").stdout) == []
