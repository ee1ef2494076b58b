"""Noticing that the slot guard of a job will soon not know its slots.

The lists are written by whoever may write units, in ``lunasched-sync.service``: the supervisor asks
for that when a run that it records leaves too few of them. There are no wake-ups for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lunasched.state.slotfile import SlotDirectory

# The share of the slots that a list can have, below which it is written anew.
_TOO_FEW = 0.25
# An unchanged list was not written: the failed attempt is not repeated at once.
_ASK_AGAIN_USEC = 600_000_000


class SlotLists:
    """The slot lists of all jobs, for their guards."""

    def __init__(
        self, slots: SlotDirectory, now: Callable[[], int], request_sync: Callable[[], None]
    ) -> None:
        """``now`` is in µs, UTC."""
        self._slots = slots
        self._now = now
        self._request_sync = request_sync
        self._begun: set[str] = set()
        self._asked_for: dict[str, tuple[int, int]] = {}

    def begun(self, job: str) -> None:
        """A run of a job has begun, and may have used up a slot."""
        self._begun.add(job)

    def renew(self, jobs: Iterable[str] = ()) -> None:
        """Have the lists of jobs written that need it, and of those that have begun."""
        wanted = [job for job in {*jobs, *self._begun} if self._needs_slots(job)]
        self._begun.clear()
        if wanted:
            self._request_sync()

    def _needs_slots(self, job: str) -> bool:
        """Tell whether to request a new list for a job; one was not requested a moment ago."""
        known, now = self._slots.read(job), self._now()
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
