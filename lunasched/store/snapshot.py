"""Reading a snapshot of all jobs: a few queries, whatever the length of the history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lunasched.model import Result
from lunasched.snapshot import JobSnapshot, Snapshot
from lunasched.store import space

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from lunasched.store.database import Store


def take(store: Store, now: int) -> Snapshot:
    """What is on record at ``now``."""
    running = {row["job"]: row for row in store.execute("count_running")}
    starts = {row["job"]: row for row in store.execute("waiting_jobs", now=now)}
    (messages,) = store.execute("open_message_counts")
    totals = store.execute("message_totals")
    return Snapshot(
        jobs=tuple(_job(row, running, starts) for row in store.execute("job_snapshots")),
        elapses=store.execute("count_elapses")[0]["elapses"],
        queue_depth=sum(row["due"] for row in starts.values()),
        messages_waiting=messages["waiting"],
        messages_held=messages["held"],
        oldest_message=messages["oldest"],
        messages={(row["type"], row["state"]): row["messages"] for row in totals},
        database_size=space.size(store.path),
    )


def _job(
    row: sqlite3.Row, running: Mapping[str, sqlite3.Row], starts: Mapping[str, sqlite3.Row]
) -> JobSnapshot:
    name, result = row["name"], row["result"]
    mine, waiting = running.get(name), starts.get(name)
    return JobSnapshot(
        name=name,
        schedule=row["schedule"],
        timezone=row["timezone"],
        enabled=bool(row["enabled"]),
        deployed_at=row["updated_at"],
        successes=row["successes"],
        failures=row["failures"],
        stopped=row["stopped"],
        skipped=row["skipped"],
        retries=row["retries"],
        missed=row["missed"],
        took_usec=row["took_usec"],
        cpu_usec=row["cpu_usec"],
        durations=row["durations"],
        running=mine["runs"] if mine else 0,
        retrying=bool((mine and mine["retries"]) or (waiting and waiting["retries"])),
        last_start=row["last_start"],
        last_success=row["last_success"],
        lateness=row["lateness"],
        last_result=Result(result) if result else None,
        last_exit_code=row["exit_code"],
        last_signal=row["signal"],
        last_memory_peak=row["memory_peak"],
    )
