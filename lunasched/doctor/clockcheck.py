"""The check of the machine's clock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lunasched.dataclass import dataclass
from lunasched.doctor.facts import Unseen
from lunasched.doctor.finding import fine, unseen, warning
from lunasched.machine import host

if TYPE_CHECKING:
    from lunasched.doctor.facts import Facts
    from lunasched.doctor.finding import Finding


@dataclass(frozen=True, slots=True)
class ClockFacts:
    """The machine's clock."""

    synchronised: bool
    """True if something keeps it right; of a container's clock only the host knows."""


def look() -> ClockFacts:
    """Ask systemd whether something keeps the clock right."""
    return ClockFacts(host.clock_is_synchronised())


def judge(facts: Facts) -> Iterator[Finding]:
    """Tell whether something keeps the clock right."""
    if facts.in_container:
        yield fine("the clock is that of this container's host")
    elif isinstance(facts.clock, Unseen):
        yield unseen("the clock", facts.clock)
    elif facts.clock.synchronised:
        yield fine("the clock is synchronised")
    else:
        yield warning(
            "the clock is not synchronised",
            "jobs run by the clock, and a clock that is corrected later makes them "
            "run late, or in quick succession",
            "timedatectl set-ntp true",
            as_root=True,
        )
