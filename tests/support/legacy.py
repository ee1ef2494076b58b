"""Databases as Lunasched 1.x had them, in each of its schema versions."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

VERSIONS = (0, 1, 2, 3)
"""0 is the one before there were versions."""

_TABLES = {
    0: """
        CREATE TABLE jobs (id TEXT PRIMARY KEY, name TEXT NOT NULL, schedule_type TEXT NOT NULL,
            schedule_value TEXT NOT NULL, command TEXT NOT NULL, args TEXT NOT NULL,
            env TEXT NOT NULL, enabled BOOLEAN NOT NULL, owner TEXT NOT NULL DEFAULT 'root');
        CREATE TABLE history (id INTEGER PRIMARY KEY, job_id TEXT NOT NULL,
            run_at DATETIME DEFAULT CURRENT_TIMESTAMP, status TEXT NOT NULL, output TEXT);
        CREATE INDEX idx_history_job_id ON history(job_id);
    """,
    1: """
        CREATE TABLE schema_version (version INTEGER PRIMARY KEY,
            applied_at DATETIME DEFAULT CURRENT_TIMESTAMP);
        INSERT INTO schema_version (version) VALUES (1);
    """,
    2: """
        ALTER TABLE jobs ADD COLUMN retry_policy TEXT DEFAULT '{}';
        ALTER TABLE jobs ADD COLUMN resource_limits TEXT DEFAULT '{}';
        ALTER TABLE jobs ADD COLUMN jitter_seconds INTEGER DEFAULT 0;
        ALTER TABLE jobs ADD COLUMN timezone TEXT;
        ALTER TABLE jobs ADD COLUMN tags TEXT DEFAULT '[]';
        ALTER TABLE jobs ADD COLUMN dependencies TEXT DEFAULT '[]';
        ALTER TABLE jobs ADD COLUMN hooks TEXT DEFAULT '{}';
        ALTER TABLE jobs ADD COLUMN max_concurrent INTEGER DEFAULT 0;
        CREATE TABLE retry_attempts (id INTEGER PRIMARY KEY, job_id TEXT NOT NULL,
            attempt_number INTEGER NOT NULL, run_at DATETIME DEFAULT CURRENT_TIMESTAMP,
            next_retry_at DATETIME, error TEXT,
            FOREIGN KEY (job_id) REFERENCES jobs(id) ON DELETE CASCADE);
        CREATE INDEX idx_retry_attempts_job_id ON retry_attempts(job_id);
        CREATE TABLE job_dependencies (id INTEGER PRIMARY KEY, job_id TEXT NOT NULL,
            depends_on_job_id TEXT NOT NULL,
            FOREIGN KEY (job_id) REFERENCES jobs(id) ON DELETE CASCADE,
            FOREIGN KEY (depends_on_job_id) REFERENCES jobs(id) ON DELETE CASCADE);
        CREATE INDEX idx_job_dependencies_job_id ON job_dependencies(job_id);
        INSERT INTO schema_version (version) VALUES (2);
    """,
    3: """
        ALTER TABLE jobs ADD COLUMN priority TEXT DEFAULT 'Normal';
        ALTER TABLE jobs ADD COLUMN execution_mode TEXT DEFAULT 'Sequential';
        ALTER TABLE jobs ADD COLUMN notification_config TEXT DEFAULT '{}';
        CREATE TABLE execution_windows (id INTEGER PRIMARY KEY, job_id TEXT NOT NULL,
            execution_id TEXT NOT NULL, scheduled_time DATETIME NOT NULL,
            actual_start_time DATETIME NOT NULL, pid INTEGER,
            FOREIGN KEY (job_id) REFERENCES jobs(id) ON DELETE CASCADE);
        CREATE INDEX idx_execution_windows_job_id ON execution_windows(job_id);
        CREATE TABLE notification_log (id INTEGER PRIMARY KEY, job_id TEXT NOT NULL,
            execution_id TEXT NOT NULL, event_type TEXT NOT NULL, channel_type TEXT NOT NULL,
            delivered_at DATETIME DEFAULT CURRENT_TIMESTAMP, status TEXT NOT NULL, error TEXT,
            FOREIGN KEY (job_id) REFERENCES jobs(id) ON DELETE CASCADE);
        INSERT INTO schema_version (version) VALUES (3);
    """,
}

_JOB: Mapping[str, Any] = {
    "schedule_type": "every",
    "schedule_value": "3600",
    "command": "true",
    "args": [],
    "env": {},
    "enabled": 1,
    "owner": "root",
}


def make(
    path: Path,
    version: int = 3,
    *,
    jobs: Iterable[Mapping[str, Any]] = (),
    history: Iterable[tuple[str, str, str, str | None]] = (),
    more: str = "",
    journal: str = "delete",
) -> None:
    """A database of 1.x; of a job what is not the default, of a run all but its number."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        for number in range(version + 1):
            connection.executescript(_TABLES[number])
        for job in jobs:
            row = {"id": job["name"], **_JOB, **job}
            values = [
                json.dumps(value) if isinstance(value, (dict, list)) else value
                for value in row.values()
            ]
            places = ", ".join("?" for _ in row)
            connection.execute(f"INSERT INTO jobs ({', '.join(row)}) VALUES ({places})", values)
        connection.executemany(
            "INSERT INTO history (job_id, run_at, status, output) VALUES (?, ?, ?, ?)", history
        )
        connection.commit()
        connection.executescript(more)
