"""Damaged databases: told from healthy ones and from full disks, and made anew without a loss."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from samples import backup

from lunasched.errors import StoreError
from lunasched.store import DEFINITIONS, HISTORY, Definitions, inspect
from lunasched.store.connection import Schema
from lunasched.store.historydatabase import History
from lunasched.store.repair import repair

JOBS = 300
ROWS = 3000


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    """The definitions of jobs, the later of which depend on the earlier, in any order."""
    path = tmp_path / "jobs.db"
    definitions = Definitions.open(path, durable=False)
    with definitions.transaction():
        for number in range(JOBS):
            needs = tuple(f"job-{one}" for one in (number - 1, number - 3, number - 2) if one >= 0)
            definitions.jobs.put(
                backup(name=f"job-{number}", command="x" * 100, dependencies=needs), number
            )
    definitions.close()
    return path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A history with rows in tables of each kind."""
    path = tmp_path / "history.db"
    history = History.open(path, durable=False)
    with history.transaction():
        for number in range(ROWS):
            history.run(
                "INSERT INTO notification_totals VALUES (:job, 'sent', 1)",
                {"job": f"job-{ROWS - number:04}"},
            )
    history.close()
    return path


def names(path: Path) -> list[str]:
    definitions = Definitions.open(path, durable=False)
    try:
        return sorted(definitions.jobs.names())
    finally:
        definitions.close()


def damage(path: Path, name: str, page: int | None = None) -> None:
    """Write nonsense over the root of a table or an index, or over a page of the file."""
    with closing(sqlite3.connect(path)) as database:
        (size,) = database.execute("PRAGMA page_size").fetchone()
        find = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
        root = page or database.execute(find, [name]).fetchone()[0]
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(bytes(range(256)) * (size // 256))


def python(code: str, place: Path, *, before: str) -> subprocess.CompletedProcess[str]:
    """Run code in another process, after a shell script in mounts of its own."""
    script = f'set -e; {before}; exec "$@"'
    map_root = ["--map-root-user"] if os.getuid() else []
    command = ["unshare", "--mount", *map_root, "sh", "-c", script, "sh", sys.executable]
    return subprocess.run(
        [*command, "-c", code, str(place)], capture_output=True, text=True, check=False
    )


def test_healthy_databases_are_whole(jobs: Path, runs: Path) -> None:
    for path, schema in ((jobs, DEFINITIONS), (runs, HISTORY)):
        looked = inspect(path, schema)
        assert looked is not None
        assert (looked.damage, looked.problem, looked.checked) == ("", "", True)


def test_a_key_whose_columns_are_in_another_order_is_no_damage(tmp_path: Path) -> None:
    """`PRAGMA quick_check` of SQLite 3.40 says "NULL value in needs.job" of this one."""
    path = tmp_path / "jobs.db"
    Definitions.open(path, durable=False).close()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "CREATE TABLE needs (job TEXT NOT NULL, other TEXT NOT NULL, PRIMARY KEY (other, job)) "
            "STRICT, WITHOUT ROWID"
        )
        database.executemany("INSERT INTO needs VALUES (?, ?)", [("b", "a"), ("a", "b")])
    looked = inspect(path, DEFINITIONS)
    assert looked is not None
    assert looked.damage == ""


def test_a_disk_without_space_is_no_damage(runs: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from lunasched.store import HISTORY, inspect\n"
        "path = Path(sys.argv[1]) / 'history.db'\n"
        "found = inspect(path, HISTORY); print(repr(found.damage), found.problem)\n"
    )
    # A log is there, and its shared memory has no room.
    place = tmp_path / "full"
    place.mkdir()
    before = (
        f"mount -t tmpfs -o size=2m tmpfs {place} && cp {runs} {place}/ && "
        f"echo >{place}/history.db-wal && {{ head -c 2M /dev/zero >{place}/x || true; }}"
    )
    done = python(code, place, before=before)
    assert done.stdout == "'' the disk is full; free some space\n", done.stderr


@pytest.mark.parametrize("index", ["dependencies_of_job", "jobs_by_mode", "dependencies"])
def test_no_job_is_lost_with_an_index_or_another_table(index: str, jobs: Path) -> None:
    before = names(jobs)
    damage(jobs, index)
    jobs.chmod(0o640)
    content = jobs.read_bytes()
    looked = inspect(jobs, DEFINITIONS)
    assert looked is not None
    assert looked.damage
    done = repair(jobs, DEFINITIONS)
    assert (done.rows, done.lost) == (JOBS, 0)
    assert names(jobs) == before
    assert jobs.stat().st_mode & 0o777 == 0o640
    assert Path(done.kept).read_bytes() == content
    looked = inspect(jobs, DEFINITIONS)
    assert looked is not None
    assert (looked.state, looked.damage) == ("current", "")
    assert {one.name for one in jobs.parent.iterdir()} == {jobs.name, Path(done.kept).name}


def test_jobs_that_would_be_lost_are_not(jobs: Path) -> None:
    damage(jobs, "jobs")
    content = jobs.read_bytes()
    with pytest.raises(StoreError, match=f"of {JOBS} jobs {JOBS} cannot be read.*Nothing was"):
        repair(jobs, DEFINITIONS)
    assert jobs.read_bytes() == content
    assert [one.name for one in jobs.parent.iterdir()] == [jobs.name]


@pytest.mark.parametrize(
    ("content", "schema"), [(b"just a text\n" * 1000, DEFINITIONS), (b"\0" * 8192, HISTORY)]
)
def test_a_file_without_a_header_is_left_alone(
    content: bytes, schema: Schema, tmp_path: Path
) -> None:
    path = tmp_path / "some.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="Nothing was changed"):
        repair(path, schema)
    assert path.read_bytes() == content
    assert [one.name for one in tmp_path.iterdir()] == ["some.db"]


def test_a_history_keeps_what_its_log_has(runs: Path) -> None:
    damage(runs, "runs_by_age")
    # As of a supervisor that was killed: nobody folds the log into the file.
    write = (
        "import os, sqlite3, sys\n"
        "one = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "one.execute(\"INSERT INTO notification_totals VALUES ('late', 'sent', 1)\")\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", write, str(runs)], check=True)
    assert runs.with_name("history.db-wal").stat().st_size
    done = repair(runs, HISTORY)
    kept = {one.name for one in runs.parent.iterdir()}
    assert {runs.name, f"{runs.name}.damaged-1", f"{runs.name}.damaged-1-wal"} <= kept
    assert done.lost == 0
    history = History.open(runs, durable=False)
    assert history.run("SELECT count(*) FROM notification_totals")[0][0] == ROWS + 1
    assert history.run("SELECT count(*) FROM notification_totals WHERE type = 'late'")[0][0] == 1
    history.check_shape()
    history.close()


def test_rows_on_both_sides_of_a_page_that_cannot_be_read_are_kept(runs: Path) -> None:
    with closing(sqlite3.connect(runs)) as database:
        # A leaf in the middle.
        pages = database.execute(
            "SELECT pageno FROM dbstat WHERE name = 'notification_totals' AND pagetype = 'leaf' "
            "ORDER BY path"
        ).fetchall()
    damage(runs, "notification_totals", pages[len(pages) // 2][0])
    repair(runs, HISTORY)
    with closing(sqlite3.connect(runs)) as database:
        found = sorted(row[0] for row in database.execute("SELECT type FROM notification_totals"))
    assert ROWS / 2 < len(found) < ROWS
    assert found[0] == "job-0001"
    assert found[-1] == "job-3000"


def test_a_full_disk_changes_nothing(jobs: Path, tmp_path: Path) -> None:
    damage(jobs, "dependencies_of_job")
    place = tmp_path / "full"
    place.mkdir()
    code = (
        "import sys; from pathlib import Path; from lunasched.store import DEFINITIONS\n"
        "from lunasched.store.repair import repair\n"
        "from lunasched.errors import StoreError\n"
        "place = Path(sys.argv[1]); path = place / 'jobs.db'; before = path.read_bytes()\n"
        "try: repair(path, DEFINITIONS)\n"
        "except StoreError as error: print(error)\n"
        "assert path.read_bytes() == before\n"
        "print(sorted(one.name for one in place.iterdir()))\n"
    )
    before = f"mount -t tmpfs -o size=2m tmpfs {place} && cp {jobs} {place}/ && "
    fill = f"{{ head -c 2M /dev/zero >{place}/x || true; }}; truncate -s -20K {place}/x"
    done = python(code, place, before=before + fill)
    said, kept = done.stdout.splitlines()
    assert said.endswith("the disk is full; free some space. Nothing was changed.")
    assert kept == "['jobs.db', 'x']"
