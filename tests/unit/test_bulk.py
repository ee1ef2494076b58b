"""The supervisor's questions to systemd about many timers: none is waited for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import pytest
from handloop import HandLoop
from samples import job

from lunasched.store import Store
from lunasched.supervisor.clock import Clock
from lunasched.supervisor.intervals import Intervals
from lunasched.supervisor.loop import Handle
from lunasched.systemd.manager import Manager
from lunasched.systemd.questions import Property

NOW = 1_790_000_000_000_000
SECOND, MINUTE, HOUR, DAY = 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000


@dataclass
class Timers:
    """Timers as systemd has them; all that is waited for is counted."""

    known: dict[str, dict[Property, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    waited_for: list[str] = field(default_factory=list)
    restarted: list[str] = field(default_factory=list)
    told: list[Any] = field(default_factory=list)

    def ask_later(self, units: Iterable[str], wanted: Any, told: Any) -> None:
        for unit in units:
            self.asked.append(unit)
            values = tuple(self.known.get(unit, {}).get(one, 0) for one in wanted)
            self.told.append(partial(told, unit, values))

    def answer(self) -> None:
        told, self.told = self.told, []
        for one in told:
            one()

    def active_since(self, unit: str) -> int:
        self.waited_for.append(unit)
        return int(self.known.get(unit, {}).get(Property.SINCE, 0))

    def on_reloaded(self, reloaded: Any) -> None:
        self.reloaded = reloaded

    def restart_later(self, unit: str, answered: Any) -> None:
        self.restarted.append(unit)
        self.told.append(partial(answered, None))


class DeafLoop(HandLoop):
    """One in which the clock is never set."""

    def on_readable(self, descriptor: int, action: Any, *, background: bool = False) -> Handle:
        return Handle()


@pytest.fixture
def store() -> Iterator[Store]:
    with Store.in_memory() as found:
        with found.changing_jobs():
            for number in range(300):
                schedule = "every 1h" if number % 3 == 0 else "at 02:30"
                found.jobs.put(job(name=f"j{number}", schedule=schedule), NOW - DAY)
            found.jobs.put(job(name="off", schedule="every 1h", enabled=False), NOW - DAY)
        yield found


def timer(number: int) -> str:
    return f"lunasched-job@j{number}.timer"


def due(store: Store, loop: HandLoop) -> list[str]:
    """The jobs whose starts are due by now."""
    return [start.job for start in store.starts.all() if start.due_at <= loop.now()]


def test_intervals_are_planned_without_waiting_for_systemd(store: Store) -> None:
    loop, timers = HandLoop(NOW), Timers()
    for number in range(0, 300, 3):
        timers.known[timer(number)] = {Property.STATE: "active", Property.SINCE: NOW - DAY}
    # Started long after it was deployed, and the interval is over: it was off meanwhile.
    timers.known[timer(3)][Property.SINCE] = NOW - MINUTE
    begun: list[str] = []
    intervals = Intervals(
        loop,
        store,
        cast("Manager", timers),
        start_due=lambda: begun.extend(due(store, loop)),
    )
    intervals.watch()
    # Twice: for the boot, and for reloads. Nothing of jobs without an interval.
    assert timers.asked == 2 * sorted(timer(number) for number in range(0, 300, 3))
    timers.answer()
    loop.advance(SECOND)
    assert timers.restarted == [timer(3)]
    assert begun == []
    for _ in ("restarted", "not started meanwhile"):
        timers.answer()
    assert begun == ["j3"]
    assert timers.waited_for == []


def overdue(store: Store, loop: HandLoop, timers: Timers) -> None:
    """Have the start of a job whose interval is over planned, and its timer restarted."""
    timers.known[timer(3)] = {Property.STATE: "active", Property.SINCE: NOW - MINUTE}
    intervals = Intervals(loop, store, cast("Manager", timers), start_due=lambda: None)
    intervals.watch()
    timers.answer()
    loop.advance(SECOND)
    assert timers.restarted == [timer(3)]


def test_a_timer_that_elapses_right_before_its_planned_start_starts_one_run(store: Store) -> None:
    """The journal is behind, so that the history does not have its run yet."""
    loop, timers = HandLoop(NOW), Timers()
    overdue(store, loop, timers)
    timers.known["lunasched-job@j3.service"] = {Property.STARTED: NOW + SECOND // 2}
    timers.answer()
    timers.answer()
    assert store.starts.all() == []


def test_the_run_that_began_the_interval_is_not_taken_for_the_next(store: Store) -> None:
    loop, timers = HandLoop(NOW), Timers()
    overdue(store, loop, timers)
    timers.known["lunasched-job@j3.service"] = {Property.STARTED: NOW - DAY + 1000}
    timers.answer()
    timers.answer()
    assert due(store, loop) == ["j3"]


def test_a_planned_start_is_not_lost_where_systemd_does_not_answer(store: Store) -> None:
    loop, timers = HandLoop(NOW), Timers()
    overdue(store, loop, timers)
    assert due(store, loop) == []
    loop.advance(MINUTE)
    assert due(store, loop) == ["j3"]


def test_an_interval_that_a_reload_has_put_off_is_planned_for_its_time(store: Store) -> None:
    loop, timers = HandLoop(NOW), Timers()
    loop.awake = 10 * HOUR
    since = {Property.STATE: "active", Property.SINCE: NOW, Property.SINCE_BOOT: 10 * HOUR}
    with store.changing_jobs():
        for number in range(0, 300, 3):
            store.jobs.put(job(name=f"j{number}", schedule="every 1h"), NOW)
            timers.known[timer(number)] = {**since, Property.NEXT_SINCE_BOOT: 11 * HOUR}
    begun: list[str] = []
    intervals = Intervals(
        loop,
        store,
        cast("Manager", timers),
        start_due=lambda: begun.extend(due(store, loop)),
    )
    intervals.watch()
    timers.answer()
    timers.known[timer(6)][Property.NEXT_SINCE_BOOT] = 11 * HOUR + 30 * MINUTE
    loop.advance(30 * MINUTE)
    timers.reloaded()
    loop.advance(MINUTE)
    timers.answer()
    loop.advance(28 * MINUTE)
    assert begun == []
    loop.advance(2 * MINUTE)
    timers.answer()
    timers.answer()
    assert begun == ["j6"]
    assert timers.waited_for == []


def test_timers_that_sleep_over_a_set_clock_are_woken_without_waiting(store: Store) -> None:
    loop, timers = DeafLoop(NOW), Timers()
    for number in range(300):
        timers.known[timer(number)] = {Property.SINCE: NOW - DAY, Property.NEXT: NOW + DAY}
    timers.known[timer(1)][Property.SINCE] = NOW + HOUR
    # A moment ago somebody started it, and it sleeps for a month.
    timers.known[timer(4)] = {Property.SINCE: NOW - MINUTE, Property.NEXT: NOW + 30 * DAY}
    timers.known[timer(5)] = {Property.SINCE: NOW - MINUTE, Property.NEXT: NOW + MINUTE}
    clock = Clock(loop, store, cast("Manager", timers), host_timezone="UTC", on_step=lambda: None)
    clock.watch()
    assert timers.asked == sorted(timer(number) for number in range(300))
    assert timers.waited_for == []
    timers.answer()
    assert timers.restarted == [timer(1)]
    loop.advance(1_000_000)
    # After a boot, all were started a moment ago: they are asked about once more.
    assert timers.asked[300:] == [timer(1), timer(4), timer(5)]
    timers.answer()
    assert timers.restarted == [timer(1), timer(4)]
    # Answers are waited for before a restart alone.
    assert timers.waited_for == [timer(1), timer(1), timer(4)]
