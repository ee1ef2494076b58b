"""One SQLite database: named statements, transactions, its schema, errors in words."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from lunasched.dataclass import dataclass
from lunasched.errors import PermissionDenied, StoreError
from lunasched.jobs.runfacts import RUN_FACTS
from lunasched.paths import is_directory, is_there

BUSY_SECONDS = 30.0
"""The time that a statement waits for the lock of another process."""

_HERE = Path(__file__).parent
# "{facts}" in a statement: the columns of a run except its output, which is as long as the rest
# of some hundred runs.
_FACTS = ", ".join(f'"{fact.name}"' for fact in RUN_FACTS if fact.is_kept and fact.name != "output")


class Row(Protocol):
    """A row of a query: a value by the name or the number of its column."""

    def __getitem__(self, key: str | int, /) -> Any: ...


class Closable(Protocol):
    """Something that is open."""

    def close(self) -> None: ...


class Execute(Protocol):
    """Runs a named query."""

    def __call__(self, query: str, **parameters: Any) -> list[Row]: ...


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of one kind of database, and how they came about: a script a version."""

    name: str
    """Of the file of statements, and of the folder of scripts."""
    application_id: int
    """In the header of the file (``PRAGMA application_id``)."""

    @property
    def version(self) -> int:
        """The version that this program makes and knows."""
        return len(self._scripts())

    def upgrade(self, connection: sqlite3.Connection, version: int, to: int | None = None) -> None:
        """Bring the tables from a version to the newest, or to ``to``; belongs in a transaction."""
        for number, script in enumerate(self._scripts()[version:to], version + 1):
            for statement in _statements(script):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute(f"PRAGMA application_id = {self.application_id}")

    def query(self, name: str) -> str:
        """The text of a named statement."""
        return _queries(self.name)[name]

    def _scripts(self) -> tuple[str, ...]:
        return _migrations(self.name)


DEFINITIONS = Schema("definitions", 0x6C756E6A)
"""Jobs as they were asked for; the number is "lunj" in ASCII."""
HISTORY = Schema("history", 0x6C756E61)
"""Runs, and what follows from them; "luna", as of the one database that 2.0.0 had."""


class Connection:
    """A database that is open. Not to be shared between threads."""

    def __init__(self, connection: sqlite3.Connection, path: Path, schema: Schema) -> None:
        connection.row_factory = sqlite3.Row
        self.connection = connection
        self.path = path
        self.schema = schema

    def close(self) -> None:
        """Close the database."""
        self.connection.close()

    def execute(self, query: str, **parameters: Any) -> list[Row]:
        """The rows of the query of this name."""
        return self.run(self.schema.query(query), parameters)

    def step_through(self, query: str) -> None:
        """Run a named script, a transaction of its own, each statement to its last step.

        Of ``PRAGMA incremental_vacuum``, which gives no rows, ``execute`` takes one step: one page.
        """
        try:
            self.connection.executescript(self.schema.query(query))
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                self.connection.execute("ROLLBACK")
            raise explained(error, self.path) from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and alone: the write lock is taken at the beginning."""
        self.run("BEGIN IMMEDIATE")
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self.connection.execute("ROLLBACK")
            raise

    def run(self, statement: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        """The rows of a statement."""
        try:
            return self.connection.execute(statement, parameters or {}).fetchall()
        except sqlite3.Error as error:
            raise explained(error, self.path) from error

    def version(self) -> int:
        """The schema version of the file; raises ``StoreError`` where it is of something else."""
        tables = self.connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        application = self.connection.execute("PRAGMA application_id").fetchone()[0]
        version = int(self.connection.execute("PRAGMA user_version").fetchone()[0])
        if application != self.schema.application_id and tables:
            raise StoreError(
                f"{self.path} is a database, but not one of lunasched 2 (its {self.schema.name}), "
                "and was left as it is; move it away or set LUNASCHED_DB_PATH"
            )
        if version > self.schema.version:
            raise StoreError(
                f"{self.path} was written by a newer lunasched (schema {version}, this one knows "
                f"{self.schema.version}) and was left as it is; upgrade lunasched"
            )
        return version

    def bring_up_to_date(self) -> None:
        """Make the tables, or those of an earlier version the newest."""
        # In one read transaction: another process may create the tables between two queries.
        self.connection.execute("BEGIN")
        try:
            current = self.version() == self.schema.version
        finally:
            # SQLite has rolled back itself after some errors, and what failed is to be said.
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        if not current:
            with self.transaction():
                # Read again: another process may have done it while this one waited for the lock.
                self.schema.upgrade(self.connection, self.version())


@contextmanager
def closed_if_it_raises(opened: Closable) -> Iterator[None]:
    """Close what is open if the block raises."""
    try:
        yield
    except BaseException:
        opened.close()
        raise


def prepare(path: Path, *, mode: int, group: int | None = None) -> None:
    """Make an empty file for a database, and its directory (0700), if they are not there."""
    if not is_directory(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not is_there(path):
        with suppress(FileExistsError):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                if group is not None:
                    os.fchown(descriptor, -1, group)
                os.fchmod(descriptor, mode)
            finally:
                os.close(descriptor)


def read_only(path: Path, *, seconds: float, option: str = "mode=ro") -> sqlite3.Connection:
    """A connection that cannot write; raises ``sqlite3.Error``."""
    uri = f"{path.absolute().as_uri()}?{option}"
    connection = sqlite3.connect(uri, uri=True, timeout=seconds, isolation_level=None)
    with closed_if_it_raises(connection):
        # Each page is read once, so a larger cache would only cost the supervisor memory.
        connection.execute("PRAGMA cache_size=-256")
    return connection


def as_it_is(path: Path, schema: Schema, *, seconds: float) -> sqlite3.Connection:
    """A connection that cannot write, and leaves no trace; raises ``sqlite3.Error``.

    Without its log, a history's file is all there is: SQLite would make one even to read it.
    """
    logged = schema is not HISTORY or is_there(path.with_name(path.name + "-wal"))
    return read_only(path, seconds=seconds, option="mode=ro" if logged else "immutable=1")


def explained(error: Exception, path: Path) -> StoreError | PermissionDenied:
    """Return an error of SQLite or the system about a database, in words."""
    text = str(error)
    denied = isinstance(error, PermissionError) or any(
        words in text for words in ("readonly", "unable to open", "Read-only")
    )
    if denied and _is_read_only(path):
        return StoreError(f"{path}: the file system is read-only; remount it writable")
    if denied and _not_writable(path):
        return PermissionDenied(
            f"{path} cannot be opened for writing by this user; "
            "run as root, or use --user for your own jobs"
        )
    if room := said_of_room(error, path):
        return StoreError(f"{path}: {room}")
    if "locked" in text:
        # Without the waiting time, which is 5, 10 or 30 s.
        return StoreError(f"{path} is locked by another process; try again")
    if is_damage(error):
        return StoreError(f"{path} is damaged ({text}); restore it from a backup")
    return StoreError(f"{path}: {text}")


def is_damage(error: Exception) -> bool:
    """Tell if SQLite found the content of a file wrong, and not merely something in its way.

    An I/O error, a lock, a missing right or a change that was killed say nothing of the content.
    """
    text = str(error)
    return "malformed" in text or "not a database" in text


def said_of_room(error: Exception, path: Path) -> str:
    """Say that the disk is full, where that is why; empty otherwise.

    Not what became of the change: who made it knows what else had been done by then.
    """
    text = str(error)
    # With no space at all for its shared memory, SQLite speaks of I/O only.
    no_space = "disk I/O" in text and os.statvfs(path.parent).f_bavail == 0
    if "full" in text or no_space or getattr(error, "errno", None) == errno.ENOSPC:
        return "the disk is full; free some space"
    return ""


def _is_read_only(path: Path) -> bool:
    with suppress(OSError):
        return bool(os.statvfs(_existing(path)).f_flag & os.ST_RDONLY)
    return False


def _existing(path: Path) -> str:
    """The path, or what there is of it."""
    existing = str(path)
    while not os.path.lexists(existing) and existing != "/":
        existing = os.path.dirname(existing)  # noqa: PTH120 - a text, for os.path alone
    return existing


def _not_writable(path: Path) -> bool:
    """Tell whether permissions keep us from ``path``."""
    existing = _existing(path)
    return not os.access(existing, os.W_OK) or not os.access(path.parent, os.W_OK)


@lru_cache(maxsize=2)
def _queries(name: str) -> dict[str, str]:
    text = (_HERE / f"{name}.sql").read_text(encoding="utf-8").replace("{facts}", _FACTS)
    parts = re.split(r"^-- name: (\w+)$", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@lru_cache(maxsize=2)
def _migrations(name: str) -> tuple[str, ...]:
    files = sorted((_HERE / "schema" / name).glob("[0-9]*.sql"))
    return tuple(file.read_text(encoding="utf-8") for file in files)


def _statements(script: str) -> Iterator[str]:
    """Split a script; ``executescript`` would commit the transaction that it is in."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
