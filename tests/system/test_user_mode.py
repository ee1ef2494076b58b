"""An ordinary user has jobs of their own, in their own manager, without any privilege."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import crontab_machine
import pytest

if TYPE_CHECKING:
    from installed import Lunasched
    from machine import Machine

pytestmark = pytest.mark.machine


def test_a_users_job_runs_and_is_recorded(own: Lunasched) -> None:
    own("add", "--name", own.name, "--schedule", "every 1s", "--command", "id -un; exit 3")
    runs = own.wait_for_runs(own.name, 2)
    assert {run["result"] for run in runs} == {"exit-code"}
    assert {run["exit_code"] for run in runs} == {3}
    assert {run["output"] for run in runs} == {"luna\n"}
    assert {run["trigger"] for run in runs} == {"timer"}
    unit = f"/home/luna/.config/systemd/user/lunasched-job@{own.name}.timer"
    assert own.machine.exec(["stat", "-c", "%U", unit]).stdout == "luna\n"
    for database in ("jobs.db", "history/history.db"):
        path = f"/home/luna/.local/state/lunasched/{database}"
        assert own.machine.exec(["stat", "-c", "%U %a", path]).stdout == "luna 600\n"


def test_starting_following_and_stopping(own: Lunasched) -> None:
    own("add", "--name", own.name, "--schedule", "@yearly", "--command", "echo hello; sleep 300")
    own("start", own.name)
    own.machine.wait_for(
        lambda: "hello" in own("logs", own.name, check=False).stdout, what="output in the journal"
    )
    own("stop", own.name)
    (run,) = own.wait_for_runs(own.name, 1)
    assert (run["result"], run["trigger"], run["output"]) == ("stopped", "manual", "hello\n")


@pytest.mark.parametrize(
    ("command", "result", "code"),
    [("exit 5", "exit-code", 5), ("kill -9 $$", "signal", None), ("true", "success", 0)],
)
def test_results(own: Lunasched, command: str, result: str, code: int | None) -> None:
    own("add", "--name", own.name, "--schedule", "@yearly", "--command", command)
    own("start", own.name, "--wait", check=False)
    (run,) = own.wait_for_runs(own.name, 1)
    assert (run["result"], run["exit_code"]) == (result, code)


def test_a_missing_program(own: Lunasched) -> None:
    own("add", "--name", own.name, "--schedule", "@yearly", "--", "/no/such/program")
    assert own("start", own.name, "--wait", check=False).returncode == 203
    (run,) = own.wait_for_runs(own.name, 1)
    assert (run["result"], run["exit_code"]) == ("exec-error", 203)


def test_the_systems_jobs_are_not_for_everybody(booted: Machine) -> None:
    add = ["lunasched", "--system", "add", "--name", "x", "--schedule", "@daily", "--", "true"]
    refused = booted.run(add, user="luna", check=False)
    assert refused.returncode == 4
    assert "root" in refused.stderr
    assert "--user" in refused.stderr
    listed = booted.run(["lunasched", "--system", "list"], user="luna", check=False)
    assert listed.returncode == 4


def test_another_user_cannot_be_run_as(own: Lunasched) -> None:
    refused = own(
        *("add", "--name", own.name, "--schedule", "@daily", "--run-as", "root", "--", "true"),
        check=False,
    )
    assert refused.returncode == 2
    assert "--system" in refused.stderr


def test_without_a_user_manager(booted: Machine) -> None:
    """Exit code 5, and what to do about it."""
    add = "lunasched add --name x --schedule @daily --command true"
    done = booted.run(
        f"setpriv --reuid=nobody --clear-groups env HOME=/tmp/nobody {add}", check=False
    )
    assert done.returncode == 5
    assert "enable-linger" in done.stderr


CRONTAB = crontab_machine.PROGRAM.replace("main()", "main(is_own=True)")
BIN = "/home/luna/.local/bin/crontab"


def _of_crontabs(own: Lunasched) -> list[dict[str, Any]]:
    """What the doctor says of the crontab."""
    found = json.loads(own("doctor", "--json", check=False).stdout)["findings"]
    return sorted(
        (one for one in found if one["check"] == "crontabs" and one["severity"] != "ok"),
        key=lambda one: str(one["what"]),
    )


def test_a_crontab_of_ones_own(own: Lunasched) -> None:
    """Without the service of the system: its entries are jobs of the user's own manager."""
    machine = own.machine
    machine.write_file(BIN, CRONTAB, mode=0o755)

    def crontab(*arguments: str, text: str = "", check: bool = True) -> Any:
        env = {"XDG_RUNTIME_DIR": "/run/user/1000", "VISUAL": "/bin/true"}
        command = [BIN, *arguments]
        return machine.run(command, user="luna", env=env, input=text, check=check)

    def listed() -> dict[str, Any]:
        return {job["name"]: job for job in own.json("list") if job["origin"]}

    try:
        assert crontab("-l", check=False).stderr == "no crontab for luna\n"
        crontab("-", text="# mine\nA=b\n* * * * * echo $A\n1 1 * * * true\n")
        assert {name: job["schedule"] for name, job in listed().items()} == {
            "crontab-echo": "* * * * *", "crontab-true": "1 1 * * *",
        }  # fmt: skip
        file = "/home/luna/.config/lunasched/crontab"
        assert listed()["crontab-echo"]["origin"]["file"] == file
        assert machine.exec(["stat", "-c", "%U %a", file]).stdout == "luna 600\n"
        own("start", "crontab-echo", "--wait")
        assert "b\n" in {run["output"] for run in own.wait_for_runs("crontab-echo", 1)}
        refused = crontab("-", text="61 * * * * x\n", check=False)
        assert (refused.returncode, "can't install" in refused.stderr) == (1, True)
        refused = crontab("-u", "root", "-l", check=False)
        assert (refused.returncode, "privileged" in refused.stderr) == (1, True)
        # Its lines are edited there, and adopted as those of the machine.
        editor = {"VISUAL": "sed -i s/true/false/"}
        machine.run(["lunasched", "edit", "crontab-true"], user="luna", env=editor)
        assert set(listed()) == {"crontab-echo", "crontab-false"}
        # A line that somebody writes into the file is no job until its command is run.
        machine.exec(f"printf '2 2 * * * /bin/late\\n61 * * * * x\\n' >>{file}")
        last = len(machine.exec(["cat", file]).stdout.splitlines())
        late, wrong = _of_crontabs(own)
        assert late["what"] == f"{file}:{last - 1} has no job, and is not run"
        assert wrong["what"].startswith(f"{file}:{last} is not run: ")
        assert (late["as_root"], wrong["fix"]) == (False, [])
        machine.run(late["fix"][0], user="luna")
        assert "crontab-late" in listed()
        assert _of_crontabs(own) == [wrong]
        machine.exec(f"sed -i '$d' {file}; sed -i '$d' {file}")
        own("crontabs")
        assert _of_crontabs(own) == []
        own("adopt-crontab", "crontab-false")
        assert crontab("-l").stdout.endswith("\n#1 1 * * * false\n")
        own("remove", "crontab-false")
        crontab("-r")
        assert listed() == {}
    finally:
        crontab("-r", check=False)
        machine.exec(f"rm {BIN}")


def test_once_and_gone(own: Lunasched) -> None:
    done = own(
        "run", "--wait", "--name", own.name, "--", "sh", "-c", "echo out; exit 5", check=False
    )
    assert (done.returncode, done.stdout) == (5, "out\n")
    later = f"{own.name}-later"
    own("at", "now + 2s", "--name", later, "--command", "id -un")
    (run,) = own.wait_for_runs(later, 1)
    assert (run["trigger"], run["output"]) == ("timer", "luna\n")
    own.machine.wait_for(
        lambda: own.name not in own("list", "--names").stdout, what="both to be removed"
    )
