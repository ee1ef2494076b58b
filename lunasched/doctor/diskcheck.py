"""The check of disks: file systems with room, and directories that can be written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lunasched.dataclass import dataclass
from lunasched.doctor.facts import Unseen, seen
from lunasched.doctor.finding import error, fine, warning
from lunasched.machine import host
from lunasched.paths import Mode

if TYPE_CHECKING:
    from lunasched.doctor.facts import Facts
    from lunasched.doctor.finding import Finding
    from lunasched.paths import Paths

_FULL, _NEARLY_FULL, _NEARLY_FULL_SHARE = 16 << 20, 512 << 20, 0.05


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """A file system that something of ours is on."""

    path: Path
    free: int
    """Bytes."""
    total: int


@dataclass(frozen=True, slots=True)
class ClosedFacts:
    """A directory of ours in which nothing can be changed."""

    path: Path
    fix: str
    """The command that opens it again, where that is known."""
    reason: str
    """The reason: it is ``on a read-only file system``, say."""


def look(paths: Paths) -> tuple[DiskFacts, ...]:
    """The file systems that we write to, each once."""
    found: dict[tuple[int, int], DiskFacts] = {}
    for path in (paths.database.parent, paths.units, host.JOURNAL):
        free_and_total = seen(lambda path=path: host.free_and_total(path))  # type: ignore[misc]
        if not isinstance(free_and_total, Unseen):
            found.setdefault(free_and_total, DiskFacts(path, *free_and_total))
    return tuple(found.values())


def look_for_closed(mode: Mode, paths: Paths) -> tuple[ClosedFacts, ...]:
    """The directories that jobs and runs are kept in and that cannot be written."""
    found: list[tuple[host.WriteObstacle, Path]] = []
    # A caller who may not write there anyway learns only of read-only file systems.
    is_owner = mode is Mode.USER or os.geteuid() == 0
    wants = paths.units / "timers.target.wants"
    for path in (paths.units, wants, paths.database.parent, paths.slots, paths.history.parent):
        obstacle = seen(lambda path=path: host.write_obstacle(path, is_owner))  # type: ignore[misc]
        if isinstance(obstacle, host.WriteObstacle) and obstacle not in (one for one, _ in found):
            found.append((obstacle, path))
    return tuple(ClosedFacts(path, one.fix, one.reason) for one, path in found)


def judge(facts: Facts) -> Iterator[Finding]:
    """Find file systems without room, and directories of ours that cannot be written."""
    for closed in facts.closed:
        yield error(
            f"the directory {closed.path} is {closed.reason}",
            "runs are not recorded"
            if closed.path == facts.paths.history.parent
            else "jobs cannot be added, changed, enabled, disabled or removed",
            *([closed.fix] if closed.fix else []),
            as_root=True,
        )
    full = [one for one in facts.disks if _is_nearly_full(one)]
    for one in full:
        severity = error if one.free < _FULL else warning
        yield severity(
            f"the disk of {one.path} has {one.free >> 20} MiB left of {one.total >> 20}",
            "when it is full, runs are not recorded and jobs cannot be changed",
            "journalctl --vacuum-size=100M",
            f"{facts.lunasched} vacuum",
            as_root=True,
        )
    if not full and not facts.closed:
        yield fine("the disks have room and are writable")


def _is_nearly_full(one: DiskFacts) -> bool:
    return one.free < min(_NEARLY_FULL, max(_FULL, one.total * _NEARLY_FULL_SHARE))
