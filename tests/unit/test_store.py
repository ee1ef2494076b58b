"""The database file: made, kept, and left alone where it is somebody else's."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from samples import backup, own_history

from lunasched.errors import ExitCode, PermissionDenied, StoreError
from lunasched.history.alerting import Outage
from lunasched.history.run import Result, Run, Trigger
from lunasched.jobs.model import Job, Priority, ResourceLimits
from lunasched.paths import history_path
from lunasched.store import Definitions, OpenRun, RunState, Store, database
from lunasched.store.historydatabase import SPLIT

BOOT = "b" * 32
RUN = "1" * 32
HOUR = 3_600_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lunasched.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(path) as opened:
        yield opened


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that other users can get to, unlike `tmp_path`."""
    directory = Path(tempfile.mkdtemp(prefix="lunasched-test-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def run(execution_id: str = RUN, job: str = "backup", started_at: int = HOUR) -> Run:
    unit = f"lunasched-job@{job}.service"
    return Run(
        execution_id=execution_id,
        job=job,
        unit=unit,
        trigger=Trigger.TIMER,
        scheduled_at=started_at,
        started_at=started_at,
    )


def got(store: Store, execution_id: str = RUN) -> Run:
    found = store.runs.get(execution_id)
    assert found is not None
    return found


def files(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def python(code: str, *arguments: object, before: str = "") -> subprocess.CompletedProcess[str]:
    """Run code in another process; `before` is shell, in mounts of its own if it is there."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    if before:
        unshare = ["unshare", "--mount", *(["--map-root-user"] if os.getuid() else [])]
        command = [*unshare, "sh", "-c", f'set -e; {before}; exec "$@"', "sh", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if before and done.returncode and ("unshare:" in done.stderr or "mount:" in done.stderr):
        pytest.skip(f"no mounts here: {done.stderr.strip()}")
    return done


# A new database


def test_a_new_database_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lunasched.db"
    before = os.umask(0)
    try:
        with Store.open(path) as store:
            store.jobs.put(backup(), 1)
            with store.changing_jobs():
                store.jobs.put(backup(name="other"), 1)
                modes = {
                    str(file.relative_to(path.parent)): stat.S_IMODE(file.stat().st_mode)
                    for file in path.parent.rglob("*")
                }
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert modes == {
        "lunasched.db": 0o600,
        "lunasched.db-journal": 0o600,
        "history": 0o700,
        "history/lunasched.db": 0o600,
        "history/lunasched.db-wal": 0o600,
        "history/lunasched.db-shm": 0o600,
    }


def test_a_history_keeps_a_write_ahead_log_and_definitions_do_not(store: Store, path: Path) -> None:
    with sqlite3.connect(path) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert other.execute("PRAGMA application_id").fetchone() == (0x6C756E6A,)
    with sqlite3.connect(history_path(path)) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert other.execute("PRAGMA application_id").fetchone() == (0x6C756E61,)
        assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_new_database_is_empty(store: Store) -> None:
    assert store.jobs.all() == []
    assert store.jobs.names() == []
    assert store.runs.history(None, None) == []
    assert store.runs.latest_of(store.jobs.names()) == {}
    assert store.cursor() is None


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_definitions_are_roots_and_a_group_may_read_them(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    definitions = Definitions.open(path, group=65534)
    with definitions.transaction():
        definitions.jobs.put(backup(), 1)
        journal = path.with_name("jobs.db-journal").stat()
    definitions.close()
    for found in (path.stat(), journal):
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, 65534, 0o640)


def test_closing_leaves_one_file_each(path: Path) -> None:
    with Store.open(path) as store:
        store.jobs.put(backup(), 1)
    assert files(path.parent).keys() == {"lunasched.db", "history/lunasched.db"}


def test_opening_again_changes_nothing(path: Path) -> None:
    with Store.open(path) as store:
        store.jobs.put(backup(), 1)
    before = files(path.parent)
    with Store.open(path) as store:
        assert store.jobs.names() == ["backup"]
    assert files(path.parent) == before


def test_an_empty_file_becomes_a_database(path: Path) -> None:
    path.touch()
    with Store.open(path) as store:
        assert store.jobs.names() == []


# Jobs


FULL = Job(
    name="nightly: 50% ü",
    schedule="at 02:30",
    command=("/bin/echo", "a\nb", "\x01"),
    user="alice",
    timezone="Europe/Berlin",
    limits=ResourceLimits(timeout=0.5, max_memory=1 << 30, cpu_quota=1.5),
    jitter=0.25,
    environment=(("B", "2"), ("A", "1\n")),
    working_directory="/srv",
    priority=Priority.LOW,
    tags=("b", "a"),
    enabled=False,
)


@pytest.mark.parametrize("kept", [backup(), FULL], ids=["least", "full"])
def test_a_job_comes_back_as_it_was(kept: Job, store: Store) -> None:
    store.jobs.put(kept, 5)
    assert store.jobs.get(kept.name) == kept
    assert store.jobs.get_with_time(kept.name) == (kept, 5)
    assert store.jobs.all() == [kept]


def test_jobs_are_in_the_order_of_their_names(store: Store) -> None:
    for name in ("c", "a", "b"):
        store.jobs.put(backup(name=name), 1)
    assert [found.name for found in store.jobs.all()] == store.jobs.names() == ["a", "b", "c"]


def test_a_job_replaces_the_one_of_its_name(store: Store) -> None:
    store.jobs.put(backup(), 1)
    store.jobs.put(backup(schedule="every 2h"), 2)
    assert store.jobs.all() == [backup(schedule="every 2h")]
    assert store.jobs.updated_at() == {"backup": 2}


def test_the_runs_of_a_removed_job_stay(store: Store) -> None:
    store.jobs.put(backup(), 1)
    store.runs.begin(run(), BOOT)
    store.jobs.delete("backup")
    store.jobs.delete("backup")
    assert store.jobs.get("backup") is None
    assert store.jobs.get_with_time("backup") is None
    assert len(store.runs.history("backup", None)) == 1
    assert store.runs.exist_for("backup")
    assert store.runs.latest_of(store.jobs.names()) == {}


# Runs


def test_every_event_of_a_run_may_come_twice(store: Store) -> None:
    for _ in range(2):
        store.runs.begin(run(), BOOT)
    assert got(store) == run()
    for _ in range(2):
        store.runs.spawn_failed(RUN, 203, HOUR)
        assert store.runs.state(RUN) == RunState(True, 203, False)
    for _ in range(2):
        store.runs.running(RUN)
        assert store.runs.state(RUN) == RunState(False, 203, False)
    for _ in range(2):
        store.runs.stopping(RUN)
        assert store.runs.state(RUN) == RunState(False, 203, True)
    for _ in range(2):
        store.runs.process_ended(RUN, exit_code=3, signal=None)
        store.runs.end(RUN, Result.EXIT_CODE, 2 * HOUR)
        store.runs.resources(RUN, cpu_usec=7, memory_peak=8)
        store.runs.resources(RUN, cpu_usec=None, memory_peak=None)
        store.runs.begin(run(started_at=5), "c" * 32)
        store.runs.running(RUN)
    ended = got(store)
    assert (ended.result, ended.exit_code, ended.ended_at) == (Result.EXIT_CODE, 3, 2 * HOUR)
    assert (ended.cpu_usec, ended.memory_peak, ended.started_at) == (7, 8, HOUR)
    assert len(store.runs.history(None, None)) == 1


def test_an_end_is_not_replaced_by_another(store: Store) -> None:
    store.runs.begin(run(), BOOT)
    store.runs.end(RUN, Result.SUCCESS, 2 * HOUR)
    before = got(store)
    store.runs.process_ended(RUN, exit_code=None, signal=9)
    store.runs.end(RUN, Result.SIGNAL, 3 * HOUR)
    store.runs.end(RUN, Result.LOST, None)
    store.runs.stopping(RUN)
    assert got(store) == before
    assert before.exit_code == 0


def test_a_lost_run_is_reopened_by_its_end(store: Store) -> None:
    store.runs.begin(run(), BOOT)
    store.runs.end(RUN, Result.LOST, None)
    assert store.runs.open() == []
    assert got(store).ended_at is None
    store.runs.process_ended(RUN, exit_code=None, signal=9)
    store.runs.end(RUN, Result.SIGNAL, 2 * HOUR)
    reopened = got(store)
    assert (reopened.result, reopened.signal, reopened.ended_at) == (Result.SIGNAL, 9, 2 * HOUR)


def test_a_lost_run_is_reopened_by_its_skip(store: Store) -> None:
    store.runs.begin(run(), BOOT)
    store.runs.end(RUN, Result.LOST, None)
    store.runs.skip(RUN, 2 * HOUR, HOUR)
    assert (got(store).result, got(store).ended_at) == (Result.SKIPPED, 2 * HOUR)


def test_a_skipped_run_has_used_no_slot(store: Store) -> None:
    store.runs.begin(run(), BOOT)
    for _ in range(2):
        store.runs.skip(RUN, 2 * HOUR, HOUR)
    skipped = got(store)
    assert (skipped.result, skipped.scheduled_at) == (Result.SKIPPED, HOUR)
    assert store.runs.last_slot("backup") is None
    assert store.runs.last_start("backup") is None


def test_open_runs_are_those_without_an_end(store: Store) -> None:
    unit = "lunasched-job@backup.service"
    for number in "123":
        store.runs.begin(run(number * 32), BOOT)
    store.runs.begin(run("4" * 32), "c" * 32)
    store.runs.end("2" * 32, Result.SUCCESS, 2 * HOUR)
    assert store.runs.open() == [
        OpenRun("1" * 32, "backup", unit, BOOT, is_starting=True),
        OpenRun("3" * 32, "backup", unit, BOOT, is_starting=True),
        OpenRun("4" * 32, "backup", unit, "c" * 32, is_starting=True),
    ]
    assert store.runs.open_of(unit, BOOT, but="1" * 32) == ["3" * 32]


def test_output_is_taken_once(store: Store) -> None:
    store.runs.begin(run(), BOOT)
    assert store.runs.without_output() == []
    store.runs.end(RUN, Result.SUCCESS, 2 * HOUR)
    assert [ended.execution_id for ended in store.runs.without_output()] == [RUN]
    store.runs.set_output(RUN, "")
    assert store.runs.without_output() == []
    store.runs.set_output(RUN, "ü\n\0x")
    assert got(store).output == "ü\n\0x"


def test_a_success_that_was_a_signal_is_corrected(store: Store) -> None:
    store.runs.begin(run(), BOOT)
    store.runs.correct_signal(RUN, 15)
    assert got(store).result is None
    store.runs.end(RUN, Result.SUCCESS, 2 * HOUR)
    store.runs.correct_signal(RUN, 15)
    assert (got(store).result, got(store).signal, got(store).exit_code) == (Result.SIGNAL, 15, None)


def test_a_result_is_final_when_its_consequences_were_drawn(store: Store) -> None:
    """Until then it may be corrected: whoever acts on it once waits for that."""
    assert store.runs.final(RUN) is None
    store.runs.begin(run(), BOOT)
    assert store.runs.final(RUN) is None
    store.runs.end(RUN, Result.SUCCESS, 2 * HOUR)
    assert store.runs.final(RUN) is None
    store.runs.correct_signal(RUN, 15)
    store.runs.set_settled(RUN)
    final = store.runs.final(RUN)
    assert final is not None
    assert (final.result, final.signal) == (Result.SIGNAL, 15)


@pytest.mark.parametrize("first", ["request", "begin"])
def test_a_start_that_was_asked_for_says_so(first: str, store: Store) -> None:
    if first == "begin":
        store.runs.begin(run(), BOOT)
    store.runs.request(RUN, Trigger.MANUAL, HOUR)
    store.runs.request(RUN, Trigger.MANUAL, HOUR)
    assert store.runs.requested(RUN) is Trigger.MANUAL
    assert store.runs.requested("2" * 32) is None
    if first == "begin":
        assert (got(store).trigger, got(store).scheduled_at) == (Trigger.MANUAL, None)
    store.runs.forget(HOUR)
    assert store.runs.requested(RUN) is Trigger.MANUAL
    store.runs.forget(HOUR + 1)
    assert store.runs.requested(RUN) is None


def test_history_is_newest_first_and_as_long_as_asked(store: Store) -> None:
    for number in range(10):
        store.runs.begin(run(f"{number:032x}", "ab"[number % 2], number * HOUR), BOOT)
    newest = [f"{number:032x}" for number in reversed(range(10))]

    def ids(job: str | None, count: int | None) -> list[str]:
        return [found.execution_id for found in store.runs.history(job, count)]

    assert ids(None, None) == newest
    assert ids(None, 3) == newest[:3]
    assert ids(None, 99) == newest
    assert ids("a", None) == newest[1::2]
    assert ids("b", 2) == newest[0::2][:2]
    assert ids("c", None) == []
    assert ids(None, 0) == []


def test_runs_of_one_instant_are_in_the_order_of_the_journal(store: Store) -> None:
    for number in "312":
        store.runs.begin(run(number * 32), BOOT)
    assert [found.execution_id[0] for found in store.runs.history("backup", None)] == [
        "2",
        "1",
        "3",
    ]


def test_latest_is_one_run_for_each_job_without_its_output(store: Store) -> None:
    for name in ("a", "b", "never"):
        store.jobs.put(backup(name=name), 1)
    for number, name in enumerate("aababx"):
        execution_id = f"{number:032x}"
        store.runs.begin(run(execution_id, name, number * HOUR), BOOT)
        store.runs.end(execution_id, Result.SUCCESS, number * HOUR + 1)
        store.runs.set_output(execution_id, "text")
    latest = store.runs.latest_of(store.jobs.names())
    assert {name: found.started_at // HOUR for name, found in latest.items()} == {"a": 3, "b": 4}
    assert {found.output for found in latest.values()} == {None}


def test_what_is_not_there_is_none(store: Store) -> None:
    assert store.runs.get(RUN) is None
    assert store.runs.state(RUN) is None
    assert store.runs.last_slot("backup") is None
    assert not store.runs.exist_for("backup")
    assert not store.runs.in_boot("backup", BOOT)


def test_whether_a_job_ran_in_this_boot(store: Store) -> None:
    store.runs.begin(run(), BOOT)
    assert store.runs.in_boot("backup", BOOT)
    assert not store.runs.in_boot("backup", "c" * 32)
    assert not store.runs.in_boot("other", BOOT)


# Transactions


def test_a_transaction_is_all_or_nothing(store: Store, path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), store.transaction():
        store.set_cursor("c1")
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), store.changing_jobs():
        store.jobs.put(backup(), 1)
        raise KeyboardInterrupt
    assert store.jobs.names() == []
    assert store.cursor() is None
    with Store.open(path) as other:
        with store.transaction():
            store.set_cursor("c2")
            assert other.cursor() is None
        with store.changing_jobs():
            store.jobs.put(backup(), 1)
        assert other.jobs.names() == ["backup"]
        assert other.cursor() == "c2"


WRITER = """
import sys
from pathlib import Path
from lunasched.jobs.model import Job
from lunasched.store import Store
path, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
with Store.open(path, durable=False) as store:
    for number in range(count):
        with store.changing_jobs():
            job = Job(name=f"{name}{number}", schedule="every 1h", command="true")
            store.jobs.put(job, number)
        with store.transaction():
            before = int(store.cursor() or 0)
            store.set_cursor(str(before + 1))
"""


def test_two_processes_lose_nothing_of_each_other(path: Path) -> None:
    # The file does not exist yet: both make it.
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), name, "150"], stderr=subprocess.PIPE
        )
        for name in "ab"
    ]
    errors = [writer.communicate()[1] for writer in writers]
    assert errors == [b"", b""]
    with Store.open(path) as store:
        assert len(store.jobs.names()) == 300
        assert store.cursor() == "300"


OPENER = """
import sys, time
from pathlib import Path
from lunasched.store import Store
for number in range(100):
    while time.time() < float(sys.argv[2]) + number * 0.02:
        pass
    Store.open(Path(sys.argv[1]) / f"{number}.db", durable=False).close()
"""


def test_two_processes_make_a_database_at_the_same_instant(tmp_path: Path) -> None:
    # The one that comes second may look while the first one's tables appear.
    begin = str(time.time() + 1)
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", OPENER, str(tmp_path), begin], stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    assert [opener.communicate()[1] for opener in openers] == [b"", b""]


def test_a_process_that_dies_in_a_transaction_leaves_nothing(path: Path) -> None:
    done = python(
        "import os, sys; from pathlib import Path\n"
        "from lunasched.jobs.model import Job; from lunasched.store import Store\n"
        "store = Store.open(Path(sys.argv[1]))\n"
        "job = Job(name='a', schedule='every 1h', command='true')\n"
        "store.jobs.put(job, 1)\n"
        "with store.transaction(), store.changing_jobs():\n"
        "    store.set_cursor('c')\n"
        "    store.jobs.put(job.evolve(name='b'), 1)\n"
        "    os.kill(os.getpid(), 9)\n",
        path,
    )
    assert done.returncode == -9
    with Store.open(path) as store:
        assert store.jobs.names() == ["a"]
        assert store.cursor() is None


# Files that are not ours to change


@pytest.mark.parametrize("which", [Path, history_path])
def test_a_newer_schema_is_refused_and_left_as_it_is(
    which: Callable[[Path], Path], path: Path
) -> None:
    with Store.open(path) as store:
        store.jobs.put(backup(), 1)
    with sqlite3.connect(which(path)) as other:
        other.execute("PRAGMA user_version = 99")
    other.close()
    before = files(path.parent)
    with pytest.raises(StoreError, match=r"newer lunasched.*upgrade"):
        Store.open(path)
    assert files(path.parent) == before


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_a_database_of_another_program_is_refused_and_left_as_it_is(
    journal: str, path: Path
) -> None:
    with sqlite3.connect(path) as other:
        other.execute(f"PRAGMA journal_mode = {journal}")
        other.execute("CREATE TABLE jobs (id TEXT PRIMARY KEY, name TEXT, data TEXT)")
        other.execute("CREATE TABLE history (id INTEGER PRIMARY KEY, job_id TEXT)")
        other.execute("INSERT INTO jobs VALUES ('1', 'backup', '{}')")
    other.close()
    before = files(path.parent)
    with pytest.raises(StoreError, match=r"not one of lunasched 2.*LUNASCHED_DB_PATH"):
        Store.open(path)
    assert files(path.parent) == before


@pytest.mark.parametrize(
    "content", [b"just a text\n" * 1000, b"SQLite format 3\0" + b"\xff" * 8176]
)
def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(
    content: bytes, path: Path
) -> None:
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"damaged.*restore it from a backup"):
        Store.open(path)
    assert files(path.parent) == {path.name: content}


def test_a_damaged_database_is_told_of(path: Path) -> None:
    with Store.open(path) as store:
        for number in range(200):
            store.jobs.put(backup(name=f"job-{number}"), 1)
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="damaged"), Store.open(path) as store:
        store.jobs.all()


def test_a_directory_is_no_database(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreError, match=r"lunasched\.db"):
        Store.open(path)


# What the system refuses

AS_NOBODY = """
import json, os, sys
from pathlib import Path
from lunasched.errors import LunaschedError
from lunasched.store import Store
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    with Store.open(Path(sys.argv[1])) as store:
        store.set_cursor("c1")
    print(json.dumps(["written", 0]))
except LunaschedError as error:
    print(json.dumps([str(error), int(error.exit_code)]))
"""


def as_nobody(path: Path) -> tuple[str, int]:
    done = python(AS_NOBODY, path)
    assert done.stderr == ""
    message, code = json.loads(done.stdout)
    return message, code


@pytest.mark.parametrize("mode", [0o640, 0o644])
@pytest.mark.skipif(os.getuid() != 0, reason="needs two users")
def test_a_database_of_another_user(mode: int, shared: Path) -> None:
    path = shared / "lunasched.db"
    with Store.open(path) as store:
        store.jobs.put(backup(), 1)
    path.chmod(mode)
    before = files(shared)
    message, code = as_nobody(path)
    assert code == ExitCode.PERMISSION
    # The first of the two that it may not open.
    assert str(path if mode == 0o640 else history_path(path)) in message
    assert "run as root, or use --user" in message
    assert files(shared) == before


@pytest.mark.parametrize("name", ["lunasched.db", "new/lunasched.db"])
def test_a_directory_where_no_database_may_be_made(name: str, shared: Path) -> None:
    shared.chmod(0o555)
    message, code = as_nobody(shared / name)
    shared.chmod(0o755)
    assert code == ExitCode.PERMISSION
    assert name in message
    assert files(shared) == {}


def test_a_directory_that_cannot_be_looked_into(shared: Path) -> None:
    (shared / "private").mkdir()
    with Store.open(shared / "private" / "lunasched.db"):
        pass
    (shared / "private").chmod(0)
    _, code = as_nobody(shared / "private" / "lunasched.db")
    (shared / "private").chmod(0o700)
    assert code == ExitCode.PERMISSION


def test_permission_is_an_error_of_its_own() -> None:
    assert not issubclass(PermissionDenied, StoreError)


FILL = """
import sys
from pathlib import Path
from lunasched.errors import StoreError
from lunasched.jobs.model import Job
from lunasched.store import Store
with Store.open(Path(sys.argv[1]) / "lunasched.db") as store:
    added = 0
    try:
        while added < 2000:
            with store.changing_jobs():
                for part in "ab":
                    name = f"{part}{added}"
                    job = Job(name=name, schedule="every 1h", command="x" * 4000)
                    store.jobs.put(job, 1)
            added += 1
    except StoreError as error:
        print(error)
    names = store.jobs.names()
with Store.open(Path(sys.argv[1]) / "lunasched.db") as store:
    assert store.jobs.names() == names
    assert len(names) == 2 * added, (len(names), added)
print("whole")
"""


def test_a_full_disk_takes_the_transaction_back(tmp_path: Path) -> None:
    mount = f'mount -t tmpfs -o size=1m tmpfs "{tmp_path}"'
    done = python(FILL, tmp_path, before=mount)
    assert done.stderr == ""
    message, whole = done.stdout.splitlines()
    assert message.endswith("the disk is full; free some space")
    assert whole == "whole"


def test_a_disk_without_any_space_cannot_hold_a_database(tmp_path: Path) -> None:
    mount = f'mount -t tmpfs -o size=8k tmpfs "{tmp_path}"'
    code = (
        "import sys; from pathlib import Path; from lunasched.store import Store\n"
        "from lunasched.errors import StoreError\n"
        "try: Store.open(Path(sys.argv[1]) / 'lunasched.db')\n"
        "except StoreError as error: print(error)\n"
    )
    done = python(code, tmp_path, before=mount)
    assert done.stderr == ""
    assert "the disk is full" in done.stdout


def test_a_limit_of_file_sizes_takes_the_transaction_back(tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
    done = python(limit + FILL, tmp_path)
    assert done.stderr == ""
    message, whole = done.stdout.splitlines()
    assert "lunasched.db" in message
    assert whole == "whole"


def test_a_read_only_file_system_is_told_of(tmp_path: Path) -> None:
    with Store.open(tmp_path / "lunasched.db"):
        pass
    mount = f'mount --bind "{tmp_path}" "{tmp_path}"; mount -o remount,ro,bind "{tmp_path}"'
    done = python(
        AS_NOBODY.replace("os.getuid() == 0", "False"), tmp_path / "lunasched.db", before=mount
    )
    assert done.stderr == ""
    message, code = json.loads(done.stdout)
    assert code in (ExitCode.PERMISSION, ExitCode.FAILED)
    assert "lunasched.db" in message


def test_a_database_of_the_first_schema_is_taken_over(path: Path) -> None:
    script = Path(database.__file__).parent / "schema/history/0001_jobs_and_runs.sql"
    definition: dict[str, Any] = {
        "name": "backup", "schedule": "every 1h", "command": "true", "user": None,
        "timezone": None, "jitter_seconds": 0, "env": {}, "working_directory": None,
        "resource_limits": {"timeout_seconds": 5, "max_memory": None, "cpu_quota": None},
        "priority": "Normal", "tags": [], "enabled": True, "catch_up": False,
    }  # fmt: skip
    with closing(sqlite3.connect(path)) as old:
        old.executescript(script.read_text())
        old.execute("INSERT INTO jobs VALUES ('backup', ?, 1, 1)", [json.dumps(definition)])
        old.execute(
            'INSERT INTO runs (execution_id, job, unit, boot_id, phase, "trigger", started_at,'
            " ended_at, result) VALUES (?, 'backup', 'u', 'b', 'ended', 'timer', 1, 2, 'signal')",
            [RUN],
        )
        old.execute("PRAGMA user_version = 1")
        old.execute(f"PRAGMA application_id = {0x6C756E61}")
        old.commit()
    with Store.open(path) as store:
        assert store.jobs.get("backup") == Job(
            name="backup",
            schedule="every 1h",
            command="true",
            limits=ResourceLimits(timeout=5),
        )
        assert [run.execution_id for run in store.runs.history("backup", None)] == [RUN]
        # What failed before there were retries and hooks has none now.
        assert store.runs.unsettled() == []
        assert store.starts.all() == []


# Earlier schemas of ours


MIGRATIONS = sorted(Path(database.__file__).parent.glob("schema/history/*.sql"))


def schema(path: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        tables = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
        return [
            *connection.execute("SELECT type, name FROM sqlite_schema ORDER BY type, name"),
            *(
                (name, *column)
                for (name,) in connection.execute(tables).fetchall()
                for column in connection.execute("SELECT * FROM pragma_table_info(?)", [name])
            ),
            *connection.execute("PRAGMA user_version"),
        ]


@pytest.mark.parametrize("version", range(1, SPLIT))
def test_every_earlier_schema_is_taken_over(version: int, path: Path) -> None:
    definition = json.dumps(backup().to_mapping())
    with closing(sqlite3.connect(path)) as old:
        for script in MIGRATIONS[:version]:
            old.executescript(script.read_text())
        old.execute("INSERT INTO jobs VALUES ('backup', ?, 1, 2)", [definition])
        old.executemany(
            'INSERT INTO runs (execution_id, job, unit, boot_id, phase, "trigger", started_at,'
            " ended_at, result, output) VALUES (?, 'backup', 'u', 'b', 'ended', 'timer', ?, 2,"
            " 'success', 'x')",
            [(f"{number:032x}", number) for number in range(50)],
        )
        if version > 1:
            old.execute("UPDATE runs SET settled = 1")
        old.execute("INSERT INTO journal_position VALUES (1, 'cursor')")
        old.execute(f"PRAGMA user_version = {version}")
        old.execute(f"PRAGMA application_id = {0x6C756E61}")
        old.commit()
    with Store.open(path) as store:
        assert store.migration is None
        assert store.jobs.get_with_time("backup") == (backup(), 2)
        assert len(store.runs.history("backup", None)) == 50
        assert (store.runs.unsettled(), store.runs.open(), store.starts.all()) == ([], [], [])
        assert store.cursor() == "cursor"
        store.runs.begin(run(), BOOT)
    with Store.open(path.with_name("new.db")):
        pass
    new = path.with_name("new.db")
    assert schema(path) == schema(new)
    assert schema(history_path(path)) == schema(history_path(new))


@pytest.mark.parametrize("version", range(SPLIT, len(MIGRATIONS)))
def test_every_earlier_history_is_brought_up_to_date(version: int, path: Path) -> None:
    with Store.open(path):
        pass
    new = schema(history_path(path))
    history_path(path).unlink()
    with closing(sqlite3.connect(history_path(path))) as old:
        for script in MIGRATIONS[:version]:
            old.executescript(script.read_text())
        old.execute(
            "INSERT INTO outages (job, since, failures, alerted_at) VALUES ('backup', 1, 2, 3)"
        )
        old.execute(f"PRAGMA user_version = {version}")
        old.execute(f"PRAGMA application_id = {0x6C756E61}")
        old.commit()
    with Store.open(path) as store:
        assert store.outbox.outage("backup") == Outage(1, 2, 3)
    assert schema(history_path(path)) == new


def test_migrations_are_numbered_without_a_gap() -> None:
    numbers = [int(script.name[:4]) for script in MIGRATIONS]
    assert numbers == [*range(1, len(MIGRATIONS) + 1)]


def test_no_two_queries_have_the_same_name() -> None:
    for file in ("definitions.sql", "history.sql"):
        text = Path(database.__file__).with_name(file).read_text()
        names = re.findall(r"^-- name: (\w+)$", text, re.MULTILINE)
        assert sorted(names) == sorted(set(names))


def test_what_was_opened_is_closed_again_if_the_rest_cannot_be(tmp_path: Path) -> None:
    path = tmp_path / "lunasched.db"
    with Store.open(path):
        pass
    history = history_path(path)
    for leftover in history.parent.iterdir():
        leftover.unlink()
    history.write_text("no database, and longer than the header of one" * 9)
    for open_ in (Store.open_to_read, Store.open_for_supervisor, Store.open):
        # While the error is held, so are the variables of all functions that it came through.
        with pytest.raises(StoreError) as caught:
            open_(path).cursor()
        opened = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        assert not [name for name in opened if name.is_relative_to(tmp_path)], caught.value


def test_what_ends_the_transaction_is_said_and_not_that_it_has_ended(tmp_path: Path) -> None:
    """SQLite rolls back itself when the disk is full, or an I/O error comes."""
    with Store.open(tmp_path / "lunasched.db") as store:
        own = own_history(store)

        def fails() -> int:
            own.connection.execute("ROLLBACK")
            raise sqlite3.OperationalError("disk I/O error")

        own.version = fails  # type: ignore[method-assign]
        with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
            own.bring_up_to_date()
