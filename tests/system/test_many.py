"""A thousand jobs and more at once."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from installed import Lunasched

pytestmark = [pytest.mark.machine, pytest.mark.slow]

JOBS = 1200

# Jobs straight into the database; `sync` does the rest.
FILL = f"""
import sys, time
sys.path.insert(0, "/opt/lunasched")
from pathlib import Path
from lunasched.jobs.reading import job_from_mapping
from lunasched.store import Definitions

schedules = ["every 1d", "*/15 * * * *", "30 4 1,15 * 5", "at 02:30", "@daily"]
zones = ["Europe/Berlin", None, "UTC"]
store = Definitions.open(Path("/var/lib/lunasched/jobs.db"))
with store.transaction():
    for number in range({JOBS}):
        job = {{
            "name": f"many-{{number:05}}",
            "schedule": schedules[number % len(schedules)],
            "timezone": zones[number % len(zones)],
            "command": "true",
        }}
        store.jobs.put(job_from_mapping(job), time.time_ns() // 1000)
"""

EMPTY = """
import sys
sys.path.insert(0, "/opt/lunasched")
from pathlib import Path
from lunasched.store import Definitions

store = Definitions.open(Path("/var/lib/lunasched/jobs.db"))
with store.transaction():
    for name in store.jobs.names():
        store.jobs.delete(name)
"""


def test_more_jobs_than_systemd_can_queue_for_one_client(luna: Lunasched) -> None:
    machine = luna.machine
    reloads = luna.reloads()
    machine.run(["python3", "-c", FILL])
    try:
        done = luna("sync", timeout=170).stdout
        assert done.count("\nstarted ") + done.startswith("started ") == JOBS
        listed = machine.exec("systemctl list-timers --no-legend 'lunasched-job@many-*'").stdout
        assert len(listed.splitlines()) == JOBS
        assert luna.reloads() == reloads
        log = machine.exec(["journalctl", "-b", "_PID=1", "-o", "cat"]).stdout
        assert "Got disconnect on API bus" not in log
        assert "as it should be" in luna("sync").stdout
        assert len(luna.json("list")) == JOBS
    finally:
        machine.run(["python3", "-c", EMPTY])
        luna("sync", "--allow-empty", timeout=170)
    left = machine.exec("systemctl list-timers --all --no-legend 'lunasched-job@many-*'").stdout
    assert left == ""


def test_a_manager_that_does_not_answer_for_longer_than_others_wait_is_waited_for(
    luna: Lunasched,
) -> None:
    """As it does while it reads the units of 10,000 jobs anew; systemctl gives up after 25 s."""
    machine = luna.machine
    luna("add", "--name", luna.name, "--schedule", "@yearly", "--command", "true")
    about = "systemctl show lunasched -P MainPID -P NRestarts"
    before = machine.exec(about).stdout
    leader = machine._pid()
    awake = threading.Timer(30, os.kill, (leader, signal.SIGCONT))
    os.kill(leader, signal.SIGSTOP)
    try:
        awake.start()
        change = ["--replace", "--name", luna.name, "--schedule", "@daily", "--command", "true"]
        done = machine.exec(["lunasched", "add", *change], timeout=120, check=False)
    finally:
        awake.cancel()
        os.kill(leader, signal.SIGCONT)
    assert done.returncode == 0, done.stderr
    assert luna.json("get", luna.name)["schedule"] == "@daily"
    luna("start", luna.name, "--wait")
    luna.wait_for_runs(luna.name, 1)
    assert machine.exec(about).stdout == before
