"""The lock of who changes jobs, and the word in it of a change that did not come to its end.

A change of jobs is made in several places, one after the other: the database, the unit files,
systemd. Before the first of them the lock file says so, and after the last no more: where it says
so and nobody holds the lock, a process was killed in between, or the power went. The database then
says what shall be, and ``lunasched sync`` makes the units so.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lunasched.errors import DeploymentFailed

# One byte, always at the beginning: to write it anew takes no space on a full disk.
_AT_REST = b"-"
_CHANGING = b"+"
_EMPTYING = b"0"
# The supervisor, which is another user, reads it; its directory is closed to others.
_MODE = 0o644


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of a file right now."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


class DeployLock:
    """The lock of one database."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1
        self._is_changing = False
        self._stays = False
        """Whether the word of a change stays there after it."""

    @property
    def is_unfinished(self) -> bool:
        """Whether a change was begun that is not known to have come to its end."""
        return self._word() in (_CHANGING, _EMPTYING)

    @property
    def leaves_no_job(self) -> bool:
        """Whether that change was to leave no job at all."""
        return self._word() == _EMPTYING

    @property
    def is_held(self) -> bool:
        """Whether a process is changing jobs right now."""
        return is_locked(self.path)

    @contextmanager
    def hold(self) -> Iterator[int]:
        """Hold the lock; the kernel drops it when its holder dies.

        Gives how long it had to wait for it (µs).
        """
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self.path, flags, _MODE)
        except OSError as error:
            raise self._failure(error) from error
        try:
            if stat.S_IMODE(os.fstat(self._descriptor).st_mode) != _MODE:
                # By the umask, or by an earlier version.
                with suppress(PermissionError):
                    os.fchmod(self._descriptor, _MODE)
            waited = self._acquire()
            self._stays = self.is_unfinished
            yield waited
        finally:
            os.close(self._descriptor)

    def _acquire(self) -> int:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            begun = time.monotonic_ns()
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            return (time.monotonic_ns() - begun) // 1000
        return 0

    @contextmanager
    def changing(self, *, leaves_no_job: bool) -> Iterator[None]:
        """While this lasts, the file says that a change is being made; only for who holds it.

        A change within another one is a part of that.
        """
        if self._is_changing:
            yield
            return
        self._write(_EMPTYING if leaves_no_job else _CHANGING)
        self._is_changing = True
        try:
            self._make_durable()
            yield
        finally:
            self._is_changing = False
            # Of an earlier one that had not come to its end, the word stays.
            self._write(_CHANGING if self._stays else _AT_REST)

    @contextmanager
    def unfinished_if_it_raises(self) -> Iterator[None]:
        """What raises in here, while a change is made, has it not come to its end."""
        before, self._stays = self._stays, True
        yield
        self._stays = before

    def settle(self) -> None:
        """Note that the units are what the database says."""
        self._stays = False
        if self.is_unfinished:
            self._write(_AT_REST)

    def _word(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                return file.read(1)
        except OSError:
            return b""

    def _write(self, word: bytes) -> None:
        # The supervisor is told of each write, and would begin anew what fails each time.
        if word == self._word():
            return
        try:
            os.pwrite(self._descriptor, word, 0)
        except OSError as error:
            raise self._failure(error) from error

    def _make_durable(self) -> None:
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> DeploymentFailed:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full; free some space" if full else error.strerror
        return DeploymentFailed(f"{self.path}: {reason}. Nothing was changed.")
