"""What systemd told of a run is expected in the history, whatever else is there."""

from __future__ import annotations

import random

import pytest

from lunasched.formats.unittext import bus_label, service_name, unit_of_label
from lunasched.history.run import Result, Run, Trigger
from lunasched.store import Store
from lunasched.supervisor.announced import AnnouncedRun, AnnouncedRuns
from lunasched.systemd.manager import UnitTimes, unit_path

SECOND = 1_000_000
START = 1_700_000_000 * SECOND
UNIT = "lunasched-job@backup.service"


@pytest.fixture
def announced(store: Store) -> AnnouncedRuns:
    return AnnouncedRuns(store, START)


def at(seconds: float) -> int:
    return START + round(seconds * SECOND) if seconds else 0


def record(store: Store, began: float, ended: float | None = None, *, unit: str = UNIT) -> None:
    execution_id = f"{at(began):032x}"
    # The manager writes its record when it has made the process.
    run = Run(
        execution_id=execution_id,
        job="backup",
        unit=unit,
        trigger=Trigger.TIMER,
        scheduled_at=None,
        started_at=at(began) + 120,
    )
    store.runs.begin(run, "b" * 32)
    if ended is not None:
        store.runs.end(execution_id, Result.SUCCESS, at(ended))


def test_a_run_without_a_row_is_missing(announced: AnnouncedRuns, store: Store) -> None:
    record(store, 1, 2)
    announced.note(UNIT, UnitTimes(at(3), at(2)))
    assert announced.unaccounted() == [AnnouncedRun(UNIT, at(3), None)]
    announced.note(UNIT, UnitTimes(at(3), at(4)))
    assert announced.unaccounted() == [AnnouncedRun(UNIT, at(3), at(4))]
    record(store, 3)
    assert announced.unaccounted() == [AnnouncedRun(UNIT, at(3), at(4))]
    store.runs.end(f"{at(3):032x}", Result.SUCCESS, at(4))
    assert announced.unaccounted() == []


def test_a_run_that_goes_on_needs_no_end(announced: AnnouncedRuns, store: Store) -> None:
    announced.note(UNIT, UnitTimes(at(3), at(2)))
    record(store, 3)
    assert announced.unaccounted() == []


def test_another_run_stands_in_for_none(announced: AnnouncedRuns, store: Store) -> None:
    for began in (3, 5, 7):
        announced.note(UNIT, UnitTimes(at(began), at(began + 1)))
    record(store, 5, 6)
    record(store, 7, 8, unit="lunasched-job@backup:1.service")
    assert [run.began_at for run in announced.unaccounted()] == [at(3), at(7)]


def test_what_a_reload_repeats_is_no_news(announced: AnnouncedRuns) -> None:
    announced.note(UNIT, UnitTimes(at(-86400), at(-86399)))
    announced.note(UNIT, UnitTimes(0, 0))
    announced.note("lunasched-hook@backup:on_failure.service", UnitTimes(at(3), at(4)))
    assert announced.unaccounted() == []
    announced.note(UNIT, UnitTimes(at(3), at(4)))
    announced.settle(at(60))
    announced.note(UNIT, UnitTimes(at(3), at(4)))
    assert announced.unaccounted() == []
    # A signal may come after what it tells of was settled.
    announced.note(UNIT, UnitTimes(at(59), at(61)))
    assert len(announced.unaccounted()) == 1


def test_the_unit_of_a_path(rng: random.Random) -> None:
    for _ in range(500):
        name = "".join(rng.choices("aZ09-_.:@é日\\ ", k=rng.randint(1, 20)))
        unit = service_name(name)
        assert unit_of_label(bus_label(unit)) == unit
        assert unit_path(unit).endswith(bus_label(unit))
