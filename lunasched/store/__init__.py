"""The database: jobs as they were asked for, runs as the journal told of them.

SQLite in WAL mode, so that the supervisor records while commands read. The statements are in
``queries.sql``, the schema in ``migrations/``; this is the only importer of ``sqlite3``.
"""

from __future__ import annotations

from lunasched.starts import Start
from lunasched.store.database import Store
from lunasched.store.hooks import OpenHook, PendingHook
from lunasched.store.inspection import Inspection, inspect
from lunasched.store.outbox import COMMANDS, EndedCommand, Entry, MessageState, Outgoing
from lunasched.store.pruning import Pruning
from lunasched.store.runs import EndedRun, OpenRun, RunState, UnsettledRun
from lunasched.store.slots import MissedTotal

__all__ = [
    "COMMANDS",
    "EndedCommand",
    "EndedRun",
    "Entry",
    "Inspection",
    "MessageState",
    "MissedTotal",
    "OpenHook",
    "OpenRun",
    "Outgoing",
    "PendingHook",
    "Pruning",
    "RunState",
    "Start",
    "Store",
    "UnsettledRun",
    "inspect",
]
