"""Every way in which a run can end is recorded, once, by a real systemd and a real journal."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from installed import Lunasched

pytestmark = pytest.mark.machine

YEARLY = ("--schedule", "@yearly")
KEYS = (
    "execution_id job trigger scheduled_at started_at ended_at duration_ms result exit_code "
    "signal attempt first_attempt_id retry_at hooks overrun output"
)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\Z")


def run_once(luna: Lunasched, *definition: str, fails: bool = True) -> dict[str, Any]:
    luna("add", "--name", luna.name, *YEARLY, *definition)
    started = luna("start", luna.name, "--wait", check=False)
    assert (started.returncode != 0) == fails, started
    (run,) = luna.wait_for_runs(luna.name, 1)
    # What is said at once is what is on record.
    assert ("the run failed: " in started.stderr) == fails
    if fails:
        assert f"the run failed: {run['result']} (" in started.stderr
    if fails and run["exit_code"] is not None:
        assert f" (exit code {run['exit_code']})" in started.stderr
        assert started.returncode == run["exit_code"]
    if run["signal"] is not None:
        assert f" (signal {run['signal']})" in started.stderr
        assert started.returncode == 128 + run["signal"]
    return run


def test_success(luna: Lunasched) -> None:
    run = run_once(luna, "--command", "echo to out; echo to err >&2", fails=False)
    assert list(run) == KEYS.split()
    assert run["result"] == "success"
    assert (run["exit_code"], run["signal"], run["attempt"]) == (0, None, 1)
    assert (run["trigger"], run["scheduled_at"]) == ("manual", None)
    assert run["output"] == "to out\nto err\n"
    assert TIME.match(run["started_at"])
    assert TIME.match(run["ended_at"])
    assert run["started_at"] < run["ended_at"]
    assert str(uuid.UUID(run["execution_id"])) == run["execution_id"]


def test_exit_code(luna: Lunasched) -> None:
    run = run_once(luna, "--command", "exit 137")
    assert (run["result"], run["exit_code"], run["signal"]) == ("exit-code", 137, None)


def test_the_exit_code_of_a_missing_program_may_also_be_the_jobs_own(luna: Lunasched) -> None:
    run = run_once(luna, "--command", "exit 203")
    assert (run["result"], run["exit_code"]) == ("exit-code", 203)


@pytest.mark.parametrize("number", [1, 2, 9, 11, 13, 15])
def test_signal_even_where_systemd_calls_it_a_clean_end(luna: Lunasched, number: int) -> None:
    run = run_once(luna, "--command", f"ulimit -c 0; kill -{number} $$")
    assert (run["result"], run["exit_code"], run["signal"]) == ("signal", None, number)


def test_time_limit(luna: Lunasched) -> None:
    run = run_once(luna, "--timeout", "1", "--command", "sleep 60")
    assert run["result"] == "timeout"
    assert "timeout (time limit)" in luna("history", luna.name).stdout
    assert 900 <= run["duration_ms"] < 30_000


@pytest.mark.parametrize("limit", [(), ("--timeout", "600")], ids=["no limit", "a far limit"])
def test_what_a_success_leaves_behind_is_killed_and_not_done_again(
    luna: Lunasched, limit: tuple[str, ...]
) -> None:
    run = run_once(
        luna,
        *("--kill-after", "0.5", "--max-retries", "1", "--retry-delay", "0", *limit),
        *("--command", "(trap '' TERM; exec sleep 300) & echo done"),
        fails=False,
    )
    assert (run["result"], run["exit_code"], run["retry_at"]) == ("success", 0, None)
    assert not luna.json("queue")
    assert len(luna.history(luna.name)) == 1


_DEAF = "(trap '' TERM; exec sleep 300) & "
LEFT_BEHIND = {
    "in-time": ("6", "7", f"{_DEAF} echo done", ("success", 0, None)),
    "failed": ("6", "1", f"{_DEAF} exit 3", ("exit-code", 3, None)),
    "killed": ("6", "1", f"{_DEAF} kill -KILL $$", ("signal", None, 9)),
    # Of an exit without a failure, systemd logs nothing.
    "gives-in": (
        "1",
        "1",
        f"{_DEAF} trap 'exit 0' TERM; sleep 300 & wait",
        ("timeout", None, None),
    ),
    "alone": ("1", "1", "trap 'exit 0' TERM; sleep 300 & wait", ("timeout", None, None)),
    "deaf": ("1", "1", "trap '' TERM; sleep 300 & wait", ("timeout", None, 9)),
    "stopped": ("60", "1", f"{_DEAF} sleep 300", ("stopped", None, None)),
}
"""Time limit, time to be killed after, command, and what becomes of it: the limit counts for the
command alone."""


def test_a_time_limit_is_that_of_the_command_and_not_of_what_it_leaves(luna: Lunasched) -> None:
    """Where systemd has killed the rest, it calls all of them but the failed ones a timeout."""
    for name, (limit, kill_after, command, _) in LEFT_BEHIND.items():
        # The machine shortens the time on cgroup v1: not for these.
        directory = f"/run/systemd/system/lunasched-job@{name}.service.d"
        luna.machine.run(f"mkdir -p {directory}; ln -sf /dev/null {directory}/cgroup-v1.conf")
        luna(
            *("add", "--name", name, *YEARLY, "--timeout", limit, "--kill-after", kill_after),
            *("--command", command),
        )
        if name != "in-time":
            luna("start", name)
    luna("stop", "stopped")
    assert luna("start", "--wait", "in-time").returncode == 0
    for name, (_, _, _, expected) in LEFT_BEHIND.items():
        (run,) = luna.wait_for_runs(name, 1)
        assert (run["result"], run["exit_code"], run["signal"]) == expected, name


def test_memory_limit(luna: Lunasched) -> None:
    run = run_once(
        luna, "--max-memory", "30M", "--", "/usr/bin/python3", "-c", "bytearray(200_000_000)"
    )
    # systemd learns of the kernel's kill from memory.events, which cgroup v1 does not have.
    assert run["result"] == ("oom-kill" if luna.machine.has_cgroup_v2() else "signal")
    assert run["signal"] == 9


@pytest.mark.parametrize(
    ("definition", "status"),
    [
        (("--", "/no/such/program"), 203),
        (("--run-as", "no-such-user", "--", "/bin/true"), 217),
        (("--working-directory", "/no/such/directory", "--", "/bin/true"), 200),
        # Its slot guard is what cannot be executed.
        (("--schedule", "0 0 1 1 *", "--run-as", "no-such-user", "--", "/bin/true"), 217),
    ],
    ids=["missing program", "unknown user", "bad working directory", "a guard's unknown user"],
)
def test_a_program_that_cannot_be_executed(
    luna: Lunasched, definition: tuple[str, ...], status: int
) -> None:
    run = run_once(luna, *definition)
    assert (run["result"], run["exit_code"]) == ("exec-error", status)
    assert "Failed" in run["output"]


def test_stopped_by_hand(luna: Lunasched) -> None:
    luna("add", "--name", luna.name, *YEARLY, "--command", "sleep 300")
    luna("start", luna.name)
    again = luna("start", luna.name, check=False)
    assert again.returncode == 1
    assert "is running" in again.stderr
    luna("stop", luna.name)
    (run,) = luna.wait_for_runs(luna.name, 1)
    assert run["result"] == "stopped"
    assert "not running" in luna("stop", luna.name).stdout


def test_the_timer_is_the_trigger_and_the_slot_is_known(luna: Lunasched) -> None:
    often, seconds = f"{luna.name}-often", f"{luna.name}-seconds"
    luna("add", "--name", often, "--schedule", "every 1s", "--command", "true")
    luna("add", "--name", seconds, "--schedule", "calendar:*:*:0/2", "--command", "true")
    for name in (often, seconds):
        runs = luna.wait_for_runs(name, 3)
        assert {run["trigger"] for run in runs} == {"timer"}
        slots = [run["scheduled_at"] for run in runs]
        assert len(set(slots)) == len(slots)
        assert all(run["scheduled_at"] <= run["started_at"] for run in runs)
    assert all(slot.endswith(".000000Z") for slot in slots)


def test_a_start_that_nobody_announced_is_manual(luna: Lunasched) -> None:
    luna("add", "--name", luna.name, *YEARLY, "--command", "true")
    luna.machine.run(["systemctl", "start", f"lunasched-job@{luna.name}.service"])
    (run,) = luna.wait_for_runs(luna.name, 1)
    assert (run["trigger"], run["scheduled_at"]) == ("manual", None)


def test_runs_that_happen_while_the_supervisor_is_down(luna: Lunasched) -> None:
    luna("add", "--name", luna.name, *YEARLY, "--command", "echo $INVOCATION_ID; exit 4")
    luna.machine.run(["systemctl", "stop", "lunasched.service"])
    for _ in range(5):
        luna("start", luna.name, "--wait", check=False)
    listed = luna("history", luna.name, check=False)
    assert "supervisor is not running" in listed.stderr
    assert not listed.stdout.strip()
    luna.machine.run(["systemctl", "start", "lunasched.service"])
    runs = luna.wait_for_runs(luna.name, 5)
    assert [run["exit_code"] for run in runs] == [4] * 5
    assert [run["execution_id"].replace("-", "") + "\n" for run in runs] == [
        run["output"] for run in runs
    ]
    assert "supervisor" not in luna("history", luna.name).stderr


@pytest.mark.parametrize("how", ["restart", "kill -s KILL"])
def test_a_run_that_outlives_the_supervisor_is_not_lost(luna: Lunasched, how: str) -> None:
    """Also in a container, where the supervisor's ``ProtectProc=`` uncovers another boot ID."""
    end = f"/tmp/end-{luna.name}"
    luna(
        *("add", "--name", luna.name, *YEARLY, "--max-retries", "1"),
        *("--command", f"until [ -e {end} ]; do sleep 0.1; done"),
    )
    luna("start", luna.name)
    luna.machine.wait_for(lambda: bool(luna.history(luna.name)), what="the run on record")
    luna.machine.run(f"systemctl {how} lunasched; systemctl start lunasched")
    # The next run of another job is on record only after all that was open has been looked at.
    luna("add", "--name", f"{luna.name}-next", *YEARLY, "--command", "true")
    luna("start", f"{luna.name}-next")
    luna.wait_for_runs(f"{luna.name}-next", 1)
    (run,) = luna.history(luna.name)
    assert (run["result"], run["ended_at"]) == (None, None)
    luna.machine.run(f"touch {end}")
    (run,) = luna.wait_for_runs(luna.name, 1)
    assert run["result"] == "success"


def test_only_the_end_of_a_long_output_is_kept(luna: Lunasched) -> None:
    run = run_once(luna, "--command", "yes ä | head -n 20000; printf end", fails=False)
    assert run["output"].endswith("ä\nend")
    note, kept = run["output"].split("\n", 1)
    assert note.startswith("[lunasched: only the end of the output is kept here")
    assert 8192 - 3 <= len(kept.encode()) <= 8192


@pytest.mark.parametrize(("size", "notes"), [(8191, 0), (8192, 0), (8193, 1), (20_000, 1)])
def test_an_output_is_called_cut_when_it_was(luna: Lunasched, size: int, notes: int) -> None:
    # From one process: where another goes on, journald begins a line.
    loop = f'for (i = 1; i < {size}; i++) printf "%s", i % 999 ? "x" : "\\n"; print ""'
    command = f"awk 'BEGIN {{ {loop} }}'"
    run = run_once(luna, "--command", command, fails=False)
    assert run["output"].count("[lunasched: only the end") == notes
    assert run["output"].endswith("xxx\n")


def test_output_that_is_no_text_or_has_no_newline(luna: Lunasched) -> None:
    run = run_once(luna, "--command", r"printf 'a\000b\n\377\tc\n\n'; printf 'no end'", fails=False)
    assert run["output"] == "a\0b\n\ufffd\tc\nno end"


@pytest.mark.parametrize(
    ("program", "user"),
    [
        ("/nonexistent", []),
        ("/nonexistent", ["--run-as", "luna"]),
        # Of a job of another user it would be told by that user, who is not believed.
        ("/usr/local/bin/no-interpreter", []),
    ],
)
def test_why_a_program_was_not_executed_is_in_all_views(
    luna: Lunasched, program: str, user: list[str]
) -> None:
    """Whenever journald was too late to find out who wrote it, or not."""
    file = "/usr/local/bin/no-interpreter"
    luna.machine.write_file(file, "#!/nonexistent\n")
    luna.machine.exec(f"chmod 755 {file}")
    luna("add", "--name", luna.name, *YEARLY, *user, "--", program, check=False)
    for number in range(1, 4):
        started = luna("start", luna.name, "--wait", check=False)
        run = luna.wait_for_runs(luna.name, number)[0]
        of_run = luna("logs", luna.name, "--execution", run["execution_id"]).stdout
        for view in (started.stdout, run["output"], of_run, luna("logs", luna.name).stdout):
            assert re.search(rf"Failed to execute {program}|te executable '?{program}", view)


def test_a_job_cannot_make_up_its_own_records(luna: Lunasched) -> None:
    forged = (
        "import os; from systemd import journal; i = os.environ['INVOCATION_ID'];"
        "journal.send('x', MESSAGE_ID='d9b373ed55a64feb8242e02dbe79a49c', INVOCATION_ID=i,"
        f" UNIT='lunasched-job@{luna.name}.service', UNIT_RESULT='oom-kill', _PID='1')"
    )
    run = run_once(luna, "--", "/usr/bin/python3", "-c", forged, fails=False)
    assert run["result"] == "success"


def test_an_ordinary_job_has_no_process_of_ours(luna: Lunasched) -> None:
    """Its retries, hooks, limits and priority are systemd's or the supervisor's business."""
    luna(
        *("add", "--name", luna.name, "--schedule", "every 1d", "--max-retries", "3"),
        *("--on-failure", "true", "--timeout", "1h", "--max-memory", "1G", "--priority", "Low"),
        *("--", "/bin/sleep", "60"),
    )
    luna("start", luna.name)
    unit = f"lunasched-job@{luna.name}.service"
    shown = luna.machine.run(["systemctl", "show", unit]).stdout.splitlines()
    commands = [line for line in shown if line.startswith("Exec") and "argv[]=" in line]
    assert [line.partition(" ; ")[0] for line in commands] == [
        "ExecStart={ path=/bin/sleep",
        "ExecStartEx={ path=/bin/sleep",
    ]
    assert all("argv[]=/bin/sleep 60 ;" in line for line in commands)
    pid = luna.machine.run(["systemctl", "show", "-P", "MainPID", unit]).stdout.strip()
    listed = luna.machine.exec(f"grep -l '{unit}' /proc/[0-9]*/cgroup").stdout.split()
    assert listed == [f"/proc/{pid}/cgroup"]
    command = luna.machine.exec(f"tr '\\0' ' ' < /proc/{pid}/cmdline").stdout
    assert command == "/bin/sleep 60 "
    assert "PPid:\t1\n" in luna.machine.exec(f"cat /proc/{pid}/status").stdout


def test_an_idle_supervisor_does_not_wake_up(luna: Lunasched) -> None:
    pid = luna.machine.run("systemctl show -P MainPID lunasched").stdout.strip()
    switches = f"cat /proc/{pid}/task/*/status | grep ctxt_switches"
    luna.machine.wait_for(
        f'a=$({switches}); sleep 1; [ "$a" = "$({switches})" ]', 30, what="an idle supervisor"
    )
    before = luna.machine.exec(switches).stdout
    luna.machine.exec("logger 'not about a job'; sleep 4")
    assert luna.machine.exec(switches).stdout == before
