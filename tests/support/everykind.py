"""A job of every kind on one machine, and what is to be true of all of them at any time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from machine import Machine

UNITS = "/etc/systemd/system"
PORT = 9777
"""Where the webhooks go."""
EXPORTED = "/root/exported.yaml"

_YEARLY = {"schedule": "@yearly"}
_WEBHOOK = {"type": "webhook", "url": f"http://127.0.0.1:{PORT}/failed"}

JOBS: list[dict[str, Any]] = [
    {"name": "slots", "schedule": "calendar:*:*:0/4", "command": "echo a slot"},
    {"name": "interval", "schedule": "every 5s", "command": "echo an interval"},
    {"name": "fails", **_YEARLY, "command": "echo the reason >&2; exit 3",
     "notification_config": {"on_failure": [
         _WEBHOOK, {"type": "exec", "command": ["/bin/sh", "-c", "cat >>/var/tmp/told"]},
     ], "on_output": {"type": "exec", "command": ["/bin/sh", "-c", "cat >>/var/tmp/printed"]}},
     "hooks": {"on_failure": "echo $LUNASCHED_RESULT >>/var/tmp/hooks"}},
    {"name": "retried", **_YEARLY, "command": "exit 4",
     "retry_policy": {"max_attempts": 2, "initial_delay_seconds": 1}},
    {"name": "base", **_YEARLY, "command": "echo the base"},
    {"name": "above it", **_YEARLY, "command": "echo above", "dependencies": ["base"]},
    {"name": "beside it", **_YEARLY, "command": "echo beside", "after": ["base"]},
    {"name": "alone", **_YEARLY, "command": "sleep 1", "execution_mode": "Exclusive"},
    {"name": "many", **_YEARLY, "command": "sleep 1", "execution_mode": "Parallel",
     "max_concurrent": 3},
    {"name": "skips", "schedule": "calendar:*:*:0/5", "command": "sleep 1", "overlap": "skip"},
    {"name": "replaces", "schedule": "calendar:*:*:0/10", "command": "sleep 1",
     "overlap": "replace"},
    {"name": "confined", **_YEARLY, "command": "echo confined", "user": "luna",
     "resource_limits": {"timeout_seconds": 60, "max_memory_mb": 64, "cpu_quota": 0.5},
     "sandbox": {"private_tmp": True, "protect_system": "strict", "no_new_privileges": True},
     "systemd": {"LimitNOFILE": 4096}},
    {"name": "caught up", "schedule": "0 3 * * *", "timezone": "Europe/Berlin",
     "command": "true", "catch_up": True, "tags": ["night"]},
    {"name": "any code", **_YEARLY, "command": "exit 3", "any_exit_code": True},
    {"name": "private 100%", **_YEARLY, "command": "echo \"$TOKEN\" 'of it'", "private": True,
     "env": {"TOKEN": "a $ecret"}, "hooks": {"on_success": "echo hook"}},
    {"name": "off", **_YEARLY, "command": "true", "enabled": False},
    {"name": "at boot", "schedule": "@reboot", "command": "echo booted"},
    {"name": "several", "schedule": ["at 09:00", "at 17:30 on Mon-Fri", "@boot+1h"],
     "command": "echo several"},
    {"name": "from boot", "schedule": "every 1d; @boot+1h", "command": "echo from boot"},
    {"name": "it's 50% \"of\" $HOME \\ ünï: €", **_YEARLY, "command": "echo '%n' \"$0\""},
]  # fmt: skip
"""As job files have them."""

_CRONTAB = """\
MAILTO=""
CRON_TZ=America/New_York
17 4 * * *  echo of a crontab
@weekly     echo weekly
"""
_TIMER = "[Timer]\nOnCalendar=Mon 03:00\nRandomizedDelaySec=10\n[Install]\nWantedBy=timers.target\n"
_SERVICE = "[Service]\nType=oneshot\nExecStart=/bin/echo adopted\n"

_STARTED = (
    "base", "above it", "alone", "many", "confined", "any code", "fails", "retried",
    JOBS[-1]["name"],
)  # fmt: skip
"""What is started by hand, in an order in which dependencies hold."""


def _lunasched(machine: Machine, *arguments: str, user: str | None = None, **options: Any) -> str:
    return machine.run(["lunasched", *arguments], user=user, timeout=120, **options).stdout


def _json(machine: Machine, *arguments: str, user: str | None = None) -> Any:
    return json.loads(_lunasched(machine, *arguments, "--json", user=user))


def populate(machine: Machine) -> None:
    """Add the jobs in all ways that there are: files, a crontab, adoption, a user's own."""
    receiver = ["python3", "/opt/lunasched/tests/support/receiver.py", str(PORT)]
    machine.run(["systemd-run", "--quiet", "--unit=receiver", *receiver, "/tmp/r.log", "/tmp/r"])
    # JSON is YAML.
    machine.write_file("/root/jobs.yaml", json.dumps({"jobs": JOBS}))
    _lunasched(machine, "apply", "/root/jobs.yaml")
    machine.write_file("/root/crontab", _CRONTAB)
    _lunasched(machine, "import-crontab", "--user-format", "/root/crontab")
    machine.write_file(f"{UNITS}/legacy.timer", _TIMER)
    machine.write_file(f"{UNITS}/legacy.service", _SERVICE)
    machine.run("systemctl daemon-reload; systemctl enable --now legacy.timer")
    _lunasched(machine, "adopt", "legacy.timer", "--name", "adopted")
    machine.run(
        "systemctl --user daemon-reload; systemctl --user enable --now lunasched", user="luna"
    )
    own = ("add", "--name", "own", "--schedule", "every 5s", "--command", "echo own")
    _lunasched(machine, *own, "--sandbox", "no_new_privileges", user="luna")


def run_them(machine: Machine) -> None:
    """Start by hand what does not start by itself, and wait until it is on record."""
    for name in _STARTED:
        _lunasched(machine, "start", name, "--wait", check=False)
    expected = {
        **dict.fromkeys(_STARTED, "success"),
        "fails": "exit-code", "retried": "exit-code", "slots": "success",
        "interval": "success", "skips": "success", "replaces": "success",
    }  # fmt: skip
    for name, result in expected.items():
        _wait_for_result(machine, name, result)
    _wait_for_result(machine, "own", "success", user="luna")


def _wait_for_result(machine: Machine, name: str, result: str, user: str | None = None) -> None:
    def found() -> bool:
        runs = _json(machine, "history", name, "--all", user=user)
        return any(run["result"] == result and run["output"] is not None for run in runs)

    machine.wait_for(found, 60, what=f"a run of {name} with {result}", interval=0.3)


def names(machine: Machine) -> set[str]:
    """The system's jobs."""
    return {job["name"] for job in _json(machine, "list")}


def findings(machine: Machine, user: str | None = None) -> set[str]:
    """What the doctor says that is not well."""
    printed = machine.run(["lunasched", "doctor", "--json"], user=user, check=False).stdout
    found = json.loads(printed)["findings"]
    return {one["what"] for one in found if one["severity"] in ("warning", "error")}


def nothing_is_wrong(
    machine: Machine, known: set[str], *, after: str, in_detail: bool = False
) -> None:
    """Every command that looks at the jobs finds them as they should be.

    ``in_detail`` looks at each job by itself, too, which takes seconds. ``known`` is what the
    doctor says of the machine itself, such as that it has cgroup v1.
    """
    for user in (None, "luna"):
        wrong = findings(machine, user) - known
        assert not wrong, f"{after}, of {user or 'the system'}: {wrong}"
        listed = _json(machine, "list", user=user)
        for job in listed:
            if in_detail:
                assert _json(machine, "get", job["name"], user=user)["name"] == job["name"]
                runs = _json(machine, "history", job["name"], user=user)
                assert {run["job"] for run in runs} <= {job["name"]}
            is_timed = job["enabled"] and job["schedule"] != "@reboot"
            # Between an elapse and the end of its run, an interval has no next time.
            if is_timed and not job["schedule"].startswith("every"):
                # On a busy machine a slot may pass during a run of a few seconds.
                assert job["next_elapse"] or job["obstacle"] == "busy", f"{after}: {job}"
        assert "Everything is as it should be." in _lunasched(machine, "sync", user=user)
        exported = _lunasched(machine, "export-config", user=user)
        applied = machine.run(
            ["lunasched", "apply", "-", "--format", "yaml", "--exit-code", "--prune"],
            user=user,
            input=exported,
            check=False,
        )
        assert applied.returncode == 0, f"{after}: {applied.stdout}{applied.stderr}"
    broken = machine.run("systemctl list-units --plain --no-legend --failed").stdout.split()
    ours = [word for word in broken if word.startswith("lunasched")]
    assert [unit for unit in ours if "@" not in unit] == [], after
