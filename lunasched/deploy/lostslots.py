"""The slots that passed between the end of a cron and the start of the timers that replace it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from lunasched.errors import InvalidInput
from lunasched.formats import unittext
from lunasched.history import slot
from lunasched.history.run import Trigger
from lunasched.units.concurrency import started_unit

if TYPE_CHECKING:
    from lunasched.jobs.model import Job
    from lunasched.store import Store
    from lunasched.systemd.manager import Manager


def lost_slots(
    jobs: Iterable[tuple[Job, int]],
    store: Store,
    manager: Manager,
    host_timezone: str,
    *,
    until: int,
) -> Iterator[tuple[Job, int]]:
    """Yield the jobs that were due before their timers started, and the slot.

    Each of ``jobs`` is beside the time since when nobody has started what was due. Of several
    slots, the last, if it has not run as one of an earlier job of the name: lunasched may have been
    in the place of cron before. The timers have started ``until`` or before; all in µs, UTC.
    """
    for job, since in jobs:
        with suppress(InvalidInput):
            if not job.enabled or not _slot_in(job, host_timezone, since, until):
                continue
            # For what was due since, the timer has elapsed.
            started = manager.active_since(unittext.timer_name(job.name))
            done = max(since, store.runs.last_slot(job.name) or 0)
            lost = _slot_in(job, host_timezone, done, started)
            if lost is not None:
                yield job, lost


def start_lost(lost: Iterable[tuple[Job, int]], store: Store, manager: Manager, *, now: int) -> int:
    """Start the jobs for the slots that they have lost, to catch up; how many there were.

    systemd is asked here, in the supervisor's manner: each start is in the history before. Who
    claims one, this or a supervisor that is awake, asks for it at once, and once; the supervisor
    asks again where this was killed in between.
    """
    wanted = {started_unit(job): (job, lost_at) for job, lost_at in lost}
    if not wanted:
        return 0
    with store.transaction():
        for unit, (job, at) in wanted.items():
            store.starts.put(job, unit=unit, trigger=Trigger.CATCH_UP, slot=at, due_at=now, now=now)
    for start in store.starts.all():
        if start.unit in wanted and store.starts.claim(start, time.time_ns() // 1000):
            manager.start_soon(start.unit)
    return len(wanted)


def _slot_in(job: Job, host_timezone: str, since: int, until: int) -> int | None:
    """The job's last slot after ``since`` and up to ``until`` (µs, UTC), if there is one."""
    found = slot.latest_slot(job, until, host_timezone)
    return found if found is not None and found > since else None
