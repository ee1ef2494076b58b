"""Slots that the clock was set past are missed, each once, however it is set afterwards."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from reference import utc
from vm_jobs import Installed, successes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm import VirtualMachine

pytestmark = [pytest.mark.vm, pytest.mark.slow]


@pytest.fixture
def jobs(lunasched_vm: VirtualMachine) -> Iterator[Installed]:
    """Jobs on the shared machine, with the supervisor running."""
    lunasched_vm.set_clock(utc(2028, 2, 10, 12, 30))
    # Histories outlive jobs: not as those of another test.
    installed = Installed(lunasched_vm, "missed")
    yield installed
    installed.remove()


def missed(jobs: Installed) -> int:
    shown = jobs.vm.exec(f"lunasched get {jobs.names[0]} --json").stdout
    return int(json.loads(shown)["missed_slots"])


def slots(jobs: Installed) -> list[datetime | None]:
    return [slot for _, slot in successes(jobs.recorded()["hourly"])]


def test_slots_that_the_clock_was_set_past(jobs: Installed) -> None:
    vm = jobs.vm
    jobs.add({"hourly": {"schedule": "0 * * * *", "timezone": "UTC"}})
    jobs.travel([utc(2028, 2, 10, 13)])
    assert (slots(jobs), missed(jobs)) == ([utc(2028, 2, 10, 13)], 0)

    # Forward: systemd starts the job once, for the latest slot.
    vm.set_clock(utc(2028, 2, 10, 17, 20))
    ran = [utc(2028, 2, 10, 13), utc(2028, 2, 10, 17)]
    vm.wait_for(lambda: missed(jobs) == 3, what="three missed slots", timeout=60)
    assert slots(jobs) == ran

    # Back by a little, and by a correction: they pass again, and do not count again.
    vm.set_clock(utc(2028, 2, 10, 16, 50))
    jobs.travel([utc(2028, 2, 10, 17)])
    assert (slots(jobs), missed(jobs)) == (ran, 3)
    jobs.travel([utc(2028, 2, 10, 18)])
    assert (slots(jobs), missed(jobs)) == ([*ran, utc(2028, 2, 10, 18)], 3)
    vm.set_clock(utc(2028, 2, 9, 5, 50))
    jobs.travel([utc(2028, 2, 9, 6)])
    assert missed(jobs) == 3

    # As a clock is set at boot on a machine that has none of its own: what was looked at is not
    # looked at again, and what passed since counts.
    vm.set_clock(utc(2028, 2, 10, 20, 20))
    vm.wait_for(lambda: missed(jobs) == 4, what="one more", timeout=60)


def test_a_clock_that_was_ahead_silences_nothing(jobs: Installed) -> None:
    """As after a boot with a wrong clock, which is corrected (systemd issue 13513)."""
    vm = jobs.vm
    vm.set_clock(utc(2031, 6, 1, 12, 30))
    names = started, elapsed = ("started", "elapsed")
    jobs.add(
        {
            started: {"schedule": "0 3 * * *", "timezone": "UTC"},
            elapsed: {"schedule": "0 * * * *", "timezone": "UTC", "catch_up": True},
        }
    )
    jobs.travel([utc(2031, 6, 1, 13)])
    assert successes(jobs.recorded()[elapsed])[-1][1] == utc(2031, 6, 1, 13)

    right = utc(2028, 2, 10, 3)
    vm.set_clock(right - timedelta(minutes=1))
    for name in names:
        vm.wait_for(
            f"systemctl show -P NextElapseUSecRealtime '{jobs.timer(name)}' | grep 2028-02-1",
            what=f"the timer of {name} waiting for its next slot",
            timeout=120,
        )
    # No further step: each would have systemd compute the elapses anew.
    vm.wait_until(right + timedelta(seconds=2))
    jobs.settle_after(right)
    recorded = jobs.recorded()
    assert [successes(recorded[name])[-1][1] for name in names] == [right, right]
