"""A database of Lunasched 1.x becomes one of ours, in one transaction, after a backup.

Killed wherever, it leaves the old database or the new one, and perhaps the backup and the report.
The old tables are moved out of the way, read, and dropped.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lunasched.errors import StoreError
from lunasched.formats import unittext
from lunasched.history.run import Result
from lunasched.jobs import dependencies
from lunasched.jobs.model import ExecutionMode, Job
from lunasched.paths import Mode
from lunasched.store.legacy.backup import back_up, make_like, sync_to_disk
from lunasched.store.legacy.migrationreport import MigrationReport
from lunasched.store.legacy.oldjobs import Converted, convert

_NEWEST = 3
_PREFIX = "lunasched_1_"
_OUTPUT_MAX = 8192
_BATCH = 1000
_CACHE_KIB = 32 << 10
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LENGTH_OF_TIME = len("2025-01-31 12:00:00")

_COLUMNS: Mapping[str, frozenset[str]] = {
    table: frozenset(columns.split())
    for table, columns in {
        "schema_version": "version applied_at",
        "jobs": "id name schedule_type schedule_value command args env enabled owner "
        "retry_policy resource_limits jitter_seconds timezone tags dependencies hooks "
        "max_concurrent priority execution_mode notification_config",
        "history": "id job_id run_at status output",
        "retry_attempts": "id job_id attempt_number run_at next_retry_at error",
        "job_dependencies": "id job_id depends_on_job_id",
        "execution_windows": "id job_id execution_id scheduled_time actual_start_time pid",
        "notification_log": "id job_id execution_id event_type channel_type delivered_at status "
        "error",
    }.items()
}
"""The tables of 1.x with all the columns that they may have."""

_RESULTS = {
    "success": Result.SUCCESS,
    "failed": Result.EXIT_CODE,
    "error": Result.EXEC_ERROR,
    "spawnerror": Result.EXEC_ERROR,
}


def is_legacy(connection: sqlite3.Connection) -> bool:
    """Tell whether the tables are those of 1.x, of whatever version."""
    wanted = {"jobs": {"schedule_type", "schedule_value"}, "history": {"job_id", "run_at"}}
    return all(columns <= _columns(connection, table) for table, columns in wanted.items())


def migrate_legacy(
    connection: sqlite3.Connection,
    database: Path,
    mode: Mode,
    *,
    create: Callable[[], None],
    put: Callable[[Job, int], None],
    now: int,
) -> MigrationReport:
    """Turn the database into one of ours; the transaction around it is the caller's.

    ``create`` makes our tables, ``put`` adds a job to them. Raises ``StoreError`` before anything
    is changed where the database cannot be understood.
    """
    schema = _check(connection, database)
    # A million runs are entered in indexes at random; in KiB, and for this connection only.
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    tables = _tables(connection)
    backup = back_up(database)
    for table in tables:
        connection.execute(f"ALTER TABLE {table} RENAME TO {_PREFIX}{table}")
    for name in _objects(connection, "index"):
        connection.execute(f'DROP INDEX "{name}"')
    create()
    jobs, names = _jobs(connection, tables, mode)
    for one in jobs:
        if one.job is not None:
            put(one.job, now)
    runs, left = _history(connection, tables, names)
    # Referring tables first, because foreign keys may be enforced.
    for table in sorted(tables, key=lambda table: table == "jobs"):
        connection.execute(f"DROP TABLE {_PREFIX}{table}")
    report = MigrationReport(
        database=database,
        schema=schema,
        backup=backup,
        written=backup.with_name(backup.name + ".txt"),
        jobs=tuple(jobs),
        runs=runs,
        runs_left=left,
    )
    _write(report)
    return report


def _check(connection: sqlite3.Connection, database: Path) -> int:
    """The schema version; raises ``StoreError`` where it is none that is known."""
    tables = _tables(connection)
    version = 0
    if "schema_version" in tables:
        version = connection.execute("SELECT max(version) FROM schema_version").fetchone()[0] or 0
    strange = [
        f"{table}.{column}"
        for table, columns in tables.items()
        for column in sorted(columns - _COLUMNS.get(table, frozenset()))
    ]
    strange += [*_objects(connection, "view"), *_objects(connection, "trigger")]
    if isinstance(version, int) and version <= _NEWEST and not strange:
        return version
    what = f"with {', '.join(strange)}" if strange else f"of schema {version}"
    raise StoreError(
        f"{database} is a database of Lunasched 1.x {what}, which this lunasched does not know, "
        "and was left as it is; move it away or set LUNASCHED_DB_PATH"
    )


def _tables(connection: sqlite3.Connection) -> dict[str, set[str]]:
    return {name: _columns(connection, name) for name in _objects(connection, "table")}


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    rows = connection.execute("SELECT name FROM pragma_table_info(?)", [table])
    return {row[0] for row in rows}


def _objects(connection: sqlite3.Connection, kind: str) -> list[str]:
    rows = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = ? AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
        [kind],
    )
    return [row[0] for row in rows]


# Jobs


def _jobs(
    connection: sqlite3.Connection, tables: Mapping[str, set[str]], mode: Mode
) -> tuple[list[Converted], dict[str, str]]:
    """Return the result for each job, and the names that IDs stand for."""
    rows = _rows(connection, f"SELECT * FROM {_PREFIX}jobs ORDER BY id")
    names = {str(row["id"]): str(row["name"] or row["id"]) for row in rows}
    needed: dict[str, list[str]] = {}
    if "job_dependencies" in tables:
        for row in _rows(connection, f"SELECT * FROM {_PREFIX}job_dependencies ORDER BY id"):
            other = str(row["depends_on_job_id"])
            needed.setdefault(str(row["job_id"]), []).append(names.get(other, other))
    converted = [convert(row, needed.get(str(row["id"]), ()), mode) for row in rows]
    return _related(_unique(converted)), names


def _rows(connection: sqlite3.Connection, query: str) -> list[dict[str, Any]]:
    cursor = connection.execute(query)
    columns = [column[0] for column in cursor.description]
    return [dict(zip(columns, row, strict=True)) for row in cursor]


def _unique(converted: Sequence[Converted]) -> list[Converted]:
    seen: set[str] = set()
    found = []
    for one in converted:
        found.append(one.refuse("another job has its name") if one.name in seen else one)
        seen.add(one.name)
    return found


def _related(converted: Sequence[Converted]) -> list[Converted]:
    """The same without the jobs whose dependencies are not as they have to be."""
    found = list(converted)
    while True:
        jobs = {one.name: one.job for one in found if one.job is not None}
        bad = {
            index: problem
            for index, one in enumerate(found)
            if one.job is not None and (problem := _unmet(one.job, jobs)) is not None
        }
        if not bad:
            return found
        for index, problem in bad.items():
            found[index] = found[index].refuse(f"dependencies: {problem}")


def _unmet(job: Job, jobs: Mapping[str, Job]) -> str | None:
    for name in job.dependencies:
        if name not in jobs:
            return f"there is no job {name!r}, or it was not taken over"
        if jobs[name].mode is ExecutionMode.PARALLEL:
            return f"{name!r} is a Parallel job, which has no latest run to wait for"
    circle = dependencies.cycle(
        job.name, job.dependencies, lambda name: jobs[name].dependencies if name in jobs else ()
    )
    return f"they form a cycle: {' -> '.join(circle)}" if circle else None


# History


def _history(
    connection: sqlite3.Connection, tables: Mapping[str, set[str]], names: Mapping[str, str]
) -> tuple[int, int]:
    """Copy the runs, oldest first, a row at a time; how many were, and were not."""
    has_windows = "execution_windows" in tables and _windows(connection)
    # Sorted without the outputs. The limit, which is none, keeps SQLite from leaving the order out.
    rows = connection.execute(
        f"SELECT run.rowid, run.job_id, run.run_at, run.status, run.output "
        f"FROM (SELECT rowid AS sorted FROM {_PREFIX}history ORDER BY run_at, rowid LIMIT -1) "
        f"CROSS JOIN {_PREFIX}history AS run ON run.rowid = sorted"
    )
    taken = left = 0
    with closing(connection.cursor()) as inserting:
        while batch := rows.fetchmany(_BATCH):
            runs = list(_runs(connection, batch, names, has_windows=has_windows))
            taken, left = taken + len(runs), left + len(batch) - len(runs)
            inserting.executemany(
                "INSERT INTO runs (execution_id, job, unit, boot_id, phase, settled, "
                '"trigger", scheduled_at, started_at, result, exit_code, output) '
                "VALUES (?, ?, ?, '', 'ended', 1, 'timer', ?, ?, ?, ?, ?)",
                runs,
            )
    connection.execute("DROP TABLE IF EXISTS temp.windows")
    connection.execute(
        "INSERT INTO job_totals (job, successes, failures) "
        "SELECT job, sum(result = 'success'), sum(result <> 'success') FROM runs GROUP BY job"
    )
    return taken, left


def _runs(
    connection: sqlite3.Connection,
    rows: Sequence[Any],
    names: Mapping[str, str],
    *,
    has_windows: bool,
) -> Iterator[tuple[Any, ...]]:
    for row, job_id, run_at, status, output in rows:
        at = _time(run_at)
        if at is None:
            continue
        job = names.get(str(job_id), str(job_id))
        window = None
        if has_windows:
            window = connection.execute(
                "DELETE FROM temp.windows WHERE job = ? AND at = ? RETURNING id, slot",
                [job_id, at // 1_000_000],
            ).fetchone()
        result = _RESULTS.get(str(status).lower(), Result.LOST)
        yield (
            window[0] if window else _execution_id(job, row),
            job,
            unittext.service_name(job),
            window[1] if window else None,
            at,
            result.value,
            0 if result is Result.SUCCESS else None,
            _tail(output),
        )


def _windows(connection: sqlite3.Connection) -> bool:
    """Have the execution IDs that 1.x noted by job and time; whether there are any."""
    connection.execute(
        "CREATE TEMP TABLE windows (job TEXT, at INTEGER, id TEXT UNIQUE, slot INTEGER, "
        "PRIMARY KEY (job, at)) WITHOUT ROWID"
    )
    rows = connection.execute(
        f"SELECT job_id, actual_start_time, execution_id, scheduled_time "
        f"FROM {_PREFIX}execution_windows"
    )
    found = False
    with closing(connection.cursor()) as inserting:
        while batch := rows.fetchmany(_BATCH):
            usable = [
                (job, at // 1_000_000, execution_id, _time(slot))
                for job, start, text, slot in batch
                if (at := _time(start)) is not None and (execution_id := _uuid(text)) is not None
            ]
            found = found or bool(usable)
            inserting.executemany("INSERT OR IGNORE INTO temp.windows VALUES (?, ?, ?, ?)", usable)
    return found


def _execution_id(job: str, row: int) -> str:
    """An ID that the same row always gets."""
    return hashlib.sha256(f"lunasched 1\n{job}\n{row}".encode()).hexdigest()[:32]


def _uuid(text: object) -> str | None:
    digits = str(text).replace("-", "").lower()
    return digits if re.fullmatch(r"[0-9a-f]{32}", digits) else None


def _time(text: object) -> int | None:
    """Microseconds of a time that is UTC unless it says otherwise."""
    plain = str(text).strip()
    if len(plain) != _LENGTH_OF_TIME:
        plain = re.sub(r"\s*(?:Z|UTC)$", "+00:00", plain)
        # Python 3.10 reads fractions of three or six digits only.
        plain = re.sub(r"\.(\d+)", lambda match: f".{match[1]:0<6.6}", plain)
    try:
        moment = datetime.fromisoformat(plain)
    except ValueError:
        return None
    since = moment - (_EPOCH if moment.tzinfo else _EPOCH.replace(tzinfo=None))
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _tail(output: object) -> str:
    """The last 8 KiB, as of our own runs."""
    raw = output if isinstance(output, bytes) else str(output or "").encode()
    return raw[-_OUTPUT_MAX:].decode(errors="ignore")


def _write(report: MigrationReport) -> None:
    part = report.written.with_name(report.written.name + ".part")
    make_like(part, report.database)
    part.write_text(report.text(), encoding="utf-8")
    sync_to_disk(part)
    part.replace(report.written)
    sync_to_disk(part.parent)
