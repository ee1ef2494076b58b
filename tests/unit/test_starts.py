"""What is to be started, and the hooks that are to run: each once, by whoever claims it first."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import samples

from lunasched.formats.unittext import launch_name, run_service_name, service_name
from lunasched.history.run import HookRun, Result, Run, Trigger
from lunasched.jobs.model import HookEvent, Job
from lunasched.paths import Mode
from lunasched.state.runtimedir import MarkDirectory, RuntimeDirectory
from lunasched.store import Start, Store
from lunasched.supervisor.consequences import Consequences
from lunasched.supervisor.notificationqueue import Origin

BOOT = "b" * 32
SECOND = 1_000_000
NOW = 1_000 * SECOND
HOOK = "echo hooked"


@pytest.fixture
def consequences(store: Store) -> Consequences:
    return Consequences(store, Origin("box", "UTC", Mode.SYSTEM), lambda: NOW)


def on_record(store: Store, name: str = "backup", **keys: Any) -> Job:
    """A job on record."""
    made = samples.job(name=name, **keys)
    store.jobs.put(made, 1)
    return made


def run(
    store: Store,
    number: int,
    result: Result | None = None,
    *,
    name: str = "backup",
    at: int = NOW,
    unit: str | None = None,
    attempt: int = 1,
    first: str | None = None,
    exit_code: int | None = None,
) -> Run:
    """A run on record that began at a time and, with a result, took a second."""
    began = Run(
        execution_id=f"{number:032x}",
        job=name,
        unit=unit or service_name(name),
        trigger=Trigger.TIMER,
        scheduled_at=None,
        started_at=at,
        attempt=attempt,
        first_attempt_id=first,
    )
    store.runs.begin(began, BOOT)
    store.runs.running(began.execution_id)
    if result is not None:
        store.runs.process_ended(began.execution_id, exit_code=exit_code, signal=None)
        store.runs.end(began.execution_id, result, at + SECOND)
    found = store.runs.get(began.execution_id)
    assert found is not None
    return found


def starts(store: Store) -> list[tuple[str, Trigger, int, int]]:
    return [(start.job, start.trigger, start.attempt, start.due_at) for start in store.starts.all()]


def events(store: Store, of: Run) -> list[str]:
    found: list[HookRun] = store.hooks.of([of.execution_id]).get(of.execution_id, [])
    return [hook.event.value for hook in found]


RETRIES: dict[str, Any] = {"retry_policy": {"max_attempts": 3, "initial_delay_seconds": 10}}
HOOKS: dict[str, Any] = {"hooks": {event.value: HOOK for event in HookEvent}}


def test_a_failure_has_a_retry_and_its_hook_once(store: Store, consequences: Consequences) -> None:
    on_record(store, **RETRIES, **HOOKS)
    failed = run(store, 1, Result.EXIT_CODE)
    for _ in range(2):
        consequences.settled(failed.execution_id)
    assert starts(store) == [("backup", Trigger.RETRY, 2, NOW + 11 * SECOND)]
    (start,) = store.starts.all()
    assert start.failed_id == start.first_attempt_id == failed.execution_id
    assert events(store, failed) == ["on_start", "on_retry"]


def test_the_last_attempt_is_final(store: Store, consequences: Consequences) -> None:
    on_record(store, **RETRIES, **HOOKS)
    first = run(store, 1, Result.EXIT_CODE)
    last = run(store, 2, Result.TIMEOUT, at=NOW + 5 * SECOND, attempt=3, first=first.execution_id)
    consequences.settled(last.execution_id)
    assert not starts(store)
    assert events(store, last) == ["on_start", "on_failure"]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (Result.SUCCESS, ["on_start", "on_success"]),
        (Result.STOPPED, []),
        (Result.SKIPPED, []),
        (Result.LOST, ["on_start", "on_failure"]),
        (Result.EXEC_ERROR, ["on_retry"]),
    ],
)
def test_what_follows_each_result(
    store: Store, consequences: Consequences, result: Result, expected: list[str]
) -> None:
    on_record(store, **RETRIES, **HOOKS)
    ended = run(store, 1, result)
    consequences.settled(ended.execution_id)
    assert events(store, ended) == expected
    assert bool(starts(store)) == ("on_retry" in expected)


def test_a_disabled_job_is_not_tried_again(store: Store, consequences: Consequences) -> None:
    on_record(store, enabled=False, **RETRIES, **HOOKS)
    failed = run(store, 1, Result.EXIT_CODE)
    consequences.settled(failed.execution_id)
    assert not starts(store)
    assert events(store, failed) == ["on_start", "on_failure"]


def test_nothing_follows_the_run_of_a_removed_job(store: Store, consequences: Consequences) -> None:
    on_record(store, **RETRIES, **HOOKS)
    failed = run(store, 1, Result.EXIT_CODE)
    store.jobs.delete("backup")
    consequences.settled(failed.execution_id)
    assert not starts(store)
    assert not events(store, failed)


def test_a_run_that_began_meanwhile_is_in_the_place_of_the_retry(
    store: Store, consequences: Consequences
) -> None:
    # As after a time without the supervisor: both are read, then the first is settled.
    on_record(store, **RETRIES, **HOOKS)
    failed = run(store, 1, Result.EXIT_CODE)
    run(store, 2, at=NOW + 5 * SECOND)
    consequences.settled(failed.execution_id)
    assert not starts(store)
    assert events(store, failed) == ["on_start", "on_failure"]


def test_a_run_that_begins_first_replaces_the_retry(
    store: Store, consequences: Consequences
) -> None:
    on_record(store, **RETRIES, **HOOKS)
    failed = run(store, 1, Result.EXIT_CODE)
    consequences.settled(failed.execution_id)
    following = run(store, 2, at=NOW + 5 * SECOND)
    consequences.went_ahead(following.execution_id)
    assert not starts(store)
    assert events(store, failed) == ["on_start", "on_retry", "on_failure"]


def test_a_parallel_run_beside_the_failed_one_replaces_nothing(
    store: Store, consequences: Consequences
) -> None:
    on_record(store, execution_mode="Parallel", **RETRIES)
    failed = run(store, 1, Result.EXIT_CODE, unit=run_service_name("backup", "a"))
    beside = run(store, 2, at=NOW + SECOND // 2, unit=run_service_name("backup", "b"))
    consequences.settled(failed.execution_id)
    consequences.went_ahead(beside.execution_id)
    (start,) = store.starts.all()
    assert start.unit == launch_name("backup")
    after = run(store, 3, at=NOW + 2 * SECOND, unit=run_service_name("backup", "c"))
    consequences.went_ahead(after.execution_id)
    assert not starts(store)


def test_a_retry_that_was_refused_ends_its_chain(store: Store, consequences: Consequences) -> None:
    on_record(store, **RETRIES, **HOOKS)
    failed = run(store, 1, Result.EXIT_CODE)
    refused = run(
        store, 2, Result.SKIPPED, at=NOW + 5 * SECOND, attempt=2, first=failed.execution_id
    )
    consequences.settled(refused.execution_id)
    assert not events(store, refused)
    assert events(store, failed) == ["on_failure"]


def test_hooks_know_the_run_but_not_its_future(store: Store, consequences: Consequences) -> None:
    on_record(store, **RETRIES, **HOOKS)
    failed = run(store, 1, Result.EXIT_CODE, exit_code=3)
    consequences.settled(failed.execution_id)
    facts = {hook.facts["LUNASCHED_EVENT"]: hook.facts for hook in store.hooks.next()}
    assert facts["on_retry"]["LUNASCHED_RESULT"] == "exit-code"
    assert facts["on_retry"]["LUNASCHED_EXIT_CODE"] == "3"
    assert facts["on_retry"]["LUNASCHED_SIGNAL"] == ""
    assert facts["on_retry"]["LUNASCHED_NEXT_ATTEMPT"] == "2"
    assert not {"LUNASCHED_RESULT", "LUNASCHED_EXIT_CODE"} & facts["on_start"].keys()
    assert facts["on_start"]["LUNASCHED_STARTED_AT"] == "1970-01-01T00:16:40.000000Z"


def test_a_dependent_runs_when_all_have_succeeded_since_its_own_run(
    store: Store, consequences: Consequences
) -> None:
    on_record(store, "a")
    on_record(store, "b")
    on_record(store, "both", schedule=None, dependencies=["a", "b"])
    first = run(store, 1, Result.SUCCESS, name="a")
    consequences.settled(first.execution_id)
    assert not starts(store)
    second = run(store, 2, Result.SUCCESS, name="b", at=NOW + 5 * SECOND)
    consequences.settled(second.execution_id)
    assert [start[:2] for start in starts(store)] == [("both", Trigger.DEPENDENCY)]
    # Its run: from here on, both have to succeed again.
    begun = run(store, 3, Result.SUCCESS, name="both", at=NOW + 10 * SECOND)
    store.starts.take_replaced(begun)
    for number, name in ((4, "a"), (5, "b")):
        assert not starts(store)
        again = run(store, number, Result.SUCCESS, name=name, at=NOW + (10 + number) * SECOND)
        consequences.settled(again.execution_id)
    assert len(starts(store)) == 1


@pytest.mark.parametrize("result", [Result.EXIT_CODE, Result.STOPPED, None])
def test_a_dependent_waits_for_one_that_failed_last_or_still_runs(
    store: Store, consequences: Consequences, result: Result | None
) -> None:
    on_record(store, "a")
    on_record(store, "b")
    on_record(store, "both", schedule=None, dependencies=["a", "b"])
    run(store, 1, Result.SUCCESS, name="b")
    run(store, 2, result, name="b", at=NOW + 2 * SECOND)
    success = run(store, 3, Result.SUCCESS, name="a", at=NOW + 5 * SECOND)
    consequences.settled(success.execution_id)
    assert not starts(store)


def test_dependents_with_a_schedule_or_disabled_are_not_started(
    store: Store, consequences: Consequences
) -> None:
    on_record(store, "a")
    on_record(store, "scheduled", dependencies=["a"])
    on_record(store, "disabled", schedule=None, dependencies=["a"], enabled=False)
    consequences.settled(run(store, 1, Result.SUCCESS, name="a").execution_id)
    assert not starts(store)


def waiting(store: Store, of: Job, unit: str | None = None) -> Start:
    unit = unit or service_name(of.name)
    store.starts.put(of, unit=unit, trigger=Trigger.TIMER, slot=7, due_at=NOW, now=NOW)
    return store.starts.all()[-1]


def taken_by(store: Store, unit: str, *, began: int = NOW, by_timer: bool = False) -> Start | None:
    """The start that a unit which began is taken for; it is a minute later now."""
    return store.starts.take_claimed(unit, began=began, by_timer=by_timer, now=NOW + 60 * SECOND)


def test_what_began_before_it_was_asked_for_is_another_start(store: Store) -> None:
    """Its records were read late."""
    start = waiting(store, on_record(store))
    assert store.starts.claim(start, NOW)
    assert taken_by(store, start.unit, began=NOW - 1) is None
    assert not store.starts.is_claimed(start.unit, began=NOW - 1, now=NOW + SECOND)
    assert store.starts.is_claimed(start.unit, began=NOW, now=NOW + SECOND)
    # Unless the clock was set back since.
    found = store.starts.take_claimed(
        start.unit, began=NOW - 60 * SECOND, by_timer=False, now=NOW - 59 * SECOND
    )
    assert found is not None


def test_a_start_by_the_timer_is_no_retry_and_replaces_it(
    store: Store, consequences: Consequences
) -> None:
    made = on_record(store, **RETRIES)
    failed = run(store, 1, Result.EXIT_CODE)
    consequences.settled(failed.execution_id)
    (retry,) = store.starts.all()
    assert store.starts.claim(retry, NOW)
    assert taken_by(store, failed.unit, by_timer=True) is None
    consequences.went_ahead(run(store, 2, at=NOW + 5 * SECOND).execution_id)
    assert not store.starts.all()
    # What is none of a retry waits for the timer's, and is one with it.
    start = waiting(store, made)
    assert store.starts.claim(start, NOW)
    assert taken_by(store, start.unit, by_timer=True) is not None


def test_a_start_is_claimed_once(store: Store, tmp_path: Path) -> None:
    start = waiting(store, on_record(store))
    with Store.open(tmp_path / "lunasched.db") as other:
        assert other.starts.claim(start, NOW)
    assert not store.starts.claim(start, NOW)
    assert taken_by(store, "lunasched-job@other.service") is None
    taken = taken_by(store, start.unit)
    assert taken is not None
    assert (taken.id, taken.scheduled_at, taken.tries) == (start.id, 7, 1)
    assert not store.starts.all()


def test_what_is_not_claimed_was_not_asked_for(store: Store) -> None:
    start = waiting(store, on_record(store))
    assert taken_by(store, start.unit) is None
    assert store.starts.claim(start, NOW)
    store.starts.unclaim(start.id)
    assert taken_by(store, start.unit) is None
    assert store.starts.claim(start, NOW)


def test_however_often_it_is_triggered_a_unit_waits_once(store: Store) -> None:
    made = on_record(store)
    for _ in range(3):
        waiting(store, made)
    assert len(store.starts.all()) == 1


def test_a_start_whose_unit_is_gone_is_moved_even_onto_one_that_waits(store: Store) -> None:
    made = on_record(store, execution_mode="Parallel")
    waiting(store, made, launch_name("backup"))
    start = waiting(store, made, run_service_name("backup", "a"))
    store.starts.move(start, launch_name("backup"))
    assert [found.unit for found in store.starts.all()] == [launch_name("backup")]


def test_the_oldest_hook_of_a_unit_comes_first_and_alone(store: Store) -> None:
    for number in range(3):
        store.hooks.put(str(number), HookEvent.ON_START, "a", "unit-a", {"N": str(number)}, NOW)
        store.hooks.put(str(number), HookEvent.ON_START, "a", "unit-a", {"N": "twice"}, NOW)
    store.hooks.put("0", HookEvent.ON_SUCCESS, "a", "unit-b", {}, NOW)
    assert [hook.facts.get("N") for hook in store.hooks.next()] == ["0", None]
    first = store.hooks.next()[0]
    assert store.hooks.claim(first, NOW)
    assert not store.hooks.claim(first, NOW)
    assert [hook.unit for hook in store.hooks.next()] == ["unit-b"]
    store.hooks.started("unit-a", "f" * 32)
    # The record of a start that is read again is not the start of the next hook.
    store.hooks.started("unit-a", "f" * 32)
    store.hooks.process_ended("f" * 32, exit_code=7, signal=None)
    store.hooks.ended("f" * 32, Result.EXIT_CODE, NOW)
    store.hooks.ended("f" * 32, Result.SUCCESS, NOW)
    assert [hook.facts.get("N") for hook in store.hooks.next()] == ["1", None]
    assert store.hooks.of(["0"])["0"][0] == HookRun(
        HookEvent.ON_START, "f" * 32, Result.EXIT_CODE, 7, None
    )


def test_a_hook_that_could_not_be_executed_says_so(store: Store) -> None:
    store.hooks.put("0", HookEvent.ON_START, "a", "unit-a", {}, NOW)
    (hook,) = store.hooks.next()
    store.hooks.claim(hook, NOW)
    store.hooks.started("unit-a", "f" * 32)
    store.hooks.spawn_failed("f" * 32, 217)
    store.hooks.ended("f" * 32, Result.EXIT_CODE, NOW)
    (ended,) = store.hooks.of(["0"])["0"]
    assert (ended.result, ended.exit_code) == (Result.EXEC_ERROR, 217)


def test_a_command_opens_nothing_that_the_supervisor_made(tmp_path: Path) -> None:
    runtime, precious = tmp_path / "run", tmp_path / "precious"
    marks = MarkDirectory(runtime)
    with marks.by_hand("backup"):
        assert int((runtime / "by-hand/backup").read_text()) > 0
    assert not list((runtime / "by-hand").iterdir())
    # That of an earlier version, which was the supervisor's.
    os.chown(runtime, 65534, 65534)
    precious.mkdir()
    (runtime / "by-hand").rmdir()
    (runtime / "by-hand").symlink_to(precious)
    with marks.by_hand("backup"):
        assert not list(precious.iterdir())
    os.chown(runtime, os.geteuid(), os.getegid())
    with marks.by_hand("backup"):
        assert not list(precious.iterdir())


def test_the_supervisor_follows_no_link_to_its_marks(tmp_path: Path) -> None:
    runtime = RuntimeDirectory(tmp_path)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    runtime.mark_start("backup", for_slot=False)
    mark = tmp_path / "supervisor/starts/backup"
    assert int(mark.read_text()) > 0
    mark.unlink()
    mark.symlink_to(victim)
    runtime.mark_start("backup", for_slot=True)
    assert mark.read_text().split()[1:] == ["timer"]
    assert victim.read_text() == "precious"
    assert not mark.is_symlink()


def test_the_gate_and_its_passes(tmp_path: Path) -> None:
    runtime = RuntimeDirectory(tmp_path / "run")
    assert not runtime.gate_is_shut()
    runtime.shut_gate()
    runtime.grant(r"lunasched-job@a\x20b:1.service")
    assert runtime.gate_is_shut()
    assert [entry.name for entry in (tmp_path / "run/supervisor/passes").iterdir()] == [r"a\x20b:1"]
    runtime.clear()
    assert not runtime.gate_is_shut()
    assert not list((tmp_path / "run/supervisor/passes").iterdir())
    (tmp_path / "lunasched-exclusive").mkdir()
    assert runtime.exclusive_runs()
