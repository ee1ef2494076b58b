"""What the slot guard knows of each job: the last slot that ran and the next ones.

A file a job, in a directory that only the jobs' manager may write (the guard runs as root, or as
the user of a user's manager). The guard itself, ``unit-templates/slot-guard``, reads and rewrites
it without Python. Two lines::

    LAST OFFSET NEXT NEXT … NEXT
    ZONE SCHEDULE

LAST is the last slot that ran, OFFSET the difference of the clock and the time since boot when it
did, which tells a step of the clock; all are microseconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lunasched.errors import DeploymentFailed, PermissionDenied
from lunasched.slot import SlotState
from lunasched.unittext import instance_name

if TYPE_CHECKING:
    from collections.abc import Iterator


# The mark of a killed "lunasched start" says nothing about later starts.
_BY_HAND_USEC = 60_000_000


# ":" does not occur in the names of jobs' files.
_ZONES = "zones:"


class SlotDirectory:
    """The files of all jobs of one mode."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def file(self, job: str) -> Path:
        """Where the guard of a job looks."""
        return self.path / instance_name(job)

    def read(self, job: str) -> SlotState | None:
        """What is known; ``None`` where that is nothing, or damaged (by a power cut)."""
        try:
            numbers, second = self.file(job).read_text(encoding="utf-8").splitlines()[:2]
            last, offset, *following = map(int, numbers.split())
            zone, _, schedule = second.partition(" ")
        except (OSError, ValueError):
            return None
        return SlotState(last, offset, tuple(following), zone, schedule)

    def write(self, job: str, state: SlotState, *, durable: bool) -> None:
        """Replace what is known, whole; ``durable`` outlives a power cut that comes after."""
        target = self.file(job)
        temporary = self.path / f".{os.getpid()}.new"
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o755)
            with temporary.open("w", encoding="utf-8") as file:
                file.write(_text(state))
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            temporary.replace(target)
        except PermissionError as error:
            raise PermissionDenied(f"{self.path} cannot be written by this user") from error
        except OSError as error:
            raise DeploymentFailed(f"{target}: {error.strerror}") from error

    def zones(self) -> str:
        """What ``write_zones`` was last given."""
        try:
            return (self.path / _ZONES).read_text(encoding="utf-8").strip()
        except OSError:
            return ""

    def write_zones(self, identity: str) -> None:
        """Note for which time zones (``config.zone_identity``) all units were made."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o755)
            (self.path / _ZONES).write_text(identity + "\n", encoding="utf-8")
        except OSError as error:
            raise DeploymentFailed(f"{self.path}: {error.strerror}") from error

    def remove(self, jobs: Iterable[str]) -> None:
        """Forget jobs that are gone."""
        for job in jobs:
            with suppress(OSError):
                self.file(job).unlink(missing_ok=True)

    def is_by_hand(self, job: str) -> bool:
        """Whether a start of the job right now is by hand."""
        try:
            return _uptime() < int(self._marker(job).read_text())
        except (OSError, ValueError):
            return False

    @contextmanager
    def by_hand(self, job: str) -> Iterator[None]:
        """While this lasts, a start of the job is by hand and uses up no slot."""
        marker = self._marker(job)
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o755)
            marker.write_text(f"{_uptime() + _BY_HAND_USEC}\n")
        except OSError:
            # Whoever may not write here starts the job all the same; the guard asks systemd.
            yield
            return
        try:
            yield
        finally:
            marker.unlink(missing_ok=True)

    def _marker(self, job: str) -> Path:
        return self.path / f"{instance_name(job)}.manual"


def _text(state: SlotState) -> str:
    numbers = " ".join(map(str, (state.last, state.offset, *state.following)))
    return f"{numbers}\n{state.zone} {state.schedule}\n"


def clock_offset(now: int) -> int:
    """The clock (µs) less the time since boot, suspended or not: constant but for steps."""
    return now - _uptime()


def _uptime() -> int:
    """Microseconds since boot, in steps of 10 ms, as the guard reads them."""
    with Path("/proc/uptime").open() as file:
        return int(file.read().split()[0].replace(".", "")) * 10_000
