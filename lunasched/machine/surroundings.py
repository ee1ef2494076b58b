"""This machine, as ``needs`` asks about it: its users, groups, directories and programs."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from contextlib import suppress
from functools import cached_property

from lunasched.dataclass import dataclass
from lunasched.paths import Mode
from lunasched.units.needs import Absence, Account, FileKind, Seen

_BEGINNING = 256
"""The kernel reads no more of a first line (``BINPRM_BUF_SIZE``)."""
_ACL = "system.posix_acl_access"


@dataclass(frozen=True)
class Surroundings:
    """This machine, looked at by who calls."""

    mode: Mode
    path: tuple[str, ...] | None
    """``PATH`` of units that set none; ``None`` where that is not known."""

    @cached_property
    def callers_path(self) -> tuple[str, ...]:
        """``PATH`` of who asks."""
        return tuple(os.environ.get("PATH", "").split(":"))

    def account(self, user: str | None) -> Account | None:
        """The user of this name or number, ``None`` being who owns the manager."""
        try:
            if user is None:
                entry = pwd.getpwuid(0 if self.mode is Mode.SYSTEM else os.getuid())
            elif user.isdecimal():
                entry = pwd.getpwuid(int(user))
            else:
                entry = pwd.getpwnam(user)
        except (KeyError, OverflowError, ValueError):
            return None
        return Account(
            entry.pw_name,
            entry.pw_uid,
            frozenset(os.getgrouplist(entry.pw_name, entry.pw_gid)),
            entry.pw_dir,
            entry.pw_shell,
        )

    def group(self, name: str) -> int | None:
        """The number of a group."""
        with suppress(KeyError, ValueError):
            return grp.getgrnam(name).gr_gid
        return None

    def examine(self, path: str) -> Seen | Absence:
        """Return what is at a path, links followed."""
        try:
            found = os.stat(path)  # noqa: PTH116 - a text, and thousands of them
        except (FileNotFoundError, NotADirectoryError):
            return Absence.NOTHING
        except (OSError, ValueError):
            return Absence.FORBIDDEN
        kind = FileKind.OTHER
        if stat.S_ISDIR(found.st_mode):
            kind = FileKind.DIRECTORY
        elif stat.S_ISREG(found.st_mode):
            kind = FileKind.FILE
        mode = stat.S_IMODE(found.st_mode)
        is_program = kind is FileKind.FILE and bool(mode & 0o111)
        return Seen(
            kind,
            mode,
            found.st_uid,
            found.st_gid,
            has_acl=_has_acl(path),
            no_exec=is_program and _is_noexec(path),
        )

    def resolved(self, path: str) -> str:
        """The path without links."""
        return os.path.realpath(path)

    def beginning(self, path: str) -> bytes:
        """The first bytes of a file; none where it cannot be read."""
        try:
            # The opened file may have replaced the one that was checked: a device must not be read.
            found = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            return _read(found) if stat.S_ISREG(os.fstat(found).st_mode) else b""
        except OSError:
            return b""
        finally:
            os.close(found)


def _read(found: int) -> bytes:
    descriptor = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _BEGINNING)
    finally:
        os.close(descriptor)


def _has_acl(path: str) -> bool:
    with suppress(OSError):
        return bool(os.getxattr(path, _ACL))
    return False


def _is_noexec(path: str) -> bool:
    with suppress(OSError):
        return bool(os.statvfs(path).f_flag & os.ST_NOEXEC)
    return False
