"""The check of the scripts that units run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lunasched.doctor.finding import error, fine

if TYPE_CHECKING:
    from lunasched.doctor.facts import Facts
    from lunasched.doctor.finding import Finding

_SCRIPTS = ("slot-guard", "overlap-guard", "run-hook", "launch", "exit-note")
_DPKG_LIST = Path("/var/lib/dpkg/info/lunasched.list")


def how_to_reinstall(scripts: Path) -> tuple[str, ...]:
    """The command that installs lunasched once more, by what has installed it."""
    if _DPKG_LIST.exists():
        return ("apt-get install --reinstall lunasched",)
    if scripts.is_relative_to("/usr/libexec"):
        return ("dnf reinstall lunasched",)
    return ("make install  # in the source tree of lunasched",)


def look(scripts: Path) -> tuple[str, ...]:
    """The scripts that are not there."""
    return tuple(name for name in _SCRIPTS if not os.access(scripts / name, os.R_OK))


def judge(facts: Facts) -> Iterator[Finding]:
    """Tell whether the scripts are there that units run."""
    if not facts.missing_scripts:
        yield fine(f"the scripts that units run are in {facts.scripts}")
        return
    yield error(
        f"in {facts.scripts} there is no {', '.join(facts.missing_scripts)}",
        "slots may run twice, and hooks and Parallel jobs fail",
        *facts.reinstall,
        as_root=True,
    )
