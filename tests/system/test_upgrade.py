"""A database of Lunasched 1.x, and a history that is not to be kept, under a real supervisor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import legacy
import pytest
from installed import INSTALL, Lunasched, is_over
from machine import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.machine

OLD = "/var/lib/lunasched/lunasched.db"
DATABASE = "/var/lib/lunasched/history/history.db"

OLD_RUNS = f"""
import sqlite3, time
connection = sqlite3.connect("{DATABASE}", timeout=60)
with connection:
    connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) "
        "INSERT INTO runs (execution_id, job, unit, boot_id, phase, settled, "
        "\\"trigger\\", started_at, ended_at, result, output) "
        "SELECT lower(hex(randomblob(16))), 'old', 'u', 'b', 'ended', 1, 'timer', "
        "? - i * 60000000, ? - i * 60000000, 'success', hex(zeroblob(200)) FROM n",
        [int(time.time() * 1e6) - 200 * 86400 * 1_000_000] * 2,
    )
"""


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lunasched]:
    """A machine where 1.x was, at the first start of our supervisor."""
    database: Path = tmp_path_factory.mktemp("legacy") / "lunasched.db"
    every = {"schedule_type": "every", "schedule_value": "1"}
    legacy.make(
        database,
        jobs=[
            {"name": "each", **every, "command": "echo", "args": ["each"], "owner": "lunasched"},
            {"name": "five", "schedule_type": "cron", "schedule_value": "0 3 * * *"},
            {"name": "seconds", "schedule_type": "cron", "schedule_value": "*/2 * * * * *"},
            {"name": "bad", "schedule_type": "cron", "schedule_value": "0 0 9 L * *"},
        ],
        history=[("each", "2025-03-01 10:00:00", "failed", "Stdout:\nlong ago\n")],
        journal="wal",
    )
    with Machine.boot("upgrade") as machine:
        machine.copy(database, OLD)
        machine.run(
            "useradd --system --user-group lunasched; chown -R lunasched: /var/lib/lunasched; "
            f"chmod 0640 {OLD}"
        )
        machine.run("/opt/lunasched/packaging/install-units; systemctl daemon-reload")
        said = machine.run(["lunasched", "migrate"]).stdout
        machine.run(INSTALL)
        machine.run(["lunasched", "sync"])
        machine.write_file("/root/said", said)
        yield Lunasched(machine)


def test_its_jobs_run_without_further_ado(upgraded: Lunasched) -> None:
    upgraded.wait_for_runs("seconds", 2)
    runs = upgraded.wait_for_runs("each", 4)
    assert (runs[0]["result"], runs[0]["output"]) == ("success", "each\n")
    first = runs[-1]
    assert (first["started_at"], first["ended_at"], first["result"], first["output"]) == (
        "2025-03-01T10:00:00.000000Z", None, "exit-code", "Stdout:\nlong ago\n",
    )  # fmt: skip
    assert {job["name"]: job["schedule"] for job in upgraded.json("list")} == {
        "each": "every 1s", "five": "0 3 * * *", "seconds": "* * * * * */2",
    }  # fmt: skip
    assert "Everything is as it should be." in upgraded("sync").stdout
    machine = upgraded.machine
    log = machine.read_file("/root/said")
    assert "3 of 4 jobs and 1 runs were taken over" in log
    assert "job 'bad' was not taken over" in log
    assert "job 'five'" in log
    backup = "/var/lib/lunasched/history/lunasched.db.lunasched-1.backup"
    kept = machine.run(f"stat -c '%U %a' {backup}*").stdout
    assert kept.splitlines() == ["lunasched 640"] * 2
    assert "lunasched add --name bad" in machine.run(f"cat {backup}.txt").stdout


def test_vacuum_on_a_big_history_loses_no_run(upgraded: Lunasched) -> None:
    machine = upgraded.machine
    machine.run(["/usr/bin/python3", "-c", OLD_RUNS], timeout=120)
    began = len(upgraded.history("each"))
    said = upgraded("vacuum", "--history-days", "90", timeout=300).stdout
    assert int(said.split()[1]) >= 99_000
    upgraded.wait_for_runs("each", began + 3)
    machine.run("systemctl stop 'lunasched-job@*.timer'")
    machine.wait_for(is_over("lunasched-job@each.service"), what="the end of the last")
    counted = int(
        machine.run(
            "journalctl --sync; journalctl -o cat -u lunasched-job@each.service | grep -cx each"
        ).stdout
    )
    # That of 1.x is older, and went.
    runs = upgraded.wait_for_runs("each", counted)
    assert len(runs) == len({run["execution_id"] for run in runs}) == counted
    assert machine.run(f"stat -c '%U %a' {DATABASE}").stdout == "lunasched 640\n"
    assert not machine.run("systemctl list-units --failed --no-legend").stdout
    machine.run("systemctl start 'lunasched-job@each.timer' 'lunasched-job@seconds.timer'")


def test_the_supervisor_prunes_beside_its_work(upgraded: Lunasched) -> None:
    machine = upgraded.machine
    oldest = upgraded.wait_for_runs("each", 8)[-1]["execution_id"]
    machine.run(
        "mkdir -p /etc/lunasched; echo 'retention: {max_history_per_job: 5}' "
        ">/etc/lunasched/config.yaml; systemctl restart lunasched"
    )
    machine.wait_for(
        lambda: upgraded.history("each")[-1]["execution_id"] != oldest,
        30,
        what="the pass over the history",
        interval=0.5,
    )
    latest = upgraded.history("each")[0]["execution_id"]
    machine.wait_for(
        lambda: upgraded.history("each")[0]["execution_id"] != latest, 20, what="the next run"
    )
