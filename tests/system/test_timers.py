"""What is said of the times to come where timers do not run, and what the doctor says to do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from lunasched.formats.unittext import timer_name

if TYPE_CHECKING:
    from installed import Lunasched

pytestmark = pytest.mark.machine

UNITS = "/etc/systemd/system"


def add(luna: Lunasched, schedule: str = "at 04:00", command: str = "true") -> str:
    luna("add", "--name", luna.name, "--schedule", schedule, "--command", command)
    return timer_name(luna.name)


def listed(luna: Lunasched) -> dict[str, Any]:
    jobs: list[dict[str, Any]] = luna.json("list")
    (job,) = [job for job in jobs if job["name"] == luna.name]
    return job


def findings(luna: Lunasched, check: str) -> list[dict[str, Any]]:
    doctor = json.loads(luna("doctor", "--json", check=False).stdout)
    return [one for one in doctor["findings"] if one["check"] == check and one["fix"]]


def check_runs(luna: Lunasched) -> None:
    job = listed(luna)
    assert job["obstacle"] is None
    assert job["next_elapse"] is not None
    assert luna.json("next", luna.name)
    assert f'lunasched_job_timer_running{{job_id="{luna.name}"}} 1' in luna("metrics").stdout


def check_does_not(luna: Lunasched, obstacle: str) -> None:
    """Everything that shows a time to come says that there is none, and why."""
    job = listed(luna)
    assert (job["next_elapse"], job["obstacle"]) == (None, obstacle)
    got = luna.json("get", luna.name)
    assert (got["next_elapse"], got["obstacle"]) == (None, obstacle)
    for shown in (luna("list").stdout, luna("get", luna.name).stdout):
        assert f"timer {obstacle}" in shown
    upcoming = luna("next", luna.name, "--json")
    assert json.loads(upcoming.stdout) == []
    assert f"{luna.name} has no next run: timer {obstacle}" in upcoming.stderr
    text = luna("metrics").stdout
    assert f'lunasched_job_timer_running{{job_id="{luna.name}"}} 0' in text
    assert f'lunasched_job_next_elapse_timestamp_seconds{{job_id="{luna.name}"}}' not in text


def check_mended(luna: Lunasched, check: str = "timers") -> None:
    (found,) = [one for one in findings(luna, check) if luna.name in one["what"]]
    for command in found["fix"]:
        luna.machine.run(command, user=luna.user)
    check_runs(luna)


def fetched(luna: Lunasched, path: str) -> str:
    ask = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"
    url = f"http://127.0.0.1:8080{path}"
    return luna.machine.exec(["python3", "-c", ask, url]).stdout


@pytest.mark.parametrize("schedule", ["at 04:00", "every 1h"])
def test_a_timer_that_is_stopped(page: Lunasched, schedule: str) -> None:
    timer = add(page, schedule)
    check_runs(page)
    page.machine.run(["systemctl", "stop", timer])
    check_does_not(page, "not running")
    for path in ("/", f"/jobs/{page.name}"):
        assert "timer not running" in fetched(page, path)
    told = json.loads(fetched(page, f"/api/v1/jobs/{page.name}"))
    assert (told["next_elapse"], told["obstacle"]) == (None, "not running")
    assert f'timer_running{{job_id="{page.name}"}} 0' in fetched(page, "/metrics")
    check_mended(page)


def test_a_timer_that_is_masked(luna: Lunasched) -> None:
    timer = add(luna)
    file = f"{UNITS}/{timer}"
    luna.machine.run(f"systemctl stop {timer}; mv {file} /root/; ln -s /dev/null {file}")
    luna.machine.run("systemctl daemon-reload")
    try:
        check_does_not(luna, "not running")
    finally:
        luna.machine.run(f"mv -f /root/{timer} {file}; systemctl daemon-reload")
    check_mended(luna)


def test_a_timer_that_failed(luna: Lunasched) -> None:
    """Its service cannot be loaded any more."""
    timer = add(luna)
    service = timer.replace(".timer", ".service")
    luna.machine.run(f"systemctl stop {timer}; mv {UNITS}/{service} /root/")
    luna.machine.run(f"systemctl daemon-reload; ! systemctl start {timer}")
    state = luna.machine.run(f"systemctl show -P ActiveState {timer}").stdout.strip()
    check_does_not(luna, "failed" if state == "failed" else "not running")
    (found,) = [one for one in findings(luna, "units") if luna.name in one["what"]]
    for command in found["fix"]:
        luna.machine.run(command)
    check_runs(luna)


def test_a_disabled_job_lacks_nothing(luna: Lunasched) -> None:
    add(luna)
    luna("disable", luna.name)
    job = listed(luna)
    assert (job["next_elapse"], job["obstacle"]) == (None, None)


def test_a_home_that_is_mounted_late(own: Lunasched) -> None:
    """The user's manager has begun without it, and knows none of the jobs."""
    add(own)
    check_runs(own)
    machine = own.machine
    user = machine.run("id -u luna").stdout.strip()
    machine.run(f"systemctl stop user@{user}; mount -t tmpfs -o uid={user} late /home/luna")
    machine.run(f"systemctl start user@{user}; umount -l /home/luna")
    check_does_not(own, "not running")
    check_mended(own)
    machine.run("systemctl --user start lunasched", user="luna")


@pytest.mark.parametrize("command", ["exit 3", "sleep 300"])
def test_systemd_has_no_older_version_of_a_job_that_is_gone(luna: Lunasched, command: str) -> None:
    """Of one that failed systemd remembers the unit, and one that runs goes on."""
    add(luna, command=command)
    service = timer_name(luna.name).replace(".timer", ".service")
    luna("start", luna.name)
    active = "active" if command.startswith("sleep") else "inactive|failed"
    luna.machine.wait_for(
        f"systemctl show -P ActiveState {service} | grep -Eqx '{active}'", what="the run"
    )
    try:
        for reload in (False, True):
            luna("remove", luna.name, check=not reload)
            if reload:
                luna.machine.run("systemctl daemon-reload")
            assert [one["what"] for one in findings(luna, "units")] == []
    finally:
        luna.machine.run(f"systemctl stop {service}", check=False)
