"""How runs keep out of each other's way: what of it the units themselves can say.

Sequential is what systemd does with any service, and needs nothing. Where a trigger during a run
shall start another one (Parallel), or a new one in its place (``overlap: replace``), the timer does
not start the service but a *launcher*, a service of its own. Exclusive jobs and the limit to all
jobs are conditions on files of the runtime directory; see ``lunasched.supervisor.starter``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lunasched import schedule, unittext
from lunasched.config import EXCLUSIVE_DIRECTORY, SUPERVISOR_DIRECTORY, Mode
from lunasched.model import ExecutionMode, Job, Overlap
from lunasched.unittext import UnitText

_OF_GATE = re.compile(
    r"ConditionPathExists=\|?!?/[^ ]*/"
    rf"(?:{EXCLUSIVE_DIRECTORY}|lunasched/{SUPERVISOR_DIRECTORY})/?"
)
_RUN_SCRIPT = '[ ! -r "$0" ] || . "$0"'
_BUS_UNITS = "/org/freedesktop/systemd1/unit/"


def has_launcher(job: Job) -> bool:
    """Whether the job's timer starts a launcher in place of the job's service."""
    return job.mode is ExecutionMode.PARALLEL or job.overlap is Overlap.REPLACE


def started_unit(job: Job) -> str:
    """What to start to have the job run as its timer would have it."""
    name = job.name
    return unittext.launch_name(name) if has_launcher(job) else unittext.service_name(name)


def launch_command(job: Job, scripts: Path, units: Path, mode: Mode) -> UnitText:
    """``ExecStart=`` of the launcher."""
    parallel = job.mode is ExecutionMode.PARALLEL
    return unittext.command_line(
        [
            "/bin/bash",
            "-p",
            "-c",
            # Without us there is still one run at a time.
            f'{_RUN_SCRIPT}; exec /usr/bin/systemctl $5 --no-block start "lunasched-job@$2"',
            str(scripts / "launch"),
            "parallel" if parallel else "replace",
            unittext.instance_name(job.name),
            str(units),
            str(job.max_concurrent if parallel else 0),
            "--user" if mode is Mode.USER else "",
            bus_path(unittext.launch_name(job.name)),
            bus_path(unittext.timer_name(job.name)),
        ]
    )


def service_values(
    job: Job, *, scripts: Path, slots: Path, runtime: Path, mode: Mode
) -> dict[str, Any]:
    """What the template of the job's service needs to know."""
    exclusive = job.mode is ExecutionMode.EXCLUSIVE
    return {
        "passes": _condition_path(runtime / SUPERVISOR_DIRECTORY / "passes") if exclusive else None,
        "exclusive": unittext.plain(EXCLUSIVE_DIRECTORY) if exclusive else None,
        "overlap_guard": _overlap_guard(job, scripts, slots, mode)
        if job.overlap is Overlap.SKIP
        else None,
    }


def gate_values(runtime: Path) -> dict[str, UnitText]:
    """What the template of the drop-in for all jobs needs to know."""
    return {
        "exclusive": _condition_path(runtime.parent / EXCLUSIVE_DIRECTORY),
        "gate": _condition_path(runtime / SUPERVISOR_DIRECTORY / "gate"),
        "passes": _condition_path(runtime / SUPERVISOR_DIRECTORY / "passes"),
    }


def is_of_gate(text: str) -> bool:
    """Tell if a condition in a text is one of those by which starts wait for their turn."""
    return bool(_OF_GATE.search(text))


def _overlap_guard(job: Job, scripts: Path, slots: Path, mode: Mode) -> UnitText:
    """The ``ExecCondition=`` that skips what elapsed during the last run."""
    rule = schedule.parse(job.schedule)
    interval = str(rule.seconds * 1_000_000) if isinstance(rule, schedule.Every) else "-"
    return guard_command(
        scripts / "overlap-guard",
        bus_path(unittext.service_name(job.name)),
        bus_path(unittext.timer_name(job.name)),
        str(slots / unittext.last_slot_name(job.name)),
        interval,
        mode=mode,
    )


def guard_command(script: Path, *arguments: str, mode: Mode) -> UnitText:
    """The command of a guard, which lets pass where its script is gone.

    "-p": bash takes no functions, options and start-up files from the job's environment.
    """
    run = ["/bin/bash", "-p", "-c", _RUN_SCRIPT, str(script)]
    return unittext.command_line([*run, *arguments, *(["--user"] if mode is Mode.USER else [])])


def bus_path(unit: str) -> str:
    """The path of a unit's object on the bus."""
    return _BUS_UNITS + unittext.bus_label(unit)


def _condition_path(path: Path) -> UnitText:
    return unittext.directory(str(path))
