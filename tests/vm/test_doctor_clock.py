"""What the doctor says of a clock and of cgroup v2, which a container does not have of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm import VirtualMachine

pytestmark = [pytest.mark.vm, pytest.mark.slow]

# What a time server's client tells the kernel: the largest error is one millisecond.
SYNCHRONISED = """
import ctypes
class Timex(ctypes.Structure):
    _fields_ = [("modes", ctypes.c_int), ("offset", ctypes.c_long), ("frequency", ctypes.c_long),
                ("max_error", ctypes.c_long), ("estimated", ctypes.c_long),
                ("status", ctypes.c_int), ("rest", ctypes.c_byte * 512)]
ADJ_MAXERROR, ADJ_STATUS = 4, 0x10
assert ctypes.CDLL(None).adjtimex(ctypes.byref(Timex(modes=ADJ_MAXERROR | ADJ_STATUS,
                                                     max_error=1000))) >= 0
"""


@pytest.fixture(scope="module")
def supervisors(lunasched_vm: VirtualMachine) -> Iterator[VirtualMachine]:
    """The shared machine, with the supervisor of a user, too."""
    run = lunasched_vm.run
    run("systemctl --user daemon-reload; systemctl --user enable --now lunasched", user="luna")
    yield lunasched_vm
    run("systemctl --user disable --now lunasched", user="luna")


def findings(vm: VirtualMachine, check: str, user: str | None = None) -> list[dict[str, Any]]:
    printed = vm.run(["lunasched", "doctor", "--json"], user=user, check=False).stdout
    found = json.loads(printed)["findings"]
    return [one for one in found if one["check"] == check and one["severity"] != "ok"]


def test_a_clock_that_nothing_synchronises(supervisors: VirtualMachine) -> None:
    (found,) = findings(supervisors, "clock")
    assert found["severity"] == "warning"
    # There is no time server; its client's part is played here.
    supervisors.run(["python3", "-c", SYNCHRONISED])
    assert findings(supervisors, "clock") == []


def test_limits_of_a_user_that_have_no_controller(supervisors: VirtualMachine) -> None:
    assert findings(supervisors, "cgroups") == []
    add = ["lunasched", "add", "--name", "weighed", "--schedule", "@yearly", "--io-weight", "10"]
    supervisors.run([*add, "--", "true"], user="luna")
    (found,) = findings(supervisors, "cgroups", "luna")
    assert "'io' is not there for jobs that need it: weighed" in found["what"]
    for command in found["fix"]:
        supervisors.run(command, timeout=120)
    supervisors.wait_for("systemctl --user is-active lunasched", user="luna", timeout=60)
    assert findings(supervisors, "cgroups", "luna") == []
    supervisors.run(["lunasched", "remove", "weighed"], user="luna")
    supervisors.run(
        "rm -r /etc/systemd/system/user@.service.d/lunasched.conf; systemctl daemon-reload"
    )
