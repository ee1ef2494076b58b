"""The check of what runs: runs that go on while the slots of their jobs pass."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from lunasched.dataclass import dataclass
from lunasched.doctor.facts import NO_DATABASE, Unseen
from lunasched.doctor.finding import fine, unseen, warning
from lunasched.formats import quantities
from lunasched.history import overrun, phrases

if TYPE_CHECKING:
    from lunasched.doctor.databasecheck import DatabaseFacts
    from lunasched.doctor.facts import Facts
    from lunasched.doctor.finding import Finding
    from lunasched.store import Store


@dataclass(frozen=True, slots=True)
class OverrunFacts:
    """A run in progress, or a start that waits: slots of the job have passed for too long."""

    job: str
    since: int
    """The start of it (µs, UTC)."""
    slots: int
    has_limit: bool
    """True if the job has a time limit."""
    waits: bool = False
    """It waits for its turn."""


def look(
    store: Callable[[], Store], known: DatabaseFacts | Unseen, host_timezone: str, now: int
) -> tuple[OverrunFacts, ...] | Unseen:
    """The runs in progress that slots pass during."""
    if isinstance(known, Unseen) or not known.is_in_order:
        return NO_DATABASE
    return () if known.file is None else _overruns(store(), host_timezone, now)


def _overruns(store: Store, host_timezone: str, now: int) -> tuple[OverrunFacts, ...]:
    open_ = sorted({run.job for run in store.runs.open()})
    found = []
    for name, (job, deployed_at) in store.jobs.some(open_).items():
        rule = overrun.Rule.of(job, deployed_at, host_timezone)
        for run in store.runs.open_of_job(name):
            slots = overrun.overrun_of_run(rule, run, now)
            if slots and now >= overrun.notified_at(job, slots.first_at, run.started_at):
                limited = job.limits.timeout is not None
                found.append(OverrunFacts(name, run.started_at, slots.count, limited))
    starts = [start for start in store.starts.all() if not start.is_retry]
    known = store.jobs.some({start.job for start in starts})
    for start in [one for one in starts if one.job in known]:
        job, deployed_at = known[start.job]
        slots = overrun.overrun_of_start(
            overrun.Rule.of(job, deployed_at, host_timezone), start, now
        )
        waiting = overrun.waiting_since(start)
        if slots and now >= overrun.notified_at(job, slots.first_at, waiting):
            since = start.created_at
            found.append(OverrunFacts(job.name, since, slots.count, has_limit=True, waits=True))
    return tuple(found)


def judge(facts: Facts) -> Iterator[Finding]:
    """Look for runs that may hang: their jobs do not run as long as they go on."""
    known = facts.overruns
    if isinstance(known, Unseen):
        yield unseen("runs in progress", known)
        return
    for one in known:
        if one.waits:
            yield warning(
                f"the job {one.job!r} has been waiting for its turn for "
                f"{quantities.duration(facts.now - one.since)}: {phrases.slots_passed(one.slots)}",
                f"it does not run meanwhile; '{facts.lunasched} queue' shows what it waits for",
            )
            continue
        stop, edit = (
            f"{facts.lunasched} {verb} {shlex.quote(one.job)}" for verb in ("stop", "edit")
        )
        limit = "" if one.has_limit else f", and '{edit}' gives the job a timeout"
        # No command to fix it: systemd cannot tell if it hangs or has a lot to do.
        yield warning(
            f"the job {one.job!r} has been running for "
            f"{quantities.duration(facts.now - one.since)}: {phrases.slots_passed(one.slots)}",
            f"it does not run again before this run is over; if it hangs, '{stop}' ends it{limit}",
        )
    if not known:
        yield fine("no run is in progress that should be over")
