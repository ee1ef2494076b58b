"""The check of recording: the supervisor keeps up with the journal."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lunasched.dataclass import dataclass
from lunasched.doctor.facts import NO_DATABASE, Unseen, seen
from lunasched.doctor.finding import error, fine, unseen
from lunasched.formats import measures
from lunasched.machine import host
from lunasched.store import is_recorded

if TYPE_CHECKING:
    from lunasched.doctor.databasecheck import DatabaseFacts
    from lunasched.doctor.facts import Facts
    from lunasched.doctor.finding import Finding
    from lunasched.paths import Mode, Paths
    from lunasched.store import Store

BEHIND_USEC = 30_000_000
"""The supervisor reads the journal within seconds; 30 of them are no storm any more."""


@dataclass(frozen=True, slots=True)
class RecordingFacts:
    """The progress of the supervisor."""

    running: bool
    unrecorded_since: int | Unseen | None
    """The time of systemd's first record that is not recorded yet (µs, UTC)."""


def _seen_running(history: Path) -> bool:
    """Tell if a supervisor runs that has nothing to do yet."""
    return os.geteuid() != 0 and is_recorded(history)


def look(
    mode: Mode, paths: Paths, store: Callable[[], Store], known: DatabaseFacts | Unseen
) -> RecordingFacts:
    """Return the progress of the supervisor."""
    if host.file_facts(paths.database) is None:
        return RecordingFacts(_seen_running(paths.history), None)
    running = store().history.is_recorded()
    if isinstance(known, Unseen) or not known.is_in_order:
        return RecordingFacts(running, NO_DATABASE)
    if known.file is None:
        return RecordingFacts(running, None)

    def since() -> int | None:
        from lunasched.systemd.journal import Journal

        event = Journal(mode, os.getuid()).first_event(store().cursor())
        return None if event is None else event.at

    return RecordingFacts(running, seen(since))


def judge(facts: Facts) -> Iterator[Finding]:
    """Tell whether the supervisor keeps up with the journal."""
    known = facts.recording
    if isinstance(known, Unseen):
        yield unseen("how far runs are recorded", known)
        return
    since = known.unrecorded_since
    if isinstance(since, Unseen):
        yield unseen("how far runs are recorded", since)
        return
    behind = 0 if since is None else facts.now - since
    if behind < BEHIND_USEC:
        yield fine("runs are recorded up to now")
        return
    yield error(
        f"runs of the last {_span(behind)} are not recorded",
        "the history lacks them, and their retries, hooks and notifications wait",
        f"{facts.systemctl} {'restart' if known.running else 'start'} lunasched.service",
        as_root=facts.is_system,
    )


def _span(usec: int) -> str:
    seconds = usec // 1_000_000
    for unit in (measures.DAY, measures.HOUR, measures.MINUTE):
        if seconds >= 2 * unit.seconds:
            return f"{seconds // int(unit.seconds)} {unit.noun}s"
    return f"{seconds} seconds"
