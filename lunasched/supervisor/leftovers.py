"""Processes that a run has left behind that was stopped, or had reached a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lunasched.history.run import Result
from lunasched.units.leftover import Leftover

if TYPE_CHECKING:
    from lunasched.store import EndedRun
    from lunasched.systemd.journal import Journal, RunWindow
    from lunasched.systemd.manager import Manager

# logind gives a session its time before PAM logs it.
_EARLY_USEC = 1_000_000


def leftovers(
    journal: Journal, manager: Manager, run: EndedRun, window: RunWindow
) -> list[Leftover]:
    """Return what goes on of a run that did not succeed; a success may leave what it likes.

    Known to be the run's is what is in its own unit, in a scope from which its output came, and
    in a session of a process that said in the unit that it opens it. Of the sessions of a user
    whom only the command names, those that were opened during the run are named.
    """
    was_cut_short = run.result.is_failure or run.result is Result.STOPPED
    if not was_cut_short or run.ended_at is None:
        return []
    located = journal.located(window)
    sure = dict.fromkeys(journal.scopes(located))
    perhaps: dict[str, None] = {}
    since = run.started_at - _EARLY_USEC
    if located.users:
        for session in manager.sessions(located.users, since, run.ended_at):
            (sure if session.leader in located.leaders else perhaps)[session.scope] = None
    if _is_last(manager, run):
        sure[run.unit] = None
    found = [
        Leftover(unit, processes, is_surely_its=unit in sure)
        for unit in sure | perhaps
        if (processes := tuple((one.pid, _name(one.command)) for one in manager.processes(unit)))
    ]
    # The next run of the unit may have begun meanwhile, and the processes are its.
    its_own = run.unit in [one.unit for one in found] and _is_last(manager, run)
    return [one for one in found if its_own or one.unit != run.unit]


def _is_last(manager: Manager, run: EndedRun) -> bool:
    """Tell if a run is over, and its unit has not been started again."""
    held = manager.invocation(run.unit)
    return held.ended and held.execution_id == run.execution_id


def _name(command: str) -> str:
    """The program of a command line, without its directory."""
    return command.split(" ", 1)[0].strip('"').rpartition("/")[2] or command
