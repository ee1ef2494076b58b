"""A time to come is shown where the timer will elapse; where not, what keeps it from that."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from lunasched.formats import quantities
from lunasched.formats.unittext import timer_name
from lunasched.history import phrases
from lunasched.history.jsonview import job_json
from lunasched.history.run import Overrun, Result, Run, Trigger
from lunasched.history.timerstate import Obstacle, Timers, Upcoming, timer_obstacle
from lunasched.jobs.model import Job

AT = 1_800_000_000_000_000
JOB = Job(name="night backup", schedule="@daily", command="x")


@dataclass(frozen=True)
class Unit:
    load: str = "loaded"
    active: str = "active"
    sub: str = "waiting"


def run(result: Result | None, overrun: Overrun | None) -> Run:
    return Run(
        execution_id="0" * 32,
        job=JOB.name,
        unit="u",
        trigger=Trigger.TIMER,
        scheduled_at=AT,
        started_at=AT,
        result=result,
        overrun=overrun,
    )


@pytest.mark.parametrize(
    ("unit", "found"),
    [
        (Unit(), None),
        (Unit(sub="running"), None),
        (Unit(active="reloading"), None),
        (Unit(active="activating"), None),
        (Unit(sub="elapsed"), Obstacle.ELAPSED),
        (Unit(active="inactive", sub="dead"), Obstacle.NOT_RUNNING),
        (Unit(active="deactivating"), Obstacle.NOT_RUNNING),
        (Unit(active="failed", sub="failed"), Obstacle.FAILED),
        (Unit(load="masked", active="inactive", sub="dead"), Obstacle.MASKED),
        (None, Obstacle.NOT_RUNNING),
    ],
    ids=str,
)
def test_what_keeps_a_timer_from_elapsing(unit: Unit | None, found: Obstacle | None) -> None:
    assert timer_obstacle(unit) is found
    timers = Timers({} if unit is None else {timer_name(JOB.name): unit})
    assert timers.upcoming(JOB.name, AT) == Upcoming(None if found else AT, found)


def test_a_job_that_is_never_due_lacks_no_timer() -> None:
    assert Timers({}).upcoming(JOB.name, None) == Upcoming(None)


def test_where_the_manager_cannot_be_asked_the_schedule_is_all_that_is_known() -> None:
    assert Timers().upcoming(JOB.name, AT) == Upcoming(AT)


@pytest.mark.parametrize(
    ("last", "found"),
    [
        (run(None, Overrun(1, AT, AT)), Obstacle.BUSY),
        (run(None, None), None),
        (run(Result.SUCCESS, Overrun(1, AT, AT)), None),
    ],
    ids=str,
)
def test_a_timer_does_not_elapse_during_a_run(last: Run, found: Obstacle | None) -> None:
    timers = Timers({timer_name(JOB.name): Unit(sub="running")})
    assert timers.upcoming(JOB.name, AT, last).obstacle is found


@pytest.mark.parametrize("one", Obstacle)
def test_it_is_said_in_the_place_of_the_time(one: Obstacle) -> None:
    upcoming = Upcoming(None, one)
    assert phrases.next_time(upcoming) == one.words
    shown = job_json(JOB, upcoming, None)
    assert (shown["next_elapse"], shown["obstacle"]) == (None, one.value)


def test_a_time_is_a_time() -> None:
    assert phrases.next_time(Upcoming(AT)) == quantities.local_time(AT)
    assert phrases.next_time(Upcoming(None)) == "-"
    assert job_json(JOB, Upcoming(AT), None)["obstacle"] is None
