"""The lock of who changes jobs, and the word beside it of a change that did not come to its end.

A change of jobs is made in several places, one after the other: the database, the unit files,
systemd. Before the first of them a file says so, and after the last no more: where it says so and
nobody holds the lock, a process was killed in between, or the power went. The database then says
the intended state, and ``lunasched sync`` makes the units match it.

The word is for all to read. The lock is for its owner alone: who can open a file can lock it, and
in system mode the supervisor could keep root waiting for good.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from lunasched import errors
from lunasched.errors import DeploymentFailed, nothing_changed_if_it_raises

# One byte, always at the beginning: to write it anew takes no space on a full disk.
_AT_REST = b"-"
_CHANGING = b"+"
_EMPTYING = b"0"
_LOCK_MODE = 0o600
_WORD_MODE = 0o644
_LOCKS = Path("/proc/locks")


class DeployLock:
    """The lock of one database."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.word_path = path.with_name(f"{path.name}.word")
        """The file that says what is being done."""
        self._descriptor = -1
        self._is_changing = False
        self.has_begun = False
        """True if a change was begun since the lock is held."""
        self._stays = False
        """True if the word of a change stays there after it."""

    @property
    def is_unfinished(self) -> bool:
        """True if a change was begun that is not known to have come to its end."""
        return self._word() in (_CHANGING, _EMPTYING)

    @property
    def unfinished_since(self) -> int | None:
        """The time of such a change (ns, UTC), which tells it from another; ``None``: none."""
        if not self.is_unfinished:
            return None
        with suppress(OSError):
            return self.word_path.stat().st_mtime_ns
        return None

    @property
    def leaves_no_job(self) -> bool:
        """True if that change was to leave no job at all."""
        return self._word() == _EMPTYING

    @property
    def is_held(self) -> bool:
        """Tell if a process is changing jobs right now, without touching its lock.

        See ``/proc/locks`` in proc(5).
        """
        try:
            found = self.path.stat()
            locks = _LOCKS.read_text()
        except OSError:
            return False
        device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}"
        held = re.compile(rf"^\d+: FLOCK .* {device}:{found.st_ino} ", re.MULTILINE)
        return held.search(locks) is not None

    @property
    def is_in_use(self) -> bool:
        """True if a process is carrying out a change right now; False after one that was killed."""
        return self.is_unfinished and self.is_held

    @contextmanager
    def hold(self) -> Iterator[int]:
        """Hold the lock; the kernel drops it when its holder dies.

        Gives how long it had to wait for it (µs).
        """
        with ExitStack() as held:
            with nothing_changed_if_it_raises():
                waited = self._acquire(held.enter_context(self._opened(self.path, _LOCK_MODE)))
                self._descriptor = held.enter_context(self._opened(self.word_path, _WORD_MODE))
            self._stays = self.is_unfinished
            self.has_begun = False
            yield waited

    @contextmanager
    def _opened(self, path: Path, mode: int) -> Iterator[int]:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(path, flags, mode)
        except OSError as error:
            raise self._failure(error) from error
        try:
            if stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:
                # The umask may have removed bits.
                with suppress(PermissionError):
                    os.fchmod(descriptor, mode)
            yield descriptor
        finally:
            os.close(descriptor)

    def _acquire(self, lock: int) -> int:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            begun = time.monotonic_ns()
            fcntl.flock(lock, fcntl.LOCK_EX)
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
        with nothing_changed_if_it_raises():
            self._write(_EMPTYING if leaves_no_job else _CHANGING)
        self._is_changing = self.has_begun = True
        try:
            with nothing_changed_if_it_raises():
                self._make_durable()
            yield
        finally:
            self._is_changing = False
            # A failure to write here does not undo the change. The mark then stays, as after a
            # change that was cut off, and costs a needless sync.
            with suppress(DeploymentFailed):
                self._write(_CHANGING if self._stays else _AT_REST)

    @contextmanager
    def unfinished_if_it_raises(self) -> Iterator[None]:
        """Keep the change marked as unfinished if the block raises."""
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
            with self.word_path.open("rb") as file:
                return file.read(1)
        except OSError:
            return b""

    def _write(self, word: bytes) -> None:
        # Each write wakes the supervisor, which would retry forever what fails each time.
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
        return DeploymentFailed(f"{self.path}: {errors.reason(error)}")
