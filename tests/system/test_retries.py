"""Failed runs are tried again, at the time that was promised and not once too often."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from installed import Lunasched

pytestmark = pytest.mark.machine

LATER = ("--schedule", "every 1d")


def seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()


def add(luna: Lunasched, *options: str) -> None:
    luna("add", "--name", luna.name, *LATER, *options)


def start(luna: Lunasched) -> None:
    luna("start", luna.name, "--wait", check=False)


def chain(luna: Lunasched, count: int) -> list[dict[str, Any]]:
    """So many attempts, oldest first."""
    return luna.wait_for_runs(luna.name, count)[::-1]


def pending(luna: Lunasched) -> list[dict[str, Any]]:
    return [start for start in luna.json("queue") if start["job"] == luna.name]


def wait_for_pending(luna: Lunasched) -> dict[str, Any]:
    luna.machine.wait_for(lambda: bool(pending(luna)), 10, what="a pending retry")
    (found,) = pending(luna)
    return found


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [("Fixed", [1.5, 1.5, 1.5]), ("Linear", [1, 2, 3]), ("exponential", [1, 2, 2.5])],
)
def test_attempts_come_when_the_policy_says(
    luna: Lunasched, backoff: str, delays: list[float]
) -> None:
    longest = "2.5" if backoff == "exponential" else "60"
    add(
        luna,
        *("--max-retries", "3", "--backoff", backoff, "--retry-delay", str(delays[0])),
        *("--retry-max-delay", longest, "--command", "exit 3"),
    )
    start(luna)
    runs = chain(luna, 4)
    assert [run["attempt"] for run in runs] == [1, 2, 3, 4]
    assert [run["trigger"] for run in runs] == ["manual", "retry", "retry", "retry"]
    assert {run["first_attempt_id"] for run in runs} == {runs[0]["execution_id"]}
    assert len({run["execution_id"] for run in runs}) == 4
    for before, after, delay in zip(runs, runs[1:], delays, strict=False):
        waited = seconds(after["started_at"]) - seconds(before["ended_at"])
        # How much later is the machine's; what the policy says is in test_retry.py.
        assert delay <= waited
    assert not pending(luna)


def test_a_success_ends_the_chain(luna: Lunasched) -> None:
    command = f"[ -e /tmp/{luna.name} ] || {{ touch /tmp/{luna.name}; exit 1; }}"
    add(luna, "--max-retries", "5", "--retry-delay", "0", "--command", command)
    start(luna)
    assert [run["result"] for run in chain(luna, 2)] == ["exit-code", "success"]
    assert not pending(luna)


@pytest.mark.parametrize(
    ("option", "again"),
    [("--retry-on-exit-codes", ["75"]), ("--no-retry-on-exit-codes", ["1", "76"])],
)
def test_exit_codes_decide_whether_there_is_a_retry(
    luna: Lunasched, option: str, again: list[str]
) -> None:
    code = f"/tmp/{luna.name}"
    add(
        luna,
        *("--max-retries", "3", "--retry-delay", "1h", option, "75,77"),
        *("--command", f"exit $(cat {code})"),
    )
    for number, status in enumerate(["1", "76", "75"], 1):
        luna.machine.exec(f"echo {status} > {code}")
        start(luna)
        luna.wait_for_runs(luna.name, number)
        assert bool(pending(luna)) == (status in again)


def test_a_pending_retry_is_seen_and_can_be_cancelled(luna: Lunasched) -> None:
    add(luna, "--max-retries", "2", "--retry-delay", "1h", "--command", "exit 3")
    start(luna)
    found = wait_for_pending(luna)
    (run,) = luna.wait_for_runs(luna.name, 1)
    assert found["attempt"] == 2
    assert found["trigger"] == "retry"
    assert found["first_attempt_id"] == run["execution_id"]
    assert seconds(found["due_at"]) - seconds(run["ended_at"]) == pytest.approx(3600, abs=0.01)
    assert run["retry_at"] == found["due_at"]
    assert luna.json("get", luna.name)["last_run"]["retry_at"] == found["due_at"]
    assert [job["last_run"]["retry_at"] for job in luna.json("list")] == [found["due_at"]]
    for shown in (("get", luna.name), ("list",), ("history", luna.name)):
        assert ", retry 20" in luna(*shown).stdout
    assert "its time" in luna("queue").stdout
    assert "Dropped" in luna("retry", "cancel", luna.name).stdout
    assert not pending(luna)
    assert luna.history(luna.name)[0]["retry_at"] is None
    assert "no retry" in luna("retry", "cancel", luna.name).stdout
    assert luna("retry", "cancel", "no such job", check=False).returncode == 3


@pytest.mark.parametrize("how", ["disable", "remove", "stop"])
def test_a_job_that_is_not_to_run_loses_its_retry(luna: Lunasched, how: str) -> None:
    add(luna, "--max-retries", "2", "--retry-delay", "1h", "--command", "exit 3")
    start(luna)
    wait_for_pending(luna)
    luna(how, luna.name)
    # What is not in the queue is started by nobody.
    luna.machine.wait_for(lambda: not pending(luna), what="the retry to be dropped")
    assert len(luna.history(luna.name)) == 1


def test_a_run_that_begins_first_replaces_the_retry(luna: Lunasched) -> None:
    add(luna, "--max-retries", "2", "--retry-delay", "1h", "--command", "exit 3")
    start(luna)
    first = wait_for_pending(luna)
    add(luna, "--replace", "--max-retries", "2", "--retry-delay", "1", "--command", "exit 3")
    assert wait_for_pending(luna) == first
    start(luna)
    runs = chain(luna, 4)
    assert [run["attempt"] for run in runs] == [1, 1, 2, 3]
    chains = [run["first_attempt_id"] for run in runs]
    assert chains == [first["first_attempt_id"], *[runs[1]["execution_id"]] * 3]
    assert not pending(luna)


def test_a_scheduled_run_replaces_the_retry(luna: Lunasched) -> None:
    luna(
        *("add", "--name", luna.name, "--schedule", "calendar:*:*:0/3", "--max-retries", "9"),
        *("--retry-delay", "1h", "--command", "exit 3"),
    )
    runs = luna.wait_for_runs(luna.name, 3)
    assert {run["attempt"] for run in runs} == {1}
    assert {run["trigger"] for run in runs} == {"timer"}
    # During each run there is none.
    luna.machine.wait_for(lambda: len(pending(luna)) == 1, what="the retry of the last run")


def test_a_retry_within_a_second_of_its_slot_is_no_second_run_of_the_slot(
    luna: Lunasched,
) -> None:
    # The slot guard refuses what the timer starts twice; a retry is none of the timer's.
    luna(
        *("add", "--name", luna.name, "--schedule", "calendar:*:*:0/20", "--max-retries", "2"),
        *("--retry-delay", "0", "--command", "exit 3"),
    )
    runs = [run for run in chain(luna, 3) if run["first_attempt_id"] == run["execution_id"]]
    assert runs[0]["trigger"] == "timer"
    assert [run["result"] for run in chain(luna, 3)[:3]] == ["exit-code"] * 3


def test_a_retry_survives_the_supervisor_and_runs_once(luna: Lunasched) -> None:
    delay = 4 + 4 * luna.pace()
    add(luna, "--max-retries", "1", "--retry-delay", f"{delay:.1f}", "--command", "exit 3")
    start(luna)
    wait_for_pending(luna)
    kill = "systemctl kill -s KILL lunasched; sleep 1; systemctl start lunasched"
    luna.machine.exec(kill)
    assert len(chain(luna, 2)) == 2
    luna.machine.exec(f"{kill}; sleep 3")
    assert len(luna.history(luna.name)) == 2


def test_a_retry_that_became_due_while_the_supervisor_was_down(luna: Lunasched) -> None:
    add(luna, "--max-retries", "1", "--retry-delay", "1", "--command", "exit 3")
    luna.machine.exec("systemctl stop lunasched")
    start(luna)
    luna.machine.exec("sleep 1.5")
    luna.machine.exec("systemctl start lunasched")
    assert [run["attempt"] for run in chain(luna, 2)] == [1, 2]


def test_what_was_stopped_is_not_tried_again(luna: Lunasched) -> None:
    add(luna, "--max-retries", "3", "--retry-delay", "0", "--command", "sleep 60")
    luna("start", luna.name)
    luna("stop", luna.name)
    (run,) = luna.wait_for_runs(luna.name, 1)
    assert run["result"] == "stopped"
    assert not pending(luna)
