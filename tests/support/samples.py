"""Jobs that tests put into databases, and statements of their own on these."""

from __future__ import annotations

from typing import Any

from lunasched.jobs.model import Job
from lunasched.jobs.reading import job_from_mapping
from lunasched.store import Store
from lunasched.store.historydatabase import History


def own_history(store: Store) -> History:
    """Return the history of a store that has it in this process, for statements of a test."""
    assert isinstance(store.history, History)
    return store.history


LEAST: dict[str, Any] = {"name": "backup", "schedule": "every 1h", "command": "true"}


def job(**keys: Any) -> Job:
    """Return the job ``backup``, ``true`` every hour, with other keys as a file would have them."""
    return job_from_mapping({**LEAST, **keys})
