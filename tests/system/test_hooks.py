"""Hooks run once for what they are about, as units of their own, and change no result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from installed import Lunasched

pytestmark = pytest.mark.machine

LATER = ("--schedule", "every 1d")
EVENTS = ("on-start", "on-success", "on-failure", "on-retry")


def add(luna: Lunasched, *options: str) -> None:
    """A job whose hooks note what they find in their environment."""
    note = f"env | grep ^LUNASCHED_ | sort > /tmp/{luna.name}.$LUNASCHED_EVENT; echo hooked"
    hooks = [word for event in EVENTS for word in (f"--{event}", note)]
    luna("add", "--name", luna.name, *LATER, *hooks, *options)


def hooks(luna: Lunasched, runs: int = 1) -> list[dict[str, Any]]:
    """The hooks of all runs, once they are over; those of the oldest run first."""

    def found() -> list[dict[str, Any]]:
        return [hook for run in luna.history(luna.name)[::-1] for hook in run["hooks"]]

    luna.wait_for_runs(luna.name, runs)
    luna.machine.wait_for(
        lambda: all(hook["result"] for hook in found()), 20, what=f"the hooks of {luna.name}"
    )
    return found()


def noted(luna: Lunasched, event: str) -> dict[str, str]:
    lines = luna.machine.exec(f"cat /tmp/{luna.name}.{event}").stdout.splitlines()
    return {key: value for key, _, value in (line.partition("=") for line in lines)}


def test_success(luna: Lunasched) -> None:
    add(luna, "--command", "true", "--env", "MINE=1")
    luna("start", luna.name, "--wait")
    assert [(hook["event"], hook["result"]) for hook in hooks(luna)] == [
        ("on_start", "success"),
        ("on_success", "success"),
    ]
    (run,) = luna.history(luna.name)
    started, succeeded = noted(luna, "on_start"), noted(luna, "on_success")
    for facts in (started, succeeded):
        assert facts["LUNASCHED_JOB"] == luna.name
        assert facts["LUNASCHED_EXECUTION_ID"] == run["execution_id"]
        assert facts["LUNASCHED_STARTED_AT"] == run["started_at"]
        assert facts["LUNASCHED_TRIGGER"] == "manual"
        assert facts["LUNASCHED_ATTEMPT"] == "1"
    assert "LUNASCHED_RESULT" not in started
    assert succeeded["LUNASCHED_RESULT"] == "success"
    assert succeeded["LUNASCHED_EXIT_CODE"] == "0"
    assert succeeded["LUNASCHED_ENDED_AT"] == run["ended_at"]
    unit = f"lunasched-hook@{luna.name}:on_success.service"
    assert "hooked" in luna.machine.run(["journalctl", "-u", unit]).stdout


def test_the_failure_hook_follows_the_last_attempt(luna: Lunasched) -> None:
    add(luna, "--max-retries", "2", "--retry-delay", "0", "--command", "exit 3")
    luna("start", luna.name, "--wait", check=False)
    assert [hook["event"] for hook in hooks(luna, 3)] == [
        *("on_start", "on_retry"),
        *("on_start", "on_retry"),
        *("on_start", "on_failure"),
    ]
    last, *_, first = luna.history(luna.name)
    failed, again = noted(luna, "on_failure"), noted(luna, "on_retry")
    assert failed["LUNASCHED_RESULT"] == "exit-code"
    assert failed["LUNASCHED_EXIT_CODE"] == "3"
    assert failed["LUNASCHED_ATTEMPT"] == failed["LUNASCHED_MAX_ATTEMPTS"] == "3"
    assert failed["LUNASCHED_EXECUTION_ID"] == last["execution_id"]
    assert failed["LUNASCHED_FIRST_ATTEMPT_ID"] == first["execution_id"]
    assert again["LUNASCHED_NEXT_ATTEMPT"] == "3"
    assert again["LUNASCHED_NEXT_ATTEMPT_AT"]


def test_a_retry_that_is_cancelled_makes_the_failure_final(luna: Lunasched) -> None:
    add(luna, "--max-retries", "2", "--retry-delay", "1h", "--command", "exit 3")
    luna("start", luna.name, "--wait", check=False)
    assert [hook["event"] for hook in hooks(luna)] == ["on_start", "on_retry"]
    luna("retry", "cancel", luna.name)
    luna.machine.wait_for(
        lambda: [hook["event"] for hook in hooks(luna)] == ["on_start", "on_retry", "on_failure"],
        10,
        what="the failure hook",
    )


def test_a_program_that_could_not_be_executed_did_not_start(luna: Lunasched) -> None:
    add(luna, "--", "/no/such/program")
    luna("start", luna.name, "--wait", check=False)
    assert [hook["event"] for hook in hooks(luna)] == ["on_failure"]


@pytest.mark.parametrize(
    ("hook", "limit", "result", "code"),
    [
        ("exit 7", "1h", "exit-code", 7),
        ("sleep 60", "1", "timeout", None),
        ("kill -9 $$", "1h", "signal", None),
    ],
)
def test_a_hook_that_fails_leaves_the_result_of_the_run_alone(
    luna: Lunasched, hook: str, limit: str, result: str, code: int | None
) -> None:
    luna(
        *("add", "--name", luna.name, *LATER, "--command", "true"),
        *("--on-success", hook, "--hook-timeout", limit),
    )
    assert luna("start", luna.name, "--wait").returncode == 0
    (found,) = hooks(luna)
    assert (found["result"], found["exit_code"]) == (result, code)
    (run,) = luna.history(luna.name)
    assert (run["result"], run["exit_code"]) == ("success", 0)
    assert f"on_success {result}" in luna("history", luna.name).stdout
    assert f"on_success: {result}" in luna("get", luna.name).stdout


def test_hooks_run_as_the_jobs_user_in_its_environment(luna: Lunasched) -> None:
    luna(
        *("add", "--name", luna.name, *LATER, "--run-as", "luna", "--env", "MINE=a b"),
        *("--working-directory", "/usr", "--on-success"),
        f'echo "$(id -un) $MINE $PWD" > /tmp/{luna.name}',
        *("--command", "true"),
    )
    luna("start", luna.name, "--wait")
    hooks(luna)
    assert luna.machine.exec(f"cat /tmp/{luna.name}").stdout == "luna a b /usr\n"


def test_the_supervisor_can_tell_a_hook_nothing_but_about_the_run(luna: Lunasched) -> None:
    # Hooks may run as root, and the supervisor does not.
    luna(
        *("add", "--name", luna.name, *LATER, "--on-success", f"env > /tmp/{luna.name}"),
        *("--command", "true"),
    )
    about = f"/run/lunasched/supervisor/hooks/{luna.name}:on_success"
    luna.machine.exec(
        f"printf 'LD_PRELOAD=x\\nPATH=x\\nLUNASCHED_JOB=j\\n' > {about};"
        f"chown lunasched {about};"
        f"systemctl start lunasched-hook@{luna.name}:on_success"
    )
    luna.machine.wait_for(f"[ -s /tmp/{luna.name} ]", 10, what="the hook")
    found = luna.machine.exec(f"cat /tmp/{luna.name}").stdout
    assert "LUNASCHED_JOB=j" in found
    assert "LD_PRELOAD" not in found
    assert "PATH=x" not in found


def test_one_hook_of_an_event_runs_at_a_time_and_all_run(luna: Lunasched) -> None:
    log = f"/tmp/{luna.name}.log"
    luna(
        *("add", "--name", luna.name, *LATER, "--command", "true", "--on-success"),
        f"echo begin >> {log}; sleep 0.5; echo end $LUNASCHED_EXECUTION_ID >> {log}",
    )
    for _ in range(4):
        luna("start", luna.name, "--wait")
    hooks(luna, 4)
    lines = luna.machine.exec(f"cat {log}").stdout.split()
    runs = luna.history(luna.name)[::-1]
    assert lines == [word for run in runs for word in ("begin", "end", run["execution_id"])]


def test_hooks_of_runs_while_the_supervisor_was_down(luna: Lunasched) -> None:
    add(luna, "--command", "exit 3")
    luna.machine.exec("systemctl stop lunasched")
    luna("start", luna.name, "--wait", check=False)
    luna.machine.exec("systemctl start lunasched")
    assert [hook["event"] for hook in hooks(luna)] == ["on_start", "on_failure"]


def test_removing_the_job_removes_its_hooks(luna: Lunasched) -> None:
    add(luna, "--command", "true")
    found = f"ls /etc/systemd/system | grep -c 'lunasched-hook@{luna.name}:'"
    assert luna.machine.exec(found).stdout == "4\n"
    luna("remove", luna.name)
    assert luna.machine.exec(found, check=False).stdout == "0\n"


def test_a_users_own_hooks(own: Lunasched) -> None:
    own(
        *("add", "--name", own.name, *LATER, "--command", "exit 3", "--on-failure"),
        f"echo $LUNASCHED_EXIT_CODE > /tmp/{own.name}",
    )
    own("start", own.name, "--wait", check=False)
    assert [hook["result"] for hook in hooks(own)] == ["success"]
    assert own.machine.exec(f"cat /tmp/{own.name}").stdout == "3\n"
