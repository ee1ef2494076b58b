"""What the journal says of runs becomes rows, whatever is read twice or in pieces."""

from __future__ import annotations

import pwd
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from samples import job, own_history

from lunasched.history.run import Instant, Result, Run, Trigger
from lunasched.jobs.model import ExecutionMode, HookEvent, Job, Overlap, ResourceLimits
from lunasched.jobs.reading import job_from_mapping
from lunasched.paths import Mode
from lunasched.store import Store
from lunasched.supervisor.announced import AnnouncedRuns
from lunasched.supervisor.consequences import Consequences
from lunasched.supervisor.elapses import Elapses
from lunasched.supervisor.notificationqueue import Origin
from lunasched.supervisor.recorder import Recorder, result_of
from lunasched.systemd.journal import Event, EventKind, Position, Waits
from lunasched.systemd.manager import Elapse, UnitTimes

SECOND = 1_000_000
START = int(datetime(2026, 2, 10, 12, tzinfo=timezone.utc).timestamp()) * SECOND
BOOT = "b" * 32
ORIGIN = Origin("box", "UTC", Mode.SYSTEM)
RUN = "1" * 32
UNIT = "lunasched-job@backup.service"


def instant(after: float) -> tuple[int, int]:
    """So many seconds after the start: by the clock, and since boot."""
    return START + int(after * SECOND), 10**9 + int(after * SECOND)


def event(kind: EventKind, after: float = 0, *, run: str = RUN, unit: str = UNIT) -> Event:
    """An event so many seconds after the start."""
    return Event(kind, run, unit, *instant(after), BOOT)


def process_ended(exit_code: int | None = None, signal: int | None = None) -> Event:
    return replace(event(EventKind.PROCESS_ENDED, 2), exit_code=exit_code, signal=signal)


def failed(unit_result: str) -> Event:
    return replace(event(EventKind.FAILED, 2), unit_result=unit_result)


STARTING = event(EventKind.STARTING)
STARTED = event(EventKind.STARTED, 0.1)
SPAWN_FAILED = event(EventKind.SPAWN_FAILED, 0.05)
STOPPING = event(EventKind.STOPPING, 1)
STOPPED = event(EventKind.STOPPED, 2)
SKIPPED = event(EventKind.SKIPPED, 2)
SUCCEEDED = event(EventKind.SUCCEEDED, 2)
RESOURCES = replace(event(EventKind.RESOURCES, 2), cpu_usec=123_456, memory_peak=7 << 20)


class Clockwork:
    """The timers of a manager, which elapse when a test says so."""

    def __init__(self, since: int | None = None) -> None:
        self.since = since
        self.last = Elapse(0, 0)
        self.asked = 0
        self.now = 0
        self.told: list[Callable[[str, Elapse], None]] = []

    def on_elapsed(self, elapsed: Callable[[str, Elapse], None]) -> None:
        self.told.append(elapsed)

    def last_elapse(self, timer: str) -> Elapse | None:
        assert timer == "lunasched-job@backup.timer"
        self.asked += 1
        return None if self.since is None else replace(self.last, active_since_boot=self.since)

    def monotonic(self) -> int:
        """The time since boot, of which most tests need nothing: each start is asked about."""
        return self.now

    def elapse(self, after: float) -> None:
        self.last = Elapse(*instant(after))
        for elapsed in self.told:
            elapsed("lunasched-job@backup.timer", self.last)


def recorder(
    store: Store,
    timers: Clockwork | None = None,
    *,
    mode: Mode = Mode.SYSTEM,
    waits: Callable[[str], Waits] = lambda execution_id: Waits(),
    announced: AnnouncedRuns | None = None,
) -> Recorder:
    timers = timers or Clockwork()
    elapses = Elapses(store, timers, monotonic=timers.monotonic)
    elapses.watch(BOOT)
    consequences = Consequences(store, ORIGIN, lambda: 0)
    return Recorder(
        mode,
        store,
        "UTC",
        consequences,
        elapses,
        now=lambda: START + 7200 * SECOND,
        waits=waits,
        end_between=(announced or AnnouncedRuns(store, START)).end_between,
    )


def take(
    store: Store,
    events: Sequence[Event | None],
    first_cursor: int = 1,
    timers: Clockwork | None = None,
) -> int:
    positions = (Position(f"c{n}", found) for n, found in enumerate(events, first_cursor))
    return recorder(store, timers).take(positions)


def rows(store: Store) -> dict[str, Run]:
    return {run.execution_id: run for run in store.runs.history(None, None)}


# Result, exit code, signal of each way to end, from its records.
ENDS: dict[str, tuple[list[Event], tuple[Result | None, int | None, int | None]]] = {
    "only-starting": ([STARTING], (None, None, None)),
    "running": ([STARTING, STARTED], (None, None, None)),
    "success": (
        [STARTING, STARTED, process_ended(0), SUCCEEDED, RESOURCES],
        (Result.SUCCESS, 0, None),
    ),
    "success-that-says-no-exit": ([STARTING, STARTED, SUCCEEDED], (Result.SUCCESS, 0, None)),
    "success-too-short-to-be-seen": ([STARTING, SUCCEEDED], (Result.SUCCESS, 0, None)),
    "exit-code": (
        [STARTING, STARTED, process_ended(3), failed("exit-code")],
        (Result.EXIT_CODE, 3, None),
    ),
    "exit-code-too-short-to-be-seen": (
        [STARTING, process_ended(3), failed("exit-code")],
        (Result.EXIT_CODE, 3, None),
    ),
    # What systemd itself uses for a program that is not there, from a program that is.
    "exit-code-203": (
        [STARTING, STARTED, process_ended(203), failed("exit-code")],
        (Result.EXIT_CODE, 203, None),
    ),
    "signal": (
        [STARTING, STARTED, process_ended(signal=9), failed("signal")],
        (Result.SIGNAL, None, 9),
    ),
    "core-dump": (
        [STARTING, STARTED, process_ended(signal=11), failed("core-dump")],
        (Result.CORE_DUMP, None, 11),
    ),
    "timeout": (
        [STARTING, STARTED, process_ended(signal=15), failed("timeout")],
        (Result.TIMEOUT, None, 15),
    ),
    "oom-kill": (
        [STARTING, STARTED, process_ended(signal=9), failed("oom-kill")],
        (Result.OOM_KILL, None, 9),
    ),
    "missing-executable": (
        [STARTING, SPAWN_FAILED, process_ended(203), failed("exit-code")],
        (Result.EXEC_ERROR, 203, None),
    ),
    "missing-executable-said-before-the-start": (
        [SPAWN_FAILED, STARTING, process_ended(217), failed("exit-code")],
        (Result.EXEC_ERROR, 217, None),
    ),
    "no-resources-to-start": ([STARTING, failed("resources")], (Result.EXEC_ERROR, None, None)),
    "stopped": (
        [STARTING, STARTED, STOPPING, process_ended(signal=15), STOPPED],
        (Result.STOPPED, None, 15),
    ),
    "stopped-and-failed": (
        [STARTING, STARTED, STOPPING, process_ended(1), failed("exit-code")],
        (Result.STOPPED, 1, None),
    ),
    "stopped-and-succeeded": (
        [STARTING, STARTED, STOPPING, process_ended(0), SUCCEEDED],
        (Result.STOPPED, 0, None),
    ),
    "skipped": ([STARTING, SKIPPED], (Result.SKIPPED, None, None)),
    "guard-that-could-not-be-executed": (
        [STARTING, replace(SPAWN_FAILED, exit_code=217), SKIPPED],
        (Result.EXEC_ERROR, 217, None),
    ),
    "stopped-without-a-word-before": ([STARTING, STARTED, STOPPED], (Result.STOPPED, None, None)),
}


@pytest.mark.parametrize("case", ENDS)
def test_how_a_run_ended(case: str, store: Store) -> None:
    events, expected = ENDS[case]
    assert take(store, events) == len(events)
    run = store.runs.get(RUN)
    assert run is not None
    assert (run.result, run.exit_code, run.signal) == expected
    assert (run.job, run.unit, run.started_at, run.attempt) == ("backup", UNIT, START, 1)
    assert run.ended_at == (None if run.result is None else START + 2 * SECOND)
    assert run.cpu_usec == (123_456 if RESOURCES in events else None)


@pytest.mark.parametrize("case", ENDS)
def test_reading_the_records_again_changes_nothing(case: str, store: Store) -> None:
    events, _ = ENDS[case]
    take(store, events)
    before = rows(store)
    take(store, events)
    assert rows(store) == before
    for start in range(len(events)):
        take(store, events[start:])
    assert rows(store) == before


@pytest.mark.parametrize("case", ENDS)
def test_records_may_come_in_pieces(case: str, store: Store, tmp_path: Path) -> None:
    events, _ = ENDS[case]
    take(store, events)
    with Store.open(tmp_path / "pieces.db") as other:
        for number, single in enumerate(events):
            take(other, [single], number)
        assert rows(other) == rows(store)


@pytest.mark.parametrize("end", ["success", "exit-code", "signal", "stopped"])
def test_a_run_that_was_given_up_as_lost_gets_its_real_end(end: str, store: Store) -> None:
    events, expected = ENDS[end]
    take(store, events[:2])
    store.runs.end(RUN, Result.LOST, None)
    assert rows(store)[RUN].result is Result.LOST
    take(store, events[2:])
    run = rows(store)[RUN]
    assert (run.result, run.exit_code, run.signal) == expected
    assert run.ended_at == START + 2 * SECOND


def test_nothing_but_lost_is_reopened(store: Store) -> None:
    take(store, [STARTING, STARTED, process_ended(0), SUCCEEDED])
    before = rows(store)
    take(store, [STOPPING, process_ended(9), failed("exit-code"), STOPPED])
    assert rows(store) == before


@pytest.mark.parametrize(
    ("unit_result", "result"),
    [
        ("exit-code", Result.EXIT_CODE),
        ("signal", Result.SIGNAL),
        ("core-dump", Result.CORE_DUMP),
        ("timeout", Result.TIMEOUT),
        ("watchdog", Result.TIMEOUT),
        ("oom-kill", Result.OOM_KILL),
        ("resources", Result.EXEC_ERROR),
        ("protocol", Result.EXEC_ERROR),
        ("", Result.EXEC_ERROR),
    ],
)
def test_results_of_failed_units(unit_result: str, result: Result) -> None:
    assert result_of(unit_result) is result


def test_events_of_runs_that_never_began_leave_no_rows(store: Store) -> None:
    take(store, [SPAWN_FAILED, SKIPPED, STOPPING, RESOURCES, STOPPED])
    assert rows(store) == {}


@pytest.mark.parametrize("lost", [1, 2, 3])
@pytest.mark.parametrize("end", ["success", "exit-code", "signal"])
def test_a_run_of_which_the_first_records_are_lost_is_on_record(
    end: str, lost: int, store: Store
) -> None:
    """The manager drops what it has to say while journald is restarted."""
    events, (result, code, signal) = ENDS[end]
    for _ in range(2):
        take(store, events[lost:])
    (run,) = rows(store).values()
    # What a success exited with is known, of a failure only from the record of it.
    known = (code, signal) if lost < 3 or end == "success" else (None, None)
    assert (run.result, run.exit_code, run.signal) == (result, *known)
    assert run.started_at == events[lost].at


def test_a_run_that_ended_before_a_process_could_be_made_is_on_record(store: Store) -> None:
    """Its environment file is missing, say: there is no STARTING where a guard comes first."""
    for _ in range(2):
        take(store, [failed("resources")])
        (run,) = rows(store).values()
        assert (run.job, run.result) == ("backup", Result.EXEC_ERROR)
        assert run.started_at == run.ended_at == START + 2 * SECOND


@pytest.mark.parametrize("unit", ["cron.service", "lunasched.service", "lunasched-hook@a.service"])
def test_units_that_are_no_jobs_leave_no_rows(unit: str, store: Store) -> None:
    take(store, [event(EventKind.STARTING, unit=unit)])
    assert rows(store) == {}


def test_a_job_has_the_name_that_its_unit_says(store: Store) -> None:
    take(store, [event(EventKind.STARTING, unit=r"lunasched-job@a\x20b\x3ac.service")])
    assert rows(store)[RUN].job == "a b:c"


# The place in the journal


def test_the_place_in_the_journal_is_that_of_the_last_record(store: Store) -> None:
    assert store.cursor() is None
    assert take(store, [STARTING, None, None]) == 1
    assert store.cursor() == "c3"
    assert take(store, []) == 0
    assert store.cursor() == "c3"


def test_many_records_are_taken_in_parts_that_are_whole(store: Store) -> None:
    def positions() -> Iterator[Position]:
        for number in count():
            if number == 1200:
                raise KeyboardInterrupt
            run = f"{number:032x}"
            unit = f"lunasched-job@{number}.service"
            yield Position(f"c{number}", event(EventKind.STARTING, run=run, unit=unit))

    with pytest.raises(KeyboardInterrupt):
        recorder(store).take(positions())
    cursor = store.cursor()
    recorded = len(rows(store))
    assert recorded == (0 if cursor is None else int(cursor[1:]) + 1)
    assert 0 < recorded <= 1200


# What started it


def test_a_start_in_its_slot_is_the_timers(store: Store) -> None:
    store.jobs.put(job(schedule="at 12:00"), START - 3600 * SECOND)
    take(store, [replace(STARTING, at=START + 5)])
    assert (rows(store)[RUN].trigger, rows(store)[RUN].scheduled_at) == (Trigger.TIMER, START)


def test_the_second_start_in_a_slot_is_somebodys(store: Store) -> None:
    store.jobs.put(job(schedule="at 12:00"), START - 3600 * SECOND)
    second = replace(STARTING, at=START + 60 * SECOND, execution_id="2" * 32)
    take(store, [STARTING, STARTED, SUCCEEDED, second])
    found = rows(store)
    assert (found[RUN].trigger, found[RUN].scheduled_at) == (Trigger.TIMER, START)
    assert (found["2" * 32].trigger, found["2" * 32].scheduled_at) == (Trigger.MANUAL, None)


@pytest.mark.parametrize("before", [True, False])
def test_a_start_that_was_asked_for_is_manual(before: bool, store: Store) -> None:
    store.jobs.put(job(schedule="at 12:00"), START - 3600 * SECOND)
    if before:
        store.runs.request(RUN, Trigger.MANUAL, START)
    take(store, [STARTING])
    if not before:
        store.runs.request(RUN, Trigger.MANUAL, START)
    take(store, [STARTING, STARTED])
    assert (rows(store)[RUN].trigger, rows(store)[RUN].scheduled_at) == (Trigger.MANUAL, None)


def test_a_job_that_was_removed_still_has_its_run(store: Store) -> None:
    take(store, [STARTING])
    assert (rows(store)[RUN].trigger, rows(store)[RUN].scheduled_at) == (Trigger.TIMER, None)


def test_a_schedule_that_is_none_any_more_does_not_lose_the_run(store: Store) -> None:
    store.jobs.put(Job(name="backup", schedule="sometimes", command="true"), 0)
    take(store, [STARTING, STARTED, SUCCEEDED])
    assert rows(store)[RUN].result is Result.SUCCESS


# Runs that have no end of their own


@pytest.mark.parametrize(
    ("mode", "result"), [(Mode.USER, Result.SUCCESS), (Mode.SYSTEM, Result.LOST)]
)
@pytest.mark.parametrize("reported", [None, -5, 50, 61])
def test_the_next_start_of_a_unit_ends_the_run_before(
    reported: int | None, mode: Mode, result: Result, store: Store
) -> None:
    """The manager of the system logs each end: where it has none, journald has lost it."""
    announced = AnnouncedRuns(store, START - 60 * SECOND)
    if reported is not None:
        ended_at = START + reported * SECOND
        announced.note(STARTING.unit, UnitTimes(ended_at - SECOND, ended_at))
    second = replace(STARTING, execution_id="2" * 32, at=START + 60 * SECOND)
    positions = [Position(f"c{n}", one) for n, one in enumerate((STARTING, STARTED, second))]
    recorder(store, mode=mode, announced=announced).take(positions)
    found = rows(store)
    expected = START + 50 * SECOND if reported == 50 else None
    assert (found[RUN].result, found[RUN].ended_at) == (result, expected)
    assert found["2" * 32].result is None


def test_another_unit_or_another_boot_does_not_end_it(store: Store) -> None:
    other_unit = event(EventKind.STARTING, run="2" * 32, unit="lunasched-job@other.service")
    other_boot = replace(STARTING, execution_id="3" * 32, boot_id="c" * 32)
    take(store, [STARTING, other_unit, other_boot])
    assert [run.result for run in rows(store).values()] == [None] * 3


def test_an_old_start_that_is_read_again_does_not_end_a_later_run(store: Store) -> None:
    first = [STARTING, STARTED, process_ended(0), SUCCEEDED]
    second = [
        replace(found, execution_id="2" * 32, at=found.at + 60 * SECOND)
        for found in (STARTING, STARTED, process_ended(3), failed("exit-code"))
    ]
    take(store, [*first, *second[:2]])
    take(store, first)
    assert rows(store)["2" * 32].result is None
    take(store, second)
    assert rows(store)["2" * 32].result is Result.EXIT_CODE


# Many runs of several jobs, delivered as a journal might


ENDED = [case for case in ENDS if ENDS[case][1][0] is not None]


@st.composite
def lives(draw: st.DrawFn) -> list[list[Event]]:
    """For each of some jobs, the records of its runs, one run after the other."""
    found = []
    numbers = count(1)
    for name in "abc"[: draw(st.integers(1, 3))]:
        events: list[Event] = []
        for _ in range(draw(st.integers(1, 3))):
            run = f"{next(numbers):032x}"
            case = draw(st.sampled_from(ENDED))
            shift = len(events) * 60 * SECOND
            events += [
                replace(
                    single,
                    execution_id=run,
                    unit=f"lunasched-job@{name}.service",
                    at=single.at + shift,
                )
                for single in ENDS[case][0]
            ]
        found.append(events)
    return found


def merged(draw: st.DataObject, lines: list[list[Event]]) -> list[Event]:
    """All of them in one order, each in its own."""
    left = [list(line) for line in lines if line]
    order = []
    while left:
        line = draw.draw(st.sampled_from(left))
        order.append(line.pop(0))
        left = [one for one in left if one]
    return order


@given(lines=lives(), data=st.data())
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_jobs_do_not_depend_on_each_other(
    lines: list[list[Event]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("order")
    with (
        Store.open(directory / "one.db", durable=False) as one,
        Store.open(directory / "other.db", durable=False) as other,
    ):
        take(one, [single for line in lines for single in line])
        take(other, merged(data, lines))
        assert rows(other) == rows(one)


@given(lines=lives(), cuts=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=4))
@example(lines=[[*ENDS["success"][0]]], cuts=[(0, 2), (1, 5)])
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_reading_any_stretch_again_changes_nothing(
    lines: list[list[Event]],
    cuts: list[tuple[int, int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    events = [single for line in lines for single in line]
    with Store.open(tmp_path_factory.mktemp("again") / "x.db", durable=False) as store:
        take(store, events)
        before = rows(store)
        for start, end in cuts:
            take(store, events[start:end])
        assert rows(store) == before


@given(lines=lives(), stops=st.lists(st.integers(0, 60), max_size=4), back=st.integers(0, 8))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_going_back_and_on_gives_the_same_rows(
    lines: list[list[Event]],
    stops: list[int],
    back: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    events = [single for line in lines for single in line]
    directory = tmp_path_factory.mktemp("back")
    with (
        Store.open(directory / "one.db", durable=False) as one,
        Store.open(directory / "other.db", durable=False) as other,
    ):
        take(one, events)
        place = 0
        for stop in [*sorted(stops), len(events)]:
            take(other, events[max(0, place - back) : stop])
            place = max(place, min(stop, len(events)))
        assert rows(other) == rows(one)


HOOK_UNIT = "lunasched-hook@backup:on_failure.service"
LAUNCHER = "lunasched-launch@backup.service"
CONDITION_FAILED = event(EventKind.CONDITION_FAILED)


def put_job(store: Store, **changes: object) -> Job:
    made = Job(name="backup", schedule="at 12:00", command="true").evolve(**changes)
    store.jobs.put(made, START - 3600 * SECOND)
    return made


def test_a_start_at_a_shut_gate_waits_with_its_slot(store: Store) -> None:
    put_job(store)
    take(store, [CONDITION_FAILED])
    assert not rows(store)
    (start,) = store.starts.all()
    assert (start.unit, start.trigger, start.scheduled_at) == (UNIT, Trigger.TIMER, START)
    # Another one while it waits, and the same record read again, are the same start.
    take(store, [CONDITION_FAILED, replace(CONDITION_FAILED, at=START + SECOND)])
    assert len(store.starts.all()) == 1
    assert store.starts.claim(start, START)
    take(store, [replace(STARTING, at=START + 60 * SECOND)])
    (run,) = rows(store).values()
    assert (run.trigger, run.scheduled_at) == (Trigger.TIMER, START)
    assert not store.starts.all()


@pytest.mark.parametrize(
    ("kind", "result"),
    [
        (EventKind.CONDITION_UNMET, Result.SKIPPED),
        (EventKind.REFUSED, Result.EXEC_ERROR),
    ],
)
def test_a_start_without_an_invocation_is_on_record_with_its_reason(
    store: Store, kind: EventKind, result: Result
) -> None:
    put_job(store)
    unmet = replace(event(kind, run="3" * 32), reason="it does not hold")
    take(store, [unmet])
    take(store, [unmet])
    (run,) = rows(store).values()
    assert (run.result, run.trigger, run.scheduled_at) == (result, Trigger.TIMER, START)
    assert (run.output, run.started_at) == ("it does not hold\n", run.ended_at)
    assert not store.starts.all()


def test_a_start_of_a_job_that_is_gone_waits_for_nothing(store: Store) -> None:
    take(store, [CONDITION_FAILED])
    assert not store.starts.all()


@pytest.mark.parametrize("ran", [False, True], ids=["its-slot", "a-slot-that-ran"])
def test_a_start_before_its_job_was_disabled_waits_for_nothing(store: Store, ran: bool) -> None:
    made = put_job(store)
    if ran:
        take(store, [STARTING, STARTED, SUCCEEDED])
    store.jobs.put(made.evolve(enabled=False), START + 60 * SECOND)
    take(store, [replace(CONDITION_FAILED, at=START + 5 * SECOND)])
    assert not store.starts.all()
    # Afterwards it is one by hand.
    take(store, [replace(CONDITION_FAILED, at=START + 61 * SECOND)])
    assert [start.trigger for start in store.starts.all()] == [Trigger.MANUAL]


def test_what_came_to_the_gate_once_more_is_given_back(store: Store) -> None:
    put_job(store)
    take(store, [CONDITION_FAILED])
    (start,) = store.starts.all()
    store.starts.claim(start, START)
    take(store, [replace(CONDITION_FAILED, at=START + SECOND)])
    (again,) = store.starts.all()
    assert again.claimed_at is None


def test_a_claimed_retry_is_the_run_that_begins(store: Store) -> None:
    made = put_job(store)
    take(store, [STARTING, STARTED, process_ended(3), failed("exit-code")])
    (first,) = rows(store).values()
    store.starts.put_retry(made, first, unit=UNIT, attempt=2, due_at=START, now=START)
    store.starts.claim(store.starts.all()[0], START)
    second = "2" * 32
    take(store, [event(EventKind.STARTING, 5, run=second)])
    run = rows(store)[second]
    assert (run.trigger, run.attempt) == (Trigger.RETRY, 2)
    assert run.first_attempt_id == first.execution_id


def test_a_launcher_with_too_many_runs_waits_and_its_instance_is_its_run(store: Store) -> None:
    put_job(store, mode=ExecutionMode.PARALLEL, max_concurrent=1)
    full = Event(EventKind.PROCESS_ENDED, "9" * 32, LAUNCHER, *instant(0), BOOT, exit_code=75)
    take(store, [full, replace(full, at=START + SECOND)])
    (start,) = store.starts.all()
    assert (start.unit, start.trigger, start.scheduled_at) == (LAUNCHER, Trigger.TIMER, START)
    store.starts.claim(start, START)
    unit = "lunasched-job@backup:0123.service"
    take(store, [replace(event(EventKind.STARTING, 5, unit=unit))])
    (run,) = rows(store).values()
    assert (run.job, run.unit, run.scheduled_at) == ("backup", unit, START)
    assert not store.starts.all()


LEFTOVERS = [STARTING, STARTED, failed("timeout")]


@pytest.mark.parametrize(
    ("events", "changes", "result"),
    [
        (LEFTOVERS, {}, Result.SUCCESS),
        ([STARTING, failed("timeout")], {}, Result.SUCCESS),
        (LEFTOVERS, {"limits": ResourceLimits(timeout=60, kill_after=1)}, Result.SUCCESS),
        (LEFTOVERS, {"limits": ResourceLimits(timeout=2)}, Result.TIMEOUT),
        (LEFTOVERS, {"limits": ResourceLimits(timeout=0.5)}, Result.TIMEOUT),
        (LEFTOVERS, {"directives": (("RuntimeMaxSec", "1"),)}, Result.TIMEOUT),
        ([STARTING, process_ended(3), failed("timeout")], {}, Result.TIMEOUT),
        ([STARTING, STARTED, process_ended(signal=9), failed("timeout")], {}, Result.TIMEOUT),
        ([STARTING, STARTED, STOPPING, failed("timeout")], {}, Result.STOPPED),
        ([STARTING, STARTED, failed("watchdog")], {}, Result.TIMEOUT),
    ],
    ids=[
        "left-behind", "too-short-to-be-seen", "far-from-its-limit", "at-its-limit", "after-it",
        "a-limit-of-its-own", "failed-before", "killed", "stopped", "watchdog",
    ],
)  # fmt: skip
def test_what_a_success_leaves_behind_is_no_timeout_of_the_job(
    events: list[Event], changes: dict[str, object], result: Result, store: Store
) -> None:
    put_job(store, **changes)
    take(store, events)
    assert rows(store)[RUN].result is result


@pytest.mark.parametrize(
    ("events", "waited", "result"),
    [
        # The limit was not reached, although systemd was done after it.
        (LEFTOVERS, Waits(for_leftover=True), Result.SUCCESS),
        (LEFTOVERS, Waits(for_main=True), Result.TIMEOUT),
        (LEFTOVERS, Waits(for_main=True, for_leftover=True), Result.TIMEOUT),
        # Another version of systemd, which says it otherwise: the time decides.
        (LEFTOVERS, Waits(), Result.TIMEOUT),
        ([STARTING, STARTED, process_ended(3), failed("timeout")],
         Waits(for_leftover=True), Result.TIMEOUT),
        ([STARTING, STARTED, STOPPING, failed("timeout")],
         Waits(for_leftover=True), Result.STOPPED),
    ],
    ids=["left-behind", "at-its-limit", "deaf-at-its-limit", "unknown", "failed", "stopped"],
)  # fmt: skip
def test_what_systemd_waited_for_says_whether_a_limit_was_reached(
    events: list[Event], waited: Waits, result: Result, store: Store
) -> None:
    put_job(store, limits=ResourceLimits(timeout=1, kill_after=5))
    asked = []

    def waits(execution_id: str) -> Waits:
        asked.append(execution_id)
        return waited

    taking = recorder(store, waits=waits)
    taking.take(Position(f"c{number}", one) for number, one in enumerate(events))
    assert rows(store)[RUN].result is result
    assert set(asked) <= {RUN}


@pytest.mark.parametrize(
    ("waited", "result"),
    [
        (Waits(for_leftover=True), Result.SUCCESS),
        (Waits(for_main=True, for_leftover=True), Result.TIMEOUT),
        (Waits(), Result.TIMEOUT),
    ],
)
def test_what_a_hook_leaves_behind_is_no_timeout_of_it(
    waited: Waits, result: Result, store: Store
) -> None:
    store.hooks.put(RUN, HookEvent.ON_FAILURE, "backup", HOOK_UNIT, {}, START)
    store.hooks.claim(store.hooks.next()[0], START)
    hook = "8" * 32
    taking = recorder(store, waits=lambda _: waited)
    starting = event(EventKind.STARTING, unit=HOOK_UNIT, run=hook)
    ended = replace(event(EventKind.FAILED, 1, unit=HOOK_UNIT, run=hook), unit_result="timeout")
    taking.take([Position("c1", starting), Position("c2", ended)])
    (found,) = store.hooks.of([RUN])[RUN]
    assert found.result is result


LAUNCH = "9" * 32
EVERY_SECOND = {"mode": ExecutionMode.PARALLEL, "max_concurrent": 1, "schedule": "calendar:*:*:*"}


def enough(status: int, after: float) -> Event:
    """A launcher that began at the start finds one run too many, so many seconds later."""
    return Event(EventKind.PROCESS_ENDED, LAUNCH, LAUNCHER, *instant(after), BOOT, status)


def launched(letter: str, after: float, kind: EventKind = EventKind.STARTING) -> Event:
    return event(
        kind, after, run="8" * 32, unit=f"lunasched-job@backup:{LAUNCH[:12]}{letter}.service"
    )


LAUNCHING = event(EventKind.STARTING, run=LAUNCH, unit=LAUNCHER)


@pytest.mark.parametrize("delay", [0, 0.9, 1.1, 30])
@pytest.mark.parametrize("last", [-1, 0], ids=["its-slot", "a-slot-that-ran"])
@pytest.mark.parametrize(
    ("status", "trigger"), [(76, Trigger.TIMER), (77, Trigger.MANUAL)], ids=["timer", "by-hand"]
)
def test_a_launcher_passes_on_what_started_it(
    status: int, trigger: Trigger, last: int, delay: float, store: Store
) -> None:
    """However long it took, and whatever has run meanwhile."""
    put_job(store, **EVERY_SECOND)
    scheduled = START if trigger is Trigger.TIMER else None
    letter = "t" if trigger is Trigger.TIMER else "h"
    take(store, [event(EventKind.STARTING, last, run="7" * 32)])
    one = recorder(store)
    one.take([Position("c2", LAUNCHING), Position("c3", enough(status, delay))])
    (start,) = store.starts.all()
    assert (start.trigger, start.scheduled_at) == (trigger, scheduled)
    store.starts.drop(start)
    one.take([Position("c4", launched(letter, delay, EventKind.CONDITION_FAILED))])
    (start,) = store.starts.all()
    assert (start.trigger, start.scheduled_at) == (trigger, scheduled)
    store.starts.drop(start)
    one.take([Position("c5", launched(letter, delay))])
    run = rows(store)["8" * 32]
    assert (run.trigger, run.scheduled_at) == (trigger, scheduled)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("disabled", [-1, 0.5, 5])
def test_what_a_timer_started_of_a_disabled_job_waits_for_nothing(
    disabled: float, known: bool, store: Store
) -> None:
    made = put_job(store, **EVERY_SECOND)
    take(store, [event(EventKind.STARTING, 0, run="7" * 32)])
    store.jobs.put(made.evolve(enabled=False), START + int(disabled * SECOND))
    one = recorder(store)
    one.take([Position("c2", LAUNCHING), Position("c3", enough(76 if known else 75, 2))])
    # What is not known is one by hand, if it began after the job was disabled.
    kept = [] if known or disabled > 0 else [Trigger.MANUAL]
    assert [start.trigger for start in store.starts.all()] == kept


DAY = 86_400


def starting(after: float, run: str) -> Event:
    return event(EventKind.STARTING, after, run=run * 32)


def whole_run(after: float, run: str) -> list[Event]:
    """A run of half a second."""
    return [
        starting(after, run),
        event(EventKind.STARTED, after + 0.1, run=run * 32),
        event(EventKind.SUCCEEDED, after + 0.5, run=run * 32),
    ]


def triggers(store: Store) -> list[Trigger]:
    """The oldest first."""
    return [run.trigger for run in store.runs.history(None, None)][::-1]


@pytest.mark.parametrize("restarted", [False, True], ids=["told", "asked"])
@pytest.mark.parametrize(
    "schedule", ["at 12:00", "every 1h", "calendar:*:*:*", "calendar:2026-03-01", "@reboot"]
)
def test_a_timer_that_elapsed_is_known_and_one_that_did_not(
    restarted: bool, schedule: str, store: Store
) -> None:
    """Whatever the schedule would make of the times, and after a restart of the supervisor."""
    put_job(store, schedule=schedule)
    timers = Clockwork(since=1)
    one = recorder(store, timers)

    def read(events: list[Event]) -> None:
        nonlocal one
        if restarted:
            one = recorder(store, timers)
        one.take([Position("c", found) for found in events])

    read(whole_run(-5, "1"))
    timers.elapse(-1)
    read(whole_run(-0.9, "2"))
    read(whole_run(2, "3"))
    read(whole_run(4, "4"))
    timers.elapse(6)
    # It waited for others.
    read(whole_run(30, "5"))
    manual, timer = Trigger.MANUAL, Trigger.TIMER
    assert triggers(store) == [manual, timer, manual, manual, timer]


@pytest.mark.parametrize("restarted", [False, True], ids=["told", "asked"])
def test_a_start_at_the_gate_uses_up_the_elapse(restarted: bool, store: Store) -> None:
    made = put_job(store)
    timers = Clockwork(since=1)
    one = recorder(store, timers)
    timers.elapse(0)
    one.take([Position("c1", event(EventKind.CONDITION_FAILED, 0.1))])
    (start,) = store.starts.all()
    assert (start.trigger, start.scheduled_at) == (Trigger.TIMER, START)
    if restarted:
        one = recorder(store, timers)
    one.take([Position("c2", starting(5, "1"))])
    assert triggers(store) == [Trigger.MANUAL]
    store.starts.drop(start)
    store.jobs.put(made.evolve(enabled=False), START + 3600 * SECOND)
    # Of the next elapse it is read after the job was disabled: nothing is kept.
    one.take([Position("c3", event(EventKind.SUCCEEDED, 6, run="1" * 32))])
    timers.elapse(10)
    one.take([Position("c4", event(EventKind.CONDITION_FAILED, 10.1))])
    assert not store.starts.all()


def test_a_timer_that_elapses_during_a_run_has_started_nothing(store: Store) -> None:
    put_job(store)
    timers = Clockwork(since=1)
    one = recorder(store, timers)
    one.take([Position("c1", starting(-1, "1"))])
    timers.elapse(0)
    ended = event(EventKind.SUCCEEDED, 5, run="1" * 32)
    one.take([Position("c2", ended), Position("c3", starting(9, "2"))])
    assert triggers(store) == [Trigger.MANUAL, Trigger.MANUAL]
    # What elapsed meanwhile, when the run is over, has.
    one.take([Position("c4", event(EventKind.SUCCEEDED, 20, run="2" * 32))])
    timers.elapse(20.001)
    one.take([Position("c5", starting(20.002, "3"))])
    assert triggers(store)[-1] is Trigger.TIMER


def test_what_systemd_does_not_know_any_more_is_inferred(store: Store) -> None:
    put_job(store)
    timers = Clockwork(since=1)
    timers.elapse(100)
    take(store, [*whole_run(0.1, "1"), *whole_run(2, "2")], timers=timers)
    assert triggers(store) == [Trigger.TIMER, Trigger.MANUAL]
    # A timer that was started since, or that is gone.
    for since in (instant(2 * DAY)[1], None):
        other = Clockwork(since=since)
        take(store, whole_run(DAY + (0.1 if since else 0.9), "3" if since else "4"), timers=other)
    assert triggers(store)[2:] == [Trigger.TIMER, Trigger.MANUAL]


@pytest.mark.parametrize("again", [0.2, 1.2], ids=["in-its-run", "after-it"])
@pytest.mark.parametrize("told", [True, False], ids=["told", "asked"])
def test_a_timer_that_elapses_again_after_a_step_back(
    told: bool, again: float, store: Store
) -> None:
    """By the clock it elapses once more while its first run, which is over, was in progress."""
    put_job(store)
    timers = Clockwork(since=1)
    one = recorder(store, timers)
    timers.elapse(0.1)
    one.take(Position(f"c{n}", found) for n, found in enumerate(whole_run(0.1, "1")))
    back = 120 * SECOND
    at, since_boot = instant(120 + again)
    # systemd moves what it has of the time of an elapse, too.
    timers.last = Elapse(at - back - (0 if told else 60 * SECOND), since_boot)
    for elapsed in timers.told if told else ():
        elapsed("lunasched-job@backup.timer", timers.last)
    run = "2" * 32
    for kind, later in ((EventKind.STARTING, 0.01), (EventKind.SKIPPED, 0.02)):
        found = event(kind, 120 + again + later, run=run)
        one.take([Position(f"{kind}", replace(found, at=found.at - back))])
    refused = rows(store)[run]
    assert (refused.trigger, refused.result) == (Trigger.TIMER, Result.SKIPPED)
    assert refused.scheduled_at == START


def test_a_long_history_makes_no_start_slower(store: Store) -> None:
    """Of a job that runs every second: the work to find its last run, in steps of SQLite."""

    def steps(runs: range) -> int:
        with store.transaction():
            for number in runs:
                at, since_boot = instant(number)
                run = Run(
                    execution_id=f"{number:032x}", job="backup", unit=UNIT, trigger=Trigger.TIMER,
                    scheduled_at=at, started_at=at,
                )  # fmt: skip
                store.runs.begin(run, BOOT, since_boot)
                store.runs.end(run.execution_id, Result.SUCCESS, at + 1, since_boot + SECOND // 2)
        taken = count()
        connection = own_history(store).connection
        connection.set_progress_handler(lambda: next(taken) < 0, 1)
        ahead = START - 10**9
        last = instant(runs[-1])[1]
        assert store.runs.in_progress_at(UNIT, BOOT, last + SECOND // 4, ahead)
        assert not store.runs.in_progress_at(UNIT, BOOT, last + SECOND * 3 // 4, ahead)
        connection.set_progress_handler(None, 1)
        return next(taken)

    few = steps(range(1, 50))
    assert steps(range(50, 3000)) < 2 * few


def test_a_refusal_of_a_start_that_is_known_to_be_by_hand_is_no_repeat(store: Store) -> None:
    put_job(store)
    timers = Clockwork(since=1)
    for known, trigger in ((timers, Trigger.MANUAL), (None, Trigger.TIMER)):
        # Nobody had asked for it; its dependency had failed.
        run = "5" if known else "6"
        take(
            store,
            [*whole_run(0.1, "1"), starting(3, run), event(EventKind.SKIPPED, 4, run=run * 32)],
            timers=known,
        )
        found = rows(store)[run * 32]
        assert (found.result, found.trigger) == (Result.SKIPPED, trigger)


REPLACE = {"overlap": Overlap.REPLACE, "schedule": "calendar:*:*:*"}


@pytest.mark.parametrize("changes", [REPLACE, EVERY_SECOND], ids=["replace", "parallel"])
@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("at_gate", [False, True])
def test_a_run_of_the_service_has_the_cause_of_its_launcher(
    changes: dict[str, Any], told: bool, restarted: bool, at_gate: bool, store: Store
) -> None:
    put_job(store, **changes)
    timers = Clockwork(since=1)
    one = recorder(store, timers)
    number = iter(range(100))

    def read(*events: Event) -> None:
        nonlocal one
        for found in events:
            if restarted:
                one = recorder(store, timers)
            one.take([Position(f"c{next(number)}", found)])

    def launch(after: float, launcher: str, run: str, *, by_timer: bool = True) -> Trigger:
        read(event(EventKind.STARTING, after, run=launcher * 32, unit=LAUNCHER))
        says = event(EventKind.LAUNCHES, after + 1, run=launcher * 32, unit=LAUNCHER)
        if told:
            says = replace(says, by_timer=by_timer, elapsed=START if by_timer else None)
        read(says)
        if at_gate:
            read(event(EventKind.CONDITION_FAILED, after + 2, run=run * 32))
            (start,) = store.starts.all()
            store.starts.drop(start)
            return start.trigger
        read(starting(after + 2, run))
        return triggers(store)[-1]

    timers.elapse(0)
    assert launch(0.5, "a", "1") is Trigger.TIMER
    timers.elapse(1)
    assert launch(4, "b", "2") is Trigger.TIMER
    assert launch(8, "c", "3", by_timer=False) is Trigger.MANUAL
    timers.elapse(11)
    assert launch(12, "d", "4") is Trigger.TIMER
    # Past the launcher.
    read(starting(16, "5"))
    assert triggers(store)[-1] is Trigger.MANUAL


def test_a_service_that_has_to_wait_keeps_its_time_beside_a_later_copy(store: Store) -> None:
    put_job(store, **EVERY_SECOND)
    first = event(EventKind.LAUNCHES, 1, run="a" * 32, unit=LAUNCHER)
    one = recorder(store)
    one.take([Position("c1", replace(first, by_timer=True, elapsed=START))])
    one.take([Position("c2", event(EventKind.STARTING, 2, run=LAUNCH, unit=LAUNCHER))])
    one.take([Position("c3", launched("t", 3)), Position("c4", starting(30, "1"))])
    scheduled = {run.execution_id: run.scheduled_at for run in rows(store).values()}
    assert scheduled == {"8" * 32: START + 2 * SECOND, "1" * 32: START}


def test_the_launcher_of_a_retry_is_the_supervisors(store: Store) -> None:
    made = put_job(store, **REPLACE)
    timers = Clockwork(since=1)
    take(store, [STARTING, STARTED, process_ended(3), failed("exit-code")], timers=timers)
    (first,) = rows(store).values()
    now = START + 3 * SECOND
    store.starts.put_retry(made, first, unit=LAUNCHER, attempt=2, due_at=now, now=now)
    store.starts.claim(store.starts.all()[0], now)
    timers.elapse(2)
    # The timer's launcher was read late: it is none of ours.
    late = event(EventKind.LAUNCHES, 2.1, run="a" * 32, unit=LAUNCHER)
    take(store, [late, starting(2.2, "2")], timers=timers)
    assert [run.trigger for run in rows(store).values()].count(Trigger.RETRY) == 0
    ours = event(EventKind.LAUNCHES, 4, run="b" * 32, unit=LAUNCHER)
    take(store, [ours, starting(4.1, "3")], timers=timers)
    assert rows(store)["3" * 32].trigger is Trigger.RETRY


@pytest.mark.parametrize("status", [76, 77])
def test_a_restart_between_the_launcher_and_its_end_loses_nothing(
    status: int, store: Store
) -> None:
    """When the launcher began is in the store, not in memory."""
    put_job(store, **EVERY_SECOND)
    take(store, [LAUNCHING])
    take(store, [enough(status, 30)])
    (start,) = store.starts.all()
    expected = (Trigger.TIMER, START) if status == 76 else (Trigger.MANUAL, None)
    assert (start.trigger, start.scheduled_at) == expected
    # Nothing is kept for ever.
    take(store, [event(EventKind.STARTING, 3600, run="c" * 32, unit=LAUNCHER)])
    assert store.runs.launch(LAUNCH[:12]) is None


def test_a_start_by_hand_of_a_disabled_job_waits(store: Store) -> None:
    put_job(store, **EVERY_SECOND, enabled=False)
    take(store, [LAUNCHING, enough(77, 1)])
    assert [start.trigger for start in store.starts.all()] == [Trigger.MANUAL]


def test_a_launcher_that_fails_otherwise_waits_for_nothing(store: Store) -> None:
    put_job(store, mode=ExecutionMode.PARALLEL)
    take(store, [Event(EventKind.PROCESS_ENDED, RUN, LAUNCHER, *instant(0), BOOT, exit_code=1)])
    assert not store.starts.all()
    assert not rows(store)


def test_a_launched_retry_that_comes_to_the_gate_stays_a_retry(store: Store) -> None:
    made = put_job(store, mode=ExecutionMode.PARALLEL)
    take(store, [STARTING, STARTED, process_ended(3), failed("exit-code")])
    (first,) = rows(store).values()
    store.starts.put_retry(made, first, unit=LAUNCHER, attempt=2, due_at=START, now=START)
    store.starts.claim(store.starts.all()[0], START)
    unit = "lunasched-job@backup:0123.service"
    take(store, [replace(CONDITION_FAILED, unit=unit)])
    (start,) = store.starts.all()
    assert (start.unit, start.attempt, start.trigger) == (unit, 2, Trigger.RETRY)
    assert start.failed_id == first.execution_id


def test_stopping_a_oneshot_service_looks_like_a_failure_at_first(store: Store) -> None:
    take(store, [STARTING, process_ended(signal=15), failed("signal"), STOPPED])
    (run,) = rows(store).values()
    assert (run.result, run.signal) == (Result.STOPPED, 15)


def test_a_stop_long_after_a_failure_does_not_change_it(store: Store) -> None:
    take(store, [STARTING, process_ended(signal=15), failed("signal")])
    take(store, [replace(STOPPED, at=START + 60 * SECOND)])
    (run,) = rows(store).values()
    assert run.result is Result.SIGNAL


def test_the_records_of_a_hook_are_no_run(store: Store) -> None:
    store.hooks.put(RUN, HookEvent.ON_FAILURE, "backup", HOOK_UNIT, {}, START)
    store.hooks.claim(store.hooks.next()[0], START)
    hook = "8" * 32
    take(
        store,
        [
            event(EventKind.STARTING, unit=HOOK_UNIT, run=hook),
            event(EventKind.STARTED, unit=HOOK_UNIT, run=hook),
            replace(event(EventKind.PROCESS_ENDED, unit=HOOK_UNIT, run=hook), exit_code=7),
            replace(event(EventKind.FAILED, 1, unit=HOOK_UNIT, run=hook), unit_result="timeout"),
        ],
    )
    assert not rows(store)
    (ended,) = store.hooks.of([RUN])[RUN]
    assert (ended.execution_id, ended.result, ended.exit_code) == (hook, Result.TIMEOUT, 7)


@pytest.mark.parametrize(
    ("user", "uid", "exit_code", "result"),
    [
        ("0", 0, 203, Result.EXEC_ERROR),
        ("nobody", pwd.getpwnam("nobody").pw_uid, 203, Result.EXEC_ERROR),
        # It says another end than systemd, or it is another user who says it.
        ("nobody", pwd.getpwnam("nobody").pw_uid, 3, Result.EXIT_CODE),
        ("nobody", pwd.getpwnam("nobody").pw_uid, 200, Result.EXIT_CODE),
        ("nobody", 12345, 203, Result.EXIT_CODE),
        (None, 12345, 203, Result.EXIT_CODE),
        ("no-such-user", 12345, 203, Result.EXIT_CODE),
    ],
)
def test_a_claim_counts_where_systemd_says_the_same(
    store: Store, user: str | None, uid: int, exit_code: int, result: Result
) -> None:
    job = job_from_mapping({"name": "backup", "schedule": "@daily", "command": "x"})
    store.jobs.put(job.evolve(user=user), START)
    claim = replace(SPAWN_FAILED, claimed_by=uid, exit_code=203)
    take(store, [STARTING, claim, process_ended(exit_code), failed("exit-code")])
    assert rows(store)[RUN].result is result
    assert rows(store)[RUN].exit_code == exit_code


NOBODY = pwd.getpwnam("nobody").pw_uid


@pytest.mark.parametrize(
    ("any_exit_code", "said", "result", "exit_code"),
    [
        (True, {"exit_code": 3}, Result.SUCCESS, 3),
        (True, None, Result.SUCCESS, 0),
        # Another user says it, or of a job whose exit codes systemd itself reports.
        (True, {"exit_code": 3, "claimed_by": NOBODY + 1}, Result.SUCCESS, 0),
        (False, {"exit_code": 3}, Result.SUCCESS, 0),
    ],
)
def test_an_exit_code_that_is_no_failure_is_on_record(
    store: Store,
    any_exit_code: bool,
    said: dict[str, int] | None,
    result: Result,
    exit_code: int | None,
) -> None:
    mapping = {"name": "backup", "schedule": "@daily", "command": "x", "user": "nobody"}
    with store.changing_jobs():
        store.jobs.put(job_from_mapping({**mapping, "any_exit_code": any_exit_code}), START)
    noted = event(EventKind.EXIT_NOTED, 1.9)
    told: dict[str, Any] = {"claimed_by": NOBODY, **(said or {})}
    notes = [] if said is None else [replace(noted, **told)]
    take(store, [STARTING, STARTED, *notes, SUCCEEDED])
    assert (rows(store)[RUN].result, rows(store)[RUN].exit_code) == (result, exit_code)
    # What comes after the end changes nothing.
    take(store, [replace(noted, exit_code=9, claimed_by=NOBODY)], first_cursor=10)
    assert rows(store)[RUN].exit_code == exit_code


@pytest.mark.parametrize(
    ("elapsed_after", "triggers"),
    [(86_400.0, {Trigger.TIMER}), (None, {Trigger.MANUAL})],
    ids=["the timer elapsed since", "the timer never elapsed"],
)
def test_of_starts_that_were_missed_each_timer_is_asked_about_once(
    store: Store, elapsed_after: float | None, triggers: set[Trigger]
) -> None:
    timers = Clockwork(since=0)
    with store.changing_jobs():
        every = Job(name="backup", schedule="*/5 * * * *", command="true")
        store.jobs.put(every, START - 86_400 * SECOND)
    # The supervisor was away for a day; systemd knows the last elapse alone.
    if elapsed_after is not None:
        timers.last = Elapse(*instant(elapsed_after))
    timers.now = instant(86_500)[1]
    missed = [
        event(kind, 300 * number + after, run=f"{number:032x}")
        for number in range(1, 289)
        for kind, after in ((EventKind.STARTING, 0.0), (EventKind.SUCCEEDED, 1.0))
    ]
    take(store, missed, timers=timers)
    assert len(rows(store)) == 288
    assert timers.asked == 1
    assert {run.trigger for run in rows(store).values()} == triggers


def test_what_systemd_said_holds_for_starts_before_that_alone(store: Store) -> None:
    timers = Clockwork(since=0)
    timers.now = instant(10)[1]
    elapses = Elapses(store, timers, monotonic=timers.monotonic)
    elapses.watch(BOOT)
    backup = Job(name="backup", schedule="*/5 * * * *", command="true")

    def by_timer(after: float) -> bool | None:
        return elapses.cause(backup, UNIT, Instant(*instant(after)), BOOT).by_timer

    with store.transaction():
        assert by_timer(5) is False
        assert by_timer(10) is False
        # No signal tells of this elapse.
        timers.last = Elapse(*instant(20))
        timers.now = instant(30)[1]
        assert by_timer(21) is True
    assert timers.asked == 2
