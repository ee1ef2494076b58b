"""Jobs of which no exit code is a failure: what systemd, the history and the output say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from installed import Lunasched

pytestmark = pytest.mark.machine

RUNS: dict[str, tuple[dict[str, Any], tuple[str, int | None, int | None]]] = {
    "three": ({"command": "echo out; exit 3"}, ("success", 3, None)),
    "of-user": ({"command": "echo out; exit 4", "user": "luna"}, ("success", 4, None)),
    "zero": ({"command": "true"}, ("success", 0, None)),
    "list": ({"command": ["/bin/false"]}, ("success", 1, None)),
    "signal": ({"command": "kill -KILL $$", "user": "luna"}, ("signal", None, 9)),
    "limit": ({"command": "sleep 600", "timeout": 1}, ("timeout", None, None)),
    "nowhere": ({"command": "true", "working_directory": "/nowhere"}, ("exec-error", 200, None)),
    # There is no guard that would fail before it.
    "unguarded": (
        {"command": "true", "working_directory": "/nowhere", "schedule": "@reboot"},
        ("exec-error", 200, None),
    ),
    "missing": ({"command": ["/nowhere/x"], "schedule": "@reboot"}, ("exec-error", 203, None)),
    'it\'s 50% "of" $HOME \\ ü': ({"command": "exit 6"}, ("success", 6, None)),
    "of-systemd": ({"command": "exit 217"}, ("exit-code", 217, None)),
    "confined": (
        {
            "command": "exit 5",
            "user": "luna",
            "sandbox": {"private_tmp": True, "protect_system": "strict"},
        },
        ("success", 5, None),
    ),
}


def test_a_run_that_ends_by_itself_is_a_success_and_has_its_exit_code(luna: Lunasched) -> None:
    jobs = [
        {"schedule": "@yearly", **keys, "name": f"{luna.name}-{name}", "any_exit_code": True}
        for name, (keys, _) in RUNS.items()
    ]
    luna.machine.write_file(f"/tmp/{luna.name}.yaml", yaml.safe_dump({"jobs": jobs}))
    luna("apply", f"/tmp/{luna.name}.yaml")
    for name, (_, (result, *_codes)) in RUNS.items():
        started = luna("start", f"{luna.name}-{name}", "--wait", check=False)
        assert (started.returncode == 0) is (result == "success"), started
    for name, (keys, expected) in RUNS.items():
        (run,) = luna.wait_for_runs(f"{luna.name}-{name}", 1)
        assert (name, (run["result"], run["exit_code"], run["signal"])) == (name, expected)
        if expected[0] == "success":
            assert run["output"] == ("out\n" if expected[1] in (3, 4) else "")
        unit = f"lunasched-job@{luna.name}-{name}.service"
        failed = luna.machine.exec(["systemctl", "is-failed", "--quiet", unit], check=False)
        if "schedule" not in keys:  # without a timer that runs, the unit is unloaded
            # What a guard could not begin is skipped, to systemd.
            has_failed = expected[0] != "success" and name != "nowhere"
            assert (name, failed.returncode == 0) == (name, has_failed)


def test_so_it_is_for_the_jobs_of_a_user(own: Lunasched) -> None:
    sandbox = ("--sandbox", "private_tmp=true")
    for name, options in (("plain", ()), ("confined", sandbox)):
        job = f"{own.name}-{name}"
        own("add", "--name", job, "--schedule", "@yearly", "--any-exit-code", *options,
            "--command", "echo out; exit 7")  # fmt: skip
        assert own("start", job, "--wait").returncode == 0
        (run,) = own.wait_for_runs(job, 1)
        assert (run["result"], run["exit_code"], run["output"]) == ("success", 7, "out\n")
