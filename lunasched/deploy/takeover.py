"""The database of an earlier lunasched in system mode: root's jobs apart from the history.

The one database of 2.0 and of 1.x was the supervisor's, in a directory of the supervisor's. That
directory becomes the history below a new one that is root's; the supervisor's user itself reads
the jobs out of it; and root takes those that root is known to have asked for. With 2.0 these are
the jobs whose deployed service, a file of root's, has the hash of the definition. The others are
written into a file for root to look at, and are not jobs any more.

Killed wherever, it goes on where it was when it is run again.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lunasched.dataclass import dataclass
from lunasched.errors import StoreError, UnitConflict
from lunasched.files.dump import dump
from lunasched.formats import unittext
from lunasched.formats.document import Format
from lunasched.paths import HISTORY_DIRECTORY
from lunasched.state.unitdir import UnitDirectory
from lunasched.store import Definitions, RemoteHistory
from lunasched.units.compiler import former_hash_line, job_hash_line

if TYPE_CHECKING:
    from lunasched.jobs.model import Job
    from lunasched.paths import Paths
    from lunasched.store.separation import TakenJob
    from lunasched.systemd.manager import Manager

_OLD_NAMES = ("lunasched.db", "lunasched.db-wal", "lunasched.db-shm")
_LEFT_NAME = "not-taken-over.yaml"
# Exists while the takeover is in progress: files that the supervisor can write are no evidence.
_MARK_NAME = "taking-over"
# They may hold the old files open, or start others that do.
_UNITS = ("lunasched-history.socket", "lunasched-sync.service", "lunasched.service")
_NOT_ROOTS = 0o022


@dataclass(frozen=True, slots=True)
class TakenOver:
    """The result of taking over an old database."""

    jobs: int
    left: tuple[str, ...]
    """The jobs that root is not known to have asked for."""
    file: Path | None
    """The file that describes these."""
    notes: tuple[str, ...]
    """Notes on a database of 1.x, in lines."""


class Takeover:
    """The old database of the system."""

    def __init__(self, paths: Paths, supervisor: tuple[int, int]) -> None:
        """``supervisor`` is the user and group ID of the supervisor."""
        self._paths = paths
        self._top = paths.database.parent
        self._new = self._top.with_name(f"{self._top.name}.new")
        self._supervisor = supervisor
        # 2.0 kept the slot lists beside its database, and marked there that it was at work.
        self._old_slots = self._top.with_name(f"{self._top.name}-slots")

    def is_due(self) -> bool:
        """Tell if there is something that an earlier lunasched left."""
        return (
            self._new.exists()
            or (self._top / _MARK_NAME).exists()
            or self._is_of_others()
            or any((self._top / name).exists() for name in _OLD_NAMES)
            or (self._old_slots / "zones:").exists()
        )

    def carry_out(self, manager: Manager | None) -> TakenOver:
        """Take it over; ``manager`` stops what is at work there, if systemd runs.

        Raises ``StoreError`` where the database cannot be read or is of neither.
        """
        if manager is not None:
            for error in manager.stop(_UNITS).values():
                raise error
        try:
            self._make_room()
        except OSError as error:
            raise StoreError(f"{error.filename}: {error.strerror}") from error
        history = RemoteHistory(self._paths.history, *self._supervisor)
        try:
            taken = self._take(history)
        finally:
            history.close()
        self._drop_old_slots()
        (self._top / _MARK_NAME).unlink(missing_ok=True)
        return taken

    def _is_of_others(self) -> bool:
        with suppress(FileNotFoundError):
            found = self._top.stat()
            return found.st_uid != 0 or bool(found.st_mode & _NOT_ROOTS)
        return False

    def _make_room(self) -> None:
        """Have the directory of jobs root's, with that of the history in it."""
        inner = self._new / HISTORY_DIRECTORY
        if self._is_of_others():
            self._begin()
            self._top.rename(inner)
        elif any((self._top / name).exists() for name in _OLD_NAMES):
            self._begin()
            inner.mkdir(mode=0o700, exist_ok=True)
            for name in _OLD_NAMES:
                with suppress(FileNotFoundError):
                    (self._top / name).rename(inner / name)
        if self._new.exists():
            self._give_back(inner)
            self._put_in_place(inner)
        self._top.chmod(0o755)

    def _begin(self) -> None:
        self._new.mkdir(mode=0o755, exist_ok=True)
        (self._new / _MARK_NAME).touch()

    def _put_in_place(self, inner: Path) -> None:
        if not self._top.exists():
            self._new.rename(self._top)
            return
        # It belongs to root, or systemd-tmpfiles(8) has created it again meanwhile.
        (self._top / _MARK_NAME).touch()
        if inner.exists():
            with suppress(FileNotFoundError):
                (self._top / HISTORY_DIRECTORY).rmdir()
            inner.rename(self._top / HISTORY_DIRECTORY)
        (self._new / _MARK_NAME).unlink(missing_ok=True)
        self._new.rmdir()

    def _give_back(self, directory: Path) -> None:
        """Have a directory, and a database of root's in it, be the supervisor's.

        As long as it is root's, nobody else can put a link there.
        """
        if not directory.exists():
            return
        os.chown(directory, 0, 0, follow_symlinks=False)
        directory.chmod(0o700)
        for name in _OLD_NAMES:
            with suppress(FileNotFoundError):
                found = (directory / name).lstat()
                if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid == 0:
                    os.chown(directory / name, *self._supervisor, follow_symlinks=False)
        os.chown(directory, *self._supervisor, follow_symlinks=False)

    def _take(self, history: RemoteHistory) -> TakenOver:
        found = history.begin_takeover()
        with_proof = (self._old_slots / "zones:").exists()
        jobs: list[TakenJob] = []
        left: list[TakenJob] = []
        for one in found.jobs:
            (jobs if not with_proof or self._was_deployed(one) else left).append(one)
        # Before the definitions exist: if killed here, the next attempt finds everything again.
        file = self._write_left([one.job for one in left]) if left else None
        definitions = Definitions.open(self._paths.database, group=self._supervisor[1])
        try:
            definitions.take(jobs)
        finally:
            definitions.close()
        history.end_takeover()
        names = tuple(one.job.name for one in left)
        return TakenOver(len(jobs), names, file, found.notes)

    def _was_deployed(self, taken: TakenJob) -> bool:
        """Tell if root deployed this very definition."""
        units = UnitDirectory(
            self._paths.units, mark=unittext.OWNERSHIP_MARK, prefix=unittext.JOB_PREFIX
        )
        try:
            deployed = units.read(unittext.service_name(taken.job.name)) or ""
        except UnitConflict:
            return False
        proofs = {job_hash_line(taken.job), former_hash_line(taken.definition)}
        return not proofs.isdisjoint(deployed.splitlines()[:3])

    def _write_left(self, jobs: Iterable[Job]) -> Path:
        files = UnitDirectory(self._top, mark="", prefix=_LEFT_NAME)
        with files.stage({_LEFT_NAME: dump(jobs, Format.YAML).text}) as staged:
            staged.install()
        path = self._top / _LEFT_NAME
        path.chmod(0o600)
        return path

    def _drop_old_slots(self) -> None:
        """Remove what guards of 2.0 knew; ``sync`` writes it anew."""
        with suppress(FileNotFoundError):
            for entry in self._old_slots.iterdir():
                entry.unlink()
            self._old_slots.rmdir()
