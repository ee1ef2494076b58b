"""The supervisor dies again and again, and every run is in the history exactly once."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Lunasched

pytestmark = [pytest.mark.machine, pytest.mark.slow]

JOBS = 10
RUNS = 500

# Starts the jobs in turn, each as soon as its last run is over, and notes every invocation ID.
DRIVER = f"""
for turn in $(seq {RUNS // JOBS}); do
    for job in $(seq {JOBS}); do
        systemctl start "lunasched-job@kill-$job.service" || true
    done
    sleep 0.1
done
"""


def test_500_runs_through_repeated_sigkill(luna: Lunasched, rng: random.Random) -> None:
    for number in range(1, JOBS + 1):
        luna(
            *("add", "--name", f"kill-{number}", "--schedule", "every 1d", "--command"),
            f"echo $INVOCATION_ID >> /tmp/ran; exit {number % 3}",
        )
    driver = luna.machine.popen(DRIVER)
    kills = 0
    while driver.poll() is None:
        time.sleep(rng.uniform(0.05, 1.2))
        kill = "systemctl kill -s KILL lunasched; systemctl start lunasched"
        luna.machine.exec(kill, check=False)
        kills += 1
    luna.machine.exec("systemctl start lunasched")
    ran = luna.machine.exec("cat /tmp/ran").stdout.split()
    assert len(ran) == RUNS
    assert kills >= 5

    def recorded() -> list[dict[str, object]]:
        history = [run for n in range(1, JOBS + 1) for run in luna.history(f"kill-{n}")]
        return history if all(run["output"] is not None for run in history) else []

    luna.machine.wait_for(lambda: len(recorded()) >= RUNS, 60, what="all runs on record")
    history = recorded()
    ids = [str(run["execution_id"]).replace("-", "") for run in history]
    assert sorted(ids) == sorted(ran)
    for run in history:
        code = int(str(run["job"]).removeprefix("kill-")) % 3
        assert (run["exit_code"], run["result"]) == (code, "exit-code" if code else "success")
        assert run["started_at"] < run["ended_at"]
