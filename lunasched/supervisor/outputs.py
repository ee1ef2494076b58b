"""The outputs of runs that are over, added when they do not grow any more.

Output may come after the end of its run: journald reads it from other sockets than the manager's
records, and what a run has left behind goes on writing. An output is whole when it did not grow in
a turn of journald.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lunasched.formats import unittext
from lunasched.jobs import userswitch
from lunasched.paths import Mode
from lunasched.supervisor.leftovers import leftovers
from lunasched.systemd.journal import RunWindow, dropped_note
from lunasched.units import leftover

if TYPE_CHECKING:
    from lunasched.store import EndedRun, Store
    from lunasched.systemd.journal import Journal
    from lunasched.systemd.manager import Manager

# The turns of journald within which output may follow a run whose end is not in the journal.
_READS = 60


class OutputCollector:
    """Takes outputs from the journal into the store."""

    def __init__(
        self,
        mode: Mode,
        store: Store,
        journal: Journal,
        manager: Manager,
        *,
        on_notifications: Callable[[], None],
    ) -> None:
        """``on_notifications`` is called when notifications have got their output."""
        self._on_notifications = on_notifications
        self._mode = mode
        self._store = store
        self._journal = journal
        self._manager = manager
        # The outputs that may still grow: the last record of each, and how often it was read.
        self._drafts: dict[str, tuple[str | None, int]] = {}

    def collect(self) -> bool:
        """Add the outputs that have not grown in a turn of journald; ``True`` if that was all."""
        pending = self._store.runs.without_output()
        if not pending:
            return True
        drafts, self._drafts = self._drafts, {}
        final = []
        windows = [self._window(run) for run in pending]
        outputs = self._journal.outputs(windows)
        for run, window, output in zip(pending, windows, outputs, strict=True):
            last, reads = drafts.get(run.execution_id, (None, 0))
            if reads and (last == output.cursor or reads > _READS):
                text = output.text + self._left_behind(run, window)
                final.append((run.execution_id, text, self._journal.dropped(window)))
            else:
                self._drafts[run.execution_id] = output.cursor, reads + 1
        with self._store.transaction():
            for execution_id, text, dropped in final:
                if dropped.before:
                    note = dropped_note(dropped.before)
                    self._store.runs.add_to_output_before(execution_id, note)
                whole = text + dropped_note(dropped.during) if dropped.during else text
                self._store.runs.set_output(execution_id, whole)
                self._store.outbox.set_output(execution_id, whole)
        if final:
            self._on_notifications()
        return not self._drafts

    def forget_drafts(self) -> None:
        """Begin anew with what was not added."""
        self._drafts.clear()

    def _left_behind(self, run: EndedRun, window: RunWindow) -> str:
        """Return the note about what goes on of a run; empty where nothing does."""
        found = leftovers(self._journal, self._manager, run, window)
        systemctl = "systemctl" if self._mode is Mode.SYSTEM else "systemctl --user"
        return leftover.note(found, systemctl) if found else ""

    def _window(self, run: EndedRun) -> RunWindow:
        job = self._store.jobs.get(unittext.job_name(run.unit) or "")
        names = userswitch.users(job) if job else ()
        return RunWindow.between(
            run.execution_id, run.unit, run.started_at, run.ended_at, run.next_start, names
        )
