"""What counts as a failure is decided in one place, and the statements of the database agree."""

from __future__ import annotations

from pathlib import Path

import pytest

from lunasched.history.overview import MarkKind
from lunasched.history.retry import decide
from lunasched.history.run import Outcome, Result, Run, Trigger
from lunasched.jobs.model import RetryPolicy
from lunasched.store import Store

ID = "a" * 32


@pytest.fixture(params=list(Result), ids=lambda result: result.value)
def result(request: pytest.FixtureRequest) -> Result:
    found: Result = request.param
    return found


@pytest.fixture
def ended(tmp_path: Path, result: Result) -> Store:
    """A history with one run, which is settled."""
    store = Store.open(tmp_path / "history.db", durable=False)
    run = Run(
        execution_id=ID,
        job="x",
        unit="lunasched-job@x.service",
        trigger=Trigger.TIMER,
        scheduled_at=1_000_000,
        started_at=1_000_000,
    )
    store.runs.begin(run, "b" * 32)
    store.runs.end(ID, result, 2_000_000)
    store.runs.set_settled(ID)
    return store


def test_a_failure_is_what_neither_succeeded_nor_was_refused_or_stopped() -> None:
    assert {result for result in Result if not result.is_failure} == {
        Result.SUCCESS, Result.SKIPPED, Result.STOPPED,
    }  # fmt: skip


def test_the_totals_count_it_once(ended: Store, result: Result) -> None:
    (counted,) = ended.execute("job_snapshots", jobs='["x"]')
    assert counted["failures"] == result.is_failure
    kinds = ("successes", "failures", "stopped", "skipped")
    assert sum(counted[kind] for kind in kinds) == 1


def test_the_last_result_is_a_success_or_a_failure(ended: Store, result: Result) -> None:
    (counted,) = ended.execute("job_snapshots", jobs='["x"]')
    shown = result.is_failure or result is Result.SUCCESS
    assert counted["result"] == (result.value if shown else None)


def test_the_timeline_shows_it(ended: Store, result: Result) -> None:
    (mark,) = ended.runs.marks(["x"], since=0, step=1)["x"]
    assert mark.kind is MarkKind.of(result)
    assert (mark.kind is MarkKind.FAILURE) == result.is_failure


def test_only_a_failure_is_tried_again(result: Result) -> None:
    following = decide(RetryPolicy(max_attempts=2), 1, Outcome(result, exit_code=1), 0)
    assert (following is not None) == (result.is_failure and result is not Result.LOST)
