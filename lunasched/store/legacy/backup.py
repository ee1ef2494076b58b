"""A copy of a database beside it, complete, on the disk, and never in the place of another."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing, suppress
from itertools import count
from pathlib import Path

_SUFFIX = ".lunasched-1.backup"


def back_up(database: Path) -> Path:
    """Copy ``database``, its write-ahead log included; the file that has the copy.

    An earlier copy of the same content will do. Raises ``OSError`` and ``sqlite3.Error``.
    """
    part = database.with_name(f"{database.name}{_SUFFIX}.{os.getpid()}.part")
    try:
        make_like(part, database)
        address = f"{database.absolute().as_uri()}?mode=ro"
        with (
            closing(sqlite3.connect(address, uri=True)) as source,
            closing(sqlite3.connect(part, isolation_level=None)) as target,
        ):
            source.backup(target)
        sync_to_disk(part)
        for number in count(1):
            suffix = _SUFFIX if number == 1 else f"{_SUFFIX}-{number}"
            backup = database.with_name(database.name + suffix)
            try:
                # Unlike a rename, a link never replaces a file.
                os.link(part, backup)
            except FileExistsError:
                if not _same(part, backup):
                    continue
            sync_to_disk(database.parent)
            return backup
        raise AssertionError("there is always a next number")
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


def make_like(path: Path, model: Path) -> None:
    """Make an empty file with the owner and the mode of another, where the caller may."""
    like = model.stat()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        mode = stat.S_IMODE(like.st_mode)
        made = os.fstat(descriptor)
        try:
            # The supervisor's sandbox refuses the call itself, even where it changes nothing.
            if (made.st_uid, made.st_gid) != (like.st_uid, like.st_gid):
                os.fchown(descriptor, like.st_uid, like.st_gid)
        except PermissionError:
            # With another group, the group gets no rights.
            mode &= 0o700
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def sync_to_disk(path: Path) -> None:
    """Have a file or a directory on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _same(first: Path, second: Path) -> bool:
    with first.open("rb") as left, second.open("rb") as right:
        while True:
            piece = left.read(1 << 20)
            if piece != right.read(1 << 20):
                return False
            if not piece:
                return True
