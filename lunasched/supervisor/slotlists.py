"""Noticing that the slot guard of a job will soon not know its slots.

The lists are written by whoever may write units, in ``lunasched-sync.service``: the supervisor asks
for that when a run that it records leaves too few of them. There are no wake-ups for it. After its
start it looks at all of them, a few at a time: ten thousand files take seconds to be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lunasched.state.slotfile import SlotDirectory
    from lunasched.supervisor.loop import Loop

# The share of the slots that a list can have, below which it is written anew.
_TOO_FEW = 0.25
# An unchanged list was not written: the failed attempt is not repeated at once.
_ASK_AGAIN_USEC = 600_000_000
_AT_ONCE = 50


class SlotLists:
    """The slot lists of all jobs, for their guards."""

    def __init__(self, loop: Loop, slots: SlotDirectory, request_sync: Callable[[], None]) -> None:
        self._loop = loop
        self._slots = slots
        self._request_sync = request_sync
        self._begun: set[str] = set()
        self._asked_for: dict[str, tuple[int, int]] = {}

    def begun(self, job: str) -> None:
        """A run of a job has begun, and may have used up a slot."""
        self._begun.add(job)

    def renew_all(self, jobs: Iterable[str]) -> None:
        """Have the lists of jobs written that need it, when there is nothing else to do."""
        self._renew_on(iter(jobs), False)

    def _renew_on(self, jobs: Iterator[str], wanted: bool) -> None:
        some = list(islice(jobs, _AT_ONCE))
        needing = [job for job in some if self._needs_slots(job)]
        wanted = wanted or bool(needing)
        if some:
            self._loop.soon(lambda: self._renew_on(jobs, wanted), background=True)
        elif wanted:
            self._request_sync()

    def renew(self) -> None:
        """Have the lists written that need it, of the jobs that have begun."""
        wanted = [job for job in self._begun if self._needs_slots(job)]
        self._begun.clear()
        if wanted:
            self._request_sync()

    def _needs_slots(self, job: str) -> bool:
        """Tell whether to request a new list for a job; one was not requested a moment ago."""
        known, now = self._slots.read(job), self._loop.now()
        if known is None:
            lasts, ends = not self._slots.is_guarded(job), 0
        else:
            lasts, ends = known.lasts(now, _TOO_FEW), known.slots[-1] if known.slots else 0
        if lasts:
            self._asked_for.pop(job, None)
            return False
        asked_for, asked_at = self._asked_for.get(job, (-1, 0))
        if asked_for == ends and 0 <= now - asked_at < _ASK_AGAIN_USEC:
            return False
        self._asked_for[job] = (ends, now)
        return True
