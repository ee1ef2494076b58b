"""The checks of what jobs need of the machine: users and groups, directories, files, programs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lunasched.doctor.facts import Unseen, seen
from lunasched.doctor.finding import error, fine, unseen, warning
from lunasched.machine.surroundings import Surroundings
from lunasched.paths import Mode
from lunasched.units.needs import lacking

if TYPE_CHECKING:
    from lunasched.doctor.facts import Facts
    from lunasched.doctor.finding import Finding
    from lunasched.jobs.model import Job
    from lunasched.units.needs import Lack

_NAMED = 5


def look(mode: Mode, jobs: Sequence[Job]) -> tuple[Lack, ...] | Unseen:
    """Return what jobs need and the machine does not have."""
    from lunasched.systemd.manager import Manager

    path = seen(lambda: Manager.connect(mode).path())
    around = Surroundings(mode, None if isinstance(path, Unseen) else path)
    return seen(lambda: tuple(lacking(jobs, around)))


def judge_users(facts: Facts) -> Iterator[Finding]:
    """Find users and groups of jobs that there are not."""
    if isinstance(facts.lacks, Unseen):
        yield unseen("the users of jobs", facts.lacks)
        return
    found = [lack for lack in facts.lacks if lack.is_of_account]
    yield from _found(facts, found) or [fine("the users that jobs run as exist")]


def judge_files(facts: Facts) -> Iterator[Finding]:
    """Find directories, files and programs that jobs name and would not find."""
    if isinstance(facts.lacks, Unseen):
        yield unseen("the programs and directories of jobs", facts.lacks)
        return
    found = [lack for lack in facts.lacks if not lack.is_of_account]
    yield from _found(facts, found) or [fine("the programs and directories of jobs exist")]


def _found(facts: Facts, lacks: Sequence[Lack]) -> list[Finding]:
    """One finding for all jobs that lack the same."""
    alike: dict[tuple[object, ...], list[Lack]] = {}
    for lack in lacks:
        same = (lack.key, lack.what, lack.effect, lack.remedy, lack.is_certain)
        alike.setdefault(same, []).append(lack)
    return [_finding(facts, group) for group in alike.values()]


def _finding(facts: Facts, lacks: Sequence[Lack]) -> Finding:
    one = lacks[0]
    names = list(dict.fromkeys(lack.job for lack in lacks))
    shown = [*map(repr, names[:_NAMED])]
    if len(names) > _NAMED:
        shown.append(f"{len(names) - _NAMED} more")
    named = " and ".join([*([", ".join(shown[:-1])] if shown[1:] else []), shown[-1]])
    edits = [f"{facts.lunasched} edit {shlex.quote(name)}" for name in names[:_NAMED]]
    severity = error if one.is_certain else warning
    return severity(
        f"the job{'' if len(names) == 1 else 's'} {named}: {one.key}: {one.what}",
        f"{one.effect}; {one.remedy}",
        *([one.fix] if one.fix else edits),
        as_root=facts.is_system,
    )
