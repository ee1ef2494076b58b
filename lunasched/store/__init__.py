"""Two databases: jobs as they were requested, and runs as the journal recorded them.

In system mode the definitions are root's, and what is compiled comes from them alone; the history
is the supervisor's. The statements are in ``definitions.sql`` and ``history.sql``, the tables in
``schema/``; this is the only importer of ``sqlite3``.

A name is loaded when it is first used: a command that lists jobs needs a fraction of all this.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lunasched.history.pendingstarts import Start
    from lunasched.store.connection import DEFINITIONS, HISTORY
    from lunasched.store.database import Store
    from lunasched.store.definitions import Definitions, DefinitionsReader, check_directory
    from lunasched.store.historydatabase import is_recorded, supervisor_lock
    from lunasched.store.hooktable import OpenHook, PendingHook
    from lunasched.store.inspection import Inspection, inspect
    from lunasched.store.outbox import (
        COMMANDS,
        EndedCommand,
        NotificationState,
        OutboxEntry,
        Outgoing,
    )
    from lunasched.store.pruning import Pruning
    from lunasched.store.remote import RemoteHistory
    from lunasched.store.repair import Repair
    from lunasched.store.runtable import EndedRun, OpenRun, RunState, UnsettledRun
    from lunasched.store.slottable import MissedTotal

_HOMES = {
    "lunasched.history.pendingstarts": ("Start",),
    "lunasched.store.connection": ("DEFINITIONS", "HISTORY"),
    "lunasched.store.database": ("Store",),
    "lunasched.store.definitions": ("Definitions", "DefinitionsReader", "check_directory"),
    "lunasched.store.historydatabase": ("is_recorded", "supervisor_lock"),
    "lunasched.store.hooktable": ("OpenHook", "PendingHook"),
    "lunasched.store.inspection": ("Inspection", "inspect"),
    "lunasched.store.outbox": (
        "COMMANDS", "EndedCommand", "NotificationState", "OutboxEntry", "Outgoing",
    ),
    "lunasched.store.pruning": ("Pruning",),
    "lunasched.store.remote": ("RemoteHistory",),
    "lunasched.store.repair": ("Repair",),
    "lunasched.store.runtable": ("EndedRun", "OpenRun", "RunState", "UnsettledRun"),
    "lunasched.store.slottable": ("MissedTotal",),
}  # fmt: skip

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
    "supervisor_lock",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
