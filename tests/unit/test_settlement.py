"""Runs that the journal does not settle are closed with what systemd knows, and none twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from handloop import HandLoop

from lunasched.history.run import Result, Run, Trigger
from lunasched.jobs.model import HookEvent, Hooks, Job
from lunasched.paths import Mode
from lunasched.store import Store
from lunasched.supervisor.consequences import Consequences
from lunasched.supervisor.elapses import Elapses
from lunasched.supervisor.notificationqueue import Origin
from lunasched.supervisor.recorder import Recorder
from lunasched.supervisor.settlement import Settlement
from lunasched.systemd.manager import Elapse, Invocation, UnitState, UnitTimes

SECOND = 1_000_000
START = 1_700_000_000 * SECOND
BOOT = "b" * 32
ID = f"{1:032x}"
UNIT = "lunasched-job@backup.service"
JOB = Job(name="backup", schedule="@daily", command="true", hooks=Hooks(on_start="x"))
GONE = Invocation("", "inactive", "success", None, None, None, None)


def held(result: str = "success", *, active: str = "inactive", id_: str = ID) -> Invocation:
    """A run that its unit still holds, 9 seconds after the start."""
    began, ended = START, START + 9 * SECOND
    return Invocation(id_, active, result, 3, None, began, ended, SECOND, 10 * SECOND)


class Units:
    """A manager, as far as it knows the units of runs."""

    def __init__(self) -> None:
        self.held = GONE
        self.loaded: dict[str, UnitState] = {}
        self.ended_by: int | None = None
        self.asked: list[str] = []

    def run(self, sub: str = "running") -> None:
        active = "activating" if sub == "start" else "active"
        self.loaded = {UNIT: UnitState("loaded", active, sub, False)}

    def invocation(self, unit: str) -> Invocation:
        assert unit == UNIT
        return self.held

    def state(self, unit: str) -> UnitState | None:
        return self.loaded.get(unit)

    def states(self, pattern: str) -> dict[str, UnitState]:
        assert pattern == "lunasched-job@*.service"
        return self.loaded

    def main_signal(self, unit: str, execution_id: str) -> int | None:
        self.asked.append(execution_id)
        return self.ended_by

    def on_elapsed(self, elapsed: object) -> None:
        """Nothing elapses here."""

    def last_elapse(self, timer: str) -> Elapse | None:
        return None


class Host:
    """A history, and a manager that may know more."""

    def __init__(self, store: Store, mode: Mode = Mode.SYSTEM) -> None:
        self.store = store
        self.loop = HandLoop(START)
        self.units = Units()
        consequences = Consequences(store, Origin("box", "UTC", mode), self.loop.now)
        elapses = Elapses(store, self.units, monotonic=self.loop.monotonic)
        elapses.watch(BOOT)
        recorder = Recorder(mode, store, "UTC", consequences, elapses, now=self.loop.now)
        self.settlement = Settlement(
            mode,
            store,
            self.units,
            recorder,
            consequences,
            now=self.loop.now,
            boot_id=lambda: BOOT,
        )

    def begin(self, execution_id: str = ID, boot_id: str = BOOT, at: int = START) -> Run:
        run = Run(
            execution_id=execution_id,
            job="backup",
            unit=UNIT,
            trigger=Trigger.TIMER,
            scheduled_at=None,
            started_at=at,
        )
        self.store.runs.begin(run, boot_id)
        return run

    def result(self, execution_id: str = ID) -> Result | None:
        run = self.store.runs.get(execution_id)
        assert run is not None
        return run.result

    def ended_at(self) -> int | None:
        run = self.store.runs.get(ID)
        assert run is not None
        return run.ended_at

    def hooks(self) -> list[HookEvent]:
        return [hook.event for hook in self.store.hooks.of([ID]).get(ID, [])]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "lunasched.db", durable=False) as opened:
        opened.jobs.put(JOB, START - 86_400 * SECOND)
        yield opened


@pytest.fixture
def host(store: Store) -> Host:
    return Host(store)


@pytest.fixture
def user(store: Store) -> Host:
    return Host(store, Mode.USER)


# Closing


@pytest.mark.parametrize(
    ("unit_result", "result"),
    [
        ("success", Result.SUCCESS),
        ("exit-code", Result.EXIT_CODE),
        ("oom-kill", Result.OOM_KILL),
        ("resources", Result.EXEC_ERROR),
    ],
)
def test_what_the_journal_lost_is_closed_with_what_the_unit_holds(
    host: Host, unit_result: str, result: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    host.begin()
    host.units.held = held(unit_result)
    assert host.settlement.missing()
    assert host.result() is None, "the journal may tell of it yet"
    host.settlement.give_up()
    assert (host.result(), host.ended_at()) == (result, START + 9 * SECOND)
    assert "the journal does not say how" in capsys.readouterr().err
    assert not host.settlement.missing()


def test_a_refused_run_that_the_journal_lost_is_skipped(host: Host) -> None:
    host.begin()
    host.units.held = held("exec-condition")
    assert host.settlement.missing() == {ID}
    host.settlement.give_up()
    assert (host.result(), host.ended_at()) == (Result.SKIPPED, START + 9 * SECOND)


def test_what_nothing_knows_of_any_more_is_lost(host: Host) -> None:
    host.begin()
    host.units.held = held(id_=f"{2:032x}")
    host.settlement.give_up()
    assert (host.result(), host.ended_at()) == (Result.LOST, None)


def test_a_run_in_progress_is_neither_missing_nor_closed(host: Host) -> None:
    run = host.begin()
    host.units.run()
    host.units.held = held(active="active")
    assert host.settlement.goes_on(run)
    assert not host.settlement.missing()
    host.settlement.give_up()
    assert host.result() is None
    host.units.held = held()
    assert not host.settlement.goes_on(run)
    host.units.held = held(active="active", id_=f"{2:032x}")
    assert not host.settlement.goes_on(run)


def test_a_success_of_a_users_manager_is_closed_without_a_record(user: Host) -> None:
    user.begin()
    user.units.held = held()
    assert not user.settlement.missing()
    assert (user.result(), user.ended_at()) == (Result.SUCCESS, START + 9 * SECOND)


def test_a_failure_of_a_users_manager_is_waited_for(user: Host) -> None:
    user.begin()
    user.units.held = held("exit-code")
    assert user.settlement.missing()
    assert user.result() is None


@pytest.mark.parametrize(("before", "is_closed"), [(0, False), (1, True)])
def test_a_success_is_closed_when_the_journal_would_have_told_of_a_failure(
    user: Host, before: int, is_closed: bool
) -> None:
    user.begin()
    user.settlement.close_successes(START + 60 * SECOND)
    assert user.result() is None, "nothing was heard of it"
    user.loop.time = START + 5 * SECOND
    user.settlement.unit_changed(UNIT, UnitTimes(START, START + 5 * SECOND))
    user.settlement.close_successes(START + 5 * SECOND + before)
    assert (user.result() is Result.SUCCESS) is is_closed
    # The unit is not loaded any more: it ended when D-Bus told of it.
    assert user.ended_at() == (START + 5 * SECOND if is_closed else None)


def test_the_systems_manager_logs_its_successes(host: Host) -> None:
    host.begin()
    host.settlement.unit_changed(UNIT, UnitTimes(START, START + SECOND))
    host.settlement.close_successes(START + 60 * SECOND)
    assert host.result() is None


def test_what_was_told_of_and_has_no_row_is_missing(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not host.settlement.missing()
    host.settlement.unit_changed(UNIT, UnitTimes(START, 0))
    assert host.settlement.missing()
    host.units.run()
    host.units.held = held(active="active")
    host.settlement.give_up()
    run = host.store.runs.get(ID)
    assert run is not None and (run.started_at, run.result) == (START, None)
    assert not host.settlement.missing()
    # Another one, which the unit does not hold any more.
    host.settlement.unit_changed(UNIT, UnitTimes(START + 20 * SECOND, 0))
    host.settlement.give_up()
    assert "the journal lacks records of a run" in capsys.readouterr().err
    assert not host.settlement.missing()


def test_what_was_told_of_is_accounted_for_once_a_follow_is_over(host: Host) -> None:
    host.settlement.unit_changed(UNIT, UnitTimes(START, 0))
    host.settlement.begin_anew()
    assert not host.settlement.missing()


def test_what_another_boot_left_open_was_lost_with_it(host: Host) -> None:
    host.begin(boot_id="a" * 32)
    host.begin(f"{2:032x}")
    host.settlement.close_runs_of_earlier_boots()
    assert (host.result(), host.result(f"{2:032x}")) == (Result.LOST, None)


def test_what_the_manager_holds_is_of_this_boot(host: Host) -> None:
    """In some containers the journal has another boot ID than the records of the run."""
    host.begin(boot_id="a" * 32)
    host.units.held = held(active="active")
    host.settlement.close_runs_of_earlier_boots()
    assert host.result() is None


# Settling


def test_a_run_is_settled_once(host: Host) -> None:
    host.begin()
    assert host.settlement.settle() == []
    host.store.runs.end(ID, Result.SUCCESS, START + SECOND)
    assert host.settlement.settle() == [ID]
    assert host.hooks() == [HookEvent.ON_START]
    assert host.settlement.settle(last_word=True) == []
    assert host.hooks() == [HookEvent.ON_START]


def test_a_signal_that_systemd_calls_a_success_is_none(host: Host) -> None:
    host.begin()
    host.store.runs.end(ID, Result.SUCCESS, START + SECOND)
    host.units.ended_by = 15
    assert host.settlement.settle() == [ID]
    run = host.store.runs.get(ID)
    assert run is not None and (run.result, run.signal) == (Result.SIGNAL, 15)


def test_of_many_runs_of_a_unit_systemd_knows_the_last(host: Host) -> None:
    ids = [f"{number:032x}" for number in range(1, 1200)]
    for number, each in enumerate(ids):
        host.begin(each, at=START + number * SECOND)
        result = Result.SUCCESS if number % 3 else Result.SKIPPED
        host.store.runs.end(each, result, START + (number + 1) * SECOND)
    assert host.settlement.settle() == ids
    assert host.units.asked == [ids[-1]]


@pytest.mark.parametrize("result", [Result.SIGNAL, Result.EXIT_CODE])
def test_a_failure_that_may_be_a_stop_is_settled_by_the_last_word(
    host: Host, result: Result
) -> None:
    """A job that others depend on is of Type=oneshot: its stop looks like a failure at first."""
    digest = Job(name="digest", schedule="", command="true", dependencies=("backup",))
    host.store.jobs.put(replace(digest, schedule="@daily"), START)
    later = f"{2:032x}"
    host.begin()
    host.begin(later, at=START + 2 * SECOND)
    host.store.runs.end(ID, result, START + SECOND)
    host.store.runs.end(later, Result.SUCCESS, START + 3 * SECOND)
    assert host.settlement.settle() == [], "what came after it is not taken for what came before"
    assert host.settlement.settle(last_word=True) == [ID, later]


# Beginning


@pytest.mark.parametrize(
    ("sub", "directives", "hooks"),
    [
        ("start", (("ExecStartPost", "true"),), [HookEvent.ON_START]),
        ("condition", (("ExecStartPost", "true"),), []),
        ("start", (), []),
    ],
    ids=str,
)
def test_of_a_oneshot_that_has_begun_only_d_bus_tells(
    host: Host, sub: str, directives: tuple[tuple[str, str], ...], hooks: list[HookEvent]
) -> None:
    assert not host.settlement.note_running()
    host.store.jobs.put(JOB.evolve(directives=directives), START)
    host.begin()
    host.units.run(sub)
    assert host.settlement.note_running(), "a run is starting"
    assert host.hooks() == hooks
    host.settlement.note_running()
    assert host.hooks() == hooks
