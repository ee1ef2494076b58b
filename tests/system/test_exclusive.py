"""An Exclusive job has the machine to itself, soon, and whatever becomes of the supervisor."""

from __future__ import annotations

import json
import random
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from installed import Lunasched

pytestmark = [pytest.mark.machine, pytest.mark.slow]

LATER = ("--schedule", "every 1d")
LONGEST = 3.0


def seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()


def spans(luna: Lunasched, *names: str) -> list[tuple[float, float, str]]:
    """Beginning, end and job of every run so far of these jobs, in the order of their starts."""
    found = [
        (seconds(run["started_at"]), seconds(run["ended_at"]), run["job"])
        for name in names
        for run in luna.history(name)
        if run["result"] == "success"
    ]
    return sorted(found)


def start_units(luna: Lunasched, *names: str) -> None:
    """Start jobs as their timers do: nobody waits for them."""
    units = " ".join(f"lunasched-job@{name}.service" for name in names)
    luna.machine.exec(f"systemctl start --no-block {units}")


def assert_alone(all_spans: list[tuple[float, float, str]], exclusive: str) -> None:
    alone = [span for span in all_spans if span[2] == exclusive]
    for began, ended, _ in alone:
        for other_began, other_ended, job in all_spans:
            if job != exclusive:
                assert other_ended <= began or other_began >= ended, (job, exclusive)


def until(luna: Lunasched, word: str) -> str:
    """The beginning of a command that waits until `go` is called with the same word."""
    return f"until [ -e /tmp/{luna.name}.{word} ]; do sleep 0.05; done"


def go(luna: Lunasched, *words: str) -> None:
    luna.machine.exec("touch " + " ".join(f"/tmp/{luna.name}.{word}" for word in words))


def add_crowd(luna: Lunasched, rng: random.Random, count: int) -> list[str]:
    """Ordinary jobs, each of a length of its own and of one of four priorities, and one Exclusive.

    The latter has the name of the test, and ends when `go` says "alone"; the others when it says
    "crowd", each after its own time.
    """
    priorities = ["Low", "Normal", "High", "Critical"]
    names = [f"{luna.name}-{number:02}" for number in range(count)]
    crowd = [
        {
            "name": name,
            "schedule": "every 1d",
            "command": f"{until(luna, 'crowd')}; sleep {rng.uniform(0.5, LONGEST):.2f}",
            "priority": priorities[number % 4],
        }
        for number, name in enumerate(names)
    ]
    alone = {"name": luna.name, "schedule": "every 1d", "execution_mode": "Exclusive"}
    luna.apply(*crowd, {**alone, "command": until(luna, "alone")})
    return names


def wait_for_all(luna: Lunasched, counts: dict[str, int], timeout: float = 60) -> None:
    def complete() -> bool:
        ended = [run["job"] for run in luna.history() if run["result"] == "success"]
        return all(ended.count(name) >= count for name, count in counts.items())

    luna.machine.wait_for(complete, timeout, what=f"all runs of {luna.name}")


def wait_until_active(luna: Lunasched, *names: str) -> None:
    units = " ".join(f"lunasched-job@{name}.service" for name in names)
    luna.machine.wait_for(
        f"! systemctl is-active {units} | grep -vx active", what=f"the runs of {names}"
    )


def test_it_starts_when_what_runs_is_over_and_nothing_overlaps_it(
    luna: Lunasched, rng: random.Random
) -> None:
    crowd = add_crowd(luna, rng, 20)
    first, second = crowd[:10], crowd[10:]
    start_units(luna, *first)
    wait_until_active(luna, *first)
    start_units(luna, luna.name)
    luna.machine.wait_for(lambda: bool(luna.json("queue")), 10, what="the waiting Exclusive job")
    # What comes now waits for it.
    start_units(luna, *second)
    luna.machine.wait_for(lambda: len(luna.json("queue")) == 11, 10, what="the others to wait")
    queue = luna.json("queue")
    reasons = {start["job"]: start["waits_for"] for start in queue}
    assert reasons.pop(luna.name) == "all other jobs to end"
    assert set(reasons.values()) == {"an Exclusive job"}
    assert "an Exclusive job" in luna("queue").stdout
    assert "Waits for:    all other jobs to end, since" in luna("get", luna.name).stdout
    go(luna, "crowd", "alone")
    wait_for_all(luna, dict.fromkeys([*crowd, luna.name], 1))
    found = spans(luna, luna.name, *crowd)
    assert_alone(found, luna.name)
    (began,) = [span[0] for span in found if span[2] == luna.name]
    # It has waited for what ran when it came, and for nothing that came after it.
    assert {job for start, _, job in found if start < began} == {*first}
    assert not luna.json("queue")
    # Afterwards, the highest priority first.
    order = [job for start, _, job in found if start > began and job != luna.name]
    ranks = [3 - crowd.index(job) % 4 for job in order]
    assert ranks == sorted(ranks)
    assert len(found) == 21


def test_two_exclusive_jobs_run_one_after_the_other(luna: Lunasched, rng: random.Random) -> None:
    crowd = add_crowd(luna, rng, 4)
    other = f"{luna.name}-other"
    luna(
        *("add", "--name", other, *LATER, "--execution-mode", "exclusive"),
        *("--command", "sleep 1"),
    )
    go(luna, "crowd", "alone")
    start_units(luna, crowd[0], luna.name, other, *crowd[1:4])
    wait_for_all(luna, dict.fromkeys([luna.name, other, *crowd[:4]], 1))
    found = spans(luna, luna.name, other, *crowd[:4])
    assert_alone(found, luna.name)
    assert_alone(found, other)


def kill(luna: Lunasched) -> None:
    luna.machine.exec("systemctl kill -s KILL lunasched")


def is_queued(luna: Lunasched) -> Callable[[], bool]:
    return lambda: any(start["job"] == luna.name for start in luna.json("queue"))


def runs_now(luna: Lunasched) -> Callable[[], bool]:
    unit = f"lunasched-job@{luna.name}.service"
    return lambda: (
        luna.machine.run(["systemctl", "is-active", unit], check=False).stdout == "active\n"
    )


@pytest.mark.parametrize("state", ["waiting", "running", "over"])
def test_the_supervisor_is_killed_while_the_gate_is_shut(
    luna: Lunasched, rng: random.Random, state: str
) -> None:
    crowd = add_crowd(luna, rng, 9)
    start_units(luna, *crowd[:5])
    wait_until_active(luna, *crowd[:5])
    start_units(luna, luna.name)
    reached: dict[str, Callable[[], bool]] = {
        "waiting": is_queued(luna),
        "running": runs_now(luna),
        "over": lambda: bool(spans(luna, luna.name)),
    }
    luna.machine.wait_for(reached["waiting"], 10, what="the Exclusive job to wait")
    start_units(luna, *crowd[5:7])
    if state != "waiting":
        go(luna, "crowd", *(["alone"] if state == "over" else []))
    luna.machine.wait_for(reached[state], 20, what=f"the Exclusive job: {state}")
    kill(luna)
    # While nobody is there to open the gate, others go on; but never beside the Exclusive run.
    start_units(luna, crowd[7])
    go(luna, "crowd", "alone")
    wait_for_all(luna, dict.fromkeys([luna.name, *crowd[:8]], 1))
    assert_alone(spans(luna, luna.name, *crowd), luna.name)
    assert not luna.json("queue")
    assert luna.machine.exec("ls /run/lunasched/supervisor/gate", check=False).returncode != 0
    # And nothing is stuck.
    start_units(luna, crowd[8])
    wait_for_all(luna, {crowd[8]: 1}, timeout=20)


def test_without_a_supervisor_others_go_on_and_the_exclusive_job_waits(
    luna: Lunasched, rng: random.Random
) -> None:
    crowd = add_crowd(luna, rng, 1)
    luna.machine.exec("systemctl stop lunasched")
    go(luna, "crowd", "alone")
    start_units(luna, luna.name, crowd[0])
    unit = f"lunasched-job@{crowd[0]}.service"
    luna.machine.wait_for(
        lambda: "Deactivated" in luna.machine.run(["journalctl", "-u", unit]).stdout,
        20,
        what="the run of an ordinary job",
    )
    luna.machine.exec("systemctl start lunasched")
    wait_for_all(luna, {luna.name: 1, crowd[0]: 1})
    assert_alone(spans(luna, luna.name, crowd[0]), luna.name)


def test_a_limit_to_all_jobs(luna: Lunasched, rng: random.Random) -> None:
    crowd = add_crowd(luna, rng, 12)
    settings = "/etc/lunasched/config.yaml"
    luna.machine.exec(
        f"mkdir -p /etc/lunasched; printf 'global:\\n  max_concurrent_jobs: 3\\n' > {settings};"
        "lunasched sync; systemctl restart lunasched"
    )
    try:
        start_units(luna, *crowd)
        luna.machine.wait_for(lambda: len(luna.json("queue")) == 9, 10, what="jobs that wait")
        assert any(start["waits_for"] == "its turn" for start in luna.json("queue"))
        go(luna, "crowd")
        wait_for_all(luna, dict.fromkeys(crowd, 1))
        found = spans(luna, *crowd)
        assert len(found) == 12
        for began, _, _ in found:
            assert sum(start <= began < end for start, end, _ in found) <= 3
        # All of them came at the same moment: of those that waited, the highest priority first.
        ranks = {name: number % 4 for number, name in enumerate(crowd)}
        waited = [ranks[job] for _, _, job in found[3:]]
        assert waited == sorted(waited, reverse=True)
    finally:
        luna.machine.exec(f"rm {settings}; lunasched sync; systemctl restart lunasched")
    assert luna.machine.exec("ls /run/lunasched/supervisor/gate", check=False).returncode != 0


def test_no_job_looks_at_a_gate_that_nobody_needs(luna: Lunasched) -> None:
    gate = "/etc/systemd/system/lunasched-job@.service.d"
    luna("add", "--name", luna.name, *LATER, "--command", "true")
    assert luna.machine.exec(f"ls {gate}", check=False).returncode != 0
    luna(
        *("add", "--name", "alone", *LATER, "--command", "true"),
        *("--execution-mode", "Exclusive"),
    )
    assert luna.machine.exec(f"ls {gate}").stdout == "10-lunasched-gate.conf\n"
    luna("remove", "alone")
    assert luna.machine.exec(f"ls {gate}", check=False).returncode != 0


@pytest.mark.parametrize("whose", ["luna", "own"])
def test_by_hand_it_waits_for_its_turn_too(whose: str, request: pytest.FixtureRequest) -> None:
    command: Lunasched = request.getfixturevalue(whose)
    name, other = command.name, f"{command.name}-other"
    command("add", "--name", other, *LATER, "--command", "sleep 2")
    command(
        *("add", "--name", name, *LATER, "--execution-mode", "exclusive"),
        *("--command", "echo alone $1 $WHO; exit 3"),
    )
    command("start", other)
    started = command("start", name, "--wait", "--env", "WHO=me", "--", "with", check=False)
    assert (started.returncode, started.stdout) == (3, "alone with me\n")
    (run,) = command.wait_for_runs(name, 1)
    (beside,) = command.wait_for_runs(other, 1)
    assert run["trigger"] == "manual"
    assert beside["ended_at"] <= run["started_at"]


def test_by_hand_without_a_supervisor_is_refused(luna: Lunasched) -> None:
    luna(
        *("add", "--name", luna.name, *LATER, "--execution-mode", "exclusive"),
        *("--command", "true"),
    )
    luna.machine.exec("systemctl stop lunasched")
    refused = luna("start", luna.name, check=False)
    assert refused.returncode == 1
    assert "supervisor" in refused.stderr
    assert not luna.json("queue")


def test_a_start_that_is_waited_for_does_not_wait_for_ever(luna: Lunasched) -> None:
    """Its turn comes and a condition of its own does not hold; or it is dropped before."""
    conditions = {"ConditionPathExists": "/nowhere"}
    jobs = [{"name": luna.name, "schedule": "@yearly", "command": "true", "systemd": conditions}]
    jobs[0]["execution_mode"] = "exclusive"
    jobs.append({"name": f"{luna.name}-other", "schedule": "@yearly", "command": "sleep 900"})
    luna.machine.write_file(f"/tmp/{luna.name}.yaml", json.dumps({"jobs": jobs}))
    luna("apply", f"/tmp/{luna.name}.yaml")
    for _ in range(2):
        done = luna("start", luna.name, "--wait", check=False)
        assert done.returncode == 1
        assert "was skipped: ConditionPathExists=/nowhere does not hold" in done.stderr
    luna("start", f"{luna.name}-other")
    # It waits for the other; the condition of the last time is none of this start.
    waits = luna("start", luna.name)
    assert waits.stdout == f"Job '{luna.name}' waits until others have ended.\n"
    luna("stop", luna.name)
    waiting = luna.machine.popen(["lunasched", "start", luna.name, "--wait"])
    luna.machine.wait_for(lambda: bool(luna.json("queue")), what="the start in the queue")
    luna("stop", luna.name)
    assert waiting.wait(timeout=300) == 1
    luna("stop", f"{luna.name}-other")
