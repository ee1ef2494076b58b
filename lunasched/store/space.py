"""Giving what is free in the database's file back to the file system.

SQLite's ``VACUUM`` writes the whole database anew and locks writers out for as long. A database
that was made for it (``auto_vacuum``) gives its free pages back in small steps; one that was not,
because an earlier version made it, is rewritten once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lunasched.store.database import Store


def give_back(store: Store) -> Iterator[None]:
    """Shrink the file, a step at a time: between two steps others may write."""
    if not store.execute("gives_pages_back")[0]["incremental"]:
        store.execute("choose_incremental")
        store.execute("rebuild")
        yield
    while store.execute("free_pages")[0]["free"]:
        store.step_through("give_pages_back")
        yield
    with store.transaction():
        store.execute("optimize")
    yield
    store.execute("fold_log_in")
