"""Opening the database, bringing its schema up to date, and transactions."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lunasched.config import Mode
from lunasched.errors import PermissionDenied, StoreError
from lunasched.store.hooks import HookTable
from lunasched.store.jobs import JobTable
from lunasched.store.outbox import OutboxTable
from lunasched.store.runs import RunTable
from lunasched.store.slots import SlotTable
from lunasched.store.starts import StartTable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lunasched.snapshot import Snapshot
    from lunasched.store.legacy import MigrationReport

# "luna" in ASCII, in the header of the file (PRAGMA application_id).
APPLICATION_ID = 0x6C756E61
_BUSY_SECONDS = 30.0
_READ_SECONDS = 5.0
_HERE = Path(__file__).parent


class Store:
    """One open database. Not to be shared between threads."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path
        self.migration: MigrationReport | None = None
        """What became of a database of Lunasched 1.x, if opening it has taken one over."""
        self.jobs = JobTable(self.execute)
        self.runs = RunTable(self.execute)
        self.starts = StartTable(self.execute)
        self.hooks = HookTable(self.execute)
        self.outbox = OutboxTable(self.execute)
        self.slots = SlotTable(self.execute)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        owner: tuple[int, int] | None = None,
        durable: bool = True,
        mode: Mode = Mode.SYSTEM,
    ) -> Store:
        """Open the database at ``path``, making it and its directory if need be.

        A database of Lunasched 1.x is taken over, see ``migration``; its jobs have owners only in
        system mode.

        ``owner`` is the user and group ID that a new database is given (root makes it for the
        supervisor). Without ``durable``, a power cut may take the last transactions back, whole:
        right for what the journal has and can be read again. Raises ``StoreError``, or
        ``PermissionDenied`` where the caller may not.
        """
        try:
            _prepare(path, owner)
            connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise _explain(error, path) from error
        store = cls(connection, path)
        try:
            connection.row_factory = sqlite3.Row
            # First whether it is ours at all: WAL is noted in the file itself.
            if store._version() is None:
                store._take_over(mode)
            if not connection.execute("PRAGMA page_count").fetchone()[0]:
                # Later it would take rewriting the file (``space.give_back``).
                connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            store._use_wal()
            connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            store._migrate()
        except BaseException as error:
            if isinstance(error, StoreError):
                store._close_unchanged()
            connection.close()
            if isinstance(error, sqlite3.Error):
                raise _explain(error, path) from error
            raise
        return store

    @classmethod
    def open_to_read(cls, path: Path) -> Store:
        """Open a database that is there and up to date, to look at one state of it.

        What others write after the first look is not seen. Raises ``StoreError``.
        """
        try:
            uri = f"{path.absolute().as_uri()}?mode=ro"
            connection = sqlite3.connect(uri, uri=True, timeout=_READ_SECONDS, isolation_level=None)
            connection.row_factory = sqlite3.Row
            # Each page is read once: what a larger cache holds is memory of the supervisor's.
            connection.execute("PRAGMA cache_size=-256")
            connection.execute("BEGIN")
        except sqlite3.Error as error:
            raise _explain(error, path) from error
        return cls(connection, path)

    @classmethod
    def in_memory(cls) -> Store:
        """An empty database that nobody else sees."""
        connection = sqlite3.connect(":memory:", isolation_level=None)
        connection.row_factory = sqlite3.Row
        store = cls(connection, Path(":memory:"))
        store._migrate()
        return store

    def close(self) -> None:
        """Close the database; the last to close it folds the write-ahead log in."""
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and alone: the write lock is taken at the beginning."""
        self._run("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise
        try:
            self._run("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    def execute(self, query: str, **parameters: Any) -> list[sqlite3.Row]:
        """The rows of the query of this name in ``queries.sql``."""
        return self._run(_queries()[query], parameters)

    def step_through(self, query: str) -> None:
        """Run a named script, a transaction of its own, each statement to its last step.

        Of ``PRAGMA incremental_vacuum``, which gives no rows, ``execute`` takes one step: one page.
        """
        try:
            self._connection.executescript(_queries()[query])
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise _explain(error, self.path) from error

    def cursor(self) -> str | None:
        """The journal cursor of the last record that was taken in."""
        rows = self.execute("cursor")
        return rows[0]["cursor"] if rows else None

    def set_cursor(self, cursor: str) -> None:
        """Remember how far the journal was read; belongs in the transaction of its rows."""
        self.execute("set_cursor", cursor=cursor)

    def snapshot(self, now: int) -> Snapshot:
        """What is on record of all jobs."""
        from lunasched.store import snapshot

        return snapshot.take(self, now)

    def _run(
        self, statement: str, parameters: Mapping[str, Any] | None = None
    ) -> list[sqlite3.Row]:
        try:
            return self._connection.execute(statement, parameters or {}).fetchall()
        except sqlite3.Error as error:
            raise _explain(error, self.path) from error

    def _use_wal(self) -> None:
        """Switch to the write-ahead log, once for a file.

        SQLite does not wait for other processes here, as it does elsewhere: the one that comes
        second is refused, and finds the switch made a moment later.
        """
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def _close_unchanged(self) -> None:
        """Close the connection without folding a write-ahead log into a file that is not ours.

        The last connection does that, unless it may not write.
        """
        log = self.path.with_name(self.path.name + "-wal")
        with suppress(OSError, sqlite3.Error):
            if not log.stat().st_size:
                return
            uri = f"{self.path.absolute().as_uri()}?mode=ro"
            reader = sqlite3.connect(uri, uri=True)
            try:
                reader.execute("SELECT count(*) FROM sqlite_schema").fetchone()
                self._connection.close()
            finally:
                reader.close()

    def _take_over(self, mode: Mode) -> None:
        """Turn a database of Lunasched 1.x into one of ours."""
        from lunasched.store import legacy

        with self.transaction():
            # Asked again: another process may have done it while this one waited for the lock.
            if self._version() is None:
                self.migration = legacy.migrate(
                    self._connection,
                    self.path,
                    mode,
                    create=lambda: self._upgrade(0),
                    put=self.jobs.put,
                    now=time.time_ns() // 1000,
                )

    def _migrate(self) -> None:
        if self._version() == len(_migrations()):
            return
        with self.transaction():
            # Read again: another process may have migrated while this one waited for the lock.
            self._upgrade(self._version() or 0)

    def _upgrade(self, version: int) -> None:
        """Bring the schema from a version to the newest; belongs in a transaction."""
        for number, script in enumerate(_migrations()[version:], version + 1):
            for statement in _statements(script):
                self._connection.execute(statement)
            self._connection.execute(f"PRAGMA user_version = {number}")
        self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")

    def _version(self) -> int | None:
        """The schema version of the file, ``None`` for one of Lunasched 1.x.

        Raises ``StoreError`` where it is neither.
        """
        if self._connection.in_transaction:
            return self._version_seen()
        # In one transaction of reading: another process may make the tables, or take them over
        # from 1.x, between two questions.
        self._connection.execute("BEGIN")
        try:
            return self._version_seen()
        finally:
            self._connection.execute("ROLLBACK")

    def _version_seen(self) -> int | None:
        tables = self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        application = self._connection.execute("PRAGMA application_id").fetchone()[0]
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if application != APPLICATION_ID and tables:
            from lunasched.store import legacy

            if application == 0 and legacy.is_legacy(self._connection):
                return None
            raise StoreError(
                f"{self.path} is a database, but not one of lunasched 2, and was left as it is; "
                "move it away or set LUNASCHED_DB_PATH"
            )
        if version > len(_migrations()):
            raise StoreError(
                f"{self.path} was written by a newer lunasched (schema {version}, this one knows "
                f"{len(_migrations())}) and was left as it is; upgrade lunasched"
            )
        return int(version)


def _prepare(path: Path, owner: tuple[int, int] | None) -> None:
    """Make the directory (0700) and an empty database (0600), owned by ``owner``."""
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if owner:
            os.chown(path.parent, *owner)
    if not path.exists():
        with suppress(FileExistsError):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                if owner:
                    os.fchown(descriptor, *owner)
            finally:
                os.close(descriptor)


@lru_cache(maxsize=1)
def _queries() -> dict[str, str]:
    text = (_HERE / "queries.sql").read_text(encoding="utf-8")
    parts = re.split(r"^-- name: (\w+)$", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def schema_version() -> int:
    """The version of the schema that this program makes and knows."""
    return len(_migrations())


@lru_cache(maxsize=1)
def _migrations() -> tuple[str, ...]:
    files = sorted((_HERE / "migrations").glob("[0-9]*.sql"))
    return tuple(file.read_text(encoding="utf-8") for file in files)


def _statements(script: str) -> Iterator[str]:
    """Split a script; ``executescript`` would commit the transaction that it is in."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


def _explain(error: Exception, path: Path) -> StoreError | PermissionDenied:
    text = str(error)
    denied = isinstance(error, PermissionError) or "readonly" in text or "unable to open" in text
    if denied and _not_writable(path):
        return PermissionDenied(
            f"{path} cannot be opened for writing by this user; "
            "run as root, or use --user for your own jobs"
        )
    # With no space at all for its shared memory, SQLite speaks of I/O only.
    no_space = "disk I/O" in text and os.statvfs(path.parent).f_bavail == 0
    if "full" in text or no_space or getattr(error, "errno", None) == errno.ENOSPC:
        return StoreError(f"{path}: the disk is full; free some space. Nothing was changed.")
    if "locked" in text:
        return StoreError(
            f"{path} was locked by another process for {_BUSY_SECONDS:.0f} s; try again"
        )
    if "malformed" in text or "not a database" in text:
        return StoreError(f"{path} is damaged ({text}); restore it from a backup or move it away")
    return StoreError(f"{path}: {text}")


def _not_writable(path: Path) -> bool:
    """Whether permissions keep us from ``path``; not through ``Path.exists``, which then raises."""
    existing = str(path)
    while not os.path.lexists(existing) and existing != "/":
        existing = os.path.dirname(existing)  # noqa: PTH120 - a text, for os.path alone
    return not os.access(existing, os.W_OK) or not os.access(path.parent, os.W_OK)
