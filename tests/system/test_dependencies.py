"""Dependencies: who runs after whom, and only if; by systemd alone, and kept right by us."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from campaign import rounds
from installed import slots_each

if TYPE_CHECKING:
    from installed import Lunasched

pytestmark = [pytest.mark.machine, pytest.mark.slow]

UNITS = "/etc/systemd/system"
SLOTS = "/var/lib/lunasched/slots"
YEARLY = ("--schedule", "@yearly")
ODD_NAMES = ["it's", 'a "b" c', "50% off", "%n $HOME", "back\\slash", "ünï: €"]


def add(luna: Lunasched, name: str, *options: str, check: bool = True) -> Any:
    timed = () if "--schedule" in options else YEARLY
    command = () if "--command" in options else ("--command", "true")
    return luna("add", "--name", name, *timed, *command, *options, check=check)


def start(luna: Lunasched, name: str) -> Any:
    return luna("start", name, "--wait", check=False)


def job_type(luna: Lunasched, name: str) -> str:
    unit = f"lunasched-job@{name}.service"
    return str(luna.machine.exec(["systemctl", "show", "-P", "Type", unit]).stdout.strip())


def successes(luna: Lunasched) -> set[str]:
    files = luna.machine.exec(f"cd {SLOTS}; grep -l ^1 succeeded:* || true").stdout.split()
    return {file.removeprefix("succeeded:") for file in files}


def test_a_job_runs_only_if_the_latest_run_of_its_dependency_succeeded(luna: Lunasched) -> None:
    first, second = f"{luna.name}-first", f"{luna.name}-second"
    add(luna, first, "--command", "test -e /tmp/ok")
    add(luna, second, "--depends-on", first, "--command", "echo ran")
    never = start(luna, second)
    assert never.returncode == 1
    assert "ran" not in never.stdout.splitlines()
    assert f"dependency '{first}' has not succeeded" in never.stdout
    luna.machine.exec("touch /tmp/ok")
    assert start(luna, first).returncode == 0
    assert start(luna, second).stdout == "ran\n"
    luna.machine.exec("rm /tmp/ok")
    assert start(luna, first).returncode == 1
    again = start(luna, second)
    assert again.returncode == 1
    runs = luna.wait_for_runs(second, 3)
    assert [run["result"] for run in runs] == ["skipped", "success", "skipped"]
    assert runs[0]["output"] == f"dependency '{first}' has not succeeded\n"
    shown = luna.machine.run(
        ["systemctl", "status", "--no-pager", f"lunasched-job@{second}.service"], check=False
    )
    assert "ExecCondition=" in shown.stdout
    assert "has not succeeded" in shown.stdout


def test_no_exit_code_that_is_a_success_lets_a_guard_pass(luna: Lunasched) -> None:
    """To systemd, ``SuccessExitStatus=`` of a job is for the end of its guards, too."""
    first, second = f"{luna.name}-first", f"{luna.name}-second"
    add(luna, first, "--command", "false")
    codes = " ".join(str(code) for code in range(1, 254))
    systemd = ("--systemd", f"SuccessExitStatus={codes}")
    add(luna, second, "--depends-on", first, "--command", "echo ran; exit 7", *systemd)
    assert start(luna, second).returncode == 1
    (run,) = luna.wait_for_runs(second, 1)
    assert (run["result"], "has not succeeded" in run["output"]) == ("skipped", True)
    systemd = ("--systemd", "SuccessExitStatus=254")
    refused = add(luna, second, "--replace", "--depends-on", first, *systemd, check=False)
    assert (refused.returncode, "SuccessExitStatus: 254" in refused.stderr) == (2, True)


def test_so_do_the_jobs_of_a_user(own: Lunasched) -> None:
    first, second = f"{own.name}-first", f"{own.name}-second"
    # Its sandbox lets the job note its success all the same.
    add(own, first, "--command", "echo first", "--sandbox", "protect_home=read-only")
    add(own, second, "--depends-on", first, "--command", "echo second")
    refused = start(own, second)
    assert (refused.returncode, refused.stdout) == (1, f"dependency '{first}' has not succeeded\n")
    assert start(own, first).stdout == "first\n"
    assert start(own, second).stdout == "second\n"
    runs = own.wait_for_runs(second, 2)
    assert [run["result"] for run in runs] == ["success", "skipped"]
    # Nor does it matter that the job itself has no home directory: a user's guards are outside.
    add(own, first, "--replace", "--command", "test ! -e ~", "--sandbox", "protect_home=true")
    start(own, first)
    assert start(own, second).returncode == 0
    add(own, first, "--replace", "--command", "test -e ~", "--sandbox", "protect_home=true")
    assert start(own, first).returncode == 1
    assert start(own, second).returncode == 1


def test_of_several_dependencies_all_that_failed_are_named(luna: Lunasched) -> None:
    names = [f"{luna.name} {name}" for name in ODD_NAMES]
    for number, name in enumerate(names):
        add(luna, name, "--command", f"exit {number % 2}")
        start(luna, name)
    add(luna, luna.name, *YEARLY, *(word for name in names for word in ("--depends-on", name)))
    refused = start(luna, luna.name)
    assert refused.returncode == 1
    failed = [f"dependency '{name}' has not succeeded" for name in names[1::2]]
    assert refused.stdout.splitlines() == failed
    for name in names[1::2]:
        add(luna, name, "--replace", "--command", "true")
        assert start(luna, name).returncode == 0
    assert start(luna, luna.name).returncode == 0
    luna("remove", luna.name)
    assert successes(luna) == set()


def test_triggered_together_a_job_waits_for_what_it_depends_on(luna: Lunasched) -> None:
    # All four of them are over before the next slot.
    every = ("--schedule", slots_each(luna.period(5, 3)))
    names = [f"{luna.name}-{letter}" for letter in "abcd"]
    a, b, c, d = names
    # Against the order of the names, and in the order of the timers' creation.
    add(luna, d, *every, "--command", "sleep 0.5", "--disabled")
    add(luna, c, *every, "--command", "sleep 1", "--disabled")
    add(luna, b, *every, "--depends-on", d, "--depends-on", c, "--command", "true", "--disabled")
    add(luna, a, *every, "--depends-on", b, "--command", "true", "--disabled")
    for name in names:
        luna("enable", name)
    runs: dict[str, list[dict[str, Any]]] = {}
    slots: set[str] = set()

    def have_slots_in_common() -> bool:
        for name in names:
            runs[name] = [run for run in luna.history(name) if run["result"] is not None]
        slots.clear()
        slots.update(
            set.intersection(*({run["scheduled_at"] for run in runs[name]} for name in names))
        )
        return len(slots) >= 2

    luna.machine.wait_for(have_slots_in_common, 60, what="two slots that all of them ran for")
    for slot in slots:
        by_name = {
            name: next(run for run in runs[name] if run["scheduled_at"] == slot) for name in names
        }
        assert {run["result"] for run in by_name.values()} == {"success"}
        assert by_name[b]["started_at"] > max(by_name[c]["ended_at"], by_name[d]["ended_at"])
        assert by_name[a]["started_at"] > by_name[b]["ended_at"]


@pytest.mark.parametrize("overlap", ["queue", "skip", "replace"])
def test_the_order_does_not_depend_on_what_an_overlap_does(luna: Lunasched, overlap: str) -> None:
    every = ("--schedule", slots_each(luna.period(4, 3)), "--overlap", overlap)
    names = (f"{luna.name}-b", f"{luna.name}-a")
    first, second = names
    # What was known of the first when the second was added is not what counts.
    add(luna, first, "--disabled")
    add(luna, second, *every, "--depends-on", first, "--disabled")
    add(luna, first, "--replace", *every, "--command", "sleep 0.7", "--disabled")
    for name in names:
        luna("enable", name)
    assert "as it should be" in luna("sync").stdout
    runs = {name: luna.wait_for_runs(name, 3, timeout=60) for name in names}
    together = 0
    for run in runs[second]:
        for other in runs[first]:
            if run["scheduled_at"] == other["scheduled_at"]:
                together += 1
                assert run["started_at"] > other["ended_at"]
    assert together >= 2


def test_a_job_that_others_depend_on_is_started_and_stopped_as_any_other(luna: Lunasched) -> None:
    add(luna, luna.name, "--command", "echo begun; sleep 60")
    add(luna, f"{luna.name}-next", "--depends-on", luna.name)
    assert job_type(luna, luna.name) == "oneshot"
    # Whoever starts it does not wait for its end, as for that of other oneshot services.
    assert "Started" in luna("start", luna.name).stdout
    active = ["systemctl", "is-active", f"lunasched-job@{luna.name}.service"]
    assert luna.machine.run(active, check=False).stdout == "activating\n"
    assert "is running" in luna("start", luna.name, check=False).stderr
    # What depends on it waits, and whoever asked for it does not.
    assert "waits" in luna("start", f"{luna.name}-next").stdout
    assert "Stopped" in luna("stop", f"{luna.name}-next").stdout
    assert "Stopped" in luna("stop", luna.name).stdout
    (run,) = luna.wait_for_runs(luna.name, 1)
    assert (run["result"], run["output"]) == ("stopped", "begun\n")
    assert successes(luna) == set()
    assert luna.history(f"{luna.name}-next") == []


def test_a_start_that_waits_goes_on_by_itself(luna: Lunasched) -> None:
    add(luna, luna.name, "--command", "sleep 2")
    add(luna, f"{luna.name}-next", "--depends-on", luna.name, "--command", "echo next")
    luna("start", luna.name)
    assert start(luna, f"{luna.name}-next").stdout == "next\n"
    (first,) = luna.wait_for_runs(luna.name, 1)
    (second,) = luna.wait_for_runs(f"{luna.name}-next", 1)
    assert second["started_at"] > first["ended_at"]


@pytest.mark.parametrize(
    ("limit", "command", "code", "result"),
    [
        ("1h", "echo out; exit 7", 7, ("exit-code", 7, None)),
        ("1h", "kill -TERM $$", 143, ("signal", None, 15)),
        ("1", "sleep 60", 143, ("timeout", None, 15)),
    ],
    ids=["exit code", "signal", "time limit"],
)
def test_how_a_run_ended_is_recorded_as_of_any_other_job(
    luna: Lunasched, limit: str, command: str, code: int, result: tuple[Any, ...]
) -> None:
    add(luna, luna.name, "--timeout", limit, "--command", command)
    add(luna, f"{luna.name}-next", "--depends-on", luna.name)
    assert start(luna, luna.name).returncode == code
    (run,) = luna.wait_for_runs(luna.name, 1)
    assert (run["result"], run["exit_code"], run["signal"]) == result
    assert successes(luna) == set()


def test_success_follows_the_history_when_a_job_becomes_depended_on(luna: Lunasched) -> None:
    good, bad, new = (f"{luna.name}-{word}" for word in ("good", "bad", "new"))
    for name, command in ((good, "true"), (bad, "false"), (new, "true")):
        add(luna, name, "--command", command)
    start(luna, good)
    start(luna, bad)
    for name in (good, bad, new):
        add(luna, f"{name}-next", "--depends-on", name)
    assert successes(luna) == {good}
    assert start(luna, f"{good}-next").returncode == 0
    for name in (good, bad, new):
        luna("remove", f"{name}-next")
        assert job_type(luna, name) == "exec"
    assert successes(luna) == set()
    # And from the history alone, when systemd does not know the run any more.
    luna.wait_for_runs(good, 1)
    add(luna, f"{good}-next", "--depends-on", good)
    assert successes(luna) == {good}


def test_a_job_that_is_running_has_not_succeeded_yet(luna: Lunasched) -> None:
    end = f"/tmp/{luna.name}.end"
    add(luna, luna.name, "--command", f"until [ -e {end} ]; do sleep 0.1; done")
    luna.machine.exec(f"touch {end}")
    assert start(luna, luna.name).returncode == 0
    luna.machine.exec(f"rm {end}")
    luna("start", luna.name)
    add(luna, f"{luna.name}-next", "--depends-on", luna.name)
    assert successes(luna) == set()
    luna.machine.exec(f"touch {end}")
    luna.wait_for_runs(luna.name, 2)
    # It was started as a job that nobody depended on.
    assert successes(luna) == set()
    luna("sync")
    assert successes(luna) == {luna.name}


@pytest.mark.parametrize("schedule", ["every 1d", "calendar:*:*:0/3", "@yearly", "@reboot"])
def test_the_timer_of_a_dependency_goes_on(luna: Lunasched, schedule: str) -> None:
    """Its service changes, its interval and its slots do not."""
    add(luna, luna.name, "--schedule", schedule)
    start(luna, luna.name)
    # An interval is counted anew only where the timer is started anew.
    shown = "ActiveEnterTimestamp" if schedule == "every 1d" else "NextElapseUSecRealtime"
    show = f"systemctl show -P {shown} --timestamp=us lunasched-job@{luna.name}.timer"
    before = luna.machine.exec(show).stdout
    add(luna, f"{luna.name}-next", "--depends-on", luna.name)
    assert job_type(luna, luna.name) == "oneshot"
    if "0/3" not in schedule:
        assert luna.machine.exec(show).stdout == before
    needs = f"systemctl show -P NeedDaemonReload 'lunasched-job@{luna.name}*'"
    assert "yes" not in luna.machine.exec(needs).stdout
    if "0/3" in schedule:
        runs = luna.wait_for_runs(luna.name, 3)
        slots = [run["scheduled_at"] for run in runs]
        assert len(set(slots)) == len(slots)


def test_what_cannot_be_is_refused_and_changes_nothing(luna: Lunasched) -> None:
    a, b, c = (f"{luna.name}-{letter}" for letter in "abc")
    add(luna, a)
    add(luna, b, "--depends-on", a)
    add(luna, c, "--depends-on", b)
    add(luna, f"{c}-parallel", "--execution-mode", "Parallel")
    units = f"cd {UNITS}; sha256sum lunasched-*"
    before = luna.machine.exec(units).stdout
    jobs = luna.json("list")

    def refused(*arguments: str) -> str:
        done = luna(*arguments, check=False)
        assert done.returncode == 2, done
        assert luna.machine.exec(units).stdout == before
        assert json.dumps(luna.json("list")) == json.dumps(jobs)
        return str(done.stderr)

    new = ("add", *YEARLY, "--command", "true", "--name")
    assert "no job 'nobody'" in refused(*new, "x", "--depends-on", "nobody")
    assert f"{a} -> {c} -> {b} -> {a}" in refused(*new, a, "--replace", "--depends-on", c)
    assert "itself" in refused(*new, a, "--replace", "--depends-on", a)
    assert "Parallel" in refused(*new, "x", "--depends-on", f"{c}-parallel")
    parallel = refused(*new, a, "--replace", "--execution-mode", "Parallel")
    assert f"'{b}'" in parallel
    assert f"'{b}'" in refused("remove", a)
    for name in (c, b, a):
        luna("remove", name)


def test_a_job_without_a_schedule_has_no_timer(luna: Lunasched) -> None:
    add(luna, luna.name)
    name = f"{luna.name}-next"
    added = luna("add", "--name", name, "--command", "true", "--depends-on", luna.name)
    assert "after the jobs that it depends on" in added.stdout
    assert luna.machine.exec(f"ls {UNITS} | grep {name}").stdout.split() == [
        f"lunasched-job@{name}.service"
    ]
    assert luna.json("get", name)["next_elapse"] is None
    assert luna.json("next", name) == []
    luna("disable", name)
    luna("enable", name)
    # A schedule comes and goes.
    timer = f"lunasched-job@{name}.timer"
    add(luna, name, "--replace", "--schedule", "@daily", "--depends-on", luna.name)
    assert luna.machine.exec(["systemctl", "is-active", timer]).stdout == "active\n"
    add(luna, name, "--replace", "--schedule", "on demand")
    assert timer not in luna.machine.exec(f"find {UNITS}").stdout
    assert timer not in luna.machine.exec("systemctl list-units --all").stdout
    assert job_type(luna, luna.name) == "exec"
    assert "as it should be" in luna("sync").stdout


def test_sync_mends_what_a_kill_left(luna: Lunasched) -> None:
    a, b = f"{luna.name}-a", f"{luna.name}-b"
    add(luna, a)
    start(luna, a)
    luna.wait_for_runs(a, 1)
    saved = f"/tmp/{luna.name}"
    luna.machine.exec(f"cp {UNITS}/lunasched-job@{a}.service {saved}")
    add(luna, b, "--depends-on", a)
    # As if killed before the services were renamed into place.
    luna.machine.exec(
        f"systemctl stop lunasched-job@{a}.timer; rm {UNITS}/lunasched-job@{b}.service;"
        f"mv {saved} {UNITS}/lunasched-job@{a}.service; rm {SLOTS}/succeeded:*"
    )
    done = luna("sync").stdout
    assert f"wrote lunasched-job@{a}.service" in done
    assert (job_type(luna, a), successes(luna)) == ("oneshot", {a})
    assert "as it should be" in luna("sync").stdout
    assert start(luna, b).returncode == 0
    # A file that was lost comes back, where the latest run is known; one that nobody needs goes.
    start(luna, a)
    luna.wait_for_runs(a, 2)
    luna.machine.exec(f"rm {SLOTS}/succeeded:*")
    luna("sync")
    assert successes(luna) == {a}
    luna.machine.exec(f"touch {SLOTS}/succeeded:stray")
    luna("sync")
    assert successes(luna) == {a}


def test_hooks_of_a_job_come_and_go_with_it(luna: Lunasched) -> None:
    hooks = f"ls {UNITS} | grep ^lunasched-hook@{luna.name} || true"
    add(luna, luna.name, "--on-success", "true", "--on-failure", "true")
    assert luna.machine.exec(hooks).stdout.split() == [
        f"lunasched-hook@{luna.name}:on_failure.service",
        f"lunasched-hook@{luna.name}:on_success.service",
    ]
    add(luna, luna.name, "--replace", "--on-failure", "false")
    assert luna.machine.exec(hooks).stdout.split() == [
        f"lunasched-hook@{luna.name}:on_failure.service"
    ]
    stray = f"lunasched-hook@{luna.name}:on_start.service"
    luna.machine.exec(f"cp {UNITS}/lunasched-hook@{luna.name}:on_failure.service {UNITS}/{stray}")
    assert f"removed {stray}" in luna("sync").stdout
    luna("remove", luna.name)
    assert luna.machine.exec(hooks).stdout == ""


@pytest.mark.campaign
def test_killed_adds_and_removes_of_a_chain_are_mended_by_sync(luna: Lunasched) -> None:
    a, b, c = (f"{luna.name}-{letter}" for letter in "abc")
    add(luna, a)
    for number in range(rounds(8, 20)):
        killed = f"timeout -s KILL {0.10 + number * 0.3 / rounds(8, 20):.3f} lunasched"
        add(luna, b, "--replace", "--depends-on", a)
        if number % 2:
            luna.machine.exec(f"{killed} remove {b} || true")
        else:
            luna.machine.exec(f"{killed} add --name {c} --command true --depends-on {b} || true")
        luna("sync")
        assert "as it should be" in luna("sync").stdout
        jobs = {job["name"] for job in luna.json("list")}
        assert job_type(luna, a) == ("oneshot" if b in jobs else "exec")
        if b in jobs:
            assert job_type(luna, b) == ("oneshot" if c in jobs else "exec")
        if c in jobs:
            luna("remove", c)


def test_a_run_that_others_depend_on_can_be_replaced(luna: Lunasched) -> None:
    every = ("--schedule", "calendar:*:*:0/3", "--overlap", "replace")
    add(luna, luna.name, *every, "--command", "sleep 60")
    add(luna, f"{luna.name}-next", "--depends-on", luna.name)
    assert job_type(luna, luna.name) == "oneshot"
    runs = luna.wait_for_runs(luna.name, 2)
    assert {run["result"] for run in runs} == {"stopped"}
    luna.machine.wait_for(
        lambda: luna.history(luna.name)[0]["result"] is None, what="the run in their place"
    )
    assert successes(luna) == set()
