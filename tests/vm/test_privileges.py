"""What a container may not do: lower the OOM score, set the clock, change what the kernel does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from sandboxes import PREPARE, UNSEEN, outcomes, surprises

if TYPE_CHECKING:
    from vm import VirtualMachine

pytestmark = [pytest.mark.vm, pytest.mark.slow]


def test_jobs_are_kept_from_what_they_shall_not_do(lunasched_vm: VirtualMachine) -> None:
    lunasched_vm.exec(PREPARE)
    keys = [*UNSEEN]
    assert surprises(outcomes(lunasched_vm, keys), keys) == {}


PRIORITIES = {"Low": (10, 500), "Normal": (0, 0), "High": (-5, -250), "Critical": (-10, -500)}
"""Nice level and OOM score."""


def test_priorities(lunasched_vm: VirtualMachine) -> None:
    command = "nice; cat /proc/self/oom_score_adj"
    definitions = [
        {"name": f"p-{each}", "schedule": "@yearly", "priority": each, "command": command}
        for each in PRIORITIES
    ]
    file = json.dumps({"jobs": definitions})
    lunasched_vm.exec("lunasched apply - --format yaml", input=file)
    try:
        for priority, expected in PRIORITIES.items():
            printed = lunasched_vm.exec(f"lunasched start p-{priority} --wait").stdout
            assert tuple(map(int, printed.split())) == expected, priority
    finally:
        lunasched_vm.exec("lunasched apply /dev/null --format yaml --prune --allow-empty")
