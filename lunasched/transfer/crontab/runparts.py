"""The entries that run the scripts of a directory by run-parts(8): those of /etc/cron.daily.

The crontabs of distributions write them in a few ways; what is written otherwise is a command like
any other. Where lunasched serves such an entry, each script is a job of its own.
"""

from __future__ import annotations

import re

from lunasched.dataclass import dataclass
from lunasched.formats.pattern import pattern
from lunasched.transfer.crontab.lines import Problems, raw_entries

DIRECTORIES = tuple(
    f"/etc/cron.{period}" for period in ("hourly", "daily", "weekly", "monthly", "yearly")
)
"""The directories of scripts that distributions have."""
ANACRON = "/usr/sbin/anacron"

# Debian's cron leaves these to anacron, which has them in its own table.
_UNLESS_ANACRON = pattern(
    rf"(?:test[ \t]+-x[ \t]+{ANACRON}|\[[ \t]+-x[ \t]+{ANACRON}[ \t]+\])[ \t]*\|\|[ \t]*"
)
_GROUP = pattern(r"\([ \t]*(.*?)[ \t]*\)|\{[ \t]+(.*?)[ \t]*;[ \t]*\}")
_RUN = pattern(
    r"(?:cd[ \t]+/[ \t]*&&[ \t]*)?(nice[ \t]+)?(?:/usr/bin/|/bin/)?run-parts(?:[ \t]+--report)?"
    rf"[ \t]+({'|'.join(map(re.escape, DIRECTORIES))})/?"
)


@dataclass(frozen=True, slots=True)
class RunParts:
    """A command that runs the scripts of a directory."""

    directory: str
    is_nice: bool
    """True if nice(1) starts it."""
    unless_anacron: bool
    """True if it does nothing where anacron does it."""


def run_parts(command: str) -> RunParts | None:
    """What a command says, if it does nothing but run the scripts of one of ``DIRECTORIES``."""
    guard = _UNLESS_ANACRON.match(command)
    rest = (command[guard.end() :] if guard else command).strip(" \t")
    grouped = _GROUP.fullmatch(rest) if guard else None
    match = _RUN.fullmatch((grouped[1] or grouped[2] or "") if grouped else rest)
    if match is None:
        return None
    return RunParts(match[2], is_nice=bool(match[1]), unless_anacron=guard is not None)


def directories_of_anacron(data: bytes) -> dict[str, str]:
    """The directories whose scripts an anacrontab runs, each with the identifier of its entry."""
    found = {}
    for entry in raw_entries(data, Problems(""), anacron=True):
        words = entry.text.split(None, 3)
        parts = run_parts(words[3].rstrip(" \t")) if len(words) == 4 else None
        if parts is not None:
            found[parts.directory] = words[2]
    return found
