"""The crontabs of users, a file each, as cron keeps them.

The directory is root's, and its group may write to it and search it: who is in the group can make
files in it, and for its sticky bit remove their own alone. So a file is made and replaced with the
rights of its user, and root replaces anybody's.
"""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import pwd
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lunasched.errors import LunaschedError
from lunasched.paths import CRONTAB_SPOOLS, is_directory
from lunasched.transfer.crontab.lines import SIZE_MAX, without_header

if TYPE_CHECKING:
    from collections.abc import Iterator

GROUP = "crontab"
"""The group of the directory and of the files in it."""

_TEMPORARY = "tmp."
"""The prefix of a file in the making: who reads the crontabs passes over these."""


class UserCrontabs(Protocol):
    """The crontabs of users, for whoever may change them."""

    def read(self, user: str) -> bytes | None:
        """The text of a user's crontab; ``None`` if there is none."""

    def write(self, user: str, text: bytes) -> None:
        """Replace the text of a user's crontab, which there need not be; all of it or nothing."""

    def remove(self, user: str) -> bool:
        """Remove a user's crontab; ``False`` if there is none."""


class Spool:
    """The files themselves. All methods raise ``LunaschedError``."""

    def __init__(self, directory: Path | None = None) -> None:
        """``directory`` is that of the machine, where cron has it here."""
        debians, cronies = CRONTAB_SPOOLS
        self._directory = directory or (debians if is_directory(debians) else cronies)

    def read(self, user: str) -> bytes | None:
        """The text of a user's crontab; ``None`` if there is none."""
        path = self._path(user)
        with _named(path):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            except FileNotFoundError:
                return None
            with open(descriptor, "rb") as file:  # noqa: PTH123 - it is open
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise LunaschedError(f"{path} is no regular file")
                text = file.read(SIZE_MAX + 1)
            if len(text) > SIZE_MAX:
                raise LunaschedError(f"{path} is longer than {SIZE_MAX >> 20} MiB")
            return without_header(text)

    def write(self, user: str, text: bytes, owner: tuple[int, int] | None = None) -> None:
        """Replace the text of a user's crontab; ``owner`` is who gets the file, from root."""
        path = self._path(user)
        if len(text) > SIZE_MAX:
            raise LunaschedError(f"{path} would be longer than {SIZE_MAX >> 20} MiB")
        partial = path.with_name(f"{_TEMPORARY}{path.name}")
        with _named(path):
            descriptor = _alone(partial)
            try:
                os.ftruncate(descriptor, 0)
                with open(descriptor, "wb", closefd=False) as file:
                    file.write(text)
                os.fchmod(descriptor, 0o600)
                if owner is not None:
                    os.fchown(descriptor, *owner)
                os.fsync(descriptor)
                partial.rename(path)
            except BaseException:
                with suppress(OSError):
                    partial.unlink()
                raise
            finally:
                os.close(descriptor)
            self._sync()

    def remove(self, user: str) -> bool:
        """Remove a user's crontab; ``False`` if there is none."""
        path = self._path(user)
        with _named(path):
            try:
                path.unlink()
            except FileNotFoundError:
                return False
            self._sync()
        return True

    def _path(self, user: str) -> Path:
        if "/" in user or user.startswith((".", _TEMPORARY)):
            raise LunaschedError(f"a user of the name {user!r} can have no crontab")
        return self._directory / user

    def _sync(self) -> None:
        # The directory can be searched and written to, and not read, by its group.
        with suppress(OSError):
            descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


class RootSpool(Spool):
    """The same with the rights of root: each file becomes its user's."""

    def write(self, user: str, text: bytes, owner: tuple[int, int] | None = None) -> None:
        """Replace the text of a user's crontab."""
        super().write(user, text, owner or (pwd.getpwnam(user).pw_uid, spool_group()))


def spool_group() -> int:
    """The group of the crontabs."""
    try:
        return grp.getgrnam(GROUP).gr_gid
    except KeyError:
        raise LunaschedError(
            f"there is no group {GROUP!r}; to make it: systemd-sysusers lunasched-cron.conf"
        ) from None


def _alone(partial: Path) -> int:
    """Open the file in the making, which is one for each user, when nobody else has it.

    One that was killed leaves it, and its text is nobody's.
    """
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(partial, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), partial.lstat()):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        # Its last owner has renamed it.
        os.close(descriptor)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Raise an error of the system with the file that it is about."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise LunaschedError(f"{path} is a symbolic link") from error
        raise LunaschedError(f"{path}: {error.strerror}") from error
