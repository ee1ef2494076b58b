"""The clock is set while messages wait: none is early, none is stuck, and no limit is exceeded."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from reference import utc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm import VirtualMachine

pytestmark = [pytest.mark.vm, pytest.mark.slow]

PORT = 9009
DIRECTORY = "/tmp/receiver"
CONFIG = "/etc/lunasched/config.yaml"


@pytest.fixture
def machine(lunasched_vm: VirtualMachine) -> Iterator[VirtualMachine]:
    """The shared machine with a limit of two messages an hour, and a server for them."""
    vm = lunasched_vm
    vm.set_clock(utc(2029, 3, 1, 12))
    vm.write_file(CONFIG, json.dumps({"notifications": {"max_per_hour": 2}}))
    vm.exec("systemctl restart lunasched")
    server = f"python3 /opt/lunasched/tests/support/receiver.py {PORT} {DIRECTORY}.log {DIRECTORY}"
    vm.exec(f"systemd-run --quiet --collect --unit=receiver {server}")
    vm.wait_for(["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{PORT}"], what="the receiver")
    yield vm
    vm.exec("for job in late many; do lunasched remove $job; done", check=False)
    vm.exec(f"rm -rf {CONFIG} {DIRECTORY} {DIRECTORY}.log; systemctl stop receiver")
    vm.exec("systemctl restart lunasched")


def add(vm: VirtualMachine, name: str) -> None:
    channel = {"type": "webhook", "url": f"http://127.0.0.1:{PORT}/{name}"}
    job = {
        "name": name,
        "schedule": "every 1000d",
        "command": "true",
        "notification_config": {"on_success": channel},
    }
    vm.write_file(f"/tmp/{name}.yaml", json.dumps({"jobs": [job]}))
    vm.exec(f"lunasched import-config /tmp/{name}.yaml", timeout=60)


def requests(vm: VirtualMachine, path: str) -> list[dict[str, Any]]:
    read = vm.exec(f"cat {DIRECTORY}.log", check=False).stdout
    found = [json.loads(line) for line in read.splitlines()]
    return [one for one in found if one["path"] == f"/{path}"]


def states(vm: VirtualMachine, name: str) -> list[str]:
    listed = json.loads(vm.exec(f"lunasched notifications {name} --json").stdout)
    return [one["state"] for one in reversed(listed)]


def test_a_clock_that_is_set_back_by_a_year_and_forward_again(machine: VirtualMachine) -> None:
    vm = machine
    vm.write_file(f"{DIRECTORY}/late", "503\n200\n")
    add(vm, "late")
    add(vm, "many")
    for _ in range(4):
        vm.exec("lunasched start many --wait", timeout=60)
    vm.exec("lunasched start late --wait", timeout=60)
    vm.wait_for(lambda: states(vm, "many") == ["sent"] * 2 + ["held"] * 2, timeout=60)
    vm.wait_for(lambda: len(requests(vm, "late")) == 1, timeout=60)

    vm.set_clock(utc(2028, 3, 1, 12))
    vm.wait_for(lambda: len(requests(vm, "late")) == 2, timeout=90)
    first, second = requests(vm, "late")
    assert first["key"] == second["key"]
    # After half a minute of waiting, whatever the clock says.
    assert second["uptime"] - first["uptime"] > 29
    assert states(vm, "many") == ["sent"] * 2 + ["held"] * 2

    vm.set_clock(utc(2028, 3, 1, 13, 2))
    vm.wait_for(
        lambda: states(vm, "many") == ["sent"] * 2 + ["digested"] * 2 + ["sent"], timeout=60
    )
    assert len(requests(vm, "many")) == 3
