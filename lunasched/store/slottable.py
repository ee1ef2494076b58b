"""The table of what is known of the slots of jobs: up to when they were looked at, the missed."""

from __future__ import annotations

from lunasched.dataclass import dataclass
from lunasched.history.missed import Checked, Cover
from lunasched.history.run import MissedSlots, Trigger
from lunasched.store.connection import Execute, Row

_STILL = 1 << 62


@dataclass(frozen=True, slots=True)
class MissedTotal:
    """The missed slots of a job: how many there have ever been, and those that were found last."""

    count: int
    latest: MissedSlots | None


class SlotTable:
    """Slots by job."""

    def __init__(self, execute: Execute) -> None:
        self._execute = execute

    def checked(self, job: str) -> Checked | None:
        """Up to when the job's slots have been looked at."""
        rows = self._execute("checked_slots", job=job)
        return Checked(rows[0]["checked_until"], rows[0]["highest"]) if rows else None

    def set_checked(self, job: str, checked: Checked) -> None:
        """Note up to when the job's slots have been looked at, and with which runs."""
        self._execute("set_checked_slots", job=job, until=checked.until, highest=checked.highest)

    def add_missed(self, missed: MissedSlots) -> None:
        """Count missed slots; belongs in the transaction of ``set_checked``, after it."""
        self._execute(
            "add_missed_slots",
            job=missed.job,
            count=missed.count,
            first_at=missed.first_at,
            last_at=missed.last_at,
        )

    def missed(self, job: str) -> MissedTotal:
        """Return the count of a job's missed slots."""
        rows = self._execute("checked_slots", job=job)
        if not rows or not rows[0]["missed"]:
            return MissedTotal(0, None)
        row = rows[0]
        latest = MissedSlots(job, row["last_missed"], row["first_missed_at"], row["last_missed_at"])
        return MissedTotal(row["missed"], latest)

    def covers(self, job: str) -> list[Cover]:
        """Return the slots of the job's runs that were not over at ``set_checked``, or are newer.

        And what belongs to starts that wait for their turn.
        """
        return [_cover(row) for row in self._execute("slot_covers", job=job)]

    def newest(self) -> int:
        """Return the position of the latest run, for ``jobs_since``."""
        newest: int = self._execute("newest_run")[0]["sequence"]
        return newest

    def jobs_since(self, sequence: int) -> tuple[int, list[str]]:
        """The jobs with runs that were recorded later than one, and where the latest of them is."""
        rows = self._execute("jobs_with_runs_since", sequence=sequence)
        newest = max((row["newest"] for row in rows), default=sequence)
        return newest, [row["job"] for row in rows]


def _cover(row: Row) -> Cover:
    started_at, ended_at = row["started_at"], row["ended_at"]
    if ended_at is None:
        # The end of a lost run is unknown.
        ended_at = started_at if row["is_over"] else _STILL
    return Cover.of(Trigger(row["trigger"]), row["scheduled_at"], started_at, ended_at)
