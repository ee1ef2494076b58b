"""The jobs as they were asked for: a database that in system mode only root writes.

The supervisor reads it and can write neither the file nor its directory. So there is no
write-ahead log, which needs readers that write, but a rollback journal. Two things follow.

A reader's lock holds up a writer, and a supervisor that was taken over might never let go of one.
A writer that cannot have the file to itself within a few seconds changes a copy, which nobody else
can open yet, and puts that in the place of the file; readers look for it before each question.

A writer that is killed leaves the journal of what it began, which only a writer can take back.
Until then a reader cannot read; it is given ``settle`` to have that done.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lunasched.errors import PermissionDenied, StoreError
from lunasched.store.connection import (
    BUSY_SECONDS,
    DEFINITIONS,
    Connection,
    Row,
    closed_if_it_raises,
    explained,
    prepare,
    read_only,
)
from lunasched.store.jobtable import JobTable

if TYPE_CHECKING:
    from lunasched.store.separation import TakenJob

# Readers are done within milliseconds.
_READERS_SECONDS = 5.0
_WRITABLE_BY_OTHERS = 0o022


class Definitions(Connection):
    """The database of jobs, to be read and changed."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        super().__init__(connection, path, DEFINITIONS)
        self.jobs = JobTable(self.execute)

    @classmethod
    def open(cls, path: Path, *, group: int | None = None, durable: bool = True) -> Definitions:
        """Open the database at ``path``, making it and its directory if need be.

        ``group`` is the group that may read a new one. Raises ``StoreError``, or
        ``PermissionDenied`` where the caller may not.
        """
        try:
            prepare(path, mode=0o600 if group is None else 0o640, group=group)
            connection = _connect(path, durable=durable)
        except (OSError, sqlite3.Error) as error:
            raise explained(error, path) from error
        found = cls(connection, path)
        try:
            found.bring_up_to_date()
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.Error):
                raise explained(error, path) from error
            raise
        return found

    @classmethod
    def in_memory(cls) -> Definitions:
        """An empty database that nobody else sees."""
        found = cls(sqlite3.connect(":memory:", isolation_level=None), Path(":memory:"))
        found.bring_up_to_date()
        return found

    def take(self, jobs: Iterable[TakenJob]) -> None:
        """Take jobs over from an old database, unless there are some: it was done already."""
        with self.transaction():
            if not self.jobs.names():
                for taken in jobs:
                    self.jobs.put_as_it_was(taken.job, taken.created_at, taken.updated_at)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and alone: other writers have ended, and readers cannot hold it up."""
        copy = self._begin()
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self.connection.execute("ROLLBACK")
            if copy is not None:
                copy.unlink(missing_ok=True)
                self._reopen()
            raise
        if copy is not None:
            self._replace_by(copy)

    def _begin(self) -> Path | None:
        """Begin a transaction; on a copy of the file, where a lock of others keeps it shut."""
        try:
            # Exclusive from the beginning, so that a lock is noticed before anything has changed.
            self.connection.execute(f"PRAGMA busy_timeout = {int(_READERS_SECONDS * 1000)}")
            self.connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise explained(error, self.path) from error
        except sqlite3.Error as error:
            raise explained(error, self.path) from error
        else:
            return None
        copy = self.path.with_name(f".{self.path.name}.copy")
        try:
            # A killed process may have left its own; this process holds the deploy lock.
            for leftover in (copy, copy.with_name(f"{copy.name}-journal")):
                leftover.unlink(missing_ok=True)
            prepare(copy, mode=0o600)
            connection = _connect(copy, durable=True)
            with closed_if_it_raises(connection):
                self.connection.backup(connection)
                connection.row_factory = sqlite3.Row
                connection.execute("BEGIN EXCLUSIVE")
            self.connection.close()
            self.connection = connection
        except (OSError, sqlite3.Error) as error:
            copy.unlink(missing_ok=True)
            raise explained(error, self.path) from error
        return copy

    def _replace_by(self, copy: Path) -> None:
        try:
            self.connection.close()
            like = self.path.stat()
            descriptor = os.open(copy, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fchown(descriptor, like.st_uid, like.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(like.st_mode))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            copy.replace(self.path)
        except OSError as error:
            copy.unlink(missing_ok=True)
            raise explained(error, self.path) from error
        finally:
            self._reopen()

    def _reopen(self) -> None:
        with suppress(sqlite3.Error):
            self.connection.close()
        self.connection = _connect(self.path, durable=True)
        self.connection.row_factory = sqlite3.Row


class DefinitionsReader(Connection):
    """The database of jobs for who may not change it, also while there is none yet."""

    def __init__(self, path: Path, *, settle: Callable[[], None] | None = None) -> None:
        """``settle`` has a change taken back that was killed, by somebody who may do that."""
        super().__init__(_nothing(), path, DEFINITIONS)
        self.jobs = JobTable(self.execute)
        self._settle = settle
        self._file: tuple[int, int] | None = None
        self._frozen = False

    def freeze(self) -> None:
        """Show one state from now on, whatever others write."""
        self._follow()
        self.run("BEGIN")
        self.execute("any_exclusive")
        self._frozen = True

    def run(self, statement: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        """The rows of a statement."""
        try:
            return self._run(statement, parameters)
        except sqlite3.Error as error:
            if not self._is_unfinished(error):
                raise explained(error, self.path) from error
        if self._settle is not None:
            self._settle()
        try:
            return self._run(statement, parameters)
        except sqlite3.Error as error:
            if self._is_unfinished(error):
                raise StoreError(
                    f"{self.path}: a command was killed while it changed jobs, and what it began "
                    "is not taken back yet; as root: lunasched sync"
                ) from error
            raise explained(error, self.path) from error

    def _run(self, statement: str, parameters: Mapping[str, Any] | None) -> list[Row]:
        if not self._frozen:
            self._follow()
        return self.connection.execute(statement, parameters or {}).fetchall()

    def _follow(self) -> None:
        """Open the file that is there now, if it is not the one that was."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            identity = None
        except OSError as error:
            raise explained(error, self.path) from error
        else:
            identity = (found.st_dev, found.st_ino)
        if identity == self._file:
            return
        self.connection.close()
        if identity is None:
            self.connection = _nothing()
        else:
            self.connection = read_only(self.path, seconds=BUSY_SECONDS)
            self._check_version()
        self.connection.row_factory = sqlite3.Row
        self._file = identity

    def _check_version(self) -> None:
        if self.version() != self.schema.version:
            raise StoreError(
                f"{self.path} is of an earlier lunasched; as root: lunasched sync brings it up to "
                "date"
            )

    def _is_unfinished(self, error: sqlite3.Error) -> bool:
        text = str(error)
        if "readonly" not in text and "unable to open" not in text:
            return False
        return os.path.exists(f"{self.path}-journal")  # noqa: PTH110 - with_name for a suffix


def check_directory(path: Path) -> None:
    """Refuse a directory for root's own files that others could change, or one above it.

    Raises ``PermissionDenied``.
    """
    real = path.resolve()
    for directory in (real, *real.parents):
        try:
            found = directory.lstat()
        except FileNotFoundError:
            continue
        shared = found.st_mode & _WRITABLE_BY_OTHERS and not found.st_mode & stat.S_ISVTX
        if found.st_uid != 0 or shared or not stat.S_ISDIR(found.st_mode):
            raise PermissionDenied(
                f"{directory} is not root's alone, and root's jobs may not be kept below it; if an "
                "earlier lunasched made it: lunasched migrate"
            )


def _connect(path: Path, *, durable: bool) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    with closed_if_it_raises(connection):
        # EXTRA: the directory, too, is on the disk before a change counts as made.
        connection.execute(f"PRAGMA synchronous={'EXTRA' if durable else 'OFF'}")
    return connection


def _nothing() -> sqlite3.Connection:
    """A database without any job."""
    return Definitions.in_memory().connection
