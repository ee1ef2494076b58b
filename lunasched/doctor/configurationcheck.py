"""The check of the configuration file: valid, and in the right hands."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lunasched.dataclass import dataclass
from lunasched.doctor.facts import Unseen, file_seen
from lunasched.doctor.finding import error, fine, unseen
from lunasched.errors import InvalidInput
from lunasched.files.settings import Settings
from lunasched.formats.document import BYTES_MAX
from lunasched.formats.pattern import pattern
from lunasched.paths import SUPERVISOR_USER, Mode

if TYPE_CHECKING:
    from lunasched.doctor.facts import Facts, FileFacts
    from lunasched.doctor.finding import Finding

_OTHERS = 0o007
_SECRET = pattern(rb"^[^#\n]*(passw|secret|token|webhook|authorization|://[^/\s]+/\S)", re.M | re.I)


@dataclass(frozen=True, slots=True)
class SettingsFacts:
    """The configuration file."""

    file: FileFacts | None
    problem: str
    """The error in it."""
    has_secrets: bool
    readable_by_supervisor: bool


def look(mode: Mode, path: Path) -> SettingsFacts:
    """Read the configuration file; raises ``OSError`` if it cannot be read."""
    file = file_seen(path)
    if file is None:
        return SettingsFacts(None, "", has_secrets=False, readable_by_supervisor=True)
    with path.open("rb") as opened:
        content, problem = opened.read(BYTES_MAX), ""
    try:
        Settings.load(path, os.environ)
    except InvalidInput as error:
        problem = str(error)
    readable = mode is Mode.USER or file.is_readable_by_supervisor
    return SettingsFacts(file, problem, bool(_SECRET.search(content)), readable)


def limit_to_all_jobs(settings: Path) -> int:
    """The limit to all jobs, which a file that is not valid does not say."""
    try:
        return Settings.load(settings, os.environ).max_concurrent_jobs
    except InvalidInput:
        return 0


def judge(facts: Facts) -> Iterator[Finding]:
    """Tell whether the configuration file is valid, and in the right hands."""
    known = facts.settings
    if isinstance(known, Unseen):
        yield unseen("the configuration file", known)
        return
    if known.file is None:
        yield fine("there is no configuration file; everything has its default")
        return
    path = shlex.quote(str(known.file.path))
    found = []
    if known.problem:
        found.append(
            error(
                f"the configuration file is not valid: {known.problem}",
                "the supervisor does not start with it, and no job can be changed",
                f"${{EDITOR:-vi}} {path}",
                f"{facts.systemctl} restart lunasched.service",
                as_root=facts.is_system,
            )
        )
    if known.has_secrets and known.file.mode & _OTHERS:
        found.append(
            error(
                f"{known.file.path} has passwords or other secrets in it and mode "
                f"{known.file.mode:04o}",
                "every user of the machine can read them",
                *_close(facts, path),
                as_root=facts.is_system,
            )
        )
    elif not known.readable_by_supervisor:
        found.append(
            error(
                f"{known.file.path} cannot be read by the user {SUPERVISOR_USER}",
                "the supervisor does not start",
                *_close(facts, path),
                f"{facts.systemctl} restart lunasched.service",
                as_root=facts.is_system,
            )
        )
    yield from found or [fine(f"{known.file.path} is valid")]


def _close(facts: Facts, path: str) -> tuple[str, ...]:
    if facts.is_system:
        return f"chgrp {SUPERVISOR_USER} {path}", f"chmod 0640 {path}"
    return (f"chmod 0600 {path}",)
