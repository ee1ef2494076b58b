"""The directives of our units that not every version of systemd has.

A unit has only those that the version which reads it knows; of others systemd logs a warning
whenever it loads the unit.
"""

from __future__ import annotations

import re

from lunasched.dataclass import dataclass

OLDEST = 252
"""The oldest version of systemd that units are written for."""


@dataclass(frozen=True, slots=True)
class Lifetime:
    """The versions of systemd that have a directive."""

    since: int = OLDEST
    removed: int | None = None
    """The first version that does not have it any more."""

    def holds(self, version: int) -> bool:
        """Tell whether a version has the directive."""
        return self.since <= version and (self.removed is None or version < self.removed)


LIFETIMES = {
    # Without control groups of version 1 a unit's time is always counted.
    "CPUAccounting": Lifetime(removed=258),
    # Unlike a delay, it is a part of the schedule: a timer that is started between a slot and the
    # end of its delay, as at boot, still elapses for it.
    "RandomizedOffsetSec": Lifetime(since=258),
}


def has_directive(version: int, directive: str) -> bool:
    """Tell whether a version of systemd has a directive; what is not in the table all have."""
    return LIFETIMES.get(directive, Lifetime()).holds(version)


def made_for(version: int) -> str:
    """Say for which versions units are made that are right for this one; empty for the oldest."""
    bounds = {bound for one in LIFETIMES.values() for bound in (one.since, one.removed) if bound}
    latest = max(bound for bound in (*bounds, OLDEST) if bound <= max(version, OLDEST))
    return f"systemd {latest}" if latest > OLDEST else ""


def major_version(text: str) -> int:
    """The version in what systemd says of itself, ``257.13-1~deb13u1``; the oldest if there is
    none."""
    found = re.match(r"(?:systemd )?(\d{3,4})\b", text)
    return int(found[1]) if found else OLDEST
