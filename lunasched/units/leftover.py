"""Processes that outlive the stop of a run, in words."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from lunasched.dataclass import dataclass
from lunasched.formats.unittext import JOB_PREFIX

_NAMED = 5
"""The most processes of a unit that are listed; of the others the number is given."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """The processes in a unit that a run has left behind."""

    unit: str
    processes: tuple[tuple[int, str], ...]
    """Their IDs and names."""
    is_surely_its: bool = True
    """They are known to be the run's, and not of another that began meanwhile."""

    def words(self) -> str:
        """The processes, and the unit that they are in."""
        named = [f"{name} ({pid})" for pid, name in self.processes[:_NAMED]]
        more = len(self.processes) - _NAMED
        return f"{', '.join(named)}{f' and {more} more' if more > 0 else ''} in {self.unit}"


def leftover_sentence(left: Sequence[Leftover], systemctl: str) -> str:
    """The processes that go on, and what ends them; ``systemctl`` is that of the manager."""
    sure = [one for one in left if one.is_surely_its]
    perhaps = [one for one in left if not one.is_surely_its]
    parts = []
    if sure:
        ending = " && ".join(_end(one, systemctl) for one in sure)
        parts.append(
            f"out of its reach go on {' and '.join(one.words() for one in sure)}; "
            f"to end them: {ending}"
        )
    if perhaps:
        parts.append(
            "in sessions that were opened during it, by it or by another, go on "
            + " and ".join(one.words() for one in perhaps)
        )
    return "; ".join(parts)


def note(left: Sequence[Leftover], systemctl: str) -> str:
    """The line about it at the end of a run's output."""
    return f"[lunasched: the run is over, and {leftover_sentence(left, systemctl)}]\n"


def _end(left: Leftover, systemctl: str) -> str:
    unit = shlex.quote(left.unit)
    if left.unit.endswith(".scope"):
        return f"{systemctl} stop {unit}"
    if left.unit.startswith(JOB_PREFIX):
        # Stopping the unit again would not end processes that survived its stop.
        return f"{systemctl} kill --signal=KILL {unit}"
    # The unit belongs to something else, which has to keep running.
    return f"kill -KILL {' '.join(str(pid) for pid, _ in left.processes)}"
