"""A damaged database made anew from what can be read of it.

The damaged one is kept, and is in its place until the new one is whole: who is killed in between,
or has no room left, has changed nothing.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lunasched.dataclass import dataclass
from lunasched.errors import StoreError
from lunasched.store.connection import HISTORY, as_it_is, is_damage, said_of_room

if TYPE_CHECKING:
    from lunasched.store.connection import Schema

_SECONDS = 5.0
_FIRST = "INSERT OR IGNORE INTO"
_MAIN = {"definitions": ("jobs", "name"), "history": ("runs", "execution_id")}
"""The table that a database is kept for, and its key."""


@dataclass(frozen=True, slots=True)
class Repair:
    """The outcome."""

    kept: str
    """The damaged file, where it is now."""
    rows: int
    """The jobs, or runs, that the new one has."""
    lost: int
    """Those of which no more than the name could be read."""

    def to_mapping(self) -> dict[str, Any]:
        """Its fields, for another process."""
        return asdict(self)


def repair(path: Path, schema: Schema) -> Repair:
    """Put a new database with all that can be read in the place of the damaged one at ``path``.

    Nobody else may write to it meanwhile. Raises ``StoreError``, after which nothing is changed:
    where there is no room, where it is not of this version, or where a job would be lost.
    """
    new = path.with_name(f".{path.name}.new")
    try:
        _remove(new)
        with closing(as_it_is(path, schema, seconds=_SECONDS)) as old:
            version = _version(old, path, schema)
            rows, lost = _make(new, old, schema, version)
        if lost and schema is not HISTORY:
            raise StoreError(
                f"{path}: of {rows + lost} jobs {lost} cannot be read; restore it from a backup. "
                "Nothing was changed."
            )
        return Repair(str(_exchange(path, new)), rows, lost)
    except (OSError, sqlite3.Error) as error:
        reason = said_of_room(error, path) or f"it cannot be read or made anew: {error}"
        raise StoreError(f"{path}: {reason}. Nothing was changed.") from error
    finally:
        _remove(new)


def _remove(new: Path) -> None:
    for file in (new, new.with_name(f"{new.name}-journal")):
        with suppress(OSError):
            file.unlink()


def _version(old: sqlite3.Connection, path: Path, schema: Schema) -> int:
    application = old.execute("PRAGMA application_id").fetchone()[0]
    version = int(old.execute("PRAGMA user_version").fetchone()[0])
    if application != schema.application_id or version != schema.version:
        raise StoreError(
            f"{path} is not of this version of lunasched; restore it from a backup. "
            "Nothing was changed."
        )
    return version


def _make(new: Path, old: sqlite3.Connection, schema: Schema, version: int) -> tuple[int, int]:
    """Make the new file; the rows of its main table, and those that are known to be lacking."""
    os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with closing(sqlite3.connect(new, isolation_level=None)) as made:
        if schema is HISTORY:
            made.execute("PRAGMA auto_vacuum=INCREMENTAL")
        made.execute("BEGIN")
        schema.upgrade(made, 0, version)
        tables = [str(row[0]) for row in made.execute(_TABLES)]
        # The copied tables already contain what triggers would count.
        triggers = made.execute(_TRIGGERS).fetchall()
        for name, _ in triggers:
            made.execute(f'DROP TRIGGER "{name}"')
        for table in tables:
            made.execute(f'DELETE FROM "{table}"')
            _copy(old, made, table)
        for _, text in triggers:
            made.execute(text)
        made.execute("COMMIT")
        said = made.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if said != "ok":
            raise sqlite3.DatabaseError(said)
        table, key = _MAIN[schema.name]
        have = {row[0] for row in made.execute(f"SELECT {key} FROM {table}")}
        return len(have), len(_names(old, table, key) - have)


_TABLES = (
    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
)
_TRIGGERS = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'"


def _copy(old: sqlite3.Connection, made: sqlite3.Connection, table: str) -> None:
    columns = [row[1] for row in made.execute(f'PRAGMA table_info("{table}")')]
    names = ", ".join(f'"{column}"' for column in columns)
    insert = f'{_FIRST} "{table}" ({names}) VALUES ({", ".join("?" * len(columns))})'
    for row in _rows(old, made, table, names):
        # A value of a kind that its column cannot have is damage, too.
        with suppress(sqlite3.IntegrityError):
            made.execute(insert, row)


def _rows(
    old: sqlite3.Connection, made: sqlite3.Connection, table: str, names: str
) -> Iterator[tuple[Any, ...]]:
    """The rows, from both ends towards the page that cannot be read."""
    order = [
        f'"{row[1]}"'
        for row in sorted(made.execute(f'PRAGMA table_info("{table}")'), key=lambda one: one[5])
        if row[5]
    ]
    without = "WITHOUT ROWID" in made.execute(_TEXT, [table]).fetchone()[0]
    keys = order if without else ["rowid"]
    for direction in ("ASC", "DESC"):
        by = ", ".join(f"{key} {direction}" for key in keys)
        try:
            yield from old.execute(f'SELECT {names} FROM "{table}" NOT INDEXED ORDER BY {by}')
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
        else:
            return


_TEXT = "SELECT sql FROM sqlite_schema WHERE name = ?"


def _names(old: sqlite3.Connection, table: str, key: str) -> set[Any]:
    """The keys that the index of the key has, as far as it can be read."""
    found: set[Any] = set()
    for direction in ("ASC", "DESC"):
        try:
            for row in old.execute(f"SELECT {key} FROM {table} ORDER BY {key} {direction}"):
                found.add(row[0])
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
        else:
            break
    return found


def _exchange(path: Path, new: Path) -> Path:
    """Keep the damaged file under another name, and put the new one in its place."""
    descriptor = os.open(new, os.O_RDONLY | os.O_CLOEXEC)
    try:
        like = path.stat()
        if os.geteuid() == 0:
            os.fchown(descriptor, like.st_uid, like.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(like.st_mode))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    kept = _free_name(path)
    # A second link instead of a rename: the path always exists.
    os.link(path, kept)
    log = path.with_name(f"{path.name}-wal")
    if log.exists():
        # It belongs to the damaged file, and SQLite would play it back into the new one.
        log.rename(kept.with_name(f"{kept.name}-wal"))
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    new.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return kept


def _free_name(path: Path) -> Path:
    number = 1
    while (kept := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return kept
