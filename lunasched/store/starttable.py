"""The table of what the supervisor has to start."""

from __future__ import annotations

from lunasched.history.pendingstarts import Start
from lunasched.history.run import Run, Trigger
from lunasched.jobs.model import ExecutionMode, Job, Priority
from lunasched.store.connection import Execute, Row

_RANKS = {priority: rank for rank, priority in enumerate(Priority)}


class StartTable:
    """Starts to come; rows go when the start is on record, or is not wanted any more."""

    def __init__(self, execute: Execute) -> None:
        self._execute = execute

    def all(self) -> list[Start]:
        """Everything that is to be started, the earliest first."""
        return [_start(row) for row in self._execute("all_starts")]

    def put_retry(
        self, job: Job, failed: Run, *, unit: str, attempt: int, due_at: int, now: int
    ) -> None:
        """Have a failed run retried; once, however often this is called."""
        self._execute(
            "put_start",
            job=job.name,
            unit=unit,
            trigger=Trigger.RETRY.value,
            scheduled_at=None,
            due_at=due_at,
            priority=_RANKS[job.priority],
            exclusive=job.mode is ExecutionMode.EXCLUSIVE,
            attempt=attempt,
            first_attempt_id=failed.first_attempt_id or failed.execution_id,
            failed_id=failed.execution_id,
            created_at=now,
        )

    def put(
        self,
        job: Job,
        *,
        unit: str,
        trigger: Trigger,
        slot: int | None,
        due_at: int,
        now: int,
        instead_of: Start | None = None,
    ) -> None:
        """Have a unit started as soon as it may; once, if it waits already.

        ``instead_of`` is a start that turned out to be of this unit: it may be a retry.
        """
        self._execute(
            "put_start",
            job=job.name,
            unit=unit,
            trigger=trigger.value,
            scheduled_at=slot,
            due_at=due_at,
            priority=_RANKS[job.priority],
            exclusive=job.mode is ExecutionMode.EXCLUSIVE,
            attempt=1 if instead_of is None else instead_of.attempt,
            first_attempt_id=None if instead_of is None else instead_of.first_attempt_id,
            failed_id=None if instead_of is None else instead_of.failed_id,
            created_at=now,
        )

    def claim(self, start: Start, now: int) -> bool:
        """Take the start upon oneself; ``False`` if it is gone or claimed already."""
        return bool(self._execute("claim_start", id=start.id, now=now))

    def unclaim(self, start_id: int) -> None:
        """Give the start back: systemd did not carry it out."""
        self._execute("unclaim_start", id=start_id)

    def move(self, start: Start, unit: str) -> None:
        """Give the start back, to be carried out by another unit."""
        self._execute("move_start", id=start.id, unit=unit)

    def unclaim_unit(self, unit: str) -> bool:
        """Give back the claimed start of a unit; whether there was one."""
        return bool(self._execute("unclaim_unit", unit=unit))

    def take_claimed(self, unit: str, *, began: int, by_timer: bool, now: int) -> Start | None:
        """The start that was asked for, now that the unit has been started (µs, UTC)."""
        rows = self._execute(
            "take_claimed_start", unit=unit, began=began, by_timer=by_timer, now=now
        )
        return _start(rows[0]) if rows else None

    def is_claimed(self, unit: str, *, began: int, now: int) -> bool:
        """Tell whether a unit that began was asked for (µs, UTC)."""
        return bool(self._execute("claimed_start", unit=unit, began=began, now=now))

    def take_replaced(self, run: Run) -> list[Start]:
        """Drop what a run that began is in the place of; what was dropped."""
        rows = self._execute(
            "take_replaced_starts",
            job=run.job,
            unit=run.unit,
            began=run.started_at,
            execution_id=run.execution_id,
        )
        return [_start(row) for row in rows]

    def drop(self, start: Start) -> bool:
        """Drop one start; ``False`` if it was gone already."""
        return bool(self._execute("drop_start", id=start.id))

    def drop_job(self, job: str) -> list[Start]:
        """Drop all starts of a job that is disabled or removed."""
        return [_start(row) for row in self._execute("drop_starts_of_job", job=job)]

    def drop_before(self, job: str, before: int) -> list[Start]:
        """Drop the starts of a job that waited already at a point in time (µs, UTC)."""
        return [_start(row) for row in self._execute("drop_starts_before", job=job, before=before)]

    def drop_retries(self, job: str) -> list[Start]:
        """Drop the retries of a job."""
        return [_start(row) for row in self._execute("drop_retries_of_job", job=job)]


def _start(row: Row) -> Start:
    return Start(
        id=row["id"],
        job=row["job"],
        unit=row["unit"],
        trigger=Trigger(row["trigger"]),
        scheduled_at=row["scheduled_at"],
        due_at=row["due_at"],
        priority=row["priority"],
        exclusive=bool(row["exclusive"]),
        attempt=row["attempt"],
        first_attempt_id=row["first_attempt_id"],
        failed_id=row["failed_id"],
        created_at=row["created_at"],
        claimed_at=row["claimed_at"],
        tries=row["tries"],
    )
