"""Lines of units for concurrent runs: the guards, the launcher, the conditions of the gate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lunasched import schedule
from lunasched.formats import unittext
from lunasched.formats.unittext import UnitText
from lunasched.jobs.model import ExecutionMode, Job, Overlap
from lunasched.paths import (
    BY_HAND_DIRECTORY,
    EXCLUSIVE_DIRECTORY,
    GATE_FILE,
    PASSES_DIRECTORY,
    STARTS_DIRECTORY,
    SUPERVISOR_DIRECTORY,
    Mode,
)
from lunasched.units.concurrency import has_launcher

_RUN_SCRIPT = '[ ! -r "$0" ] || . "$0"'
_PATIENCE_S = 20.0
_BUS_UNITS = "/org/freedesktop/systemd1/unit/"


def launch_command(job: Job, *, scripts: Path, units: Path, runtime: Path, mode: Mode) -> UnitText:
    """``ExecStart=`` of the launcher."""
    parallel = job.mode is ExecutionMode.PARALLEL
    return unittext.command_line(
        [
            "/bin/bash",
            "-p",
            "-c",
            # If lunasched is removed, there is still one run at a time.
            f'{_RUN_SCRIPT}; exec /usr/bin/systemctl $4 --no-block start "lunasched-job@$2"',
            str(scripts / "launch"),
            "parallel" if parallel else "replace",
            unittext.instance_name(job.name),
            str(runtime / BY_HAND_DIRECTORY),
            "--user" if mode is Mode.USER else "",
            bus_path(unittext.launch_name(job.name)),
            *([str(units), str(job.max_concurrent)] if parallel else []),
        ]
    )


def concurrency_values(
    job: Job,
    *,
    scripts: Path,
    slots: Path,
    runtime: Path,
    mode: Mode,
    guarded: bool,
    wait: str,
) -> dict[str, Any]:
    """Return the values for the template of the job's service.

    ``guarded`` jobs have a slot guard; ``wait`` is how long guards wait for the manager.
    """
    exclusive = job.mode is ExecutionMode.EXCLUSIVE
    return {
        "passes": _condition_path(runtime / SUPERVISOR_DIRECTORY / PASSES_DIRECTORY)
        if exclusive
        else None,
        "exclusive": unittext.plain(EXCLUSIVE_DIRECTORY) if exclusive else None,
        "guard": _slot_guard(job, scripts, slots, runtime, wait, mode) if guarded else None,
        "overlap_guard": _overlap_guard(job, scripts, slots, runtime, wait, mode)
        if job.overlap is Overlap.SKIP
        else None,
    }


def patience(job: Job, *, oneshot: bool) -> str:
    """Return how long a guard waits for one answer of the manager, of two.

    Of a service of ``Type=oneshot`` the limit of its running time is one of its start, too
    (``dependencies.limits``): the manager would end the guard for it, and the run with that.
    """
    limit = job.limits.timeout if oneshot else None
    seconds = _PATIENCE_S if limit is None else min(_PATIENCE_S, limit / 4)
    return f"{max(1, int(seconds * 1000))}ms"


def gate_values(runtime: Path) -> dict[str, UnitText]:
    """Return the values for the template of the drop-in for all jobs."""
    return {
        "exclusive": _condition_path(runtime.parent / EXCLUSIVE_DIRECTORY),
        "gate": _condition_path(runtime / SUPERVISOR_DIRECTORY / GATE_FILE),
        "passes": _condition_path(runtime / SUPERVISOR_DIRECTORY / PASSES_DIRECTORY),
    }


def _overlap_guard(
    job: Job, scripts: Path, slots: Path, runtime: Path, wait: str, mode: Mode
) -> UnitText:
    """The ``ExecCondition=`` that skips what elapsed during the last run."""
    rule = schedule.parse(job.schedule)
    interval = str(rule.seconds * 1_000_000) if isinstance(rule, schedule.Every) else "-"
    return guard_command(
        scripts / "overlap-guard",
        bus_path(unittext.service_name(job.name)),
        bus_path(unittext.timer_name(job.name)),
        str(slots / unittext.last_slot_name(job.name)),
        interval,
        wait,
        *_marks(job, runtime),
        mode=mode,
    )


def _marks(job: Job, runtime: Path) -> tuple[str, str]:
    """The files that say that a start is by hand, and of one of the supervisor what it is."""
    instance = unittext.instance_name(job.name)
    return (
        f"{runtime}/{BY_HAND_DIRECTORY}/{instance}",
        f"{runtime}/{SUPERVISOR_DIRECTORY}/{STARTS_DIRECTORY}/{instance}",
    )


def _slot_guard(
    job: Job, scripts: Path, slots: Path, runtime: Path, wait: str, mode: Mode
) -> UnitText:
    """The ``ExecCondition=`` that keeps a slot from running twice."""
    instance = unittext.instance_name(job.name)
    rule = schedule.parse(job.schedule)
    has_boot = isinstance(rule, schedule.Several) and rule.boot is not None
    launched = UnitText("%n" if has_launcher(job) else "-")
    return guard_command(
        scripts / "slot-guard",
        f"{slots}/{instance}",
        f"{slots}/{unittext.last_slot_name(job.name)}",
        *_marks(job, runtime),
        "sync" if job.catch_up else "-",
        bus_path(unittext.service_name(job.name)),
        launched,
        wait,
        bus_path(unittext.timer_name(job.name)) if has_boot else "-",
        mode=mode,
    )


def exit_note(job: Job, scripts: Path, mode: Mode) -> UnitText | None:
    """The ``ExecStopPost=`` that tells the journal of an exit code that is no failure.

    systemd itself does not: it has "Deactivated successfully" for every success.
    """
    if not job.any_exit_code:
        return None
    return UnitText(f"-{guard_command(scripts / 'exit-note', UnitText('%n'), mode=mode)}")


def guard_command(script: Path, *arguments: str | UnitText, mode: Mode) -> UnitText:
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
