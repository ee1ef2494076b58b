"""The changes of job units that D-Bus signalled, until the history accounts for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lunasched.dataclass import dataclass
from lunasched.formats import unittext

if TYPE_CHECKING:
    from lunasched.store import Store
    from lunasched.systemd.manager import UnitTimes

# A signal about an event that was recorded meanwhile may arrive this late.
_UNDER_WAY_USEC = 10_000_000


@dataclass(frozen=True, slots=True)
class AnnouncedRun:
    """A run that systemd says has begun (µs, UTC), and perhaps ended."""

    unit: str
    began_at: int
    ended_at: int | None


class AnnouncedRuns:
    """The runs that systemd signalled since the history last accounted for all of them."""

    def __init__(self, store: Store, now: int) -> None:
        self._store = store
        self._news_since = now
        self._ends: dict[str, dict[int, int | None]] = {}

    def note(self, unit: str, times: UnitTimes) -> None:
        """Note the event of a unit that a signal reports.

        A ``daemon-reload`` reports all earlier events again: old ones are recorded, and may have
        been removed from the history since.
        """
        if times.began_at < self._news_since or not unit.startswith(unittext.JOB_PREFIX):
            return
        over = times.ended_at >= times.began_at
        self._ends.setdefault(unit, {})[times.began_at] = times.ended_at if over else None

    def unaccounted(self) -> list[AnnouncedRun]:
        """Return the signalled runs that have no row, or no end in it."""
        return [
            AnnouncedRun(unit, began_at, ends[began_at])
            for unit, ends in self._ends.items()
            for began_at, until in _spans(sorted(ends))
            if not self._is_on_record(unit, began_at, until, ended=ends[began_at] is not None)
        ]

    def end_between(self, unit: str, since: int, until: int) -> int | None:
        """Return the last end of a unit that was signalled of a span of time (µs, UTC)."""
        ends = self._ends.get(unit, {}).values()
        return max((end for end in ends if end is not None and since <= end <= until), default=None)

    def settle(self, now: int) -> None:
        """Forget the runs that were signalled by now: the history has them, or never will."""
        self._news_since = now - _UNDER_WAY_USEC
        self._ends.clear()

    def _is_on_record(self, unit: str, began_at: int, until: int | None, *, ended: bool) -> bool:
        has_ended = self._store.runs.begun_between(unit, began_at, until)
        return has_ended is not None and (has_ended or not ended)


def _spans(times: list[int]) -> list[tuple[int, int | None]]:
    """Each time with the next."""
    following: list[int | None] = [*times[1:], None]
    return list(zip(times, following, strict=True))
