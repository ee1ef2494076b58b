"""The share of the processors that processes of the host have beside the test machines.

A container is one party on a host with cgroups, whatever runs in it, and so is each process of the
host with cgroup v1. A `CpuShare` makes some processes count as so many machines together. Where
nobody may make a cgroup it changes nothing.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from machine import cgroups_of

_SETTINGS = (("cpu.weight", 100), ("cpu.shares", 1024))
"""The files of v2 and v1, each with what a group has that says nothing: what a machine has."""


class CpuShare:
    """A cgroup for the processes that `give` names."""

    def __init__(self, name: str, machines: int) -> None:
        self.group = _make(f"share-{name}", machines)

    def give(self, pid: int) -> None:
        """Move a process into it, with all its threads and what it starts from now on."""
        if self.group:
            (self.group / "cgroup.procs").write_text(str(pid))

    def close(self) -> None:
        """Remove it: its processes are gone. Does no harm if repeated."""
        if self.group:
            with suppress(OSError):  # one of them is not quite gone: the next share removes it
                self.group.rmdir()
            self.group = None


def _make(name: str, machines: int) -> Path | None:
    for group in cgroups_of(name):
        for left in group.parent.glob("lunasched-share-*"):
            with suppress(OSError):  # in use
                left.rmdir()
        for setting, usual in _SETTINGS:
            with suppress(OSError):
                group.mkdir(exist_ok=True)
                (group / setting).write_text(str(usual * machines))
                return group
            with suppress(OSError):
                group.rmdir()
    return None
