"""What a job's runs come to is counted once, and is there for whoever watches."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from samples import own_history

from lunasched.history.run import Result, Run, Trigger
from lunasched.history.snapshot import DURATION_DIGITS, JobSnapshot
from lunasched.jobs.model import Job
from lunasched.store import HISTORY, Store, database

SECOND = 1_000_000
NOW = 20_000 * 86_400 * SECOND
JOB = Job(name="backup", schedule="0 * * * *", command="true", timezone="Europe/Berlin")


@pytest.fixture
def store(store: Store) -> Store:
    """The shared one, with a job in it."""
    store.jobs.put(JOB, NOW)
    return store


def begin(
    store: Store,
    number: int,
    trigger: Trigger = Trigger.TIMER,
    slot: int | None = None,
    attempt: int = 1,
) -> str:
    run = Run(
        execution_id=f"{number:032x}",
        job="backup",
        unit="lunasched-job@backup.service",
        trigger=trigger,
        scheduled_at=slot,
        started_at=NOW + number * SECOND,
        attempt=attempt,
        first_attempt_id=f"{1:032x}" if attempt > 1 else None,
    )
    store.runs.begin(run, "b" * 32)
    return run.execution_id


def end(store: Store, run: str, result: Result = Result.SUCCESS, took: int | None = SECOND) -> None:
    started = store.runs.get(run)
    assert started is not None
    store.runs.end(run, result, None if took is None else started.started_at + took)
    store.runs.set_settled(run)


def backup(store: Store) -> JobSnapshot:
    (job,) = store.snapshot(NOW).jobs
    return job


def test_a_job_that_never_ran(store: Store) -> None:
    job = backup(store)
    assert (job.name, job.schedule, job.timezone, job.enabled, job.deployed_at) == (
        "backup", "0 * * * *", "Europe/Berlin", True, NOW,
    )  # fmt: skip
    assert (job.executions, job.missed, job.running, job.retrying) == (0, 0, 0, False)
    assert (job.durations, job.last_start, job.last_success, job.last_result) == (
        "", None, None, None,
    )  # fmt: skip


def test_each_result_counts_once(store: Store) -> None:
    for number, result in enumerate(Result, 1):
        run = begin(store, number)
        end(store, run, result)
        store.runs.set_settled(run)
    job = backup(store)
    assert (job.successes, job.stopped, job.skipped) == (1, 1, 1)
    assert job.failures == len(Result) - 3
    assert job.executions == len(Result) - 1
    assert len(job.durations) == (len(Result) - 1) * DURATION_DIGITS
    assert store.snapshot(NOW).elapses == len(Result)


def test_a_run_counts_when_its_result_is_final(store: Store) -> None:
    run = begin(store, 1)
    store.runs.end(run, Result.SUCCESS, NOW)
    assert backup(store).executions == 0
    store.runs.correct_signal(run, 15)
    store.runs.set_settled(run)
    assert (backup(store).successes, backup(store).failures) == (0, 1)


def test_what_was_lost_and_found_is_not_counted_again(store: Store) -> None:
    run = begin(store, 1)
    end(store, run, Result.LOST, None)
    store.runs.end(run, Result.SUCCESS, NOW + 2 * SECOND)
    store.runs.set_settled(run)
    job = backup(store)
    assert (job.executions, job.failures) == (1, 1)
    # What is not a counter says what is known now.
    assert job.last_result is Result.SUCCESS


def test_durations_are_of_the_latest_hundred(store: Store) -> None:
    for number in range(1, 131):
        end(store, begin(store, number), took=number)
    durations = backup(store).durations
    shown = [
        int(durations[start : start + DURATION_DIGITS])
        for start in range(0, len(durations), DURATION_DIGITS)
    ]
    assert shown == [*range(31, 131)]
    end(store, begin(store, 131), took=-5)  # the clock was set back meanwhile
    end(store, begin(store, 132), took=10**17)
    durations = backup(store).durations
    assert durations.endswith("0" * DURATION_DIGITS + "9" * DURATION_DIGITS)
    assert len(durations) == 100 * DURATION_DIGITS


def test_what_is_in_progress_and_to_come(store: Store) -> None:
    failed = begin(store, 1)
    end(store, failed, Result.EXIT_CODE)
    run = store.runs.get(failed)
    assert run is not None
    store.starts.put_retry(JOB, run, unit="u", attempt=2, due_at=NOW + SECOND, now=NOW)
    assert backup(store).retrying
    assert store.snapshot(NOW).queue_depth == 0
    assert store.snapshot(NOW + SECOND).queue_depth == 1
    for start in store.starts.all():
        store.starts.drop(start)
    assert not backup(store).retrying
    begin(store, 2, Trigger.RETRY, attempt=2)
    assert (backup(store).running, backup(store).retrying) == (1, True)


def test_the_latest_of_each_kind(store: Store) -> None:
    end(store, begin(store, 1, slot=NOW - 4 * SECOND), Result.SUCCESS)
    failed = begin(store, 2)
    store.runs.process_ended(failed, exit_code=3, signal=None)
    store.runs.resources(failed, cpu_usec=70, memory_peak=4096)
    end(store, failed, Result.EXIT_CODE)
    end(store, begin(store, 3), Result.STOPPED)
    end(store, begin(store, 4), Result.SKIPPED)
    job = backup(store)
    assert job.last_success == NOW + 2 * SECOND
    assert job.lateness == 5 * SECOND
    assert (job.last_result, job.last_exit_code, job.last_signal, job.last_memory_peak) == (
        Result.EXIT_CODE, 3, None, 4096,
    )  # fmt: skip
    assert job.last_start == NOW + 3 * SECOND
    assert job.cpu_usec == 70
    begin(store, 5)
    assert backup(store).last_start == NOW + 5 * SECOND
    assert backup(store).last_result is Result.EXIT_CODE


def test_counters_of_a_removed_job_stay(store: Store) -> None:
    end(store, begin(store, 1))
    store.jobs.delete("backup")
    assert store.snapshot(NOW).jobs == ()
    assert store.snapshot(NOW).elapses == 1
    store.jobs.put(JOB, NOW)
    assert backup(store).successes == 1


def test_what_an_earlier_schema_had_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "lunasched.db"
    scripts = sorted(Path(database.__file__).parent.glob("schema/history/000[1-3]_*.sql"))
    with closing(sqlite3.connect(path)) as old:
        for script in scripts:
            old.executescript(script.read_text())
        old.execute("PRAGMA user_version = 3")
        old.execute(f"PRAGMA application_id = {0x6C756E61}")
        old.execute("INSERT INTO pruned_runs VALUES ('a', 'success', 10, 1, 5, 6)")
        old.execute("INSERT INTO pruned_runs VALUES ('a', 'timeout', 20, 2, 5, 6)")
        old.execute("INSERT INTO pruned_runs VALUES ('gone', 'skipped', 3, 0, 0, 0)")
        for number in range(1, 121):
            result = ("success", "exit-code", "stopped", "skipped")[number % 4]
            old.execute(
                'INSERT INTO runs (execution_id, job, unit, boot_id, phase, settled, "trigger",'
                " started_at, ended_at, result, cpu_usec)"
                " VALUES (?, 'a', 'u', 'b', 'ended', 1, ?, 1000, ?, ?, 2)",
                [f"{number:032x}", "timer" if number % 2 else "manual", 1000 + number, result],
            )
        old.execute(
            'INSERT INTO runs (execution_id, job, unit, boot_id, phase, "trigger", started_at)'
            " VALUES ('open', 'a', 'u', 'b', 'running', 'timer', 1)"
        )
        old.commit()
    with Store.open(path) as store:
        found = own_history(store).connection.execute("SELECT * FROM job_totals")
        rows = {row["job"]: dict(row) for row in found}
        durations = rows["a"].pop("durations")
        executed = [number for number in range(1, 121) if number % 4 != 3]
        assert rows["a"] == {
            "job": "a", "successes": 40, "failures": 50, "stopped": 30, "skipped": 30,
            "retries": 3, "elapses": 60, "took_usec": 10 + sum(executed), "cpu_usec": 12 + 240,
            "overrun": 0,
        }  # fmt: skip
        assert (rows["gone"]["skipped"], rows["gone"]["successes"]) == (3, 0)
        assert durations == "".join(f"{number:014}" for number in executed[-100:])


PLANNED = "job_snapshots count_running waiting_jobs count_elapses count_settled count_cpu"


@pytest.mark.parametrize("query", PLANNED.split())
@pytest.mark.parametrize("analyzed", [False, True])
def test_nothing_reads_the_whole_history(query: str, analyzed: bool, store: Store) -> None:
    if analyzed:
        for number in range(300):
            end(store, begin(store, number))
        own_history(store).run("ANALYZE")
    statement = HISTORY.query(query)
    parameters = dict.fromkeys(("now", "execution_id", "cpu_usec", "jobs"), 0)
    plan = [
        row["detail"]
        for row in own_history(store).run(f"EXPLAIN QUERY PLAN {statement}", parameters)
    ]
    scans = [line for line in plan if line.startswith("SCAN runs")]
    # Those that are open are few.
    few = ("SCAN runs USING INDEX runs_open", "SCAN runs USING INDEX runs_open_of_job")
    assert [line for line in scans if line not in few] == [], plan


def test_counts_of_notifications_keep_what_earlier_versions_counted() -> None:
    """Up to version 10 they were called messages."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        HISTORY.upgrade(connection, 0, 10)
        connection.execute("INSERT INTO sent_messages VALUES ('mail', 7)")
        connection.execute("INSERT INTO message_totals VALUES ('email', 'sent', 3)")
        HISTORY.upgrade(connection, 10)
        put = "INSERT INTO outbox ({}) VALUES ({})"
        columns = {
            name: 0 if "INT" in kind else "{}"
            for _, name, kind, needed, default, _ in connection.execute("PRAGMA table_info(outbox)")
            if needed and default is None and name != "settled_at"
        }
        columns |= {"type": "email", "state": "sent"}
        connection.execute(
            put.format(", ".join(columns), ", ".join("?" * len(columns))), [*columns.values()]
        )
        connection.execute("UPDATE outbox SET settled_at = 9")
        assert connection.execute("SELECT * FROM sent_notifications").fetchall() == [("mail", 7)]
        totals = connection.execute("SELECT * FROM notification_totals").fetchall()
        assert totals == [("email", "sent", 4)]
