"""The processes of runs in /proc, those too that have left the units of the runs."""

from __future__ import annotations

import stat
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from lunasched.dataclass import dataclass

_PROC = Path("/proc")
_STATE, _PARENT, _STARTED = 0, 1, 19
"""Fields of /proc/PID/stat behind the name (proc(5): 3, 4 and 22)."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process, told from a later one of its number by when it started (ticks since boot)."""

    pid: int
    started: int
    parent: int
    name: str

    @property
    def units(self) -> list[str]:
        """The units that it is in now, the system's before those of a manager that runs in it."""
        for line in _lines(self.pid, "cgroup"):
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "name=systemd") and path != "/":
                parts = path.split("/")
                return [part for part in parts if part.endswith((".service", ".scope"))]
        return []

    @property
    def is_alive(self) -> bool:
        """Tell if it is still there, and no zombie."""
        found = _read(self.pid)
        return found is not None and found.started == self.started


def of_runs(pids: Collection[int]) -> list[Process]:
    """Return the processes of these IDs, what they have started, and what prints where they do.

    ``pids`` are those in the units of the runs. What has moved elsewhere has one of them among
    its ancestors, or if those are gone still holds the run's output, which only root can see.
    """
    if not pids:
        return []
    everything = {process.pid: process for process in _all()}
    sockets = {one for pid in pids for one in _output_sockets(pid)}
    found = {pid for pid in pids if pid in everything}
    found |= {pid for pid in everything if not sockets.isdisjoint(_output_sockets(pid))}
    while more := {pid for pid, one in everything.items() if one.parent in found} - found:
        found |= more
    return [everything[pid] for pid in sorted(found)]


def _all() -> Iterator[Process]:
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (process := _read(int(entry.name))) is not None:
            yield process


def _read(pid: int) -> Process | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    if fields[_STATE] in "ZX":
        return None
    name = head.partition("(")[2]
    return Process(pid, int(fields[_STARTED]), int(fields[_PARENT]), name)


def _output_sockets(pid: int) -> Iterator[int]:
    """The inodes of the sockets that are a process's standard output and error."""
    for descriptor in (1, 2):
        try:
            found = (_PROC / str(pid) / "fd" / str(descriptor)).stat()
        except OSError:
            continue
        if stat.S_ISSOCK(found.st_mode):
            yield found.st_ino


def _lines(pid: int, name: str) -> Iterable[str]:
    try:
        return (_PROC / str(pid) / name).read_text().splitlines()
    except OSError:
        return ()
