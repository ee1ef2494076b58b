"""Runs, hooks and next runs in a few words, for tables, pages and notifications."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lunasched.formats.quantities import local_time
from lunasched.history.run import OVERRUN_MAX, HookRun, Result, Run

if TYPE_CHECKING:
    from lunasched.history.timerstate import Upcoming

# The limit at which a run was killed.
_LIMITS = {Result.TIMEOUT: "time limit", Result.OOM_KILL: "memory"}


def next_time(upcoming: Upcoming) -> str:
    """Return when a job elapses next, or why its timer does not."""
    return upcoming.obstacle.words if upcoming.obstacle else local_time(upcoming.at)


def run_ended(run: Run) -> str:
    """Describe the end of a run, as short as can be, and the number of slots that it overran."""
    ended = _ended(run)
    return f"{ended}, {slots_passed(run.overrun.count)}" if run.overrun else ended


def slots_passed(count: int) -> str:
    """So many slots passed during a run."""
    if count == 1:
        return "1 slot passed"
    least = "at least " if count == OVERRUN_MAX else ""
    return f"{least}{count} slots passed"


def _ended(run: Run) -> str:
    if run.result is None:
        return "running"
    if run.result in _LIMITS:
        return f"{run.result.value} ({_LIMITS[run.result]})"
    if run.exit_code:
        return f"{run.result.value} ({run.exit_code})"
    if run.signal:
        return f"{run.result.value} ({run.signal})"
    return run.result.value


def hook_ended(hook: HookRun) -> str:
    """Describe the state of a hook in few words."""
    if hook.result is None:
        return "running" if hook.execution_id else "waiting"
    number = hook.exit_code or hook.signal
    return f"{hook.result.value} ({number})" if number else hook.result.value
