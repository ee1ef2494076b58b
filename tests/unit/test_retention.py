"""What is removed from the history, what never is, and what becomes of the space."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from samples import own_history

from lunasched.history.run import Result, Run, Trigger
from lunasched.jobs.model import HookEvent, Job
from lunasched.paths import history_path
from lunasched.store import HISTORY, Pruning, Store, space

if TYPE_CHECKING:
    import random

DAY = 86_400_000_000
NOW = 20_000 * DAY
JOB = Job(name="backup", schedule="every 1h", command="true")


class History:
    """Writes runs as the supervisor does."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.count = 0

    def add(
        self,
        days_ago: float,
        result: Result | None = Result.SUCCESS,
        *,
        job: str = "backup",
        first: Run | None = None,
        attempt: int = 1,
        slot: bool = False,
        settled: bool = True,
        output: str | None = "said\n",
    ) -> Run:
        self.count += 1
        at = NOW - int(days_ago * DAY)
        run = Run(
            execution_id=f"{self.count:032x}",
            job=job,
            unit=f"lunasched-job@{job}.service",
            trigger=Trigger.TIMER,
            scheduled_at=at if slot else None,
            started_at=at,
            attempt=attempt,
            first_attempt_id=first.execution_id if first else None,
        )
        self.store.runs.begin(run, "b" * 32)
        if result is not None:
            self.store.runs.end(run.execution_id, result, at + 1_000_000)
            if settled:
                self.store.runs.set_settled(run.execution_id)
            if output is not None:
                self.store.runs.set_output(run.execution_id, output)
        return run


@pytest.fixture
def history(store: Store) -> History:
    return History(store)


def prune(store: Store, days: int = 0, most: int = 0, **more: Any) -> int:
    pruning = Pruning(store, history_days=days, max_history_per_job=most, **{"now": NOW, **more})
    removed = 0
    while (count := pruning.step()) is not None:
        removed += count
    return removed


def ids(store: Store) -> set[str]:
    return {run.execution_id for run in store.runs.history(None, None)}


def test_runs_older_than_the_days_go(store: Store, history: History) -> None:
    old = [history.add(days) for days in (400, 91, 90.5)]
    kept = [history.add(days) for days in (89.5, 60, 0.1)]
    assert prune(store, days=90) == len(old)
    assert ids(store) == {run.execution_id for run in kept}


def test_of_each_job_the_newest_stay(store: Store, history: History) -> None:
    for number in range(30):
        history.add(30 - number, job=f"job-{number % 2}")
    assert prune(store, most=5) == 20
    assert Counter(run.job for run in store.runs.history(None, None)) == {"job-0": 5, "job-1": 5}
    assert all(run.started_at > NOW - 11 * DAY for run in store.runs.history(None, None))
    assert prune(store, most=5) == 0


def test_without_limits_nothing_goes(store: Store, history: History) -> None:
    for days in (5000, 100, 1):
        history.add(days)
    assert prune(store) == 0
    assert len(ids(store)) == 3


def test_what_decides_what_comes_next_stays(store: Store, history: History) -> None:
    kept = [
        history.add(300, Result.SUCCESS),
        history.add(299, Result.EXIT_CODE, slot=True),
        history.add(298, Result.TIMEOUT),
        history.add(297, Result.SKIPPED, slot=True),
    ]
    history.add(10, job="other")
    before = (
        store.runs.latest_outcome("backup"),
        store.runs.last_slot("backup", but=""),
        store.runs.last_start("backup"),
    )
    assert prune(store, days=90, most=1) == 0
    assert {run.execution_id for run in kept} <= ids(store)
    gone = history.add(301)
    # It is newer on record, though its clock was not.
    history.add(300.5, Result.EXIT_CODE)
    assert gone.execution_id in ids(store)
    assert before[1] == store.runs.last_slot("backup", but="")


@pytest.mark.parametrize(
    "unfinished", [{"result": None}, {"settled": False}, {"output": None}], ids=str
)
def test_what_is_not_over_stays(unfinished: dict[str, Any], store: Store, history: History) -> None:
    run = history.add(200, **unfinished)
    history.add(10)
    history.add(5)
    assert prune(store, days=90, most=1) == 1
    assert run.execution_id in ids(store)


def test_a_chain_goes_as_a_whole(store: Store, history: History) -> None:
    first = history.add(91, Result.EXIT_CODE)
    second = history.add(90.5, Result.EXIT_CODE, first=first, attempt=2)
    last = history.add(89, first=first, attempt=3)
    history.add(10)
    assert prune(store, days=90) == 0
    assert {run.execution_id for run in (first, second, last)} <= ids(store)
    assert prune(store, days=90, now=NOW + 2 * DAY) == 3


def test_a_retry_or_a_hook_to_come_keeps_its_run(store: Store, history: History) -> None:
    failed = [history.add(200, Result.EXIT_CODE) for _ in range(3)]
    history.add(10)
    store.starts.put_retry(JOB, failed[0], unit="u", attempt=2, due_at=NOW, now=NOW)
    store.hooks.put(failed[1].execution_id, HookEvent.ON_FAILURE, "backup", "h", {}, NOW)
    assert prune(store, days=90) == 1
    assert ids(store) >= {run.execution_id for run in failed[:2]}
    (hook,) = store.hooks.next()
    store.hooks.fail(hook.id, Result.EXEC_ERROR, NOW)
    assert prune(store, days=90) == 1
    assert store.hooks.of([failed[1].execution_id]) == {}


def test_a_removed_jobs_runs_go_by_the_same_rules(store: Store, history: History) -> None:
    store.jobs.put(JOB, NOW)
    for days in (200, 100, 50):
        history.add(days)
    store.jobs.delete("backup")
    assert prune(store, days=90) == 2


def totals(store: Store) -> dict[str, tuple[int, ...]]:
    """Successes, failures, stopped, skipped, retries, elapses of every job that ever ran."""
    columns = [
        "successes",
        "failures",
        "stopped",
        "skipped",
        "retries",
        "elapses",
        "took_usec",
        "cpu_usec",
    ]
    rows = own_history(store).run("SELECT * FROM job_totals")
    return {row["job"]: tuple(row[column] for column in columns) for row in rows}


def test_what_went_stays_counted(store: Store, history: History) -> None:
    first = history.add(120, Result.EXIT_CODE)
    history.add(119, Result.EXIT_CODE, first=first, attempt=2)
    for _ in range(2):  # records that are read again
        store.runs.resources(first.execution_id, cpu_usec=500, memory_peak=1)
    for days in (118, 117):
        history.add(days)
    history.add(20)
    expected = {"backup": (3, 2, 0, 0, 1, 5, 5_000_000, 500)}
    assert totals(store) == expected
    assert prune(store, days=90) == 4
    assert totals(store) == expected


def test_a_clock_that_ran_away_removes_nothing(store: Store, history: History) -> None:
    for days in range(60):
        history.add(60 - days)
    far = NOW + 70 * 365 * DAY
    assert prune(store, days=30, now=far) == 0
    # A run by that clock does not bear it out, until a week has passed by it.
    history.add((NOW - far) / DAY)
    assert prune(store, days=30, now=far + DAY) == 0
    assert prune(store, days=30, now=far + 8 * DAY) == 60
    assert prune(store, days=30, now=0) == 0


def test_counters_stay_whatever_went(store: Store, history: History, rng: random.Random) -> None:
    results = [Result.SUCCESS, Result.EXIT_CODE, Result.SKIPPED, Result.TIMEOUT]
    expected: Counter[tuple[str, str]] = Counter()
    with store.transaction():
        for number in range(3000):
            job, result = f"job-{rng.randrange(7)}", rng.choice(results)
            run = history.add(300 - number / 10, result, job=job, slot=rng.random() < 0.5)
            expected[job, result.value] += 1
            attempt = 1
            while result is not Result.SUCCESS and rng.random() < 0.3:
                attempt += 1
                result = rng.choice(results)
                history.add(300 - number / 10, result, job=job, first=run, attempt=attempt)
                expected[job, result.value] += 1
    everything = store.runs.history(None, None)
    counted = totals(store)
    for job, (successes, failures, stopped, skipped, *_) in counted.items():
        assert successes == expected[job, "success"]
        assert failures == expected[job, "exit-code"] + expected[job, "timeout"]
        assert (stopped, skipped) == (0, expected[job, "skipped"])
    latest = {
        job: (store.runs.latest_outcome(job), store.runs.last_slot(job, but=""))
        for job in store.jobs.names()
    }
    for days, most in ((200, 0), (0, 100), (50, 20), (1, 1)):
        prune(store, days, most)
        left = store.runs.history(None, None)
        assert totals(store) == counted
        whole = Counter(run.first_attempt_id or run.execution_id for run in everything)
        still = Counter(run.first_attempt_id or run.execution_id for run in left)
        assert all(still[chain] == whole[chain] for chain in still)
        assert latest == {
            job: (store.runs.latest_outcome(job), store.runs.last_slot(job, but=""))
            for job in store.jobs.names()
        }
    assert len(left) < 200


PARAMETERS = ("cutoff", "before", "at", "after", "count", "job", "most", "chains", "sequences")
PLANNED = (
    "clock_is_borne_out runs_by_age next_job_with_runs first_run_kept runs_by_sequence "
    "runs_of_chains delete_hooks_of_pruned delete_runs"
)


@pytest.mark.parametrize("query", PLANNED.split())
@pytest.mark.parametrize("analyzed", [False, True])
def test_no_batch_looks_at_the_whole_history(
    query: str, analyzed: bool, store: Store, history: History
) -> None:
    if analyzed:
        with store.transaction():
            for number in range(500):
                history.add(number, job=f"job-{number % 5}")
        own_history(store).run("ANALYZE")
    parameters = dict.fromkeys(PARAMETERS, 0)
    plan = [
        row["detail"]
        for row in own_history(store).run(f"EXPLAIN QUERY PLAN {HISTORY.query(query)}", parameters)
    ]
    scans = [line for line in plan if line.startswith("SCAN") and "json_each" not in line]
    # One row of a covering index, as many as there are to keep, or nothing of a table.
    allowed = ("SCAN CONSTANT ROW",)
    assert [line for line in scans if line not in allowed] == [], plan


# Space


def fill(store: Store, count: int) -> None:
    with store.transaction():
        own_history(store).run(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count) "
            "INSERT INTO runs (execution_id, job, unit, boot_id, phase, settled, "
            '"trigger", started_at, ended_at, result, output) '
            "SELECT lower(hex(randomblob(16))), 'job-' || (i % 10), 'u', 'b', 'ended', 1, 'timer', "
            ":now - (:count - i) * 60000000, :now, 'success', hex(zeroblob(500)) FROM n",
            {"count": count, "now": NOW},
        )


@pytest.mark.parametrize("made_for_it", [True, False])
def test_space_is_given_back(made_for_it: bool, tmp_path: Path) -> None:
    path = tmp_path / "lunasched.db"
    if not made_for_it:
        history_path(path).parent.mkdir()
        with closing(sqlite3.connect(history_path(path))) as old:
            old.execute("CREATE TABLE earlier (at INTEGER)")
            old.execute("DROP TABLE earlier")
    with Store.open(path) as store:
        assert bool(store.execute("gives_pages_back")[0][0]) == made_for_it
        fill(store, 5000)
        before = store.size()
        assert prune(store, most=10) == 4900
        for _ in space.give_back(store):
            pass
        assert store.size() < before / 10
        assert bool(store.execute("gives_pages_back")[0][0])
        assert len(store.runs.history(None, None)) == 100
        assert own_history(store).run("PRAGMA integrity_check")[0][0] == "ok"


def lunasched(database: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lunasched")
    environment = {
        "LUNASCHED_DB_PATH": str(database),
        "LUNASCHED_CONFIG_PATH": str(database.with_name("config.yaml")),
        "HOME": str(database.parent),
        "PATH": "/usr/bin:/bin",
    }
    return subprocess.run(
        [program, "--user", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_vacuum_goes_by_the_configuration_or_its_options(tmp_path: Path) -> None:
    path = tmp_path / "lunasched.db"
    with Store.open(path) as store:
        fill(store, 2000)
    tmp_path.joinpath("config.yaml").write_text("retention: {max_history_per_job: 50}\n")
    done = lunasched(path, "vacuum", "--history-days", "0")
    assert done.returncode == 0, done
    assert "Removed 1500 runs from the history." in done.stdout
    assert "MiB, and had" in done.stdout
    done = lunasched(path, "vacuum", "--history-days", "0", "--max-history", "5")
    assert "Removed 450 runs" in done.stdout
    # Long ago, by the real clock: the latest run of each job is left.
    assert "Removed 40 runs" in lunasched(path, "vacuum", "--history-days", "30").stdout
    with Store.open(path) as store:
        assert len(store.runs.history(None, None)) == 10


def test_vacuum_refuses_numbers_below_zero(tmp_path: Path) -> None:
    done = lunasched(tmp_path / "lunasched.db", "vacuum", "--history-days", "-1")
    assert done.returncode == 2


def test_others_write_while_it_is_pruned(tmp_path: Path) -> None:
    path = tmp_path / "lunasched.db"
    with Store.open(path) as store:
        fill(store, 20_000)
    with subprocess.Popen(
        [Path(sys.executable).with_name("lunasched"), "--user", "vacuum", "--max-history", "10"],
        env={"LUNASCHED_DB_PATH": str(path), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        text=True,
    ) as vacuum:
        with Store.open(path) as store:
            history = History(store)
            while vacuum.poll() is None:
                history.add(0, job="new")
                # As jobs have it; who never pauses keeps all others from writing.
                time.sleep(0.01)
        assert vacuum.returncode == 0
        assert vacuum.stdout is not None
        removed = int(vacuum.stdout.read().split()[1])
    with Store.open(path) as store:
        left = store.runs.history(None, None)
    assert removed >= 19_900
    assert removed + len(left) == 20_000 + history.count
    assert history.count > 20
