"""What unit and system tests compile jobs with, and how they read what came out."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lunasched.jobs.reading import job_from_mapping
from lunasched.paths import Mode, unit_scripts, unit_templates
from lunasched.units import compiler
from lunasched.units.compiler import CompiledJob, Context

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
UNITS = Path("/etc/systemd/system")
SLOTS = Path("/var/lib/lunasched/slots")
RUNTIME = Path("/run/lunasched")
SYSTEM = Context(
    Mode.SYSTEM, "Europe/Berlin", "", NOW, unit_templates(), unit_scripts(), UNITS, SLOTS, RUNTIME
)
USER = Context(
    Mode.USER,
    "Europe/Berlin",
    "",
    NOW,
    unit_templates(),
    unit_scripts(),
    Path("/home/alice/.config/systemd/user"),
    Path("/home/alice/.local/state/lunasched"),
    Path("/run/user/1000/lunasched"),
)
# The jobs that others depend on.
DEPENDED_ON = {"on-demand"}


def compiled(mapping: dict[str, Any], context: Context) -> CompiledJob:
    depended_on = mapping["name"] in DEPENDED_ON
    return compiler.compile(job_from_mapping(mapping), context, depended_on=depended_on)


def directives(text: str) -> list[tuple[str, str, str]]:
    """Section, directive and value of each line, as systemd.syntax(7) reads a file."""
    found: list[tuple[str, str, str]] = []
    section, pending = "", ""
    # systemd ends a line at each of these.
    for line in text.replace("\r", "\n").replace("\0", "\n").split("\n"):
        bare = line.lstrip(" \t")
        if bare.startswith(("#", ";")):
            continue
        logical = pending + bare
        if (len(logical) - len(logical.rstrip("\\"))) % 2:
            pending = logical[:-1] + " "
            continue
        pending = ""
        logical = logical.strip(" \t")
        if not logical:
            continue
        if logical.startswith("["):
            assert logical.endswith("]")
            section = logical[1:-1]
            continue
        key, equals, value = logical.partition("=")
        assert equals, f"systemd complains about {logical!r}"
        found.append((section, key.rstrip(" \t"), value.strip(" \t")))
    assert not pending, "the last line continues"
    return found
