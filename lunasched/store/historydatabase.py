"""The history: runs as the journal recorded them, pending starts and hooks, and notifications.

SQLite in WAL mode, so that the supervisor records while commands read. In system mode the file and
its directory are the supervisor's: nobody with more rights opens them (``remote``).
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lunasched.errors import StoreError
from lunasched.paths import is_there
from lunasched.store.connection import (
    BUSY_SECONDS,
    HISTORY,
    Connection,
    Row,
    Schema,
    as_it_is,
    closed_if_it_raises,
    explained,
    prepare,
    read_only,
)

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from lunasched.store.inspection import Inspection

SPLIT = 7
"""The version from which on jobs are in a database of their own."""

_READ_SECONDS = 5.0


class HistoryAccess(Protocol):
    """Access to a history, in this process or through another one."""

    path: Path

    def execute(self, query: str, **parameters: Any) -> list[Row]: ...
    def step_through(self, query: str) -> None: ...
    def transaction(self) -> AbstractContextManager[None]: ...
    def size(self) -> int: ...
    def is_recorded(self) -> bool: ...
    def inspect(self) -> Inspection | None: ...
    def close(self) -> None: ...


class History(Connection):
    """The database of runs."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        super().__init__(connection, path, HISTORY)
        self._synced_changes = 0

    @classmethod
    def open(cls, path: Path, *, durable: bool = True, seconds: float = BUSY_SECONDS) -> History:
        """Open the database at ``path``, making it and its directory if need be.

        Without ``durable``, a power cut may take back, whole, the transactions since the last
        ``sync``: one is for all that is read from the journal together. A statement waits
        ``seconds`` for the lock of another process. Raises ``StoreError``, or ``PermissionDenied``
        where the caller may not.
        """
        try:
            prepare(path, mode=0o600)
            if not stat.S_ISREG(path.stat().st_mode):
                raise StoreError(f"{path} is not a file; move it away")
            connection = sqlite3.connect(path, timeout=seconds, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise explained(error, path) from error
        found = cls(connection, path)
        try:
            # Check first that the file is ours, because switching to WAL changes it.
            found.check_has_no_jobs()
            if not connection.execute("PRAGMA page_count").fetchone()[0]:
                # Later it would take rewriting the file (``space.give_back``).
                connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            use_wal(connection)
            connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            found.bring_up_to_date()
        except BaseException as error:
            if isinstance(error, StoreError):
                close_unchanged(connection, path)
            connection.close()
            if isinstance(error, sqlite3.Error):
                raise explained(error, path) from error
            raise
        return found

    @classmethod
    def open_to_read(cls, path: Path) -> History:
        """Open a database that is there and up to date, to look at one state of it.

        What others write after the first look is not seen. Raises ``StoreError``.
        """
        try:
            connection = read_only(path, seconds=_READ_SECONDS)
            with closed_if_it_raises(connection):
                connection.execute("BEGIN")
        except sqlite3.Error as error:
            raise explained(error, path) from error
        return cls(connection, path)

    @classmethod
    def open_as_it_is(cls, path: Path) -> History:
        """Open a database to look at it, and leave no trace; empty where there is none."""
        try:
            if not is_there(path):
                found = cls.in_memory()
                found.path = path
                return found
            return cls(as_it_is(path, HISTORY, seconds=_READ_SECONDS), path)
        except (OSError, sqlite3.Error) as error:
            raise explained(error, path) from error

    @classmethod
    def in_memory(cls) -> History:
        """An empty database that nobody else sees."""
        found = cls(sqlite3.connect(":memory:", isolation_level=None), Path(":memory:"))
        found.bring_up_to_date()
        return found

    def sync(self) -> None:
        """Have all that was committed outlive a power cut, if anything was since the last time.

        journald writes what it has to the disk once in five minutes (``SyncIntervalSec=``,
        journald.conf(5)): what a power cut takes from both is a run that nobody knows of.
        Raises ``StoreError``.
        """
        changes = self.connection.total_changes
        if changes == self._synced_changes:
            return
        try:
            # SQLite puts no lock on this file, so that closing it here takes none away.
            log = os.open(f"{self.path}-wal", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return  # in memory
        except OSError as error:
            raise explained(error, self.path) from error
        try:
            os.fdatasync(log)
        except OSError as error:
            raise explained(error, self.path) from error
        finally:
            os.close(log)
        self._synced_changes = changes

    def size(self) -> int:
        """The bytes that it has on the disk, with its write-ahead log."""
        files = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(file.stat().st_size for file in files if is_there(file))

    def is_recorded(self) -> bool:
        """Tell if a supervisor records into it right now."""
        return is_recorded(self.path)

    def inspect(self) -> Inspection | None:
        """Look at the file as it is; ``None`` where there is none."""
        from lunasched.store.inspection import inspect

        return inspect(self.path, self.schema)

    def check_has_no_jobs(self) -> None:
        """Refuse a database that holds jobs, too: bringing it up to date would drop them.

        Raises ``StoreError``.
        """
        if 0 < self.version() < SPLIT:
            raise StoreError(
                f"{self.path} is of lunasched 2.0 and holds jobs that were not taken over yet; "
                "as root: lunasched migrate"
            )

    def check_shape(self) -> None:
        """Refuse tables that are not exactly ours: a view, a trigger or a column of somebody's.

        Raises ``StoreError``.
        """
        strange = _objects(self.connection) ^ _expected()
        if strange:
            name = min(str(one[1]) for one in strange)
            raise StoreError(
                f"{self.path} is damaged: its tables are not those of a history ({name}); "
                "restore it from a backup or move it away"
            )


def is_recorded(path: Path) -> bool:
    """Tell if a supervisor records into the history at ``path`` right now."""
    try:
        descriptor = os.open(supervisor_lock(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def use_wal(connection: sqlite3.Connection) -> None:
    """Switch to the write-ahead log, once for a file.

    SQLite does not wait for other processes here, as it does elsewhere: the one that comes
    second is refused, and finds the switch made a moment later.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def close_unchanged(connection: sqlite3.Connection, path: Path) -> None:
    """Close a connection without folding a write-ahead log into a file that is not ours.

    The last connection does that, unless it may not write.
    """
    log = path.with_name(path.name + "-wal")
    with suppress(OSError, sqlite3.Error):
        if not log.stat().st_size:
            return
        reader = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            reader.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            connection.close()
        finally:
            reader.close()


def _objects(connection: sqlite3.Connection) -> frozenset[tuple[Any, ...]]:
    rows: Iterable[Any] = connection.execute(
        "SELECT type, name, sql FROM sqlite_schema "
        "WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
    )
    return frozenset(tuple(row) for row in rows)


def _expected(schema: Schema = HISTORY) -> frozenset[tuple[Any, ...]]:
    model = sqlite3.connect(":memory:", isolation_level=None)
    try:
        schema.upgrade(model, 0)
        return _objects(model)
    finally:
        model.close()


def supervisor_lock(path: Path) -> Path:
    """The file that the supervisor that records into the history at ``path`` holds locked."""
    return path.with_name(path.name + ".supervisor-lock")
