"""Dependencies between jobs: what they mean for a job's service, and the graph that they are.

systemd does the gating by itself. A job that others depend on is of ``Type=oneshot``, so that
``After=`` orders on its end, and says in a file of its user whether its latest run is a success;
what depends on it reads the file in an ``ExecCondition=``. The supervisor adds no more than the
start of jobs that have dependencies and no schedule. What a job only comes ``after`` has the same
service; the job that waits does not look at the file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from lunasched.dataclass import dataclass
from lunasched.formats import unittext
from lunasched.formats.unittext import UnitText
from lunasched.jobs.model import Job

REFUSED = 254
"""The exit code by which the guards of a job refuse a run.

To systemd, ``SuccessExitStatus=`` of a service is for its ``ExecCondition=``, too: where it has the
code of a guard, the run begins all the same (measured with 252 and 257). 1 is common there, this is
not.
"""

# Each dependency is two arguments: its file and its name. All that have not succeeded are named.
_CHECK = (
    "failed=0; while (($# > 0)); do said=; "
    '[[ ! -f $1 || ! -r $1 ]] || read -r -n 1 said <"$1"; '
    f"[[ $said == 1 ]] || {{ failed={REFUSED}; "
    "printf '%s\\n' \"dependency '$2' has not succeeded\"; }; "
    "shift 2; done; exit $failed"
)
# In place: the job can write neither the directory nor a new file in it.
_SAY = '[[ ! -e $0 ]] || printf %s "$1" 1<>"$0"'
_SAYING = "[[ ! -e $$0 ]] || printf "

Directives = Sequence[tuple[UnitText, UnitText]]
Dependencies = Callable[[str], Sequence[str]]
"""A function from a job's name to the names of its dependencies."""


def dependency_values(
    job: Job, slots: Path, *, depended_on: bool, launched: Collection[str]
) -> dict[str, Any]:
    """Return the template values of a service; ``slots`` is the directory of the slot files.

    The timer of a job that is ``launched`` starts a launcher, and that the job: at the same second
    as the dependent job, the launcher alone may be known.
    """
    file = str(slots / unittext.success_name(job.name))
    return {
        "dependencies": [
            UnitText(unit)
            for name in job.waits_for
            for unit in (unittext.launch_name(name), unittext.service_name(name))
            if name in launched or unit != unittext.launch_name(name)
        ],
        "dependency_check": _check(job.dependencies, slots) if job.dependencies else None,
        # "-": a failure here must not change the job's result, and only keeps dependents waiting.
        "success": {
            "forget": _say(file, "0"),
            # An earlier success must not reappear after a power cut during the run.
            "sync": UnitText(f"-{unittext.command_line(['/bin/sync', file])}"),
            "note": UnitText(f"-{_say(file, '1')}"),
        }
        if depended_on
        else None,
    }


def _say(file: str, word: str) -> UnitText:
    return unittext.command_line(["/bin/bash", "-p", "-c", _SAY, file, word])


def limits(directives: Directives, *, oneshot: bool) -> Directives:
    """The limits of a job; the running time of a oneshot service has a name of its own."""
    if not oneshot:
        return directives
    return [
        (UnitText("TimeoutStartSec"), value)
        if directive.text == "RuntimeMaxSec"
        else (directive, value)
        for directive, value in directives
    ]


def keeps_success(service: str | None) -> bool:
    """Tell whether the text of a service notes its success: others depended on it when it was
    made."""
    return service is not None and any(
        line.startswith("ExecStartPost=") and _SAYING in line for line in service.splitlines()
    )


def _check(names: Iterable[str], slots: Path) -> UnitText:
    pairs = [(str(slots / unittext.success_name(name)), name) for name in names]
    words = ["-p", "-c", _CHECK, "lunasched", *(word for pair in pairs for word in pair)]
    return unittext.command_line(["/bin/bash", *words])


def cycle(name: str, names: Iterable[str], of: Dependencies) -> list[str] | None:
    """The cycle that there would be if ``name`` depended on ``names``: from it to itself."""
    # What led to each job that was seen.
    came_from: dict[str, str] = {}
    waiting = [(name, dependency) for dependency in names]
    while waiting:
        dependent, found = waiting.pop()
        if found == name:
            path = [name]
            while dependent != name:
                path.append(dependent)
                dependent = came_from[dependent]
            return [name, *reversed(path)]
        if found not in came_from:
            came_from[found] = dependent
            waiting += [(found, dependency) for dependency in of(found)]
    return None


@dataclass(frozen=True, slots=True)
class Node:
    """A job in the tree of dependencies; ``again`` where it was shown with its own above."""

    name: str
    depth: tuple[bool, ...]
    """For each level, from the top, whether that ancestor or the job itself is the last there."""
    again: bool


def tree(roots: Iterable[str], of: Dependencies) -> Iterable[Node]:
    """Jobs with what they depend on below them, each subtree once."""
    shown: set[str] = set()
    waiting: list[tuple[str, tuple[bool, ...]]] = [(root, ()) for root in reversed([*roots])]
    while waiting:
        name, depth = waiting.pop()
        below = of(name)
        again = name in shown and bool(below)
        yield Node(name, depth, again)
        if again:
            continue
        shown.add(name)
        last = len(below) - 1
        waiting += [
            (dependency, (*depth, number == last))
            for number, dependency in reversed([*enumerate(below)])
        ]
