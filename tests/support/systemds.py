"""The versions of systemd that units are written for, each as its own ``systemd-analyze``.

What a version makes of a calendar expression or a unit file is asked of that version, whatever the
host runs: the program of a Debian root is started by the dynamic linker of that root, with its
libraries. That needs no privileges; making the root does, once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

import machine
from reference import utc

SUITES = {252: "bookworm", 257: "trixie", 262: machine.UNSTABLE}
"""The Debian release that has each version. That of the last is whatever is newest there."""


@cache
def analyzer(version: int) -> tuple[str, ...]:
    """The beginning of a command line: the ``systemd-analyze`` of a version."""
    root = machine.image(SUITES[version])
    (linker,) = root.glob("usr/lib*/ld-linux-*.so.?")
    (library,) = (path.parent for path in root.glob("usr/lib/*/libc.so.6"))
    libraries = f"{library}:{library}/systemd"
    return (str(linker), "--library-path", libraries, str(root / "usr/bin/systemd-analyze"))


def root_of(version: int) -> Path:
    """The directory with the files of a release that has a version."""
    return machine.image(SUITES[version])


@dataclass(frozen=True, slots=True)
class Quirk:
    """A slot that a calendar expression has (systemd.time(7)) and a timer with it misses.

    Lines of ours are written so that no version has the quirk: the running version would not tell,
    as corrections reach releases of older versions too, and PID 1 may be older than its files.
    """

    name: str
    expression: str
    base: datetime
    lost: datetime
    """The first slot after ``base`` in a zone, in UTC, that is missed."""
    zone: str = "UTC"
    gives_up: bool = False
    """True if the timer never elapses again."""
    ended: int | None = None
    """The first of the versions here without it; None: the last of them has it."""

    def is_of(self, version: int) -> bool:
        """Tell whether a version has it."""
        return self.ended is None or version < self.ended


QUIRKS = (
    # Corrected by systemd 260, and by later releases of 257 and 258.
    Quirk(
        "days",
        "*-*-1/7",
        utc(2026, 12, 31, 23, 40),
        utc(2027, 1, 1),
        ended=257,
    ),
    Quirk("hours", "0/7:00", utc(2026, 4, 30, 21), utc(2026, 5, 1)),
    Quirk("minutes", "*:0/7", utc(2026, 5, 1, 23, 56), utc(2026, 5, 2)),
    Quirk("seconds", "*:*:0/7", utc(2026, 5, 1, 12, 59, 56), utc(2026, 5, 1, 13)),
    Quirk(
        "months",
        "*-3/7-1",
        utc(2026, 12, 15),
        utc(2027, 2, 28, 23),
        zone="Europe/Berlin",
        gives_up=True,
    ),
    Quirk(
        "a gap at midnight",
        "0/6:00",
        utc(2026, 9, 5, 22),
        utc(2026, 9, 6, 9),
        zone="America/Santiago",
        gives_up=True,
    ),
)
