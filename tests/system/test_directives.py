"""A job's own directives of [Unit] and its own lines of commands, on a booted systemd."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from installed import Lunasched

pytestmark = pytest.mark.machine

JOBS = """
jobs:
  - name: {name}
    schedule: cron:* * * * * */3
    command: echo ran
    systemd: {{ConditionPathExists: /run/{name}}}
"""
FAILING = """
jobs:
  - name: {name}
    schedule: "@yearly"
    command: echo never
    systemd: {{{directive}}}
"""
FAILS = "[Service]\nType=oneshot\nExecStart=/bin/false\n"
COMMANDS = """
jobs:
  - name: {name}
    schedule: "@yearly"
    env: {{WORDS: two words}}
    timeout: 20
    systemd:
      ExecStartPre: -/bin/sh -c 'echo before; exit 7'
      ExecStart:
        - "/bin/echo first $WORDS '${{WORDS}}'"
        - "-/bin/false"
        - "/bin/sh -c '{last}'"
      ExecStartPost: /bin/echo after
"""


def apply(luna: Lunasched, text: str) -> None:
    luna.machine.write_file(f"/tmp/{luna.name}.yaml", text)
    luna("apply", f"/tmp/{luna.name}.yaml")


def test_a_condition_of_a_job_skips_its_slots_and_each_is_on_record(luna: Lunasched) -> None:
    name = luna.name
    apply(luna, JOBS.format(name=name))
    runs = luna.wait_for_runs(name, 2)
    assert {run["result"] for run in runs} == {"skipped"}
    assert all("ConditionPathExists=/run/" in run["output"] for run in runs)
    slots = [run["scheduled_at"] for run in runs]
    assert None not in slots
    assert len({*slots}) == len(slots)
    # Nothing waits for a gate that is open.
    luna.machine.run(["touch", f"/run/{name}"])
    luna.machine.wait_for(
        lambda: any(run["result"] == "success" for run in luna.history(name)), 30, what="a success"
    )
    assert all(run["trigger"] == "timer" for run in luna.history(name))


def test_a_start_by_hand_that_a_condition_refuses_says_so(luna: Lunasched) -> None:
    apply(luna, FAILING.format(name=luna.name, directive="ConditionPathExists: '!/etc'"))
    for options in ((), ("--wait",)):
        said = luna("start", luna.name, *options, check=False)
        assert said.returncode == 1
        assert "was skipped: ConditionPathExists=!/etc does not hold" in said.stderr


@pytest.mark.parametrize("directive", ["AssertPathExists: /nowhere", "BindsTo: fails.service"])
def test_what_a_requirement_keeps_from_running_has_failed(luna: Lunasched, directive: str) -> None:
    name = luna.name
    luna.machine.write_file("/etc/systemd/system/fails.service", FAILS)
    apply(luna, FAILING.format(name=name, directive=f"{directive}, After: fails.service"))
    luna.machine.run(["systemctl", "start", f"lunasched-job@{name}.service"], check=False)
    (run,) = luna.wait_for_runs(name, 1)
    assert run["result"] == "exec-error"
    assert run["output"]


@pytest.mark.parametrize(
    ("last", "result", "code"), [("echo last", "success", 0), ("exit 3", "exit-code", 3)]
)
def test_commands_run_one_after_the_other(
    luna: Lunasched, last: str, result: str, code: int
) -> None:
    apply(luna, COMMANDS.format(name=luna.name, last=last))
    luna("start", luna.name, "--wait", check=False)
    (run,) = luna.wait_for_runs(luna.name, 1)
    assert (run["result"], run["exit_code"]) == (result, code)
    expected = "before\nfirst two words two words\n"
    assert run["output"] == expected + ("last\nafter\n" if code == 0 else "")
    refused = luna("start", luna.name, "--", "more", check=False)
    assert (refused.returncode, "take no arguments" in refused.stderr) == (2, True)
