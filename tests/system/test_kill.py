"""The supervisor dies again and again, and every run is in the history exactly once."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

import pytest
from anymachine import PATIENCE
from campaign import rounds

if TYPE_CHECKING:
    from installed import Lunasched

pytestmark = [pytest.mark.machine, pytest.mark.slow, pytest.mark.campaign]

JOBS = 10
RUNS = rounds(150, 500)

# Starts the jobs in turn, each as soon as its last run is over, and notes every invocation ID.
DRIVER = f"""
for turn in $(seq {RUNS // JOBS}); do
    for job in $(seq {JOBS}); do
        systemctl start "lunasched-job@kill-$job.service" || true
    done
    sleep 0.1
done
"""


def test_runs_through_repeated_sigkill(luna: Lunasched, rng: random.Random) -> None:
    luna.apply(
        *(
            {
                "name": f"kill-{number}",
                "schedule": "every 1d",
                "command": f"echo $INVOCATION_ID >> /tmp/ran; exit {number % 3}",
            }
            for number in range(1, JOBS + 1)
        )
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
    assert kills >= rounds(2, 5)

    def recorded() -> list[dict[str, Any]]:
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


CHAIN_JOBS = rounds(10, 30)
CHAINS = CHAIN_JOBS * rounds(4, 10)
ATTEMPTS = 3

# Begins a chain of each job as soon as all attempts of its last one are over.
CHAIN_DRIVER = f"""
chains() {{
    unit=lunasched-job@chain-$1.service
    for chain in $(seq {CHAINS // CHAIN_JOBS}); do
        systemctl start "$unit"
        until [ "$(wc -l < /tmp/chain-$1)" -ge $((chain * {ATTEMPTS})) ] &&
            ! systemctl -q is-active "$unit"; do
            sleep 0.3
        done
    done
}}
for job in $(seq {CHAIN_JOBS}); do
    chains $job &
done
wait
"""


def test_chains_of_retries_through_repeated_sigkill(luna: Lunasched, rng: random.Random) -> None:
    hook = "echo $LUNASCHED_EVENT $LUNASCHED_EXECUTION_ID >> /tmp/chain-hooks"
    luna.apply(
        *(
            {
                "name": f"chain-{number}",
                "schedule": "every 1d",
                "max_retries": ATTEMPTS - 1,
                "retry_delay": "0.2s",
                "backoff": "fixed",
                "on_retry": hook,
                "on_failure": hook,
                "command": f"echo $INVOCATION_ID >> /tmp/chain-{number}; exit 3",
            }
            for number in range(1, CHAIN_JOBS + 1)
        )
    )
    driver = luna.machine.popen(CHAIN_DRIVER)
    kills = 0
    deadline = time.monotonic() + 300 * PATIENCE
    while driver.poll() is None:
        time.sleep(rng.uniform(0.1, 4))
        kill = "systemctl kill -s KILL lunasched; systemctl start lunasched"
        luna.machine.exec(kill, check=False)
        kills += 1
        assert time.monotonic() < deadline, "the chains are stuck"
    assert kills >= rounds(2, 5)

    def hooks() -> list[str]:
        return luna.machine.exec("sort /tmp/chain-hooks").stdout.splitlines()

    luna.machine.wait_for(lambda: len(hooks()) >= CHAINS * ATTEMPTS, 60, what="all hooks")
    expected = []
    for number in range(1, CHAIN_JOBS + 1):
        runs = luna.history(f"chain-{number}")[::-1]
        ran = luna.machine.exec(f"cat /tmp/chain-{number}").stdout.split()
        assert [run["execution_id"].replace("-", "") for run in runs] == ran
        assert [run["attempt"] for run in runs] == [1, 2, 3] * (CHAINS // CHAIN_JOBS)
        for first in range(0, len(runs), ATTEMPTS):
            chain = runs[first : first + ATTEMPTS]
            assert {run["first_attempt_id"] for run in chain} == {chain[0]["execution_id"]}
            assert [run["trigger"] for run in chain] == ["manual", "retry", "retry"]
            *again, last = [run["execution_id"] for run in chain]
            expected += [f"on_retry {run}" for run in again] + [f"on_failure {last}"]
    assert hooks() == sorted(expected)
    assert not luna.json("queue")
