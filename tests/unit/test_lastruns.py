"""When the supervisor has a job removed that is to go when it is over."""

from __future__ import annotations

from typing import Any

import pytest
from handloop import HandLoop

from lunasched.history.run import Result, Run, Trigger
from lunasched.jobs.model import Job
from lunasched.store import Store
from lunasched.supervisor.lastruns import LastRuns

NOW = 1_790_000_000_000_000
SECOND = 1_000_000


class Host:
    """A store with runs, and the units that were asked for."""

    def __init__(self, store: Store) -> None:
        self.store, self.asked = store, list[str]()
        self.loop = HandLoop(NOW)
        self.last_runs = LastRuns(self.loop, store, "UTC", self.asked.append)

    def add(self, name: str, schedule: str = "on demand", **more: Any) -> None:
        more.setdefault("remove_when_over", True)
        self.store.jobs.put(Job(name=name, schedule=schedule, command="true", **more), 1)

    def begin(self, name: str, number: int = 1) -> str:
        execution = f"{number:032x}"
        unit = f"lunasched-job@{name}.service"
        run = Run(
            execution_id=execution, job=name, unit=unit, trigger=Trigger.MANUAL,
            scheduled_at=None, started_at=self.loop.time,
        )  # fmt: skip
        self.store.runs.begin(run, "b" * 32)
        self.last_runs.begun(name)
        return execution

    def end(self, execution: str) -> None:
        self.store.runs.end(execution, Result.SUCCESS, self.loop.time)

    def removed(self) -> list[str]:
        self.last_runs.recorded()
        found, self.asked[:] = list(self.asked), []
        return found


@pytest.fixture
def host(store: Store) -> Host:
    return Host(store)


def test_a_run_that_is_over_and_settled(host: Host) -> None:
    host.add("a b")
    run = host.begin("a b")
    assert host.removed() == []
    host.end(run)
    assert host.removed() == [], "its retry, hooks and notifications are not known yet"
    host.store.runs.set_settled(run)
    assert host.removed() == ["lunasched-over@a\\x20b.service"]
    assert host.removed() == [], "once a run"


@pytest.mark.parametrize(
    ("schedule", "more"),
    [
        ("every 1h", {}),
        ("at 02:30", {}),
        ("@reboot", {}),
        ("on demand", {"remove_when_over": False}),
        ("calendar:2150-01-01", {}),
    ],
)
def test_what_is_not_over(host: Host, schedule: str, more: dict[str, Any]) -> None:
    host.add("x", schedule, **more)
    run = host.begin("x")
    host.end(run)
    host.store.runs.set_settled(run)
    assert host.removed() == []


def test_a_schedule_that_has_ended(host: Host) -> None:
    host.add("x", "at 02:30 from 2026-09-01 until 2026-09-02")
    host.loop.time = 1_788_316_200 * SECOND  # 2 September, 02:30
    run = host.begin("x")
    host.end(run)
    host.store.runs.set_settled(run)
    assert host.removed() == ["lunasched-over@x.service"]


def test_after_a_start_of_the_supervisor(host: Host) -> None:
    host.add("never-ran")
    host.add("ran")
    run = host.begin("ran")
    host.end(run)
    host.store.runs.set_settled(run)
    again = LastRuns(host.loop, host.store, "UTC", host.asked.append)
    again.watch()
    assert host.asked == ["lunasched-over@ran.service"]


def test_a_few_at_a_time_and_the_next_when_these_are_gone(host: Host) -> None:
    names = [f"{number:02}" for number in range(10)]
    for number, name in enumerate(names, start=1):
        host.add(name)
        run = host.begin(name, number)
        host.end(run)
        host.store.runs.set_settled(run)
    asked = []
    while some := host.removed():
        assert len(some) <= 4
        assert host.removed() == []
        asked += some
        for unit in some:
            host.store.jobs.delete(unit.removeprefix("lunasched-over@").removesuffix(".service"))
    assert asked == [f"lunasched-over@{name}.service" for name in names]


def test_one_that_stays_holds_up_no_other(host: Host) -> None:
    for number, name in enumerate("abcde", start=1):
        host.add(name)
        run = host.begin(name, number)
        host.end(run)
        host.store.runs.set_settled(run)
    assert len(host.removed()) == 4
    host.loop.time += 121 * SECOND
    assert host.removed() == ["lunasched-over@e.service"]
    host.loop.time += 121 * SECOND
    assert host.removed() == []


def test_a_job_that_is_gone(host: Host) -> None:
    host.add("x")
    run = host.begin("x")
    host.store.jobs.delete("x")
    host.end(run)
    host.store.runs.set_settled(run)
    assert host.removed() == []
