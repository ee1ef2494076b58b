"""Processes that ``stop`` leaves behind, in words."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lunasched.paths import Mode

if TYPE_CHECKING:
    from lunasched.cli.session import Session
    from lunasched.machine.processes import Process

# A process may be at its end when its unit is stopped.
_GRACE_SECONDS = 2
_LOOK_SECONDS = 0.1


def processes(session: Session, units: Iterable[str]) -> list[Process]:
    """The processes of runs in progress, wherever they are."""
    from lunasched.machine.processes import of_runs

    return of_runs({one.pid for unit in units for one in session.manager.processes(unit)})


def tell(session: Session, name: str, before: list[Process]) -> bool:
    """Say which of the processes of runs that were stopped go on; whether there are any."""
    from lunasched.units.leftover import Leftover, leftover_sentence

    deadline = time.monotonic() + _GRACE_SECONDS
    while (left := [one for one in before if one.is_alive]) and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
    units: dict[str, list[Process]] = {}
    for one in left:
        units.setdefault(_unit(session.mode, one), []).append(one)
    found = [
        Leftover(unit, tuple((one.pid, one.name) for one in those)) for unit, those in units.items()
    ]
    if found:
        systemctl = "systemctl" if session.mode is Mode.SYSTEM else "systemctl --user"
        further = leftover_sentence(found, systemctl)
        print(
            f"lunasched: the run of the job {name!r} is stopped, but {further}",
            file=sys.stderr,
        )
    return bool(found)


def _unit(mode: Mode, process: Process) -> str:
    """The unit of the manager in question that a process is in."""
    units = process.units
    if mode is Mode.USER:
        own = f"user@{os.getuid()}.service"
        units = units[units.index(own) + 1 :] if own in units else []
    return units[0] if units else "no unit"
