"""What a container may not do: lower the OOM score, set the clock, change what the kernel does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from sandbox_probe import PROBES
from sandboxes import PREPARE, USERS, outcomes, surprises

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm import VirtualMachine

pytestmark = [pytest.mark.vm, pytest.mark.slow]


@pytest.fixture(scope="module")
def supervisors(lunasched_vm: VirtualMachine) -> Iterator[VirtualMachine]:
    """The shared machine, with the supervisor of a user, too."""
    run = lunasched_vm.run
    lunasched_vm.exec(PREPARE)
    run("systemctl --user daemon-reload; systemctl --user start lunasched", user="luna")
    yield lunasched_vm
    run("systemctl --user stop lunasched", user="luna")


def test_jobs_are_kept_from_what_they_shall_not_do(supervisors: VirtualMachine) -> None:
    keys = [*PROBES]
    assert surprises(outcomes(supervisors, keys), keys) == {}


def test_users_can_have_their_jobs_kept_from_it_as_well(supervisors: VirtualMachine) -> None:
    # An ordinary user may not schedule in real time anyway.
    keys = [key for key in USERS if key != "restrict_realtime"]
    assert surprises(outcomes(supervisors, keys, "luna"), keys) == {}


PRIORITIES = {"Low": (10, 500), "Normal": (0, 0), "High": (-5, -250), "Critical": (-10, -500)}
"""Nice level and OOM score."""


def test_priorities(supervisors: VirtualMachine) -> None:
    command = "nice; cat /proc/self/oom_score_adj"
    definitions = [
        {"name": f"p-{each}", "schedule": "@yearly", "priority": each, "command": command}
        for each in PRIORITIES
    ]
    file = json.dumps({"jobs": definitions})
    supervisors.exec("lunasched apply - --format yaml", input=file)
    try:
        for priority, expected in PRIORITIES.items():
            printed = supervisors.exec(f"lunasched start p-{priority} --wait").stdout
            assert tuple(map(int, printed.split())) == expected, priority
    finally:
        supervisors.exec("lunasched apply /dev/null --format yaml --prune --allow-empty")
