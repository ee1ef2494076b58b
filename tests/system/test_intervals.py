"""``every X`` counts from where it began, whatever systemd makes of the timer meanwhile."""

from __future__ import annotations

import math
import time
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from lunasched.formats import unitfile

if TYPE_CHECKING:
    from installed import Lunasched

pytestmark = [pytest.mark.machine, pytest.mark.slow]


def due(luna: Lunasched) -> float:
    """When the timer says that it will elapse: seconds of the monotonic clock, which is one."""
    timer = f"lunasched-job@{luna.name}.timer"
    show = ["systemctl", "show", "--property=NextElapseUSecMonotonic", "--value", timer]
    return unitfile.timespan(luna.machine.run(show).stdout.strip())


def started(luna: Lunasched) -> float:
    """When systemd began to start the job: seconds of the monotonic clock."""
    service = f"lunasched-job@{luna.name}.service"
    show = ["systemctl", "show", "--property=InactiveExitTimestampMonotonic", "--value", service]
    return int(luna.machine.run(show).stdout) / 1e6


@pytest.mark.parametrize("supervisor", ["watches", "is away", "is away until it is over"])
def test_a_reload_does_not_put_off_the_first_run(luna: Lunasched, supervisor: str) -> None:
    # In a third of it all happens before it is over, and in the rest a supervisor starts.
    every = max(24, math.ceil(40 * luna.pace()))
    luna("add", "--name", luna.name, "--schedule", f"every {every}s", "--command", "true")
    first = due(luna)
    if supervisor != "watches":
        luna.machine.run("systemctl stop lunasched")
    reload_at = first - every * 2 / 3
    luna.machine.wait_for(lambda: time.monotonic() > reload_at, every, what="a part of it to pass")
    # More than one, as where packages are installed.
    luna.machine.run("systemctl daemon-reload; systemctl daemon-reload")
    moved = due(luna)
    assert moved > first + every / 4, "systemd does not move it any more"
    if supervisor == "is away until it is over":
        luna.machine.wait_for(lambda: time.monotonic() > first + 1, every, what="it to be over")
    luna.machine.run("systemctl start lunasched")
    (run,) = luna.wait_for_runs(luna.name, 1, timeout=2 * every)
    to_utc = time.time() - time.monotonic()
    began = datetime.fromisoformat(run["started_at"]).timestamp() - to_utc
    assert first - 0.5 < began < moved - 1
    # From there it goes on, reload or not.
    luna.machine.run("systemctl daemon-reload")
    assert due(luna) == pytest.approx(started(luna) + every, abs=0.1)


def test_a_reload_adds_no_run(luna: Lunasched) -> None:
    luna("add", "--name", luna.name, "--schedule", "every 4s", "--command", "true")
    for count in (1, 2, 3):
        luna.machine.run("systemctl daemon-reload")
        luna.wait_for_runs(luna.name, count, timeout=30)
    starts = [datetime.fromisoformat(run["started_at"]) for run in luna.history(luna.name)[::-1]]
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(starts)]
    assert all(gap > 3.5 for gap in gaps), gaps
