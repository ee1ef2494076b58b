"""The database: jobs as they were asked for, runs as the journal told of them.

SQLite in WAL mode, so that the supervisor records while commands read. The statements are in
``queries.sql``, the schema in ``migrations/``; this is the only importer of ``sqlite3``.
"""

from __future__ import annotations

from lunasched.store.database import Store
from lunasched.store.runs import EndedRun, OpenRun, RunState

__all__ = ["EndedRun", "OpenRun", "RunState", "Store"]
