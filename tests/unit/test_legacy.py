"""Databases of Lunasched 1.x are taken over, whole, or left as they were."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing, suppress
from datetime import datetime, timedelta, timezone
from itertools import islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import legacy
import pytest
from campaign import rounds

from lunasched import schedule
from lunasched.cli import render
from lunasched.errors import ScheduleError, StoreError
from lunasched.history import jsonview
from lunasched.history.run import Result, Run, Trigger
from lunasched.jobs.model import (
    Backoff,
    ExecutionMode,
    Hooks,
    Job,
    Priority,
    ResourceLimits,
    RetryPolicy,
)
from lunasched.jobs.reading import job_from_mapping
from lunasched.paths import Mode, history_path
from lunasched.store import Store
from lunasched.store.legacy import MigrationReport
from lunasched.store.legacy.oldcron import translate

if TYPE_CHECKING:
    import random
    from collections.abc import Callable


RUNS = [
    ("hello", "2025-03-01 10:00:00", "success", "Stdout:\nhello\n\nStderr:\n"),
    ("hello", "2025-03-01 11:00:00", "failed", "Stdout:\n\nStderr:\nno\n"),
    ("gone", "2025-03-01 11:30:00", "SpawnError", "Failed to spawn: nothing there"),
    ("hello", "2025-03-01 12:00:00", "Error", None),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lunasched.db"


def usec(text: str) -> int:
    moment = datetime.fromisoformat(text).replace(tzinfo=timezone.utc)
    return int(moment.timestamp()) * 1_000_000


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return list(connection.iterdump())


def taken_over(path: Path, mode: Mode = Mode.SYSTEM) -> tuple[MigrationReport, list[Job]]:
    with Store.open(path, mode=mode) as store:
        assert store.migration is not None
        return store.migration, store.jobs.all()


def one_job(path: Path, mode: Mode = Mode.SYSTEM, **row: Any) -> Job:
    legacy.make(path, jobs=[{"name": "job", **row}])
    report, jobs = taken_over(path, mode)
    assert len(jobs) == 1, report.text()
    return jobs[0]


def refused_job(path: Path, **row: Any) -> MigrationReport:
    legacy.make(path, jobs=[{"name": "job", **row}, {"name": "other"}])
    report, jobs = taken_over(path)
    assert [job.name for job in jobs] == ["other"]
    return report


# Every version


@pytest.mark.parametrize("version", legacy.VERSIONS)
@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_every_version_is_taken_over(version: int, journal: str, path: Path) -> None:
    jobs: list[dict[str, Any]] = [
        {"name": "hello", "command": "echo hello", "owner": "www-data"},
        {"name": "later", "schedule_value": "90", "enabled": 0},
    ]
    legacy.make(path, version, jobs=jobs, history=RUNS, journal=journal)
    before = dump(path)
    with Store.open(path) as store:
        report = store.migration
        assert report is not None
        assert store.jobs.all() == [
            Job(name="hello", schedule="every 1h", command="echo hello", user="www-data"),
            Job(name="later", schedule="every 90s", command="true", enabled=False),
        ]
        runs = store.runs.history(None, None)
        assert [(run.job, run.started_at, run.result) for run in runs] == [
            ("hello", usec("2025-03-01 12:00:00"), Result.EXEC_ERROR),
            ("gone", usec("2025-03-01 11:30:00"), Result.EXEC_ERROR),
            ("hello", usec("2025-03-01 11:00:00"), Result.EXIT_CODE),
            ("hello", usec("2025-03-01 10:00:00"), Result.SUCCESS),
        ]
        # Nothing is to be done about them any more.
        assert store.runs.open() == []
        assert store.runs.unsettled() == []
        assert store.runs.without_output() == []
        assert store.runs.latest_outcome("hello") == (Result.EXEC_ERROR, None)
        counted = {job.name: (job.successes, job.failures) for job in store.snapshot(0).jobs}
        assert counted == {"hello": (1, 2), "later": (0, 0)}
    assert (report.schema, report.runs, report.runs_left) == (version, 4, 0)
    assert dump(report.backup) == before
    with Store.open(path) as store:
        assert store.migration is None
        assert len(store.runs.history(None, None)) == 4
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}
        assert not any(name.startswith(("lunasched_1_", "idx_")) for name in tables)


def test_what_is_made_is_the_schema_of_a_new_database(path: Path) -> None:
    legacy.make(path, jobs=[{"name": "a"}], history=RUNS)
    taken_over(path)
    with Store.open(path.with_name("new.db")):
        pass
    query = "SELECT type, name, sql FROM sqlite_schema ORDER BY type, name"
    schemas = []
    for database in (path, path.with_name("new.db")):
        with closing(sqlite3.connect(database)) as connection:
            schemas.append(
                [
                    *connection.execute(query),
                    *connection.execute("PRAGMA user_version"),
                    *connection.execute("PRAGMA application_id"),
                    *connection.execute("PRAGMA journal_mode"),
                ]
            )
    assert schemas[0] == schemas[1]


def test_an_empty_database_is_taken_over(path: Path) -> None:
    legacy.make(path)
    report, jobs = taken_over(path)
    assert jobs == []
    assert "0 of 0 jobs and 0 runs" in report.text()


# Files that are left alone


@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize(
    ("more", "what"),
    [
        ("INSERT INTO schema_version (version) VALUES (4)", "schema 4"),
        ("INSERT INTO schema_version (version) VALUES (2000)", "schema 2000"),
        ("ALTER TABLE jobs ADD COLUMN colour TEXT", r"jobs\.colour"),
        ("CREATE TABLE notes (text TEXT)", r"notes\.text"),
        ("CREATE VIEW failures AS SELECT * FROM history", "failures"),
    ],
)
def test_a_newer_one_is_refused_and_left_as_it_is(
    more: str, what: str, journal: str, path: Path
) -> None:
    legacy.make(path, more=more, journal=journal, history=RUNS)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=rf"{what}.*left as it was|{what}.*left as it is"):
        Store.open(path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before


def test_a_write_ahead_log_is_not_folded_into_what_is_refused(path: Path) -> None:
    more = "PRAGMA wal_autocheckpoint=0; INSERT INTO schema_version (version) VALUES (4)"
    legacy.make(path, journal="wal")
    child = os.fork()
    if not child:
        connection = sqlite3.connect(path)
        connection.executescript(more)
        os._exit(0)
    os.waitpid(child, 0)
    log = path.with_name(path.name + "-wal")
    before = path.read_bytes(), log.read_bytes()
    assert before[1]
    with pytest.raises(StoreError, match="schema 4"):
        Store.open(path)
    assert (path.read_bytes(), log.read_bytes()) == before


# The backup


def test_the_backup_has_what_a_killed_daemon_left_in_the_log(path: Path) -> None:
    legacy.make(path, jobs=[{"name": "hello"}], journal="wal")
    child = os.fork()
    if not child:
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("INSERT INTO history (job_id, status) VALUES ('hello', 'success')")
        connection.commit()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert path.with_name(path.name + "-wal").stat().st_size
    report, _ = taken_over(path)
    assert report.runs == 1
    assert any('INSERT INTO "history"' in line for line in dump(report.backup))


def test_a_backup_of_other_content_is_not_replaced(path: Path) -> None:
    backups = [path.with_name(path.name + ".lunasched-1.backup" + end) for end in ("", "-2")]
    backups[0].write_bytes(b"somebody's")
    legacy.make(path, jobs=[{"name": "a"}])
    report, _ = taken_over(path)
    assert report.backup == backups[1]
    assert backups[0].read_bytes() == b"somebody's"
    assert report.written == backups[1].with_name(backups[1].name + ".txt")


def test_a_backup_put_back_is_taken_over_again(path: Path) -> None:
    legacy.make(path, jobs=[{"name": "a"}], history=RUNS)
    first, jobs = taken_over(path)
    with Store.open(path) as store:
        ids = [run.execution_id for run in store.runs.history(None, None)]
    # The history that was made of it, too, or it is taken for the newer one.
    shutil.rmtree(path.parent / "history")
    path.write_bytes(first.backup.read_bytes())
    second, again = taken_over(path)
    assert (second.backup, again) == (first.backup, jobs)
    with Store.open(path) as store:
        # The same row is the same run.
        assert [run.execution_id for run in store.runs.history(None, None)] == ids
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "history",
        path.name,
        f"{path.name}.lunasched-1.backup",
        f"{path.name}.lunasched-1.backup.txt",
    ]


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to give files away")
def test_files_beside_it_are_its_owners(path: Path) -> None:
    legacy.make(path, jobs=[{"name": "a", "schedule_value": "never"}])
    os.chown(path, 4321, 4322)
    path.chmod(0o640)
    report, _ = taken_over(path)
    for file in (*path.parent.glob("*.backup*"), history_path(path)):
        found = file.stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (4321, 4322, 0o640), (
            file
        )
    assert report.written.exists()


# Kills and races


def _killed_at(step: int, path: Path) -> bool:
    """Take a database over in a child that is killed at a step; whether it got so far."""
    child = os.fork()
    if not child:
        _kill_at(step)
        try:
            Store.open(path).close()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def _kill_at(step: int) -> None:
    """Be killed at the n-th statement or call that changes files."""
    count = 0

    def reached(*_: object) -> None:
        nonlocal count
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def before(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            reached()
            return function(*arguments, **keywords)

        return call

    connect = sqlite3.connect

    def traced(*arguments: Any, **keywords: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **keywords)
        connection.set_trace_callback(reached)
        return connection

    setattr(sqlite3, "connect", traced)  # noqa: B010 (it is overloaded, and this is not)
    for name in ("fsync", "link", "open", "replace", "rename", "unlink"):
        setattr(os, name, before(getattr(os, name)))


def _is_legacy(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        return bool(tables and not connection.execute("PRAGMA application_id").fetchone()[0])


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_killed_at_any_step_the_old_database_or_the_new_is_there(journal: str, path: Path) -> None:
    jobs: list[dict[str, Any]] = [{"name": "hello"}, {"name": "second", "dependencies": ["hello"]}]
    legacy.make(path, jobs=jobs, history=RUNS, journal=journal)
    old, content = path.read_bytes(), dump(path)
    step = taken = 0
    while True:
        step += rounds(5, 1)
        for file in path.parent.iterdir():
            if file.is_dir():
                shutil.rmtree(file)
            else:
                file.unlink()
        path.write_bytes(old)
        killed = _killed_at(step, path)
        is_old = path.exists() and _is_legacy(path)
        if is_old:
            assert dump(path) == content, f"step {step}"
        else:
            taken += 1
            backup = path.with_name(path.name + ".lunasched-1.backup")
            assert dump(backup) == content, f"step {step}"
        with Store.open(path) as store:
            assert (store.migration is not None) == is_old
            assert store.jobs.names() == ["hello", "second"], f"step {step}"
            assert len(store.runs.history(None, None)) == 4
        if not killed:
            break
    print(f"{step} steps, {taken} with the new database")
    assert step > 60
    assert taken > 1


def test_of_processes_at_the_same_time_one_takes_it_over(path: Path) -> None:
    history = [(name, f"2025-03-01 10:{n:02}:00", "success", "x" * 1000)
               for n in range(60) for name in ("a", "b", "c")]  # fmt: skip
    legacy.make(path, jobs=[{"name": "a"}], history=history)
    code = (
        "import sys; from pathlib import Path; from lunasched.store import Store\n"
        "with Store.open(Path(sys.argv[1])) as store:\n"
        "    print(store.migration is not None, len(store.runs.history(None, None)))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True)
        for _ in range(5)
    ]
    said = sorted(process.communicate(timeout=60)[0] for process in processes)
    assert said == ["False 180\n"] * 4 + ["True 180\n"]
    assert len(list(path.parent.glob("*.backup*"))) == 2


def test_a_daemon_that_writes_is_waited_for(path: Path) -> None:
    legacy.make(path, jobs=[{"name": "a"}])
    with closing(sqlite3.connect(path, isolation_level=None)) as daemon:
        daemon.execute("BEGIN IMMEDIATE")
        daemon.execute("INSERT INTO history (job_id, status) VALUES ('a', 'success')")
        code = (
            "import sys; from pathlib import Path; from lunasched.store import Store; "
            "print(Store.open(Path(sys.argv[1])).migration.runs)"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True
        ) as process:
            time.sleep(0.5)
            daemon.execute("COMMIT")
            assert process.communicate(timeout=30)[0] == "1\n"


# Jobs


def test_everything_of_a_job_is_kept(path: Path) -> None:
    job = one_job(
        path,
        schedule_type="calendar",
        schedule_value='{"days_of_week":[1,3],"nth_weekday":null,"time":[9,30,0]}',
        command="/usr/bin/backup",
        args=["--all", "/srv"],
        env={"LEVEL": "9"},
        owner="backup",
        retry_policy={
            "max_attempts": 3,
            "backoff_strategy": "Linear",
            "initial_delay_seconds": 5,
            "max_delay_seconds": 60,
        },
        resource_limits={"timeout_seconds": 30, "max_memory_mb": 512, "cpu_quota": 0.5},
        jitter_seconds=7,
        timezone="Europe/Berlin",
        tags=["nightly", "disk"],
        hooks={"on_failure": "echo no", "on_success": None},
        max_concurrent=2,
        priority='"High"',
        execution_mode='"Parallel"',
        notification_config={
            "on_start": None,
            "on_success": [{"Webhook": {"url": "https://example.org/x", "headers": {"A": "b"}}}],
            "on_failure": [
                {"Email": {"to": "ops@example.org", "subject": None}},
                {"Discord": {"webhook_url": "https://example.org/d"}},
                {"Slack": {"webhook_url": "https://example.org/s"}},
            ],
        },
    )
    assert job == job_from_mapping(
        {
            "name": "job",
            "schedule": "at 09:30 on Mon,Wed",
            "command": "/usr/bin/backup --all /srv",
            "env": {"LEVEL": "9"},
            "user": "backup",
            "retry_policy": {
                # The first run was not counted.
                "max_attempts": 4,
                "backoff_strategy": "Linear",
                "initial_delay_seconds": 5,
                "max_delay_seconds": 60,
            },
            "resource_limits": {"timeout_seconds": 30, "max_memory_mb": 512, "cpu_quota": 0.5},
            "jitter_seconds": 7,
            "timezone": "Europe/Berlin",
            "tags": ["nightly", "disk"],
            "hooks": {"on_failure": "echo no"},
            "max_concurrent": 2,
            "priority": "High",
            "execution_mode": "Parallel",
            "notification_config": {
                "on_success": [
                    {"type": "webhook", "url": "https://example.org/x", "headers": {"A": "b"}}
                ],
                "on_failure": [
                    {"type": "email", "to": "ops@example.org"},
                    {"type": "discord", "webhook_url": "https://example.org/d"},
                    {"type": "slack", "webhook_url": "https://example.org/s"},
                ],
            },
        }
    )


@pytest.mark.parametrize("nothing", [None, "", "{}", "null", "[]", "not json"])
def test_a_missing_value_is_the_default(nothing: str | None, path: Path) -> None:
    columns = "retry_policy resource_limits timezone tags dependencies hooks notification_config"
    job = one_job(path, **dict.fromkeys(columns.split(), nothing))
    assert job == Job(name="job", schedule="every 1h", command="true")


@pytest.mark.parametrize(
    ("priority", "mode"),
    [
        ("High", "Exclusive"),
        ('"High"', '"Exclusive"'),
        ("high", "EXCLUSIVE"),
        ('"HIGH"', '"exclusive"'),
    ],
)
def test_words_may_be_bare_or_quoted_in_any_letter_case(
    priority: str, mode: str, path: Path
) -> None:
    job = one_job(path, priority=priority, execution_mode=mode)
    assert (job.priority, job.mode) == (Priority.HIGH, ExecutionMode.EXCLUSIVE)


@pytest.mark.parametrize(
    ("owner", "mode", "user"),
    [
        ("root", Mode.SYSTEM, None),
        ("www-data", Mode.SYSTEM, "www-data"),
        ("", Mode.SYSTEM, "lunasched"),
        ("www-data", Mode.USER, None),
        ("root", Mode.USER, None),
    ],
)
def test_an_owner_is_a_user_in_system_mode(
    owner: str, mode: Mode, user: str | None, path: Path
) -> None:
    assert one_job(path, mode, owner=owner).user == user


def test_values_that_mean_something_only_in_1x(path: Path) -> None:
    job = one_job(
        path,
        resource_limits={"timeout_seconds": None, "max_memory_mb": None, "cpu_quota": 0.3333},
        retry_policy={
            "max_attempts": 0, "backoff_strategy": "Fixed",
            "initial_delay_seconds": 100, "max_delay_seconds": 10,
        },
        max_concurrent=4,
        tags=["a,b", " ", "c"],
        timezone="Mars/Olympus",
        schedule_type="calendar",
        schedule_value='{"time":[1,2,3]}',
    )  # fmt: skip
    assert job == Job(
        name="job",
        schedule="at 01:02:03",
        command="true",
        limits=ResourceLimits(cpu_quota=0.33),
        retry=RetryPolicy(1, Backoff.FIXED, 10, 10),
        tags=("a", "b", "c"),
        hooks=Hooks(),
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("30", "every 30s"),
        ("90", "every 90s"),
        ("300", "every 5m"),
        ("7200", "every 2h"),
        ("86400", "every 1d"),
        ("604800", "every 7d"),
    ],
)
def test_intervals(value: str, text: str, path: Path) -> None:
    assert one_job(path, schedule_value=value).schedule == text


@pytest.mark.parametrize(
    ("days", "nth", "time", "text"),
    [
        (None, None, [14, 30, 0], "at 14:30"),
        (None, None, [14, 30, 5], "at 14:30:05"),
        ([7, 1], None, [9, 0, 0], "at 09:00 on Mon,Sun"),
        (None, [1, 1], [9, 0, 0], "on 1st Mon at 09:00"),
        (None, [4, 7], [23, 59, 59], "on 4th Sun at 23:59:59"),
        ([1, 2], [2, 2], [0, 0, 0], "on 2nd Tue at 00:00"),
    ],
)
def test_calendars(days: Any, nth: Any, time: Any, text: str, path: Path) -> None:
    value = json.dumps({"days_of_week": days, "nth_weekday": nth, "time": time})
    assert one_job(path, schedule_type="calendar", schedule_value=value).schedule == text


# Cron


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        ("0 0 3 * * *", "0 3 * * *"),
        ("0 */15 * * * *", "*/15 * * * *"),
        ("30 0 3 * * *", "0 3 * * * 30"),
        ("*/10 * * * * *", "* * * * * */10"),
        ("0 0 9 * * 1", "0 9 * * Sun"),
        ("0 0 9 * * 2-6", "0 9 * * Mon-Fri"),
        ("0 0 9 * * 1,7", "0 9 * * Sat,Sun"),
        ("0 0 9 * * MON-FRI", "0 9 * * Mon-Fri"),
        ("0 0 9 * * Tues,Thurs", "0 9 * * Tue,Thu"),
        ("0 0 9 * * 2/2", "0 9 * * Mon,Wed,Fri"),
        ("0 0 9 ? * 2", "0 9 * * Mon"),
        ("0 0 9 1 * ?", "0 9 1 * *"),
        ("0 0 9 1 Jan,June *", "0 9 1 1,6 *"),
        ("0 0 9 1-7 * 2", "calendar:Mon *-*-1..7 9:0:0"),
        ("0 0,30 9 */2 * 2", "0,30 9 */2 * Mon"),
        ("0 30 9,12,15 1,15 May-Aug Mon,Wed,Fri", "calendar:Mon,Wed,Fri *-5..8-1,15 9,12,15:30:0"),
        ("0 0 9 * * * *", "0 9 * * *"),
        ("0 0 9 * * * 2030", "calendar:2030-*-* 9:0:0"),
        ("0  0 9 * *   *", "0 9 * * *"),
        ("@daily", "@daily"),
    ],
)
def test_seconds_come_first_and_the_week_begins_on_sunday(typed: str, text: str) -> None:
    assert translate(typed).schedule == text
    assert translate(typed).ran
    schedule.parse(text)


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        ("0 3 * * 1", "0 3 * * 1"),
        ("cron:0 3 * * 1", "0 3 * * 1"),
        ("cron: */5 * * * *", "*/5 * * * *"),
        ("cron:0 0 3 * * 1", "0 3 * * Sun"),
        ("@midnight", "@midnight"),
    ],
)
def test_what_never_ran_is_the_cron_that_it_was_meant_to_be(typed: str, text: str) -> None:
    assert translate(typed).schedule == text
    assert not translate(typed).ran


@pytest.mark.parametrize(
    "typed",
    [
        "0 0 9 * * 0",
        "0 0 24 * * *",
        "60 0 9 * * *",
        "? 0 9 * * *",
        "0 0 9 * * fri-mon",
        "0 0 9 * * 2-fri",
        "0 0 9 * * mon/2",
        "0 0/0 9 * * *",
        "0 0 9 L * *",
        "0 0 9 , * *",
    ],
)
def test_what_1x_could_not_read_is_refused(typed: str) -> None:
    with pytest.raises(ScheduleError, match="could not run it either"):
        translate(typed)


def _reference(fields: list[str], start: datetime, end: datetime, count: int) -> list[datetime]:
    """Times of a schedule as 1.x has them, by trying each second: numbers and steps only."""
    lows, highs = (0, 0, 0, 1, 1, 1), (59, 59, 23, 31, 12, 7)

    def values(text: str, low: int, high: int) -> set[int]:
        found: set[int] = set()
        for item in text.split(","):
            body, _, step = item.partition("/")
            first, _, last = body.partition("-")
            if body in "*?":
                first, last = str(low), str(high)
            elif not last:
                last = str(high) if step else first
            found |= set(range(int(first), int(last) + 1, int(step or 1)))
        return found

    sets = [values(*each) for each in zip(fields, lows, highs, strict=True)]
    found: list[datetime] = []
    moment = start.replace(minute=0, second=0)
    while len(found) < count and moment < end:
        weekday = moment.isoweekday() % 7 + 1
        if moment.month in sets[4] and moment.day in sets[3] and weekday in sets[5]:
            if moment.hour in sets[2]:
                for minute in sorted(sets[1]):
                    for second in sorted(sets[0]):
                        exact = moment.replace(minute=minute, second=second)
                        if exact > start:
                            found.append(exact)
            moment += timedelta(hours=1)
        else:
            moment = moment.replace(hour=0) + timedelta(days=1)
    return found[:count]


def test_a_translated_schedule_elapses_when_the_old_one_did(rng: random.Random) -> None:
    start = datetime(2026, 1, 31, 23, 17, 5, tzinfo=timezone.utc)

    def field(low: int, high: int) -> str:
        kind = rng.randrange(6)
        first, last = sorted((rng.randint(low, high), rng.randint(low, high)))
        return [
            "*", "*", str(first), f"{first}-{last}", f"{first}/{rng.randint(1, 9)}",
            f"{first},{last}",
        ][kind]  # fmt: skip

    # The rarest, such as a February 29 on one weekday, may have no elapse before that.
    end, compared = datetime(2034, 4, 20, tzinfo=timezone.utc), 0
    for _ in range(300):
        bounds = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (1, 7))
        fields = [field(*bound) for bound in bounds]
        typed = " ".join(fields)
        expected = _reference(fields, start, end, 20)
        try:
            rule = schedule.parse(translate(typed).schedule)
        except ScheduleError:
            assert not expected, typed
            continue
        elapses = schedule.elapses(rule, timezone="UTC", after=start)
        found = list(islice(takewhile(lambda moment: moment < end, elapses), 20))
        assert found == expected, f"{typed} -> {rule.text}"
        compared += 1
    assert compared > 200


def test_a_cron_schedule_that_ran_still_goes_by_utc(path: Path) -> None:
    legacy.make(
        path,
        jobs=[
            {"name": "ran", "schedule_type": "cron", "schedule_value": "0 0 3 * * *",
             "timezone": "Europe/Berlin"},
            {"name": "never", "schedule_type": "cron", "schedule_value": "0 3 * * *",
             "timezone": "Europe/Berlin"},
        ],
    )  # fmt: skip
    report, jobs = taken_over(path)
    assert [(job.name, job.schedule, job.timezone) for job in jobs] == [
        ("never", "0 3 * * *", "Europe/Berlin"),
        ("ran", "0 3 * * *", "UTC"),
    ]
    lines = report.summary()
    assert any("'never'" in line and "never ran; it will now" in line for line in lines)
    assert any("'ran'" in line and "UTC" in line and "Europe/Berlin" in line for line in lines)


# What cannot be taken over


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"schedule_value": "0"}, "schedule: '0' is not a number of seconds"),
        ({"schedule_type": "lunar"}, "schedule: 'lunar' is not a kind"),
        ({"schedule_type": "calendar", "schedule_value": "{"}, "cannot be read as a calendar"),
        (
            {"schedule_type": "calendar", "schedule_value": '{"time":[25,0,0]}'},
            "schedule: The hour goes from 0 to 23",
        ),
        (
            {"schedule_type": "cron", "schedule_value": "0 0 9 30 2 *"},
            "No such date exists",
        ),
        ({"schedule_type": "cron", "schedule_value": "bogus"}, "schedule: A schedule is one of"),
        ({"command": "a\0b"}, "command"),
        ({"env": {"NOT A NAME": "x"}}, "env"),
        ({"resource_limits": {"timeout_seconds": 0}}, "resource_limits.timeout_seconds"),
        ({"notification_config": {"on_start": [{"Pager": {}}]}}, "notification_config"),
        ({"dependencies": ["nobody"]}, "there is no job 'nobody'"),
        ({"dependencies": ["job"]}, "dependencies"),
    ],
)
def test_a_job_that_cannot_be_is_reported_and_does_not_stop_the_others(
    row: dict[str, Any], problem: str, path: Path
) -> None:
    report = refused_job(path, **row)
    said = [line for line in report.summary() if "'job' was not taken over" in line]
    assert any(problem in line for line in said), report.summary()
    assert "lunasched add --name job" in report.text()
    assert report.written.read_text() == report.text()


# What nobody's program would have written there.
ODD: list[Any] = [
    None, "", 0, -1, 10**18, 1.5, float("inf"), "null", "[]", "{}", "[1]", '{"a": 1}', "x", "a\nb",
    b"\xff\x00", "NaN", "1e999", "[" * 3000, '{"a":' * 3000, "9" * 5000, '"\\ud800"', '["\\u0000"]',
    '{"max_attempts": 1e400}', '{"max_attempts": "3"}', '{"max_attempts": true}',
    '{"timeout_seconds": -1}', '{"max_memory_mb": 1e400}', '{"cpu_quota": 1e400}', '[["a"]]',
    '{"on_start": {}}', '{"on_start": [{"Email": null}]}', '{"on_start": ["a"]}', "Parallel",
    '{"days_of_week": [0, 8], "time": [1, 2, 3]}', '{"time": [1]}', '{"time": ["a", 2, 3]}',
    '{"days_of_week": [1e400], "time": [1, 2, 3]}', '{"nth_weekday": [9, 9], "time": [1, 2, 3]}',
    "\x1b[31m", "cron", "every", "calendar", "0 0 * * *", "* * * * * *", "9999-99-99", "é",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.campaign
def test_whatever_is_in_a_row_the_others_are_taken_over(path: Path, rng: random.Random) -> None:
    columns = [
        "name", "schedule_type", "schedule_value", "command", "args", "env", "enabled", "owner",
        "retry_policy", "resource_limits", "jitter_seconds", "timezone", "tags", "dependencies",
        "hooks", "max_concurrent", "priority", "execution_mode", "notification_config",
    ]  # fmt: skip
    odd = 0
    count = rounds(120, 500)
    for _ in range(count):
        for file in path.parent.iterdir():
            shutil.rmtree(file) if file.is_dir() else file.unlink()
        legacy.make(path, jobs=[{"name": "odd"}, {"name": "other"}], history=RUNS)
        chosen = {rng.choice(columns): rng.choice(ODD) for _ in range(rng.randint(1, 3))}
        with closing(sqlite3.connect(path)) as connection:
            for column, value in chosen.items():
                statement = f"UPDATE OR IGNORE jobs SET {column} = ? WHERE id = 'odd'"
                with suppress(sqlite3.IntegrityError):
                    connection.execute(statement, (value,))
            column = rng.choice(["job_id", "run_at", "status", "output"])
            with suppress(sqlite3.IntegrityError):
                statement = f"UPDATE history SET {column} = ? WHERE id = 1"
                connection.execute(statement, (rng.choice(ODD),))
            connection.commit()
        try:
            report, jobs = taken_over(path)
        except BaseException:
            print(chosen)
            raise
        assert "other" in [job.name for job in jobs], chosen
        assert report.written.read_text() == report.text()
        odd += len(jobs) == 2
    # Some of it is taken for what it may have meant, and some is not.
    assert count // 10 < odd < count * 9 // 10


def test_the_command_to_add_a_job_says_all_of_it(path: Path) -> None:
    report = refused_job(
        path,
        schedule_type="cron",
        schedule_value="0 0 9 L * *",
        command='echo "it\'s"',
        args=["$HOME"],
        env={"TOKEN": "secret word"},
        retry_policy={"max_attempts": 2},
        resource_limits={"max_memory_mb": 64},
        tags=["x"],
        owner="mail",
    )
    line = next(line for line in report.text().splitlines() if "lunasched add" in line)
    assert shlex.split(line)[2:] == [
        "--name", "job", "--schedule", "0 0 9 L * *", "--run-as", "mail", "--max-memory", "64M",
        "--max-retries", "2", "--env", "TOKEN=secret word", "--tags", "x",
        "--command", "echo \"it's\" $HOME",
    ]  # fmt: skip
    # Secrets are in the file alone, which is as private as the database.
    assert not any("secret" in line for line in report.summary())


def test_dependencies_are_kept_or_told_of(path: Path) -> None:
    jobs: list[dict[str, Any]] = [
        {"name": "a"},
        {"name": "b", "dependencies": ["a"]},
        {"name": "c"},
        {"name": "ring-1", "dependencies": ["ring-2"]},
        {"name": "ring-2", "dependencies": ["ring-1"]},
        {"name": "many", "execution_mode": "Parallel"},
        {"name": "waits", "dependencies": ["many"]},
        {"name": "waits-too", "dependencies": ["waits", "a"]},
    ]
    more = "INSERT INTO job_dependencies (job_id, depends_on_job_id) VALUES ('c', 'b'), ('b', 'a')"
    legacy.make(path, jobs=jobs, more=more)
    with Store.open(path) as store:
        assert {job.name: job.dependencies for job in store.jobs.all()} == {
            "a": (), "b": ("a",), "c": ("b",), "many": (),
        }  # fmt: skip
        assert store.jobs.dependent_names("a") == ["b"]
        assert store.migration is not None
        problems = {one.name: one.problems for one in store.migration.jobs if not one.job}
    assert sorted(problems) == ["ring-1", "ring-2", "waits", "waits-too"]
    assert "cycle" in problems["ring-1"][0]
    assert "Parallel" in problems["waits"][0]
    assert "was not taken over" in problems["waits-too"][0]


def test_two_jobs_of_one_name(path: Path) -> None:
    legacy.make(path, jobs=[{"id": "1", "name": "a"}, {"id": "2", "name": "a"}],
                history=[("1", "2025-03-01 10:00:00", "success", "")])  # fmt: skip
    report, jobs = taken_over(path)
    assert [job.name for job in jobs] == ["a"]
    assert "another job has its name" in report.text()
    with Store.open(path) as store:
        assert [run.job for run in store.runs.history("a", None)] == ["a"]


# History


def test_a_run_of_1x_says_no_more_than_was_known(path: Path) -> None:
    legacy.make(path, jobs=[{"name": "hello"}], history=RUNS[:1])
    taken_over(path)
    with Store.open(path) as store:
        (run,) = store.runs.history("hello", None)
    assert run == Run(
        execution_id=run.execution_id,
        job="hello",
        unit="lunasched-job@hello.service",
        trigger=Trigger.TIMER,
        scheduled_at=None,
        started_at=usec("2025-03-01 10:00:00"),
        ended_at=None,
        result=Result.SUCCESS,
        exit_code=0,
        output="Stdout:\nhello\n\nStderr:\n",
    )
    shown = jsonview.run_json(run)
    assert (shown["ended_at"], shown["duration_ms"], shown["result"]) == (None, None, "success")
    assert render.run_ended(run) == "success"


def test_execution_ids_that_1x_noted_are_kept(path: Path) -> None:
    first = "0f8fad5b-d9cb-469f-a165-70867728950e"
    windows = [
        ("hello", first, "2025-03-01T09:59:00.123456789+00:00", "2025-03-01T10:00:00.9+00:00"),
        ("hello", "no uuid", "2025-03-01 11:00:00", "2025-03-01 11:00:00"),
        ("other", "1f8fad5b-d9cb-469f-a165-70867728950e", "2025-03-01 12:00:00",
         "2025-03-01 12:00:00"),
    ]  # fmt: skip
    more = "; ".join(
        "INSERT INTO execution_windows (job_id, execution_id, scheduled_time, actual_start_time) "
        f"VALUES {window}"
        for window in windows
    )
    twice = [*RUNS, RUNS[0]]
    legacy.make(path, jobs=[{"name": "hello"}], history=twice, more=more)
    taken_over(path)
    with Store.open(path) as store:
        runs = store.runs.history("hello", None)
    found = [run for run in runs if run.execution_id == first.replace("-", "")]
    assert [(run.started_at, run.scheduled_at) for run in found] == [
        (usec("2025-03-01 10:00:00"), usec("2025-03-01 09:59:00") + 123_456)
    ]
    assert len({run.execution_id for run in runs}) == len(runs) == 4


def test_output_is_cut_to_its_tail(path: Path) -> None:
    text = "Stdout:\n" + "ä" * 10_000 + "\nStderr:\nlast words"
    legacy.make(path, history=[("a", "2025-03-01 10:00:00", "failed", text)])
    taken_over(path)
    with Store.open(path) as store:
        (run,) = store.runs.history("a", None)
    assert run.output is not None
    assert 8190 <= len(run.output.encode()) <= 8192
    assert run.output.endswith("ä\nStderr:\nlast words")


def test_runs_without_a_time_are_counted(path: Path) -> None:
    legacy.make(
        path,
        history=[("a", "yesterday", "success", ""), ("a", "2025-03-01 10:00:00", "success", "")],
    )
    report, _ = taken_over(path)
    assert (report.runs, report.runs_left) == (1, 1)
    assert "1 runs have no time" in report.text()


def test_runs_are_in_the_order_of_time(path: Path, rng: random.Random) -> None:
    times = [datetime(2025, 1, 1) + timedelta(minutes=number) for number in range(3000)]
    rng.shuffle(times)
    legacy.make(path, history=[("a", str(at), "success", "o" * 200) for at in times])
    taken_over(path)
    with Store.open(path) as store:
        started = [run.started_at for run in store.runs.history("a", None)]
    assert started == sorted(started, reverse=True)
    assert len(started) == 3000


@pytest.mark.slow
def test_many_runs_in_bounded_memory(path: Path) -> None:
    legacy.make(path, jobs=[{"name": "a"}])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) "
            "INSERT INTO history (job_id, run_at, status, output) SELECT 'a', "
            "datetime(1600000000 + i * 60, 'unixepoch'), 'success', 'Stdout:' || i FROM n"
        )
        connection.commit()
    code = (
        "import re, sys; from pathlib import Path; from lunasched.store import Store\n"
        "with Store.open(Path(sys.argv[1])) as store:\n"
        # ru_maxrss would count what the process was forked from.
        "    status = Path('/proc/self/status').read_text()\n"
        "    print(store.migration.runs, re.search(r'VmHWM:\\s+(\\d+)', status)[1])"
    )
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
    )
    runs, kib = map(int, done.stdout.split())
    print(f"{runs} runs in {time.monotonic() - began:.1f} s, {kib} KiB at most")
    assert runs == 300_000
    assert kib < 80 << 10


def test_the_command_that_took_it_over_says_so_once(path: Path) -> None:
    jobs: list[dict[str, Any]] = [
        {"name": "fine"},
        {"name": "bad", "schedule_value": "0", "env": {"TOKEN": "secret"}},
    ]
    legacy.make(path, jobs=jobs)
    command = [str(Path(sys.executable).with_name("lunasched")), "--user", "list"]
    environment = {
        "LUNASCHED_DB_PATH": str(path),
        "HOME": str(path.parent),
        "PATH": "/usr/bin:/bin",
    }
    first, second = (
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    )
    assert "note: job 'bad' was not taken over: schedule" in first.stderr
    assert "lunasched --user sync" in first.stderr
    assert "secret" not in first.stderr
    assert "taken over" not in second.stderr
    assert first.stdout == second.stdout
    assert "fine" in first.stdout
