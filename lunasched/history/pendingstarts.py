"""Starts that are still to come: retries at their time, and jobs that wait for their turn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lunasched.dataclass import dataclass
from lunasched.history.run import Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A start of a job that is still to come (µs, UTC); ``failed_id`` is the run it retries."""

    id: int
    job: str
    unit: str
    trigger: Trigger
    scheduled_at: int | None
    due_at: int
    priority: int
    """Higher goes first."""
    exclusive: bool
    """True if nothing else may run beside it."""
    attempt: int
    first_attempt_id: str | None
    failed_id: str | None
    created_at: int
    claimed_at: int | None
    tries: int

    @property
    def is_retry(self) -> bool:
        """True if it follows a failed run."""
        return self.failed_id is not None


def in_turn(starts: Iterable[Start], now: int) -> list[Start]:
    """The order in which the supervisor takes them: due starts by priority, then later ones."""
    return sorted(
        starts,
        key=lambda start: (max(start.due_at, now), -start.priority, start.due_at, start.id),
    )


def waits_for(start: Start, starts: Sequence[Start], now: int) -> str:
    """Return what one of the starts that are to come waits for."""
    if start.claimed_at is not None:
        return "systemd"
    if start.due_at > now:
        return "its time"
    if start.exclusive:
        return "all other jobs to end"
    if any(other.exclusive and other.created_at <= start.created_at for other in starts):
        return "an Exclusive job"
    return "its turn"
