"""The directory of unit files: what of ours is in it, and changing that atomically.

A batch of files is first written in full under temporary names, where a full disk or a read-only
directory stops it without a trace, and then renamed into place. A file that does not begin with
the ownership mark is somebody else's: it is never replaced and never removed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Container, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from lunasched import errors
from lunasched.errors import DeploymentFailed, PermissionDenied, UnitConflict
from lunasched.formats import unittext
from lunasched.paths import is_directory, is_link, is_there

_WANTS = "timers.target.wants"
_TEMPORARY_PREFIX = ".lunasched-new-"


class UnitDirectory:
    """One directory of unit files, ours among others'."""

    def __init__(self, path: Path, *, mark: str, prefix: str | tuple[str, ...]) -> None:
        """``mark`` begins the first line of our files, ``prefix`` (or one of it) their names."""
        self.path = path
        self._mark = mark.encode()
        self._prefix = prefix

    def read(self, name: str) -> str | None:
        """The text of a file of ours; ``None`` where there is none.

        Raises ``UnitConflict`` where something stands there that is not ours.
        """
        path = self.path / name
        try:
            content = _content(str(path))
            if content is None and not os.path.lexists(path):
                return None
        except OSError as error:
            raise _failure(error, path) from error
        if content is None or not content.startswith(self._mark):
            raise UnitConflict(self._conflict(path))
        return content.decode(errors="surrogateescape")

    def owned(self, but: Container[str] = ()) -> set[str]:
        """The names of our files in the directory; those of ``but`` are not looked into."""
        try:
            with os.scandir(self.path) as entries:
                candidates = [
                    entry.name
                    for entry in entries
                    if entry.name.startswith(self._prefix)
                    and entry.name not in but
                    and entry.is_file(follow_symlinks=False)
                ]
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise _failure(error, self.path) from error
        return {name for name in candidates if self._is_ours(self.path / name)}

    def wanted(self) -> set[str]:
        """The names of our timers that start at boot."""
        try:
            with os.scandir(self.path / _WANTS) as entries:
                return {entry.name for entry in entries if entry.name.startswith(self._prefix)}
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise _failure(error, self.path / _WANTS) from error

    def check_writable(self) -> None:
        """Raise if files cannot be put here or taken away, which is known without trying.

        To take one away needs no space: a disk may be full.
        """
        for directory in (self.path, self.path / _WANTS):
            try:
                if not is_directory(directory) or os.access(directory, os.W_OK):
                    continue
                read_only = os.statvfs(directory).f_flag & os.ST_RDONLY
            except OSError as error:
                raise _failure(error, directory) from error
            raise _failure(OSError(errno.EROFS if read_only else errno.EACCES, ""), directory)

    def stage(self, files: Mapping[str, str]) -> StagedFiles:
        """Write ``files`` (name to text) in full, but not yet in place."""
        for name in files:
            self.read(name)
        return StagedFiles(self.path, files)

    def remove(self, names: Iterable[str]) -> None:
        """Remove our files; what is gone already, or not ours, is left as it is."""
        for name in names:
            path = self.path / name
            try:
                if not is_link(path) and self._is_ours(path):
                    path.unlink(missing_ok=True)
            except OSError as error:
                raise _failure(error, path) from error

    def remove_leftovers(self) -> None:
        """Remove what killed processes staged; only for who holds the deploy lock."""
        for directory in (self.path, self.path / _WANTS):
            for leftover in directory.glob(_TEMPORARY_PREFIX + "*"):
                try:
                    leftover.unlink(missing_ok=True)
                except OSError as error:
                    raise _failure(error, leftover) from error

    def want(self, timers: Iterable[str]) -> None:
        """Have ``timers`` started at boot."""
        timers = list(timers)
        if not timers:
            return
        directory = self.path / _WANTS
        temporary = directory / f"{_TEMPORARY_PREFIX}{os.getpid()}"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for name in timers:
                link, target = directory / name, self.path / name
                if is_link(link) and link.readlink() == target:
                    continue
                temporary.unlink(missing_ok=True)
                temporary.symlink_to(target)
                temporary.replace(link)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise _failure(error, directory) from error

    def unwant(self, timers: Iterable[str]) -> None:
        """Have ``timers`` no longer started at boot."""
        directory = self.path / _WANTS
        try:
            for name in timers:
                # A read-only file system also refuses to remove a file that does not exist.
                if is_there(directory / name, follow=False):
                    (directory / name).unlink(missing_ok=True)
            with suppress(OSError):
                directory.rmdir()
        except OSError as error:
            raise _failure(error, directory) from error

    def _is_ours(self, path: Path) -> bool:
        try:
            with path.open("rb") as file:
                return file.read(len(self._mark)) == self._mark
        except OSError:
            return False

    def _conflict(self, path: Path) -> str:
        return (
            f"{path} exists and was not generated by lunasched, so it is left alone; "
            "move it away or choose another name for the job"
        )


class StagedFiles:
    """Files written under temporary names; ``install`` renames them, leaving drops them."""

    def __init__(self, directory: Path, files: Mapping[str, str]) -> None:
        self._directory = directory
        self._pending: dict[str, Path] = {}
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for number, (name, text) in enumerate(files.items()):
                temporary = directory / f"{_TEMPORARY_PREFIX}{os.getpid()}-{number}"
                self._pending[name] = temporary
                _write(temporary, text, 0o600 if unittext.is_private(name) else 0o644)
        except OSError as error:
            self.discard()
            raise _failure(error, directory) from error

    def install(self) -> None:
        """Put every file in its place, each by one rename."""
        try:
            for name in list(self._pending):
                self._pending[name].replace(self._directory / name)
                del self._pending[name]
            descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _failure(error, self._directory) from error

    def discard(self) -> None:
        """Remove what is not in place yet."""
        for temporary in self._pending.values():
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        self._pending.clear()

    def __enter__(self) -> StagedFiles:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.discard()


def _content(path: str) -> bytes | None:
    """The content of a regular file; ``None`` for what is something else, or not there."""
    try:
        # Of ten thousand files, each call of the system counts.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
            return None
        raise
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            return None
        parts = []
        while part := os.read(descriptor, about.st_size + 1):
            parts.append(part)
            if len(part) <= about.st_size:
                # Less than was asked for: of a regular file that is the end.
                break
        return b"".join(parts)
    finally:
        os.close(descriptor)


def _write(path: Path, text: str, mode: int) -> None:
    # Created anew, so that a leftover of a killed process is no obstacle.
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text.encode(errors="surrogateescape"))
        file.flush()
        os.fsync(file.fileno())


def _failure(error: OSError, path: Path) -> DeploymentFailed | PermissionDenied:
    """Not what became of the change: who made it knows what else had been done by then."""
    if error.errno in (errno.EACCES, errno.EPERM) and os.geteuid() == 0:
        return DeploymentFailed(
            f"{path} cannot be written, by root either: it may be immutable (lsattr(1)) or guarded "
            "by a security module"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return PermissionDenied(
            f"{path} cannot be written by this user; run as root, or use --user for your own jobs"
        )
    return DeploymentFailed(f"{path}: {errors.reason(error)}")
