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
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from lunasched.errors import DeploymentFailed, PermissionDenied
from lunasched.slot import SlotState
from lunasched.unittext import instance_name, success_name

# ":" does not occur in the names of jobs' files.
_ZONES = "zones:"
_TEMPORARY = ".{pid}.new"
# The guard empties a file and writes it in one line of its script.
_WRITING_S = 0.01


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
            return _state(self.file(job).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def change(self, job: str, change: Callable[[SlotState], SlotState], *, durable: bool) -> None:
        """Change what is known, if anything is; what a guard notes meanwhile is not lost.

        The guard writes into the file that it finds: either into the new one, or its word is in
        the old one afterwards.
        """
        try:
            file = self.file(job).open(encoding="utf-8", errors="replace")
        except OSError:
            return
        with file:
            text = None
            while (found := _read_all(file)) != text:
                text = found
                if text:
                    with suppress(ValueError):
                        self.write(job, change(_state(text)), durable=durable)
                else:
                    # A guard has emptied it and is about to write.
                    time.sleep(_WRITING_S)

    def write(self, job: str, state: SlotState, *, durable: bool) -> None:
        """Replace what is known, whole; ``durable`` outlives a power cut that comes after."""
        target = self.file(job)
        temporary = self.path / _TEMPORARY.format(pid=os.getpid())
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
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
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

    def set_succeeded(self, job: str, succeeded: bool) -> None:
        """Say whether the latest run of a job that others depend on was a success.

        From then on its own service does (``lunasched.dependencies``).
        """
        file = self.path / success_name(job)
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o755)
            if succeeded:
                file.touch()
            else:
                file.unlink(missing_ok=True)
        except PermissionError as error:
            raise PermissionDenied(f"{self.path} cannot be written by this user") from error
        except OSError as error:
            raise DeploymentFailed(f"{file}: {error.strerror}") from error

    def says_success(self, job: str) -> bool:
        """Whether ``set_succeeded`` or the service of a job says that it succeeded."""
        return (self.path / success_name(job)).exists()

    def forget_successes(self, but: Iterable[str]) -> None:
        """Drop what ``set_succeeded`` and services said of all jobs but some."""
        kept = {success_name(job) for job in but}
        for file in self.path.glob(success_name("") + "*"):
            if file.name not in kept:
                with suppress(OSError):
                    file.unlink(missing_ok=True)

    def remove(self, jobs: Iterable[str]) -> None:
        """Forget jobs that are gone."""
        for job in jobs:
            with suppress(OSError):
                self.file(job).unlink(missing_ok=True)

    def remove_leftovers(self) -> None:
        """Remove what killed processes were writing; the guards of starting jobs may write now."""
        for leftover in self.path.glob(_TEMPORARY.format(pid="*[0-9]")):
            if not Path("/proc", leftover.name.split(".")[1]).exists():
                with suppress(OSError):
                    leftover.unlink(missing_ok=True)


def _read_all(file: TextIO) -> str:
    file.seek(0)
    return file.read()


def _state(text: str) -> SlotState:
    """Raises ``ValueError`` for what is damaged."""
    numbers, second = text.splitlines()[:2]
    last, offset, *following = map(int, numbers.split())
    zone, _, schedule = second.partition(" ")
    return SlotState(last, offset, tuple(following), zone, schedule)


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
