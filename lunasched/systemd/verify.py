"""The complaints of ``systemd-analyze verify`` about units, before they are deployed.

It is asked only about jobs that say something in systemd's own words: it takes as long as adding
a job does. systemd takes unknown directives and values for warnings, so its exit status says
nothing.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path

from lunasched.dataclass import dataclass
from lunasched.errors import DeploymentFailed, InvalidJob
from lunasched.jobs.sandbox import OPTIONS
from lunasched.paths import Mode
from lunasched.units.compiler import CompiledJob

# The program of a job may be installed later, or seen by its user alone.
_HARMLESS = ("is not executable: ", "Accepting user/group name")
_TIMEOUT = 60
_AT_ONCE = 200
_KEYS = {option.directive: f"sandbox.{key}" for key, option in OPTIONS.items()}


@dataclass(frozen=True, slots=True)
class Complaint:
    """An error in a unit, with the directive at fault, where that is known."""

    unit: str
    directive: str | None
    message: str


def check_compiled(compiled: CompiledJob, mode: Mode) -> None:
    """Raise ``InvalidJob`` if systemd does not understand what a job says in its words."""
    if not compiled.job.directives and not compiled.job.sandbox:
        return
    found = problems([compiled], mode)
    if found:
        raise InvalidJob(found[compiled.job.name])


def problems(compiled: Iterable[CompiledJob], mode: Mode) -> dict[str, list[str]]:
    """Return the settings of jobs that systemd does not understand, by the jobs' names."""
    services = {item.service.name: item for item in compiled}
    waiting = iter(services.items())
    found: dict[str, list[str]] = {}
    while batch := {name: item.service.text for name, item in islice(waiting, _AT_ONCE)}:
        for one in complaints(batch, mode):
            key = _KEYS.get(one.directive or "", f"systemd.{one.directive}")
            said = f"{key if one.directive else 'systemd'}: {one.message}"
            found.setdefault(services[one.unit].job.name, []).append(said)
    return found


def complaints(units: Mapping[str, str], mode: Mode) -> list[Complaint]:
    """Return the errors in units, given by name and text, if this mode's manager read them."""
    with tempfile.TemporaryDirectory(prefix="lunasched-verify-") as name:
        directory = Path(name, "units")
        directory.mkdir()
        runtime = Path(name, "runtime")
        runtime.mkdir(mode=0o700)
        for unit, text in units.items():
            (directory / unit).write_text(text, encoding="utf-8")
        said = _said_about([str(directory / unit) for unit in units], mode, runtime)
        mentioned = {
            unit: [line for line in said if unit in line] if len(units) > 1 else said
            for unit in units
        }
        return [
            complaint
            for unit, lines in mentioned.items()
            for line in lines
            if (complaint := _complaint(line, str(directory), unit, units[unit]))
        ]


def _said_about(paths: list[str], mode: Mode, runtime: Path) -> list[str]:
    """The lines of ``systemd-analyze verify``; with a runtime directory, which it asks for."""
    user = ["--user"] if mode is Mode.USER else []
    environment = {**os.environ, "LC_ALL": "C", "SYSTEMD_LOG_LEVEL": "warning"}
    environment |= {"SYSTEMD_LOG_COLOR": "0", "SYSTEMD_LOG_LOCATION": "0"}
    try:
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", *user, "--", *paths],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env={**environment, "XDG_RUNTIME_DIR": str(runtime)},
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeploymentFailed(
            f"the job's directives of systemd cannot be checked: systemd-analyze: {error}"
        ) from error
    return done.stderr.decode(errors="replace").splitlines()


def _complaint(line: str, directory: str, unit: str, text: str) -> Complaint | None:
    """Return the complaint in a line about one unit; ``None`` where it is about other units."""
    if any(words in line for words in _HARMLESS):
        return None
    if line.startswith(f"{unit}: "):
        return Complaint(unit, None, _said(line.removeprefix(f"{unit}: ")))
    place = re.match(re.escape(f"{directory}/{unit}:") + r"(\d+): ", line)
    if not place:
        return None
    directive = text.splitlines()[int(place[1]) - 1].partition("=")[0]
    return Complaint(unit, directive, _said(line[place.end() :]))


def _said(message: str) -> str:
    """Without what systemd would do about it, for it never gets that far."""
    return message.replace(", ignoring", "").rstrip(".")
