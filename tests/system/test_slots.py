"""No slot runs twice and none is fired by deploying; a container's clock is left alone here.

Steps of the clock and nights with a change of it are in ``tests/vm``.
"""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from campaign import rounds
from installed import slots_each

if TYPE_CHECKING:
    from installed import Lunasched

pytestmark = pytest.mark.machine

TRUE = ("--command", "true")
SLOTS = "/var/lib/lunasched/slots"


def daily_at(moment: datetime) -> str:
    return f"at {moment:%H:%M:%S}"


def frequent(luna: Lunasched) -> tuple[str, str]:
    """A schedule whose slots are as near as runs can keep up with."""
    return "--schedule", slots_each(luna.period(2))


def counts(luna: Lunasched, name: str) -> dict[str, int]:
    """How many runs that are over have each result."""
    results = [run["result"] for run in luna.history(name) if run["result"] is not None]
    return {result: results.count(result) for result in set(results)}


def test_a_slot_that_ran_is_refused(luna: Lunasched) -> None:
    slot = luna.soon(2)
    add = ("add", "--name", luna.name, "--catch-up", "--schedule", daily_at(slot))
    luna(*add, "--command", "echo ran")
    (run,) = luna.wait_for_runs(luna.name, 1)
    assert (run["result"], run["trigger"]) == ("success", "timer")
    assert run["scheduled_at"] == f"{slot:%Y-%m-%dT%H:%M:%S}.000000Z"
    unit = f"lunasched-job@{luna.name}"
    # systemd starts the job for it again if it does not know that it did.
    stamp = f"/var/lib/systemd/timers/stamp-{unit}.timer"
    luna.machine.exec(
        f"systemctl stop {unit}.timer; touch -d @{slot.timestamp() - 60} {stamp};"
        f" systemctl start {unit}.timer"
    )
    skipped, ran = luna.wait_for_runs(luna.name, 2)
    assert ran == run
    assert (skipped["result"], skipped["trigger"]) == ("skipped", "timer")
    assert skipped["scheduled_at"] == run["scheduled_at"]
    assert "ran already" in skipped["output"]
    luna("start", luna.name, "--wait")
    # Nor is a start that nobody announced taken for the timer's.
    luna.machine.exec(f"systemctl start {unit}.service")
    luna.wait_for_runs(luna.name, 4)
    assert counts(luna, luna.name) == {"success": 3, "skipped": 1}


def test_a_start_by_hand_is_none_of_the_timer_that_did_not_elapse(luna: Lunasched) -> None:
    """Though a slot passed that nothing ran for, and though the supervisor is restarted."""
    failed = f"{luna.name}-failed"
    luna("add", "--name", failed, "--schedule", "@yearly", "--command", "false")
    slot = luna.soon(5)
    add = ("add", "--name", luna.name, "--schedule", daily_at(slot), "--command", "true")
    luna(*add, "--depends-on", failed)
    unit = f"lunasched-job@{luna.name}"
    luna.machine.exec(
        f"systemctl stop {unit}.timer; until [ $(date +%s) -gt {int(slot.timestamp())} ]; do"
        f" sleep 0.1; done; systemctl start {unit}.timer"
    )
    # Refused, and no repeat: its dependency has not succeeded.
    luna.machine.exec(f"systemctl start {unit}", check=False)
    (refused,) = luna.wait_for_runs(luna.name, 1)
    assert (refused["result"], refused["trigger"]) == ("skipped", "manual")
    assert refused["scheduled_at"] is None
    luna(*add, "--replace")
    luna.machine.exec(f"systemctl stop lunasched; systemctl start {unit} lunasched")
    ran, _ = luna.wait_for_runs(luna.name, 2)
    assert (ran["result"], ran["trigger"], ran["scheduled_at"]) == ("success", "manual", None)


def test_a_start_by_the_timer_is_known_after_a_restart_of_the_supervisor(luna: Lunasched) -> None:
    slot = luna.soon(4)
    luna("add", "--name", luna.name, "--schedule", daily_at(slot), "--command", "true")
    unit = f"lunasched-job@{luna.name}"
    ended = f"systemctl show -P InactiveEnterTimestamp {unit}"
    luna.machine.exec(
        f'systemctl stop lunasched; until [ "$({ended})" ]; do sleep 0.1; done;'
        f" systemctl start {unit} lunasched"
    )
    by_hand, by_timer = luna.wait_for_runs(luna.name, 2)
    assert [by_hand["trigger"], by_timer["trigger"]] == ["manual", "timer"]
    assert by_timer["scheduled_at"] == f"{slot:%Y-%m-%dT%H:%M:%S}.000000Z"
    luna.machine.exec(f"systemctl restart lunasched; systemctl start {unit}")
    assert luna.wait_for_runs(luna.name, 3)[0]["trigger"] == "manual"


def test_a_slot_that_ran_is_refused_where_it_would_replace_a_run(luna: Lunasched) -> None:
    slot = luna.soon(3)
    add = ("add", "--name", luna.name, "--catch-up", "--schedule", daily_at(slot))
    luna(*add, "--overlap", "replace", "--command", "echo ran")
    luna.wait_for_runs(luna.name, 1)
    unit = f"lunasched-job@{luna.name}"
    stamp = f"/var/lib/systemd/timers/stamp-{unit}.timer"
    luna.machine.exec(
        f"systemctl stop {unit}.timer; touch -d @{slot.timestamp() - 60} {stamp};"
        f" systemctl start {unit}.timer"
    )
    skipped, _ = luna.wait_for_runs(luna.name, 2)
    assert (skipped["result"], skipped["trigger"]) == ("skipped", "timer")
    assert skipped["output"] == "this slot ran already\n"
    # By hand, past the launcher and through it.
    for number, name in ((3, unit), (4, f"lunasched-launch@{luna.name}")):
        luna.machine.exec(f"systemctl start {name}.service")
        luna.wait_for_runs(luna.name, number)
    assert counts(luna, luna.name) == {"success": 3, "skipped": 1}


def test_a_slot_that_ran_is_refused_when_its_turn_comes(luna: Lunasched) -> None:
    """systemd knows only that the supervisor starts it; the supervisor knows why."""
    slot = luna.soon(3)
    add = ("add", "--name", luna.name, "--catch-up", "--schedule", daily_at(slot))
    luna(*add, "--execution-mode", "exclusive", "--command", "echo ran")
    (run,) = luna.wait_for_runs(luna.name, 1)
    assert (run["result"], run["trigger"]) == ("success", "timer")
    assert luna("start", luna.name, "--wait").stdout == "ran\n"
    unit = f"lunasched-job@{luna.name}"
    luna.machine.exec(f"systemctl start {unit}")
    luna.wait_for_runs(luna.name, 3)
    stamp = f"/var/lib/systemd/timers/stamp-{unit}.timer"
    luna.machine.exec(
        f"systemctl stop {unit}.timer; touch -d @{slot.timestamp() - 60} {stamp};"
        f" systemctl start {unit}.timer"
    )
    runs = luna.wait_for_runs(luna.name, 4)
    assert [run["trigger"] for run in runs] == ["timer", "manual", "manual", "timer"]
    assert [run["result"] for run in runs] == ["skipped", "success", "success", "success"]
    assert runs[0]["scheduled_at"] == runs[3]["scheduled_at"] is not None


def test_a_slot_that_ran_is_refused_however_long_its_start_waits(luna: Lunasched) -> None:
    slot = luna.soon(5)
    luna("add", "--name", luna.name, "--schedule", daily_at(slot), "--command", "echo ran")
    unit, other = f"lunasched-job@{luna.name}", f"other-{luna.name}"
    luna.machine.write_file(
        f"/run/systemd/system/{unit}.service.d/after.conf", f"[Unit]\nAfter={other}.service\n"
    )
    seconds = int(slot.timestamp())
    past = f"until [ $(date +%s) -ge {seconds + 4} ]; do sleep 0.1; done"
    # The guard takes the next slot for the last one that ran.
    luna.machine.exec(
        f"read -r _ offset <{SLOTS}/last:{luna.name};"
        f" echo {seconds}000000 $offset >{SLOTS}/last:{luna.name};"
        f" systemctl daemon-reload;"
        f" systemd-run --no-block -p Type=oneshot --unit={other} sh -c '{past}'"
    )
    (skipped,) = luna.wait_for_runs(luna.name, 1)
    assert (skipped["result"], skipped["trigger"]) == ("skipped", "timer")
    assert skipped["scheduled_at"] == f"{slot:%Y-%m-%dT%H:%M:%S}.000000Z"


@pytest.mark.parametrize("mode", ["Sequential", "Parallel"])
def test_a_start_that_is_later_than_the_next_slot_is_for_its_own(
    luna: Lunasched, mode: str
) -> None:
    """So that the start for the next slot, which is queued, is none that ran already."""
    other = f"other-{luna.name}"
    # The drop-ins of a template are those of each job, and of each copy that a launcher makes.
    drop_in = "/run/systemd/system/lunasched-job@.service.d/after.conf"
    luna.machine.write_file(drop_in, f"[Unit]\nAfter={other}.service\n")
    luna.machine.exec("systemctl daemon-reload")
    before = luna.soon(4)
    # The environment has the time of the first elapse for good, and the launcher asks for each.
    first = before + timedelta(seconds=0 if mode == "Sequential" else 8 + int(16 * luna.pace()))
    second = first + timedelta(seconds=3)
    times = sorted({before, first, second})
    schedule = "; ".join(map(daily_at, times))
    past = f"until [ $(date +%s) -ge {int(second.timestamp()) + 1} ]; do sleep 0.1; done"
    try:
        luna("add", "--name", luna.name, "--schedule", schedule, "--execution-mode", mode, *TRUE)
        if len(times) == 3:
            luna.wait_for_runs(luna.name, 1)
        luna.machine.exec(f"systemd-run --no-block -p Type=oneshot --unit={other} sh -c '{past}'")
        runs = luna.wait_for_runs(luna.name, len(times))
    finally:
        luna.machine.exec(f"rm {drop_in}; systemctl daemon-reload")
    assert counts(luna, luna.name) == {"success": len(times)}
    assert {run["trigger"] for run in runs} == {"timer"}
    late = f"{second:%Y-%m-%dT%H:%M:%S}"
    assert min(run["started_at"] for run in runs[:2]) > late
    slots = sorted(run["scheduled_at"] for run in runs)
    assert slots == [f"{slot:%Y-%m-%dT%H:%M:%S}.000000Z" for slot in times]


@pytest.mark.parametrize("change", ["daemon-reload", "stop and start", "supervisor", "replace"])
def test_nothing_is_fired_by(luna: Lunasched, change: str) -> None:
    slot = luna.soon(2)
    add = ("add", "--name", luna.name, "--catch-up", "--command", "echo ran")
    luna(*add, "--schedule", daily_at(slot))
    luna.wait_for_runs(luna.name, 1)
    unit = f"lunasched-job@{luna.name}"
    if change == "daemon-reload":
        luna.machine.exec("systemctl daemon-reload")
    elif change == "stop and start":
        luna.machine.exec("systemctl daemon-reload")
        luna.machine.exec(f"systemctl stop {unit}.timer; systemctl start {unit}.timer")
    elif change == "supervisor":
        luna.machine.exec("systemctl restart lunasched.service")
    else:
        # A slot of the new schedule that is past already, with Persistent=: it is not made up for.
        luna(*add, "--replace", "--schedule", daily_at(slot - timedelta(seconds=1)))
        luna("disable", luna.name)
        luna("enable", luna.name)
    luna.machine.exec("sleep 2.5")
    assert counts(luna, luna.name).get("success") == 1


@pytest.mark.parametrize("how", ["enable", "sync"])
def test_slots_that_passed_while_a_timer_was_stopped_are_not_made_up_for(
    luna: Lunasched, how: str
) -> None:
    period = luna.period(4)
    schedule = ("--schedule", slots_each(period), "--catch-up")
    luna("add", "--name", luna.name, *schedule, "--command", "true")
    luna.wait_for_runs(luna.name, 1)
    # As after a boot: timers.target keeps the timer loaded, with what it knows of its last elapse.
    luna.machine.exec("systemctl daemon-reload")
    if how == "enable":
        luna("disable", luna.name)
    else:
        luna.machine.exec(f"systemctl stop lunasched-job@{luna.name}.timer")
    luna.machine.exec(f"sleep {2 * period + 1}")
    again = luna.machine.exec("date -u +%FT%T.%6NZ").stdout.strip()
    luna(*(("enable", luna.name) if how == "enable" else ("sync",)))

    def later() -> list[dict[str, Any]]:
        runs = [run for run in luna.history(luna.name) if run["started_at"] > again]
        return [run for run in runs if run["result"] == "success"]

    luna.machine.wait_for(lambda: len(later()) >= 2, what="two runs", interval=0.2)
    ran = [(run["trigger"], run["scheduled_at"], run["started_at"]) for run in later()]
    assert all(slot > again for _, slot, _ in ran), (again, ran)


def shortened(file: str, lines: int) -> str:
    """The command that leaves so many lines of a file, which is whole at any time."""
    return f"cp -p {file} {file}.new; head -n {lines} {file} >{file}.new; mv {file}.new {file}"


def test_every_slot_of_a_frequent_job_runs_once(luna: Lunasched) -> None:
    """More slots than the guard knows ahead: the supervisor has more of them written."""
    luna("add", "--name", luna.name, *frequent(luna), "--command", "true")
    file = f"{SLOTS}/{luna.name}"
    assert len(luna.machine.read_file(file).splitlines()) == 226
    luna.machine.exec(shortened(file, 6))
    luna.machine.wait_for(f'[ "$(wc -l <{file})" = 226 ]', what="the list to be written")
    runs = luna.wait_for_runs(luna.name, 6)
    slots = [run["scheduled_at"] for run in runs]
    assert len(set(slots)) == len(slots)
    assert set(counts(luna, luna.name)) == {"success"}


def test_a_list_that_cannot_be_written_is_not_asked_for_again_and_again(luna: Lunasched) -> None:
    luna("add", "--name", luna.name, *frequent(luna), "--command", "true")
    file, asked = f"{SLOTS}/{luna.name}", "/run/lunasched/asked"
    drop_in = "/run/systemd/system/lunasched-sync.service.d/fails.conf"
    fails = f"[Service]\nExecStart=\nExecStart=/bin/sh -c 'echo >>{asked}; exit 1'\n"
    luna.machine.write_file(drop_in, fails)
    try:
        luna.machine.exec(f"systemctl daemon-reload; rm -f {asked}; {shortened(file, 3)}")
        luna.machine.wait_for(f"[ -s {asked} ]", what="the supervisor to ask")
        before = len(luna.history(luna.name))
        luna.wait_for_runs(luna.name, before + 3)
        assert luna.machine.read_file(asked) == "\n"
        # What is beyond the list passes.
        assert set(counts(luna, luna.name)) == {"success"}
    finally:
        luna.machine.exec(f"rm {drop_in}; systemctl daemon-reload")


def test_a_lost_or_damaged_file_loses_no_slot(luna: Lunasched) -> None:
    user = ("--run-as", "luna")
    luna("add", "--name", luna.name, *frequent(luna), "--command", "true", *user)
    for file in (f"{SLOTS}/{luna.name}", f"{SLOTS}/last:{luna.name}"):
        for damage in (f"rm {file}", f": > {file}", f"echo x y z > {file}", f"echo 1 > {file}"):
            before = len(luna.wait_for_runs(luna.name, 1))
            luna.machine.exec(damage)
            luna.wait_for_runs(luna.name, before + 2)
    assert set(counts(luna, luna.name)) == {"success"}
    luna("sync")
    owners = luna.machine.exec(f"cd {SLOTS}; stat -c %U {luna.name} last:{luna.name}").stdout
    assert owners.split() == ["root", "luna"]


def test_without_lunasched_the_units_still_work(luna: Lunasched) -> None:
    """The guard's script and the command are gone: every start passes."""
    luna("add", "--name", luna.name, *frequent(luna), "--command", "true")
    unit = f"/etc/systemd/system/lunasched-job@{luna.name}.service"
    luna.machine.exec(
        f"systemctl stop lunasched-job@{luna.name}.timer;"
        f"sed -i 's,/opt/lunasched/unit-templates/slot-guard,/gone/slot-guard,' {unit};"
        f"systemctl daemon-reload; systemctl start lunasched-job@{luna.name}.timer"
    )
    luna.wait_for_runs(luna.name, 2)
    assert set(counts(luna, luna.name)) == {"success"}


TRACED = "grep '^TracerPid:.*[1-9]' /proc/1/status"


def test_an_ordinary_start_costs_one_process(luna: Lunasched) -> None:
    slot = luna.soon(5)
    luna("add", "--name", luna.name, "--schedule", daily_at(slot), "--", "/bin/true")
    service = f"lunasched-job@{luna.name}.service"
    shown = luna.machine.exec(["systemctl", "show", service, "-p", "ExecStart"]).stdout
    assert "argv[]=/bin/true ;" in shown
    trace = luna.machine.popen("exec strace -f -qq -e trace=execve -e signal=none -p 1 2>&1")
    luna.machine.wait_for(TRACED, what="strace")
    luna.wait_for_runs(luna.name, 1)
    luna.machine.exec("pkill strace", check=False)
    output = trace.communicate(timeout=300)[0].decode()
    started = [line for line in output.splitlines() if "execve(" in line and "= 0" in line]
    ours = [line for line in started if '"/bin/bash", "-p"' in line or "/bin/true" in line]
    assert len(ours) == 2, output


def test_a_start_by_hand_costs_two_processes_more_at_most(luna: Lunasched) -> None:
    """And none before the timer has started the job for the first time."""
    slot = luna.soon(8)
    luna("add", "--name", luna.name, "--schedule", daily_at(slot), "--", "/bin/true")
    unit, log = f"lunasched-job@{luna.name}.service", f"/tmp/started-{luna.name}"
    trace = luna.machine.popen(
        f"exec strace -f -qq -e trace=execve -e signal=none -p 1 -o {log} 2>/dev/null"
    )

    def asked() -> int:
        return luna.machine.read_file(log).count('execve("/usr/bin/busctl"')

    luna.machine.wait_for(TRACED, what="strace")
    luna.machine.exec(f"systemctl start {unit}")
    luna.wait_for_runs(luna.name, 1)
    before = asked()
    luna.wait_for_runs(luna.name, 2)
    by_timer = asked()
    luna.machine.exec(f"systemctl start {unit}")
    runs = luna.wait_for_runs(luna.name, 3)
    luna.machine.exec("pkill strace", check=False)
    trace.wait(timeout=300)
    assert {run["result"] for run in runs} == {"success"}
    assert (before, by_timer, asked()) == (0, 0, 2)


@pytest.mark.slow
@pytest.mark.campaign
def test_a_burst_of_starts_beside_busy_loops_runs_each_once(luna: Lunasched) -> None:
    """The timers of one slot, starts by hand of jobs whose slot ran, and of those that just ran."""
    many, directory = rounds(30, 100), f"/tmp/{luna.name}"
    limit = 1 + 2 * round(luna.pace())
    luna.machine.run(["mkdir", directory])

    def add(kind: str, schedule: str) -> float:
        """Add many jobs; the seconds that this took."""
        jobs = [
            {
                "name": f"{luna.name}-{kind}-{number}",
                "schedule": schedule,
                "command": f"echo >>{directory}/{kind}-{number}",
                # The shortest that a job may have, but where even `echo` takes longer: the guard is
                # no part of what it limits.
                "resource_limits": {"timeout_seconds": limit},
            }
            for number in range(many)
        ]
        luna.machine.write_file(f"{directory}.yaml", json.dumps({"jobs": jobs}))
        began = time.monotonic()
        luna("apply", f"{directory}.yaml", timeout=120)
        return time.monotonic() - began

    # As many again, and the first starts by hand, take less than that.
    slot = luna.soon(10 + 3 * add("idle", "@yearly"))
    add("due", daily_at(slot))
    assert float(luna.machine.exec("date +%s.%N").stdout) < slot.timestamp()

    def all_ran(kind: str, times: int) -> str:
        files = f"cat {directory}/{kind}-* 2>/dev/null | wc -l"
        return f'[ "$({files})" -ge {times * many} ]'

    def runs_of_burst() -> list[dict[str, Any]]:
        return [run for run in luna.history() if run["job"].startswith(f"{luna.name}-")]

    def start(kind: str) -> None:
        luna.machine.exec(
            # systemctl has 25 seconds for each of them, which is another limit.
            "SYSTEMD_BUS_TIMEOUT=600 systemctl start --no-block "
            + " ".join(f"lunasched-job@{luna.name}-{kind}-{number}" for number in range(many)),
            timeout=120,
        )

    busy = "bash -c 'while :; do :; done' busy-loop"
    loops = [luna.machine.popen(busy) for _ in range(4)]
    try:
        for times in (1, 2):
            start("idle")
            luna.machine.wait_for(all_ran("idle", times), 120, what="the starts by hand")
        luna.machine.wait_for(all_ran("due", 1), 120, what="the timers' starts")
        start("due")
        luna.machine.wait_for(all_ran("due", 2), 120, what="starts by hand after the timers'")
    finally:
        # Killing what runs here would leave the loops there.
        luna.machine.exec("pkill -KILL -f [b]usy-loop")
        for loop in loops:
            loop.wait()
    luna.machine.wait_for(
        lambda: len(burst := runs_of_burst()) == 4 * many and all(run["result"] for run in burst),
        120,
        what="all runs on record",
        interval=1,
    )
    found = runs_of_burst()
    assert {run["result"] for run in found} == {"success"}
    # And each is on record as what it is.
    due = [run["trigger"] for run in found if "-due-" in run["job"]]
    assert (due.count("timer"), due.count("manual")) == (many, many)
    assert {run["trigger"] for run in found if "-idle-" in run["job"]} == {"manual"}
    lines = luna.machine.exec(f"cd {directory} && wc -l *-* | grep -v total").stdout.splitlines()
    assert {line.split()[0] for line in lines} == {"2"}
    assert len(lines) == 2 * many


def test_intervals_have_no_guard(luna: Lunasched) -> None:
    luna("add", "--name", luna.name, "--schedule", "every 1h", "--command", "true")
    assert "slot-guard" not in luna("compile", luna.name).stdout
    assert luna.machine.exec(f"ls {SLOTS} | grep -x {luna.name}", check=False).returncode == 1


def test_a_schedule_that_is_over_is_refused(luna: Lunasched) -> None:
    done = luna(
        *("add", "--name", luna.name, "--schedule", "calendar:2020-02-03 04:05"),
        *("--command", "true"),
        check=False,
    )
    assert done.returncode == 2
    assert "never elapses again" in done.stderr
