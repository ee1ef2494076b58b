"""From systemd 258 on, a boot within the jitter after a slot loses no run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from installed import INSTALL, Lunasched, boot

if TYPE_CHECKING:
    from datetime import datetime

pytestmark = pytest.mark.machine

JITTER_S = 100 * 3600
"""So long that what systemd draws from it is over within seconds once in many thousand times."""


@pytest.fixture(scope="module")
def luna() -> Iterator[Lunasched]:
    """A machine of its own, which may be rebooted."""
    with boot("jitter") as machine:
        machine.run(INSTALL)
        yield Lunasched(machine)


def has_offsets(luna: Lunasched) -> bool:
    version = luna.machine.exec("systemctl --version").stdout.split()[1]
    return int(version) >= 258


def add(luna: Lunasched, name: str, at: datetime, *options: str) -> None:
    schedule = f"calendar:{at:%Y-%m-%d %H:%M:%S}; calendar:2100-01-01"
    luna(
        *("add", "--name", name, "--schedule", schedule, "--jitter", f"{JITTER_S}s", *options),
        *("--timezone", "UTC", "--command", "true"),
    )


def due(luna: Lunasched, name: str) -> int:
    """When the timer says that it will elapse, in seconds since the epoch."""
    show = f"systemctl show -P NextElapseUSecRealtime lunasched-job@{name}.timer"
    return int(luna.machine.exec(f'date -d "$({show})" +%s').stdout)


def test_a_boot_within_the_jitter_loses_nothing(luna: Lunasched) -> None:
    slot = luna.soon(2)
    add(luna, "before", slot)
    first = due(luna, "before")
    assert slot.timestamp() <= first <= slot.timestamp() + JITTER_S
    luna.machine.wait_for(f"[ $(date +%s) -gt {slot.timestamp():.0f} ]", what="its time")
    luna.machine.reboot()
    assert (due(luna, "before") == first) == has_offsets(luna)
    # One that is added now has its time to come, too, or none before the next slot.
    add(luna, "after", slot)
    assert (due(luna, "after") <= slot.timestamp() + JITTER_S) == has_offsets(luna)
    assert luna.history() == []


def test_what_was_left_out_before_an_upgrade_of_systemd_is_there_after_it(luna: Lunasched) -> None:
    """The supervisor has the units made anew if they are for another systemd."""
    add(luna, "upgraded", luna.soon(3600))
    timer = "/etc/systemd/system/lunasched-job@upgraded.timer"
    right = luna.machine.read_file(timer)
    assert ("RandomizedOffsetSec=" in right) == has_offsets(luna)
    # As the oldest systemd, or one that is to come, would have it.
    zones = luna.machine.read_file("/var/lib/lunasched/slots/zones:").splitlines()[0]
    luna.machine.write_file(timer, f"{right}# of another\n")
    luna.machine.write_file("/var/lib/lunasched/slots/zones:", f"{zones}\nsystemd 999\n")
    luna.machine.run("systemctl restart lunasched")
    luna.machine.wait_for(lambda: luna.machine.read_file(timer) == right, what="the right units")
