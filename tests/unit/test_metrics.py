"""Metrics as Prometheus takes them: the text, the names, what its own tools say of them."""

from __future__ import annotations

import json
import os
import platform
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import prometheus
import pytest
from prometheus_client.parser import text_string_to_metric_families
from samples import own_history

from lunasched import __version__
from lunasched.doctor.servicemanagercheck import UnitSeen
from lunasched.errors import LunaschedError
from lunasched.formats.unittext import timer_name
from lunasched.history.missed import Checked
from lunasched.history.report import Report, ReportKind
from lunasched.history.run import MissedSlots, Result, Run, Trigger
from lunasched.history.timerstate import Timers
from lunasched.jobs.model import Channel, ChannelType, Job
from lunasched.store import NotificationState, Pruning, Store, space
from lunasched.web.metrics import FATES, METRICS, Metrics, Supervision, _escaped, write_textfile

TREE = Path(__file__).resolve().parent.parent.parent
GOLDEN = TREE / "tests/golden/metrics/page.txt"
SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
NOW = int(datetime(2026, 2, 10, 12, tzinfo=timezone.utc).timestamp()) * SECOND
NTFY = Channel(ChannelType.NTFY, "https://ntfy.example/backups")
STRANGE = 'a"b\\c\nd'
FEED, RUNS = timer_name("feed"), UnitSeen("loaded", "active", "waiting")
SUPERVISION = Supervision(True, NOW - DAY, 20_000)


def metrics(**options: Any) -> Metrics:
    return Metrics("UTC", lambda: SUPERVISION, **options)


@pytest.fixture
def store() -> Iterator[Store]:
    with Store.in_memory() as opened:
        yield opened


def add_run(
    store: Store,
    number: int,
    job: str,
    started_at: int,
    result: Result | None = Result.SUCCESS,
    *,
    took: int = SECOND,
    slot: int | None = None,
    exit_code: int | None = None,
    signal: int | None = None,
    attempt: int = 1,
) -> Run:
    run = Run(
        execution_id=f"{number:032x}",
        job=job,
        unit=f"lunasched-job@{job}.service",
        trigger=Trigger.TIMER,
        scheduled_at=slot,
        started_at=started_at,
        attempt=attempt,
        first_attempt_id=f"{number - 1:032x}" if attempt > 1 else None,
    )
    store.runs.begin(run, "b" * 32)
    if result is not None:
        store.runs.process_ended(run.execution_id, exit_code=exit_code, signal=signal)
        store.runs.resources(run.execution_id, cpu_usec=250_000, memory_peak=7 << 20)
        store.runs.end(run.execution_id, result, started_at + took)
        store.runs.set_settled(run.execution_id)
        store.runs.set_output(run.execution_id, "")
    return run


@pytest.fixture
def lived_in(store: Store) -> Store:
    """Jobs of several kinds that have seen something."""
    backup = Job(name="backup", schedule="30 2 * * *", command="x", timezone="Europe/Berlin")
    store.jobs.put(backup, NOW - 30 * DAY)
    for days in range(20, 0, -1):
        at = NOW - days * DAY
        add_run(store, days, "backup", at + 3 * SECOND, took=days * SECOND, slot=at)
    failed = add_run(store, 21, "backup", NOW - 2 * HOUR, Result.TIMEOUT, signal=15)
    add_run(store, 22, "backup", NOW - HOUR, Result.EXIT_CODE, exit_code=3, attempt=2)
    store.starts.put_retry(backup, failed, unit="u", attempt=3, due_at=NOW + HOUR, now=NOW)
    store.slots.set_checked("backup", Checked(NOW, NOW))
    store.slots.add_missed(MissedSlots("backup", 4, NOW - 9 * DAY, NOW - 5 * DAY))
    store.jobs.put(Job(name="feed", schedule="every 15m", command="x"), NOW - DAY)
    add_run(store, 31, "feed", NOW - 10 * 60 * SECOND)
    add_run(store, 32, "feed", NOW - 5 * SECOND, None)
    store.jobs.put(Job(name="off", schedule="@daily", command="x", enabled=False), NOW - DAY)
    add_run(store, 41, "off", NOW - HOUR, Result.SKIPPED)
    store.jobs.put(Job(name="asked", schedule="on demand", command="x"), NOW - DAY)
    store.starts.put(backup, unit="v", trigger=Trigger.TIMER, slot=NOW, due_at=NOW, now=NOW)
    first, *others = NotificationState
    assert first is NotificationState.WAITING
    told = Report(kind=ReportKind.TEST, job="", host="box", at=NOW, timezone="UTC")
    for number, state in enumerate([*others, NotificationState.SENT, first]):
        store.outbox.put(
            told, NTFY, job="backup", key=str(number), cause=str(number), now=NOW - number
        )
        (message,) = store.outbox.ready([])
        if state is NotificationState.HELD:
            store.outbox.hold(message)
        elif state is not NotificationState.WAITING:
            store.outbox.settle(message, state, NOW)
    store.jobs.put(Job(name=STRANGE, schedule="no schedule", command="x"), NOW)
    return store


def values(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(text: bytes, name: str, **labels: str) -> float | None:
    return values(text).get((f"lunasched_{name}", frozenset(labels.items())))


def test_the_whole_text(lived_in: Store) -> None:
    shown = metrics().render(lived_in, NOW).decode()
    shown = shown.replace(f'"{__version__}"', '"VERSION"')
    shown = shown.replace(f'"{platform.python_version()}"', '"PYTHON"')
    if os.environ.get("LUNASCHED_UPDATE_GOLDEN"):
        GOLDEN.write_text(shown)
    assert shown == GOLDEN.read_text()


def test_every_metric_is_declared_once_with_its_type(lived_in: Store) -> None:
    text = metrics(timers=lambda: Timers({FEED: RUNS})).render(lived_in, NOW).decode()
    declared = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)
    assert declared == [(metric.name, metric.type) for metric in METRICS]
    names = {f"{metric.name}{suffix}" for metric in METRICS for suffix in metric.suffixes}
    assert {name for name, _ in values(text.encode())} == names


def test_what_becomes_of_messages_is_what_metrics_count(lived_in: Store) -> None:
    final = {state.value for state in NotificationState} - {"waiting", "held"}
    assert set(FATES) == final
    assert {kind for kind, _ in lived_in.snapshot(NOW).notifications} == {"ntfy"}
    before = lived_in.snapshot(NOW).notifications
    own_history(lived_in).run("DELETE FROM outbox WHERE settled_at IS NOT NULL")
    assert (
        lived_in.snapshot(NOW).notifications
        == before
        == {("ntfy", state): 1 + (state == "sent") for state in final}
    )


def test_a_timer_that_does_not_run_has_no_time_to_come(lived_in: Store) -> None:
    loaded = {
        timer_name("backup"): UnitSeen("loaded", "inactive", "dead"),
        FEED: RUNS,
    }
    text = metrics(timers=lambda: Timers(loaded)).render(lived_in, NOW)
    for name, runs in (("backup", 0), ("feed", 1), ("off", None), ("asked", None)):
        assert value(text, "job_timer_running", job_id=name) == runs
        at = value(text, "job_next_elapse_timestamp_seconds", job_id=name)
        assert (at is not None) is bool(runs)
    text = metrics(timers=lambda: Timers({})).render(lived_in, NOW)
    assert value(text, "job_timer_running", job_id="feed") == 0


def test_a_name_with_quotes_is_read_back(lived_in: Store) -> None:
    text = metrics().render(lived_in, NOW)
    assert value(text, "job_executions_total", job_id=STRANGE) == 0
    assert value(text, "job_next_elapse_timestamp_seconds", job_id=STRANGE) is None


def test_no_jobs_at_all(store: Store) -> None:
    text = metrics().render(store, NOW)
    assert value(text, "scheduler_ticks_total") == 0
    assert b"job_id" not in text


# What promtool says


def test_promtool_complains_of_the_one_name_of_lunasched_1_only(lived_in: Store) -> None:
    done = prometheus.promtool("check", "metrics", text=metrics().render(lived_in, NOW).decode())
    complaints = set((done.stdout + done.stderr).splitlines())
    assert complaints == {
        "lunasched_job_duration_ms metric names should not contain abbreviated units",
        'lunasched_job_duration_ms non-summary metrics should not have "quantile" label',
    }


def test_promtool_has_nothing_to_say_without_it(lived_in: Store) -> None:
    text = metrics(duration_ms=False).render(lived_in, NOW).decode()
    done = prometheus.promtool("check", "metrics", text=text)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# Counters


def test_counters_are_those_of_the_store_whatever_is_pruned(tmp_path: Path) -> None:
    path = tmp_path / "lunasched.db"
    job = Job(name="backup", schedule="every 1h", command="x")
    wanted = ("executions", "successes", "failures", "retries", "skipped")
    with Store.open(path, durable=False) as store:
        store.jobs.put(job, NOW - 90 * DAY)
        for number in range(1, 500):
            result = (Result.SUCCESS, Result.EXIT_CODE, Result.SKIPPED)[number % 3]
            add_run(store, number, "backup", NOW - number * HOUR, result)
        before = values(metrics().render(store, NOW))
        pruning = Pruning(store, history_days=0, max_history_per_job=2, now=NOW)
        while pruning.step() is not None:
            pass
        for _ in space.give_back(store):
            pass
        assert len(store.runs.history(None, None)) < 10
    with Store.open(path, durable=False) as store:
        after = values(metrics().render(store, NOW))
    counters = {key for key in before if key[0].endswith(("_total", "_sum", "_count"))}
    assert {key: after[key] for key in counters} == {key: before[key] for key in counters}
    for name in wanted:
        key = (f"lunasched_job_{name}_total", frozenset({("job_id", "backup")}))
        assert key in counters
    assert after["lunasched_scheduler_ticks_total", frozenset()] == 499


# What is kept from one rendering to the next


def test_what_is_kept_is_computed_anew_when_it_is_not_right_any_more(store: Store) -> None:
    job = Job(name="x", schedule="0 * * * *", command="x", timezone="UTC")
    store.jobs.put(job, NOW - DAY)
    kept = metrics()

    def next_elapse(now: int) -> float | None:
        return value(kept.render(store, now), "job_next_elapse_timestamp_seconds", job_id="x")

    assert next_elapse(NOW) == (NOW + HOUR) / SECOND
    assert next_elapse(NOW + 1) == (NOW + HOUR) / SECOND
    assert next_elapse(NOW + HOUR) == (NOW + 2 * HOUR) / SECOND
    # The clock was set back.
    assert next_elapse(NOW - HOUR + 1) == NOW / SECOND
    store.jobs.put(job.evolve(schedule="30 * * * *"), NOW)
    assert next_elapse(NOW) == (NOW + HOUR // 2) / SECOND
    store.jobs.put(job.evolve(enabled=False), NOW)
    assert next_elapse(NOW) is None
    store.jobs.delete("x")
    assert next_elapse(NOW) is None
    assert b'job_id="x"' not in kept.render(store, NOW)


@pytest.mark.parametrize(
    ("schedule", "due"), [("0 * * * *", 2 * HOUR), ("every 20m", 40 * 60 * SECOND), ("@reboot", 0)]
)
def test_when_a_success_is_due(schedule: str, due: int, store: Store) -> None:
    """Two intervals after the latest success, or after the job was last changed."""
    job = Job(name="x", schedule=schedule, command="x", timezone="UTC")
    store.jobs.put(job, NOW)

    def success_due() -> float | None:
        text = metrics().render(store, NOW + 9 * HOUR)
        return value(text, "job_success_due_timestamp_seconds", job_id="x")

    assert success_due() == ((NOW + due) / SECOND if due else None)
    add_run(store, 1, "x", NOW + 3 * HOUR - SECOND)
    add_run(store, 2, "x", NOW + 4 * HOUR, Result.EXIT_CODE)
    assert success_due() == ((NOW + 3 * HOUR + due) / SECOND if due else None)


def test_the_success_of_an_uneven_schedule_is_due_at_its_second_slot(store: Store) -> None:
    """On Monday morning nothing is late that last ran on Friday."""
    friday = int(datetime(2026, 2, 13, 18, tzinfo=timezone.utc).timestamp()) * SECOND
    store.jobs.put(
        Job(name="x", schedule="0 9,18 * * 1-5", command="x", timezone="UTC"), NOW - 30 * DAY
    )
    add_run(store, 1, "x", friday)
    text = metrics().render(store, friday + 63 * HOUR)
    monday = datetime(2026, 2, 16, 18, tzinfo=timezone.utc).timestamp()
    assert value(text, "job_success_due_timestamp_seconds", job_id="x") == monday


def test_several_threads_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "lunasched.db"
    with Store.open(path, durable=False) as store:
        for number in range(50):
            store.jobs.put(Job(name=f"j{number}", schedule="0 * * * *", command="x"), NOW)
    shared = metrics()
    found: list[bytes] = []

    def scrape() -> None:
        with Store.open(path) as store:
            for minute in range(20):
                found.append(shared.render(store, NOW + minute * HOUR))

    threads = [threading.Thread(target=scrape) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80
    assert all(text.count(b"lunasched_job_enabled{") == 50 for text in found)


# In a file, and printed


def test_a_file_is_replaced_whole_and_may_be_read_by_all(tmp_path: Path) -> None:
    file = tmp_path / "lunasched.prom"
    before = os.umask(0o077)
    try:
        for text in (b"a 1\n", b"a 2\n"):
            write_textfile(file, text)
            assert file.read_bytes() == text
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert [one.name for one in tmp_path.iterdir()] == ["lunasched.prom"]


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(LunaschedError, match=r"none/lunasched\.prom cannot be written: No such"):
        write_textfile(tmp_path / "none/lunasched.prom", b"")
    (tmp_path / "lunasched.prom").mkdir()
    with pytest.raises(LunaschedError, match="Is a directory"):
        write_textfile(tmp_path / "lunasched.prom", b"")
    assert [one.name for one in tmp_path.iterdir()] == ["lunasched.prom"]


def command(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lunasched"), "--user", *arguments],
        env={
            "LUNASCHED_DB_PATH": str(directory / "lunasched.db"),
            "LUNASCHED_CONFIG_PATH": str(directory / "config.yaml"),
            "HOME": str(directory),
            "PATH": "/usr/bin:/bin",
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_prints_what_is_scraped(tmp_path: Path) -> None:
    with Store.open(tmp_path / "lunasched.db") as store:
        store.jobs.put(Job(name="backup", schedule="every 1h", command="x"), NOW)
        add_run(store, 1, "backup", NOW)
    done = command(tmp_path, "metrics")
    assert (done.returncode, done.stderr) == (0, "")
    text = done.stdout.encode()
    assert value(text, "job_successes_total", job_id="backup") == 1
    assert value(text, "supervisor_running") == 0
    # It has no supervisor to ask.
    assert value(text, "recording_lag_seconds") is None
    file = tmp_path / "x.prom"
    done = command(tmp_path, "metrics", "--textfile", str(file))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert values(file.read_bytes()).keys() == values(text).keys()
    tmp_path.joinpath("config.yaml").write_text("metrics: {duration_ms: false}\n")
    assert "lunasched_job_duration_ms" in done.stdout + text.decode()
    assert "duration_ms" not in command(tmp_path, "metrics").stdout


def test_without_a_database_none_is_made(tmp_path: Path) -> None:
    done = command(tmp_path, "metrics")
    assert done.returncode == 0
    assert value(done.stdout.encode(), "scheduler_ticks_total") == 0
    assert list(tmp_path.iterdir()) == []


def test_a_job_shows_what_it_missed(tmp_path: Path) -> None:
    with Store.open(tmp_path / "lunasched.db") as store:
        store.jobs.put(Job(name="backup", schedule="@hourly", command="x"), NOW)
        assert "Missed" not in command(tmp_path, "get", "backup").stdout
        store.slots.set_checked("backup", Checked(NOW, NOW))
        for count in (4, 1):
            store.slots.add_missed(MissedSlots("backup", count, NOW - count * HOUR, NOW - HOUR))
            shown = command(tmp_path, "get", "backup").stdout
            assert ("Missed slots: 4, the last 4 of them from" in shown) == (count == 4)
    assert "Missed slots: 5, the last of them at 2026-02-10" in shown
    assert json.loads(command(tmp_path, "get", "backup", "--json").stdout)["missed_slots"] == 5


def test_a_label_has_nothing_that_steers_a_terminal_or_is_no_text() -> None:
    """Whatever is in the database: half of a character would leave no metrics at all."""
    assert _escaped('a"b\\c\nd') == 'a\\"b\\\\c\\nd'
    hostile = _escaped("a\x1b[31m\x9b\u202e\ud800")
    assert hostile == "a\\\\x1b[31m\\\\x9b\\\\u202e\\\\ud800"
    hostile.encode()
