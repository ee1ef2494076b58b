"""A database looked at as it is: nothing of it is changed, not even brought up to date."""

from __future__ import annotations

import grp
import os
import sqlite3
import stat
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lunasched.dataclass import dataclass
from lunasched.errors import StoreError
from lunasched.paths import user_name
from lunasched.store.connection import HISTORY, Schema, as_it_is, is_damage, said_of_room

# Reading more than that takes seconds.
_CHECKED_BYTES = 256 << 20
_WORDS = ("state", "damage", "problem", "owner", "group")
_WORD_MAX = 1000
_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Inspection:
    """The findings about a database."""

    state: str
    """``current``, ``older``, ``newer``, ``1.x``, ``2.0`` (a history that holds jobs, too), or
    ``foreign``; empty where it is unreadable."""
    damage: str
    """The damage that SQLite finds; empty where there is none."""
    checked: bool
    """True if it was read as a whole: a large one is not."""
    problem: str
    """The reason why it cannot be read: no right, a change that was killed. Empty where it can."""
    owner: str
    group: str
    mode: int
    """The permissions of the file."""

    def to_mapping(self) -> dict[str, Any]:
        """Its fields, for another process."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, found: object) -> Inspection:
        """Read the findings of another process; raises ``ValueError`` where they are not of that
        kind."""
        if not isinstance(found, Mapping):
            raise ValueError("no inspection")
        return cls(
            **{name: str(found[name])[:_WORD_MAX] for name in _WORDS},
            checked=found["checked"] is True,
            mode=int(found["mode"]) & 0o7777,
        )


def inspect(path: Path, schema: Schema) -> Inspection | None:
    """Look at the database at ``path``; ``None`` where there is none. Raises ``StoreError``."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):
        raise StoreError(f"{path} is not a file; move it away")
    state, damage, problem, checked = "", "", "", False
    try:
        with closing(as_it_is(path, schema, seconds=_SECONDS)) as connection:
            state = _state(connection, schema)
            if found.st_size <= _CHECKED_BYTES:
                checked = True
                # Not quick_check: that of SQLite 3.40 finds NULL values in a table WITHOUT
                # ROWID whose key has its columns in another order, where there is nothing wrong.
                said = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
                damage = "" if said == "ok" else said.replace("\n", " ")
    except sqlite3.Error as error:
        checked = False
        if is_damage(error):
            damage = str(error)
        else:
            problem = said_of_room(error, path) or str(error)
    mode = stat.S_IMODE(found.st_mode)
    return Inspection(state, damage, checked, problem, *_owners(found), mode)


def _owners(found: os.stat_result) -> tuple[str, str]:
    owner = user_name(found.st_uid)
    try:
        return owner, grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        return owner, str(found.st_gid)


def _state(connection: sqlite3.Connection, schema: Schema) -> str:
    from lunasched.store.historydatabase import SPLIT
    from lunasched.store.legacy import is_legacy

    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if application != schema.application_id:
        if not tables:
            return "older"
        return "1.x" if application == 0 and is_legacy(connection) else "foreign"
    if schema is HISTORY and 0 < version < SPLIT:
        return "2.0"
    if version == schema.version:
        return "current"
    return "older" if version < schema.version else "newer"
