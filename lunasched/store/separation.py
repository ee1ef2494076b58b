"""The one database of lunasched 2.0 and those of 1.x become two: definitions and history.

The old file becomes the history, and its jobs are copied into the definitions. The order makes
every point of death harmless: the old file is brought to the last version that has both, put into
the history's place, read; only when the definitions are on the disk are its jobs dropped.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lunasched.dataclass import dataclass
from lunasched.errors import LunaschedError, PermissionDenied, StoreError
from lunasched.jobs.model import Job
from lunasched.paths import Mode
from lunasched.store.connection import (
    BUSY_SECONDS,
    DEFINITIONS,
    HISTORY,
    Connection,
    explained,
    read_only,
)
from lunasched.store.historydatabase import SPLIT, History, close_unchanged, is_recorded, use_wal
from lunasched.store.jobtable import JobTable

if TYPE_CHECKING:
    from lunasched.store.legacy import MigrationReport

# Where the header has the schema version, in four bytes (sqlite.org/fileformat2.html).
_VERSION_AT = 60
OLD_NAME = "lunasched.db"
"""The name of the one database that 2.0 and 1.x had."""


@dataclass(frozen=True, slots=True)
class TakenJob:
    """A job of an old database; times in µs, UTC."""

    job: Job
    created_at: int
    updated_at: int
    definition: Mapping[str, Any]
    """The job with the keys that the old database has of it."""

    @classmethod
    def of(cls, definition: str, created_at: int, updated_at: int) -> TakenJob:
        """A row of the table that an old database had."""
        mapping = json.loads(definition)
        return cls(Job.from_mapping(mapping), int(created_at), int(updated_at), mapping)


@dataclass(frozen=True, slots=True)
class Taken:
    """The jobs of an old database."""

    jobs: tuple[TakenJob, ...]
    report: MigrationReport | None
    """The report on a database of 1.x."""
    unreadable: tuple[str, ...] = ()
    """Jobs that are no jobs, in lines."""


def begin(candidates: Sequence[Path], history: Path, mode: Mode) -> Taken | None:
    """Put the first old database there is into the history's place, and read its jobs.

    ``None`` where there is nothing to take over. Raises ``StoreError``.
    """
    report = None
    if _has_no_jobs(history):
        return None
    if not os.path.lexists(history):
        old = next((path for path in candidates if _is_old(path)), None)
        if old is not None:
            report = _put_in_place(old, history, mode)
        elif not os.path.lexists(history):
            return None
        # Otherwise another process has just created it.
    # A process whose parent was killed may still be working on it.
    with _alone(history.parent), closing(_connected(history)) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if not 0 < version < SPLIT:
            return None
        rows = connection.execute(
            "SELECT name, definition, created_at, updated_at FROM jobs ORDER BY name"
        )
        jobs, unreadable = [], []
        for name, *row in rows:
            try:
                jobs.append(TakenJob.of(*row))
            except (LunaschedError, ValueError, KeyError, TypeError, AttributeError) as error:
                unreadable.append(f"job {name!r} was not taken over, it cannot be read: {error}")
        return Taken(tuple(jobs), report, tuple(unreadable))


def _put_in_place(old: Path, history: Path, mode: Mode) -> MigrationReport | None:
    if is_recorded(old):
        raise StoreError(
            f"the supervisor of an earlier lunasched still records into {old}; "
            "stop it first: systemctl stop lunasched.service (or with --user)"
        )
    with _alone(old.parent):
        # Checked again: another process may have done it while this one waited.
        if os.path.lexists(history):
            return None
        report = _convert(old, mode)
        _move(old, history)
        return report


def drop_old_jobs(history: Path) -> None:
    """Drop the jobs from the history: by now they are in the definitions."""
    with _alone(history.parent), closing(_connected(history)) as connection:
        opened = History(connection, history)
        use_wal(connection)
        opened.bring_up_to_date()


def _has_no_jobs(history: Path) -> bool:
    """Tell by its header if a history is there that has no jobs, or cannot be looked at.

    A file with jobs has no write-ahead log, so that its header counts (``_convert``). What is in
    the way of reading it is said when it is opened.
    """
    try:
        with history.open("rb") as file:
            header = file.read(_VERSION_AT + 4)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    version = int.from_bytes(header[_VERSION_AT:], "big")
    return not header.startswith(b"SQLite format 3\0") or not 0 < version < SPLIT


def _is_old(path: Path) -> bool:
    """Tell if a file is a database of 2.0 or 1.x, and not one of definitions."""
    try:
        if not path.stat().st_size:
            return False
        # A process that converts it leaves states that cannot be read without writing.
        with _alone(path.parent):
            path.stat()  # it may have been moved while this process waited
            return _has_jobs_of_old(path)
    except FileNotFoundError:
        return False
    except PermissionError as error:
        raise PermissionDenied(f"{path}: {error.strerror}") from error
    except (OSError, sqlite3.Error) as error:
        raise explained(error, path) from error


def _has_jobs_of_old(path: Path) -> bool:
    from lunasched.store import legacy

    with closing(read_only(path, seconds=BUSY_SECONDS)) as connection:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        if application == HISTORY.application_id:
            return True
        return application == 0 and legacy.is_legacy(connection)


def _convert(old: Path, mode: Mode) -> MigrationReport | None:
    """Bring an old database to the last version with jobs; what became of one of 1.x."""
    from lunasched.store import legacy

    report = None
    connection = _connected(old)
    try:
        opened = Connection(connection, old, HISTORY)
        if connection.execute("PRAGMA application_id").fetchone()[0] == 0:
            with opened.transaction():
                # Checked again: another process may have done it while this one waited.
                if connection.execute("PRAGMA application_id").fetchone()[0] == 0:
                    jobs = JobTable(Connection(connection, old, DEFINITIONS).execute)
                    report = legacy.migrate_legacy(
                        connection,
                        old,
                        mode,
                        create=lambda: HISTORY.upgrade(connection, 0, SPLIT - 1),
                        put=jobs.put,
                        now=time.time_ns() // 1000,
                    )
        elif opened.version() < SPLIT - 1:
            with opened.transaction():
                HISTORY.upgrade(connection, opened.version(), SPLIT - 1)
    except BaseException as error:
        if isinstance(error, StoreError):
            close_unchanged(connection, old)
        connection.close()
        if isinstance(error, sqlite3.Error):
            raise explained(error, old) from error
        raise
    # Everything into one file without a log beside it, so that the renamed file is complete.
    with suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if connection.execute("PRAGMA journal_mode=DELETE").fetchone()[0] != "delete":
        raise StoreError(f"{old} is in use by another process; try again")
    connection.close()
    return report


def _move(old: Path, history: Path) -> None:
    try:
        history.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        old.replace(history)
    except OSError as error:
        raise explained(error, history) from error


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keep other processes that take over here waiting."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    connection.row_factory = sqlite3.Row
    return connection
