"""Guards work inside of every sandbox that a job can have, with no more rights than the job."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from sandboxes import EXCEPTIONS, PREPARE, SANDBOX

from lunasched.jobs.sandbox import OPTIONS

if TYPE_CHECKING:
    from installed import Lunasched

pytestmark = [pytest.mark.machine, pytest.mark.slow]

SLOTS = "/var/lib/lunasched/slots"
# What no option says, or says of less.
MORE: dict[str, dict[str, Any]] = {
    "small": {"max_memory": "8M"},
    "no-uptime": {"systemd": {"ProcSubset": "pid"}},
    "no-sockets": {"sandbox": {"restrict_address_families": "none"}},
    "small-files": {"systemd": {"LimitFSIZE": 64}},
    "root-read-only": {"sandbox": {"read_only_paths": "/"}},
    "calls": {"sandbox": {"system_call_filter": ["@system-service", "~@privileged"]}},
    "no-capability": {"sandbox": {"capability_bounding_set": "none"}},
}
# It cannot ask systemd what started it.
LETS_PASS = {"no-sockets"}


def definitions(slot: datetime) -> list[dict[str, Any]]:
    """A job for each option and more, as root and as another user."""
    kinds = {key: SANDBOX.get(key) or EXCEPTIONS.get(key) or {key: True} for key in OPTIONS}
    wanted = {**{key: {"sandbox": sandbox} for key, sandbox in kinds.items()}, **MORE}
    base = {"name": "base", "schedule": "@yearly", "command": "true"}
    found = [
        {
            "name": f"{user}-{kind}",
            "schedule": f"at {slot:%H:%M:%S}",
            "catch_up": True,
            "command": "true",
            "user": user,
            "dependencies": ["base"],
            **keys,
        }
        for kind, keys in wanted.items()
        for user in ("root", "luna")
    ]
    end = {**base, "name": "end", "dependencies": [job["name"] for job in found]}
    return [base, *found, end]


def results(luna: Lunasched, names: list[str], *wanted: str) -> dict[str, list[str]]:
    """The results of so many runs of each job, the oldest first, once they are there."""

    def found() -> dict[str, list[str]]:
        of: dict[str, list[str]] = {name: [] for name in names}
        for run in luna.history()[::-1]:
            if run["job"] in of and run["result"] is not None:
                of[run["job"]].append(run["result"])
        return of

    luna.machine.wait_for(
        lambda: all(len(each) >= len(wanted) for each in found().values()),
        180,
        what=f"{len(wanted)} runs of each job",
        interval=1,
    )
    return found()


def test_guards_work_in_every_sandbox(luna: Lunasched) -> None:
    machine = luna.machine
    machine.run(PREPARE)
    now = int(machine.exec("date +%s").stdout)
    slot = datetime.fromtimestamp(now + 40, tz=timezone.utc)
    jobs = definitions(slot)
    names = [job["name"] for job in jobs[1:-1]]
    machine.exec(
        ["lunasched", "apply", "/dev/stdin", "--format", "yaml"],
        input=json.dumps({"jobs": jobs}),
        timeout=300,
    )
    luna("start", "base", "--wait")
    ran = results(luna, names, "success")
    assert {name: each for name, each in ran.items() if each != ["success"]} == {}
    # Each has noted the slot, and its success.
    files = machine.exec(f"cd {SLOTS}; grep -l '^{int(slot.timestamp())}000000 ' last:*").stdout
    noted = {file.removeprefix("last:") for file in files.split()}
    assert set(names) - noted == set()
    assert luna("start", "end", "--wait", check=False).returncode == 0
    # A start that nobody announced is none of the timer's.
    machine.exec(["systemctl", "start", *(f"lunasched-job@{name}" for name in names)], timeout=300)
    ran = results(luna, names, "success", "success")
    assert {name: each for name, each in ran.items() if each != ["success"] * 2} == {}
    # One of the timer's, for a slot that ran, is refused.
    timers = [f"lunasched-job@{name}.timer" for name in names]
    stamps = " ".join(f"/var/lib/systemd/timers/stamp-{timer}" for timer in timers)
    machine.exec(["systemctl", "stop", *timers], timeout=300)
    machine.exec(f"touch -d @{int(slot.timestamp()) - 60} {stamps}")
    machine.exec(["systemctl", "start", *timers], timeout=300)
    ran = results(luna, names, "success", "success", "skipped")
    passed = {name.partition("-")[2] for name, each in ran.items() if each[2] == "success"}
    assert passed == LETS_PASS
    assert {each[2] for each in ran.values()} == {"success", "skipped"}
