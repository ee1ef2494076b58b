"""When the supervisor has more slots written for guards."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from handloop import HandLoop

from lunasched.history.slot import NEXT_SLOTS, LastSlot, slot_list
from lunasched.schedule import parse
from lunasched.state.slotfile import SlotDirectory
from lunasched.supervisor.slotlists import SlotLists

MINUTE = 60_000_000
NOW = 1_790_000_000_000_000


class Host:
    """A clock, lists of slots, and how often they were asked for."""

    def __init__(self, path: Path) -> None:
        self.loop = HandLoop(NOW)
        self.asked = 0
        self.slots = SlotDirectory(path / "slots")
        self.lists = SlotLists(self.loop, self.slots, self._request_sync)

    @property
    def now(self) -> int:
        return self.loop.time

    @now.setter
    def now(self, now: int) -> None:
        self.loop.time = now

    def _request_sync(self) -> None:
        self.asked += 1

    def write(self, job: str, schedule: str) -> None:
        self.slots.write(job, slot_list(parse(schedule), "UTC", self.now))
        self.slots.set_last(job, LastSlot(self.now, 0), None, durable=False)

    def run(self, *jobs: str) -> int:
        """How often the lists were asked for because of these runs."""
        before = self.asked
        for job in jobs:
            self.lists.begun(job)
        self.lists.renew()
        return self.asked - before


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_list_is_asked_for_before_it_is_over(host: Host) -> None:
    host.write("a", "* * * * *")
    asked_at = []
    for number in range(3 * NEXT_SLOTS):
        host.now += MINUTE
        if host.run("a"):
            asked_at.append(number)
            host.write("a", "* * * * *")
    assert len(asked_at) == 3 * NEXT_SLOTS // (NEXT_SLOTS * 3 // 4)
    assert asked_at[0] in range(NEXT_SLOTS * 3 // 4 - 2, NEXT_SLOTS * 3 // 4 + 2)


def test_what_failed_is_asked_for_again_much_later(host: Host) -> None:
    host.write("a", "* * * * *")
    host.now += NEXT_SLOTS * MINUTE
    asked = [host.run("a") for _ in range(20)]
    assert asked == [1] + [0] * 19
    host.now += 10 * MINUTE
    assert host.run("a") == 1
    # A clock that was set back is no reason to wait longer.
    host.now -= 60 * MINUTE
    assert host.run("a") == 1


def test_many_lists_are_asked_for_once(host: Host, rng: random.Random) -> None:
    names = [f"job-{number}" for number in range(50)]
    for name in names:
        host.write(name, "* * * * *")
    host.now += NEXT_SLOTS * MINUTE
    rng.shuffle(names)
    assert host.run(*names) == 1
    assert host.run(*names) == 0
    host.lists.renew_all(names)
    host.loop.advance()
    assert host.asked == 1


def test_all_lists_are_looked_at_a_few_at_a_time(host: Host) -> None:
    names = [f"job-{number}" for number in range(1000)]
    read = []

    def each() -> Iterator[str]:
        for name in names:
            read.append(name)
            yield name

    host.write("job-999", "* * * * *")
    host.now += NEXT_SLOTS * MINUTE
    host.lists.renew_all(each())
    assert len(read) < 100
    assert host.asked == 0
    host.loop.advance()
    assert len(read) == 1000
    assert host.asked == 1


def test_a_schedule_that_ends_needs_no_more(host: Host) -> None:
    host.write("a", "calendar:2026-12-24")
    host.now += 10 * 365 * 24 * 60 * MINUTE
    assert host.run("a") == 0


def test_a_list_that_was_lost_is_asked_for(host: Host) -> None:
    host.write("a", "@daily")
    assert host.run("a", "no guard") == 0
    (host.slots.path / "a").unlink()
    assert host.run("a") == 1
    assert host.run("a") == 0
    host.write("a", "@daily")
    (host.slots.path / "a").write_text("x\ny\n")
    assert host.run("a") == 0
    host.now += 10 * MINUTE
    assert host.run("a") == 1
    host.slots.remove(["a"])
    assert host.run("a") == 0
