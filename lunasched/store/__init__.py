"""Two databases: jobs as they were requested, and runs as the journal recorded them.

In system mode the definitions are root's, and what is compiled comes from them alone; the history
is the supervisor's. The statements are in ``definitions.sql`` and ``history.sql``, the tables in
``schema/``; this is the only importer of ``sqlite3``.
"""

from __future__ import annotations

from lunasched.history.starts import Start
from lunasched.store.connection import DEFINITIONS, HISTORY
from lunasched.store.database import Store
from lunasched.store.definitions import Definitions, DefinitionsReader, check_directory
from lunasched.store.history import is_recorded, supervisor_lock
from lunasched.store.hooks import OpenHook, PendingHook
from lunasched.store.inspection import Inspection, inspect
from lunasched.store.outbox import COMMANDS, EndedCommand, NotificationState, OutboxEntry, Outgoing
from lunasched.store.pruning import Pruning
from lunasched.store.remote import RemoteHistory
from lunasched.store.repair import Repair, repair
from lunasched.store.runs import EndedRun, OpenRun, RunState, UnsettledRun
from lunasched.store.slots import MissedTotal

__all__ = [
    "COMMANDS",
    "DEFINITIONS",
    "HISTORY",
    "Definitions",
    "DefinitionsReader",
    "EndedCommand",
    "EndedRun",
    "Inspection",
    "MissedTotal",
    "NotificationState",
    "OpenHook",
    "OpenRun",
    "OutboxEntry",
    "Outgoing",
    "PendingHook",
    "Pruning",
    "RemoteHistory",
    "Repair",
    "RunState",
    "Start",
    "Store",
    "UnsettledRun",
    "check_directory",
    "inspect",
    "is_recorded",
    "repair",
    "supervisor_lock",
]
