"""Reading a snapshot of all jobs: a few queries, whatever the length of the history."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from lunasched.history.run import Result
from lunasched.history.snapshot import JobSnapshot, Snapshot
from lunasched.jobs.model import ExecutionMode, Overlap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lunasched.store.connection import Row
    from lunasched.store.database import Store


def take(store: Store, now: int) -> Snapshot:
    """Return the records at ``now``."""
    running = {row["job"]: row for row in store.execute("count_running")}
    starts = {row["job"]: row for row in store.execute("waiting_jobs", now=now)}
    (notifications,) = store.execute("open_notification_counts")
    totals = store.execute("notification_totals")
    facts = store.jobs.facts()
    names = json.dumps([row["name"] for row in facts])
    recorded = {row["name"]: row for row in store.execute("job_snapshots", jobs=names)}
    return Snapshot(
        jobs=tuple(_job(row, recorded[row["name"]], running, starts) for row in facts),
        elapses=store.execute("count_elapses")[0]["elapses"],
        queue_depth=sum(row["due"] for row in starts.values()),
        notifications_waiting=notifications["waiting"],
        notifications_held=notifications["held"],
        oldest_notification=notifications["oldest"],
        notifications={(row["type"], row["state"]): row["notifications"] for row in totals},
        database_size=store.size(),
    )


def _job(job: Row, row: Row, running: Mapping[str, Row], starts: Mapping[str, Row]) -> JobSnapshot:
    name, result = job["name"], row["result"]
    mine, waiting = running.get(name), starts.get(name)
    return JobSnapshot(
        name=name,
        schedule=job["schedule"],
        timezone=job["timezone"],
        enabled=bool(job["enabled"]),
        deployed_at=job["updated_at"],
        successes=row["successes"],
        failures=row["failures"],
        stopped=row["stopped"],
        skipped=row["skipped"],
        retries=row["retries"],
        missed=row["missed"],
        overrun=row["overrun"],
        took_usec=row["took_usec"],
        cpu_usec=row["cpu_usec"],
        durations=row["durations"],
        running=mine["runs"] if mine else 0,
        running_since=mine["started_at"] if mine else None,
        running_slot=mine["scheduled_at"] if mine else None,
        overlaps=job["execution_mode"] == ExecutionMode.PARALLEL.value
        or job["overlap"] == Overlap.REPLACE.value,
        leeway_usec=int(((job["jitter_seconds"] or 0) + (job["accuracy"] or 0)) * 1_000_000),
        retrying=bool((mine and mine["retries"]) or (waiting and waiting["retries"])),
        last_start=row["last_start"],
        last_success=row["last_success"],
        lateness=row["lateness"],
        last_result=Result(result) if result else None,
        last_exit_code=row["exit_code"],
        last_signal=row["signal"],
        last_memory_peak=row["memory_peak"],
    )
