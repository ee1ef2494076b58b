"""The lists of systemctl(1): for commands that only look, and need no library of D-Bus for that.

It is there wherever systemd is, and reaches a user's manager that has no bus.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from lunasched.dataclass import dataclass
from lunasched.errors import SystemdUnreachable
from lunasched.paths import Mode, runtime_directory

_PROGRAM = "/usr/bin/systemctl"
_OPTIONS = ("list-units", "--all", "--full", "--plain", "--no-legend", "--no-pager")
_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class ListedUnit:
    """A loaded unit as it is listed."""

    load: str
    active: str
    sub: str


def list_units(mode: Mode, pattern: str) -> dict[str, ListedUnit]:
    """The loaded units whose names match a glob pattern; raises ``SystemdUnreachable``."""
    chosen = [] if mode is Mode.SYSTEM else ["--user"]
    environment = {**os.environ, "LC_ALL": "C", "SYSTEMD_COLORS": "0"}
    if mode is Mode.USER:
        environment["XDG_RUNTIME_DIR"] = str(runtime_directory(os.environ))
    done = _run([*chosen, *_OPTIONS, "--", pattern], environment)
    if done.returncode != 0:
        said = next(iter(done.stderr.splitlines()), f"exit code {done.returncode}")
        raise SystemdUnreachable(f"systemd does not answer ({said})")
    lines = (line.split(maxsplit=4) for line in done.stdout.splitlines())
    return {words[0]: ListedUnit(*words[1:4]) for words in lines if len(words) >= 4}


def version() -> str:
    """The first line of what ``systemctl --version`` says; empty where it cannot be run."""
    try:
        done = _run(["--version"], {**os.environ, "LC_ALL": "C"})
    except SystemdUnreachable:
        return ""
    return next(iter(done.stdout.splitlines()), "")


def _run(
    arguments: Sequence[str], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [_PROGRAM, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SystemdUnreachable(f"systemctl cannot be run ({error})") from error
