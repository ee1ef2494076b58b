"""Both databases of a mode as one: jobs as they were asked for, and their history."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lunasched.paths import Mode, history_path
from lunasched.store.connection import Row, closed_if_it_raises
from lunasched.store.definitions import Definitions, DefinitionsReader
from lunasched.store.historydatabase import History, HistoryAccess
from lunasched.store.runtable import RunTable
from lunasched.store.starttable import StartTable

if TYPE_CHECKING:
    from lunasched.history.snapshot import Snapshot
    from lunasched.store.hooktable import HookTable
    from lunasched.store.legacy import MigrationReport
    from lunasched.store.outbox import OutboxTable
    from lunasched.store.slottable import SlotTable


class Store:
    """The definitions and the history. Not to be shared between threads.

    Each has transactions of its own: ``changing_jobs`` and ``transaction``.
    """

    def __init__(
        self, definitions: Definitions | DefinitionsReader, history: HistoryAccess
    ) -> None:
        self._definitions = definitions
        self.history = history
        self.path = definitions.path
        """The file of the definitions."""
        self.migration: MigrationReport | None = None
        """The report on a database of Lunasched 1.x, if opening has taken one over."""
        self.jobs = definitions.jobs
        self.runs = RunTable(self.execute)
        self.starts = StartTable(self.execute)

    # What a command that only lists does not need is loaded by those that do.

    @cached_property
    def hooks(self) -> HookTable:
        """The runs of hooks."""
        from lunasched.store.hooktable import HookTable

        return HookTable(self.execute)

    @cached_property
    def outbox(self) -> OutboxTable:
        """The messages."""
        from lunasched.store.outbox import OutboxTable

        return OutboxTable(self.execute)

    @cached_property
    def slots(self) -> SlotTable:
        """The slots that passed without a run."""
        from lunasched.store.slottable import SlotTable

        return SlotTable(self.execute)

    @classmethod
    def open(cls, path: Path, *, durable: bool = True, mode: Mode = Mode.SYSTEM) -> Store:
        """Open the definitions at ``path``, and their history, for one user who owns both.

        Files and directories are made if need be, and a database of lunasched 2.0 or 1.x is taken
        over; jobs of 1.x have users only in system mode. Without ``durable``, a power cut may take
        back, whole, the transactions since the last ``sync``. Raises ``StoreError``, or
        ``PermissionDenied`` where the caller may not.
        """
        from lunasched.store import separation

        history = history_path(path)
        taken = separation.begin((path, path.with_name(separation.OLD_NAME)), history, mode)
        definitions = Definitions.open(path, durable=durable)
        with closed_if_it_raises(definitions):
            if taken is not None:
                definitions.take(taken.jobs)
                separation.drop_old_jobs(history)
            store = cls(definitions, History.open(history, durable=durable))
        store.migration = taken.report if taken else None
        return store

    @classmethod
    def open_for_supervisor(cls, path: Path, *, settle: Callable[[], None] | None = None) -> Store:
        """Open the history of root's definitions, and these to be read.

        ``settle`` has somebody take back what a killed command began. Raises ``StoreError``.
        """
        definitions = DefinitionsReader(path, settle=settle)
        with closed_if_it_raises(definitions):
            return cls(definitions, History.open(history_path(path), durable=False))

    @classmethod
    def open_as_it_is(cls, path: Path, history: HistoryAccess | None = None) -> Store:
        """Open both to look at them, and leave no trace; ``history`` is another's."""
        found = history or History.open_as_it_is(history_path(path))
        return cls(DefinitionsReader(path), found)

    @classmethod
    def open_to_read(cls, path: Path) -> Store:
        """Open both, which are there and up to date, to look at one state of each.

        What others write after the first look is not seen. Raises ``StoreError``.
        """
        definitions = DefinitionsReader(path)
        with closed_if_it_raises(definitions):
            definitions.freeze()
            return cls(definitions, History.open_to_read(history_path(path)))

    @classmethod
    def in_memory(cls) -> Store:
        """Empty databases that nobody else sees."""
        return cls(Definitions.in_memory(), History.in_memory())

    def sync(self) -> None:
        """Have what was recorded outlive a power cut; ``StoreError`` where it cannot."""
        # Another process, where there is one between, writes durably by itself.
        if isinstance(self.history, History):
            self.history.sync()

    def close(self) -> None:
        """Close both; the last to close a history folds its write-ahead log in."""
        self._definitions.close()
        self.history.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def changing_jobs(self) -> Iterator[None]:
        """Change jobs: all or nothing, and alone."""
        with self._definitions.transaction():
            yield

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Change the history: all or nothing, and alone."""
        with self.history.transaction():
            yield

    def execute(self, query: str, **parameters: Any) -> list[Row]:
        """The rows of the query of this name in ``history.sql``."""
        return self.history.execute(query, **parameters)

    def step_through(self, query: str) -> None:
        """Run a script of ``history.sql``, each statement to its last step."""
        self.history.step_through(query)

    def forget_job(self, name: str) -> None:
        """Drop what is still to be done of a job that is gone; its runs stay.

        Pending notifications about it are still sent.
        """
        self.starts.drop_job(name)
        self.hooks.drop_job(name)
        self.outbox.set_outage(name, None)

    def with_something_to_do(self) -> list[str]:
        """The names of which something is still to be done; there may be no such job any more."""
        return [row["job"] for row in self.execute("jobs_with_something_to_do")]

    def size(self) -> int:
        """The bytes that the history has on the disk."""
        return self.history.size()

    def cursor(self) -> str | None:
        """The journal cursor of the last record that was taken in."""
        rows = self.execute("cursor")
        return rows[0]["cursor"] if rows else None

    def set_cursor(self, cursor: str) -> None:
        """Remember how far the journal was read; belongs in the transaction of its rows."""
        self.execute("set_cursor", cursor=cursor)

    def snapshot(self, now: int) -> Snapshot:
        """Return the records of all jobs."""
        from lunasched.store import snapshotquery

        return snapshotquery.take(self, now)
