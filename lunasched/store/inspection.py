"""A database looked at as it is: nothing of it is changed, not even brought up to date."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from lunasched.errors import StoreError
from lunasched.store.database import APPLICATION_ID, Store, schema_version

# Reading more than that takes seconds.
_CHECKED_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was seen."""

    state: str
    """``current``, ``older``, ``newer``, ``1.x``, or ``foreign``; empty where it is unreadable."""
    damage: str
    """What SQLite finds wrong with it; empty where that is nothing."""
    checked: bool
    """Whether it was read as a whole: a large one is not."""
    store: Store | None
    """The database, to be read and not written; only where the state is ``current``."""


def inspect(path: Path) -> Inspection:
    """Look at the database at ``path``, which has to be there. Raises ``StoreError``."""
    try:
        connection = _opened(path)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{path}: {error}") from error
    checked = False
    try:
        state = _state(connection)
        if path.stat().st_size <= _CHECKED_BYTES:
            checked = True
            damage = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if damage != "ok":
                connection.close()
                return Inspection(state, str(damage).replace("\n", " "), checked, None)
    except sqlite3.DatabaseError as error:
        connection.close()
        return Inspection("", str(error), checked, None)
    if state != "current":
        connection.close()
        return Inspection(state, "", checked, None)
    connection.row_factory = sqlite3.Row
    return Inspection(state, "", checked, Store(connection, path))


def _opened(path: Path) -> sqlite3.Connection:
    """A connection that cannot write.

    Without a log, the file is all there is: SQLite would make one even to read it.
    """
    option = "mode=ro" if path.with_name(path.name + "-wal").exists() else "immutable=1"
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?{option}", uri=True, timeout=5, isolation_level=None
    )


def _state(connection: sqlite3.Connection) -> str:
    from lunasched.store.legacy import is_legacy

    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if application != APPLICATION_ID:
        if not tables:
            return "older"
        return "1.x" if application == 0 and is_legacy(connection) else "foreign"
    if version == schema_version():
        return "current"
    return "older" if version < schema_version() else "newer"
