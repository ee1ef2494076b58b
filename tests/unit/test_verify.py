"""What systemd does not understand is told before it is deployed, and by whose words it came."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from compiling import EVERYTHING, SYSTEM, USER, USER_EVERYTHING, compiled

from lunasched.deploy.checks import compiled_if_valid
from lunasched.deploy.intendedjobs import IntendedJobs
from lunasched.deploy.plan import Plan
from lunasched.errors import DeploymentFailed, ExitCode, InvalidJob, InvalidJobs
from lunasched.jobs.reading import job_from_mapping
from lunasched.paths import Mode
from lunasched.store import Store
from lunasched.systemd import verify
from lunasched.systemd.verify import Complaint

COMMAND = Path(sys.executable).with_name("lunasched")
LEAST: dict[str, Any] = {"name": "a: b", "schedule": "every 1h", "command": "/no/such/program"}


def problems(**keys: Any) -> list[str]:
    with pytest.raises(InvalidJob) as caught:
        verify.check_compiled(compiled({**LEAST, **keys}, SYSTEM), Mode.SYSTEM)
    return list(caught.value.problems)


def test_what_systemd_understands_is_accepted() -> None:
    verify.check_compiled(compiled({**EVERYTHING, "command": "true"}, SYSTEM), Mode.SYSTEM)
    verify.check_compiled(compiled(USER_EVERYTHING, USER), Mode.USER)
    verify.check_compiled(compiled({**LEAST, "systemd": {"LimitNOFILE": 9}}, SYSTEM), Mode.SYSTEM)


@pytest.mark.parametrize(
    ("directive", "value", "said"),
    [
        ("LimitNofile", "9", "Unknown key"),
        ("Before", "nounit", "Failed to"),
        ("ConditionFileIsSomething", "/x", "Unknown key"),
        ("LimitNOFILE", "many", "Failed to parse"),
        ("BindPaths", ["/a", "relative"], "not absolute"),
        ("BindPaths", "/a:%Z", "resolve"),
    ],
)
def test_a_directive_that_systemd_does_not_understand(
    directive: str, value: object, said: str
) -> None:
    [problem] = problems(systemd={directive: value, "LimitCORE": 0})
    assert problem.startswith(f"systemd.{directive}: ")
    assert said in problem
    assert "ignoring" not in problem


def test_jobs_that_say_the_same_are_asked_about_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And each of them is told: a thousand lines of crontabs have one directive."""
    asked: list[str] = []
    complaints = verify.complaints

    def noting(units: Mapping[str, str], mode: Mode) -> list[Complaint]:
        asked.extend(units)
        return complaints(units, mode)

    monkeypatch.setattr(verify, "complaints", noting)
    names = [f"job-{number}" for number in range(30)]
    jobs = [
        job_from_mapping({**LEAST, "name": name, "systemd": {"Bad": 1} if number % 3 else {"B": 2}})
        for number, name in enumerate(names)
    ]
    wanted = Plan(added=tuple(jobs))
    with Store.in_memory() as store, pytest.raises(InvalidJobs) as caught:
        compiled_if_valid(wanted, IntendedJobs(store, SYSTEM, wanted.after), SYSTEM, 0)
    assert len(asked) == 2
    keys = {name: fault.partition(": ")[0] for name, fault in caught.value.faults}
    assert keys == {
        name: "systemd.Bad" if number % 3 else "systemd.B" for number, name in enumerate(names)
    }


def test_all_are_named_by_their_keys() -> None:
    found = problems(sandbox={"system_call_filter": "@sytem-service"}, systemd={"A": 1, "B": 2})
    assert [problem.partition(": ")[0] for problem in found] == [
        "sandbox.system_call_filter",
        "systemd.A",
        "systemd.B",
    ]


def test_a_job_without_words_of_systemd_is_not_asked_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    verify.check_compiled(compiled(LEAST, SYSTEM), Mode.SYSTEM)
    with pytest.raises(DeploymentFailed, match="systemd-analyze"):
        verify.check_compiled(compiled({**LEAST, "sandbox": {"umask": "077"}}, SYSTEM), Mode.SYSTEM)


def test_complaints_are_of_the_unit_and_directive() -> None:
    units = {
        "right.service": "[Service]\nExecStart=/bin/true\n",
        "wrong.service": "[Service]\nExecStart=/bin/true\nUMask=9\n",
        "empty.service": "[Service]\nType=simple\n",
    }
    found = verify.complaints(units, Mode.SYSTEM)
    assert {(each.unit, each.directive) for each in found} == {
        ("wrong.service", "UMask"),
        ("empty.service", None),
    }
    assert all(isinstance(each, Complaint) and each.message for each in found)


def test_a_dry_run_asks_as_well(tmp_path: Path) -> None:
    add = ["add", "--name", "x", "--schedule", "@daily", "--command", "true", "--dry-run"]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "LUNASCHED_DB_PATH": str(tmp_path / "lunasched.db"),
    }

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, *add, *options], env=environment, capture_output=True, text=True, check=False
        )

    done = run("--systemd", "LimitNOFILE=9", "--sandbox", "private_tmp", "--sandbox", "umask=077")
    assert done.returncode == 0, done
    assert "\nPrivateTmp=yes\nUMask=077\n" in done.stdout
    assert "\nLimitNOFILE=9\n" in done.stdout
    done = run("--systemd", "LimitNofile=9", "--sandbox", "system_call_filter=@x")
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert "systemd.LimitNofile: " in done.stderr
    assert "sandbox.system_call_filter: " in done.stderr
