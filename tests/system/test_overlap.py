"""What a trigger during a run does: another run after it, beside it, in its place, or nothing."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from installed import slots_each

from lunasched.formats.unittext import launch_name, service_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from installed import Lunasched

pytestmark = [pytest.mark.machine, pytest.mark.slow]

LATER = ("--schedule", "every 1d")


def seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()


def history(luna: Lunasched) -> list[dict[str, Any]]:
    """Oldest first, and only what is over."""
    return [run for run in luna.history(luna.name)[::-1] if run["result"]]


def gaps(runs: list[dict[str, Any]]) -> list[float]:
    """Seconds from the end of each run to the start of the next."""
    return [
        seconds(after["started_at"]) - seconds(before["ended_at"])
        for before, after in pairwise(runs)
    ]


def most_at_once(runs: list[dict[str, Any]]) -> int:
    spans = [(seconds(run["started_at"]), seconds(run["ended_at"])) for run in runs]
    return max(sum(start <= began < end for start, end in spans) for began, _ in spans)


@pytest.mark.parametrize("schedule", ["calendar:*:*:*", "every 1s"])
def test_queue_is_one_run_right_after_the_one_in_progress(luna: Lunasched, schedule: str) -> None:
    luna("add", "--name", luna.name, "--schedule", schedule, "--command", "sleep 2.4")
    luna.wait_for_runs(luna.name, 3)
    # What waited for the next time, as long after each run, would never be there as soon.
    luna.machine.wait_for(lambda: min(gaps(history(luna))) < 0.5, what="a run right after another")
    runs = [run for run in history(luna) if run["result"] == "success"]
    assert most_at_once(runs) == 1


@pytest.mark.parametrize("each", [slots_each, "every {}s".format])
def test_skip_waits_for_the_next_time(luna: Lunasched, each: Callable[[int], str]) -> None:
    # Longer than a busy machine is late: the next time is not right after what is skipped.
    period = luna.period(4, 6)
    luna(
        *("add", "--name", luna.name, "--schedule", each(period), "--overlap", "skip"),
        # Its end is in the middle between two times.
        *("--command", f"sleep {1.5 * period}"),
        # To systemd, that is for what a guard ends with, too.
        *("--systemd", "SuccessExitStatus=1"),
    )

    def ran() -> list[dict[str, Any]]:
        return [run for run in history(luna) if run["result"] == "success"]

    luna.machine.wait_for(lambda: len(ran()) >= 3, 20 * period, what="three runs")
    assert min(gaps(ran())) > 0.15 * period
    skipped = [run for run in history(luna) if run["result"] == "skipped"]
    assert len(skipped) >= 2
    seen = luna.machine.exec(f"journalctl -o export -n 200 -u lunasched-job@{luna.name}").stdout
    assert skipped[0]["output"] == "the last run was still in progress at its time\n", seen
    # By hand is by hand.
    luna("disable", luna.name)
    ended = f"systemctl show -P ActiveState lunasched-job@{luna.name}.service | grep -x inactive"
    luna.machine.wait_for(ended, 2 * period, what="the end of the last run")
    assert luna("start", luna.name, "--wait").returncode == 0


def test_skip_lets_ordinary_runs_pass(luna: Lunasched) -> None:
    luna(
        *("add", "--name", luna.name, "--schedule", f"every {luna.period(1)}s"),
        *("--overlap", "skip", "--command", "true"),
    )
    runs = luna.wait_for_runs(luna.name, 4)
    assert {run["result"] for run in runs} == {"success"}


@pytest.mark.parametrize("schedule", ["calendar:*:*:0/3", "every 3s"])
def test_replace_ends_the_run_in_progress(luna: Lunasched, schedule: str) -> None:
    luna(
        *("add", "--name", luna.name, "--schedule", schedule, "--overlap", "replace"),
        *("--command", "sleep 60"),
    )
    luna.machine.wait_for(lambda: len(history(luna)) >= 3, 40, what="three replaced runs")
    runs = history(luna)
    assert {run["result"] for run in runs} == {"stopped"}
    assert {run["trigger"] for run in runs} == {"timer"}
    assert most_at_once(runs) == 1
    assert len({run["scheduled_at"] for run in runs}) == len(runs)


def test_what_does_not_overlap_makes_no_units(luna: Lunasched) -> None:
    """Each new one has systemd read all of its unit directories again."""
    luna(
        *("add", "--name", luna.name, "--schedule", slots_each(luna.period(3))),
        *("--execution-mode", "Parallel", "--command", "true"),
    )
    runs = luna.wait_for_runs(luna.name, 3)
    assert {(run["trigger"], run["result"]) for run in runs} == {("timer", "success")}
    assert len({run["scheduled_at"] for run in runs}) == len(runs)
    # By hand, past the launcher and through it.
    luna("disable", luna.name)
    for unit in (service_name(luna.name), launch_name(luna.name)):
        before = len(luna.history(luna.name))
        luna.machine.run(["systemctl", "start", unit])
        assert luna.wait_for_runs(luna.name, before + 1)[0]["trigger"] == "manual"
    made = f"ls /run/systemd/system | grep -F 'lunasched-job@{luna.name}:'"
    assert luna.machine.exec(made, check=False).stdout == ""


def test_parallel_runs_overlap_each_a_unit_of_its_own(luna: Lunasched) -> None:
    luna(
        *("add", "--name", luna.name, "--schedule", "calendar:*:*:0/3"),
        *("--execution-mode", "Parallel", "--command", "echo $INVOCATION_ID; sleep 7"),
    )
    runs = luna.wait_for_runs(luna.name, 4)[::-1]
    assert most_at_once(runs) >= 2
    assert {run["trigger"] for run in runs} == {"timer"}
    assert len({run["scheduled_at"] for run in runs}) == len(runs)
    for run in runs:
        assert run["output"] == run["execution_id"].replace("-", "") + "\n"
    journal = ["journalctl", "-u", f"lunasched-job@{luna.name}*", "-o", "cat"]
    assert runs[-1]["output"] in luna.machine.run(journal).stdout
    luna("disable", luna.name)


def test_parallel_has_a_limit_and_what_is_over_it_waits(luna: Lunasched) -> None:
    luna(
        *("add", "--name", luna.name, "--schedule", "calendar:*:*:*", "--max-concurrent", "2"),
        *("--execution-mode", "parallel", "--command", "sleep 3.3"),
    )
    seen: list[dict[str, Any]] = []

    def waits() -> bool:
        seen[:] = luna.json("queue")
        return bool(seen)

    luna.machine.wait_for(waits, 20, what="a run that waits")
    assert [one["job"] for one in seen] == [luna.name]
    luna.wait_for_runs(luna.name, 5, timeout=40)
    assert most_at_once(history(luna)) == 2
    luna("disable", luna.name)
    luna.machine.wait_for(lambda: not luna.json("queue"), what="what waits to be dropped")


def test_a_launcher_knows_what_started_it(luna: Lunasched) -> None:
    """Of the service, the journal says so, of a copy its name, and of one too many the status."""
    slot = luna.soon(3)
    launcher = launch_name(luna.name)
    units = f"systemctl list-units --plain --no-legend 'lunasched-job@{luna.name}:*'"
    ended = f"systemctl show -P ActiveState {launcher} | grep -Eqx 'inactive|failed'"
    luna(
        *("add", "--name", luna.name, "--schedule", f"at {slot:%H:%M:%S}"),
        *("--execution-mode", "parallel", "--max-concurrent", "2", "--command", "sleep 600"),
    )
    service = f"systemctl is-active lunasched-job@{luna.name}.service"
    luna.machine.wait_for(service, what="the timer's run")
    luna.machine.wait_for(ended, what="the launcher's end")
    # Without a word to us.
    luna.machine.run(["systemctl", "start", launcher])
    luna.machine.wait_for(f"{units} | grep 'h[.]service'", what="the run by hand")
    assert len(luna.machine.run(units).stdout.splitlines()) == 1
    luna.machine.wait_for(lambda: len(luna.history(luna.name)) == 2, what="two runs on record")
    assert [run["trigger"] for run in luna.history(luna.name)] == ["manual", "timer"]
    luna.machine.wait_for(ended, what="the launcher's end")
    # Its launcher alone tells of one too many: no other unit changes.
    reading = "ls -l /proc/$(systemctl show -P MainPID lunasched)/fd | grep -q '[.]journal$'"
    luna.machine.wait_for(f"! {reading}", what="the supervisor to sleep")
    assert luna.machine.run(["systemctl", "start", launcher], check=False).returncode != 0
    luna.machine.wait_for(lambda: bool(luna.json("queue")), what="one that waits")
    assert [one["trigger"] for one in luna.json("queue")] == ["manual"]
    luna("stop", luna.name)
    luna("remove", luna.name)


def test_what_waits_for_a_job_that_is_disabled_is_dropped(luna: Lunasched) -> None:
    """Also where the supervisor hears of it only then."""
    end = f"/tmp/end-{luna.name}"
    luna(
        *("add", "--name", luna.name, "--schedule", "calendar:*:*:*", "--max-concurrent", "1"),
        *("--execution-mode", "parallel", "--command", f"until [ -e {end} ]; do sleep 0.1; done"),
    )
    luna.machine.wait_for(lambda: bool(luna.history(luna.name)), what="a run")
    luna.machine.exec("systemctl stop lunasched")
    over = ["journalctl", "-u", launch_name(luna.name), "-o", "cat"]
    luna.machine.wait_for(
        lambda: "runs in progress: 1," in luna.machine.exec(over).stdout, what="one too many"
    )
    luna("disable", luna.name)
    luna.machine.exec(f"systemctl start lunasched; touch {end}")
    luna.wait_for_runs(luna.name, 1)
    luna.machine.wait_for(lambda: not luna.json("queue"), what="what waits to be dropped")
    assert len(luna.history(luna.name)) == 1


@pytest.mark.parametrize("name", ["plain", 'a "b" 50% \\ é'])
def test_parallel_runs_started_by_hand(luna: Lunasched, name: str) -> None:
    end = f"/tmp/end-{luna.name}"
    luna.name = f"{luna.name} {name}"
    luna(
        *("add", "--name", luna.name, *LATER, "--execution-mode", "parallel"),
        *("--max-concurrent", "2", "--command", f"until [ -e {end} ]; do sleep 0.1; done; exit 3"),
    )
    luna("start", luna.name)
    second = luna.machine.popen(["lunasched", "start", luna.name, "--wait"])
    luna.machine.wait_for(lambda: len(luna.history(luna.name)) == 2, what="two runs")
    luna.machine.run(f"touch {end}")
    assert second.wait() == 3
    runs = luna.wait_for_runs(luna.name, 2)
    luna.machine.run(f"rm {end}")
    assert {run["trigger"] for run in runs} == {"manual"}
    assert most_at_once(runs) == 2
    luna("start", luna.name)
    luna("start", luna.name)
    third = luna("start", luna.name, check=False)
    assert third.returncode == 1
    # Nor does the launcher start one.
    unit = launch_name(luna.name)
    assert luna.machine.run(["systemctl", "start", unit], check=False).returncode != 0
    assert "2 runs" in third.stderr
    # journald may be late with what they have said.
    said = ["journalctl", "-u", unit]
    luna.machine.wait_for(
        lambda: "runs in progress: 2," in luna.machine.run(said).stdout, what="the refusal"
    )
    luna.machine.wait_for(
        lambda: luna("logs", luna.name).stdout.count("Started") == 4, what="all four starts"
    )
    luna("stop", luna.name)
    runs = luna.wait_for_runs(luna.name, 4)
    assert [run["result"] for run in runs[:2]] == ["stopped", "stopped"]


def test_parallel_runs_are_retried(luna: Lunasched) -> None:
    luna(
        *("add", "--name", luna.name, *LATER, "--execution-mode", "parallel"),
        *("--max-retries", "2", "--retry-delay", "1", "--command", "sleep 0.2; exit 3"),
    )
    luna("start", luna.name)
    runs = luna.wait_for_runs(luna.name, 3)[::-1]
    assert [run["attempt"] for run in runs] == [1, 2, 3]
    assert len({run["first_attempt_id"] for run in runs}) == 1


def test_a_users_own_parallel_runs(own: Lunasched) -> None:
    own(
        *("add", "--name", own.name, "--schedule", "every 1s", "--execution-mode", "parallel"),
        *("--command", "sleep 2.5"),
    )
    own.machine.wait_for(
        lambda: bool(ended := history(own)) and most_at_once(ended) >= 2,
        40,
        what="runs beside each other",
        interval=0.2,
    )
    runs = own.wait_for_runs(own.name, 3, timeout=40)
    assert {run["result"] for run in runs} == {"success"}


def test_environment_and_arguments_for_one_run(luna: Lunasched) -> None:
    luna(
        *("add", "--name", luna.name, *LATER, "--env", "A=1", "--env", "B=1"),
        *("--", "/bin/sh", "-c", 'echo "$A $B $*"', "sh", "one"),
    )
    started = luna("start", luna.name, "--wait", "--env", "B=a b%", "--", "two words", "$x")
    assert started.stdout == "1 a b% one two words $x\n"
    assert luna("start", luna.name, "--wait").stdout == "1 1 one\n"
    second, first = luna.wait_for_runs(luna.name, 2)
    assert first["output"] == "1 a b% one two words $x\n"
    assert second["output"] == "1 1 one\n"
    assert {first["trigger"], second["trigger"]} == {"manual"}
