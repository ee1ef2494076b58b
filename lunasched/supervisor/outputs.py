"""The outputs of runs that are over, added when they do not grow any more.

Output may come after the end of its run: journald reads it from other sockets than the manager's
records, and what a run has left behind goes on writing. An output is whole when it did not grow in
a turn of journald.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lunasched.errors import JournalError
from lunasched.formats import unittext
from lunasched.paths import Mode
from lunasched.supervisor.leftovers import leftovers
from lunasched.systemd.journal import CUT_NOTE, UNSURE_NOTE, RunWindow, dropped_note
from lunasched.units import leftover

if TYPE_CHECKING:
    from lunasched.jobs.model import Job
    from lunasched.store import EndedRun, Store
    from lunasched.systemd.journal import Journal
    from lunasched.systemd.manager import Manager

WHOLE_BYTES = 1 << 20
"""The most output of a run that is sent."""

# So much of the end of an output tells where in a text it ends.
_END = 200

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
        on_printed: Callable[[Job, str], None],
        on_notifications: Callable[[], None],
    ) -> None:
        """The callbacks are those for outputs on record.

        ``on_printed`` gets the job and the execution ID of a run that printed something, in the
        transaction of its output; ``on_notifications`` is called when notifications have theirs.
        """
        self._on_printed = on_printed
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
        jobs = [self._store.jobs.get(unittext.job_name(run.unit) or "") for run in pending]
        windows = [_window(run, job) for run, job in zip(pending, jobs, strict=True)]
        outputs = self._journal.outputs(windows)
        for run, job, window, output in zip(pending, jobs, windows, outputs, strict=True):
            last, reads = drafts.get(run.execution_id, (None, 0))
            if reads and (last == output.cursor or reads > _READS):
                text = output.text + self._left_behind(run, window)
                final.append((run.execution_id, job, text, self._journal.dropped(window)))
            else:
                self._drafts[run.execution_id] = output.cursor, reads + 1
        with self._store.transaction():
            for execution_id, job, text, dropped in final:
                if dropped.before:
                    note = dropped_note(dropped.before)
                    self._store.runs.add_to_output_before(execution_id, note)
                whole = text + dropped_note(dropped.during) if dropped.during else text
                self._store.runs.set_output(execution_id, whole)
                self._store.outbox.set_output(execution_id, whole)
                if whole and job is not None:
                    self._on_printed(job, execution_id)
        if final:
            self._on_notifications()
        return not self._drafts

    def whole(self, execution_id: str) -> Callable[[str], str]:
        """Return what makes the whole output of a run of what is on record; for any thread."""
        run = self._store.runs.get(execution_id)
        if run is None:
            return lambda kept: kept
        job = self._store.jobs.get(run.job)
        window = RunWindow.between(
            run.execution_id,
            run.unit,
            run.started_at,
            run.ended_at,
            self._store.runs.next_start(execution_id),
            job,
        )
        return lambda kept: _whole(self._journal, window, kept)

    def forget_drafts(self) -> None:
        """Begin anew with what was not added."""
        self._drafts.clear()

    def _left_behind(self, run: EndedRun, window: RunWindow) -> str:
        """Return the note about what goes on of a run; empty where nothing does."""
        found = leftovers(self._journal, self._manager, run, window)
        systemctl = "systemctl" if self._mode is Mode.SYSTEM else "systemctl --user"
        return leftover.note(found, systemctl) if found else ""


def _window(run: EndedRun, job: Job | None) -> RunWindow:
    return RunWindow.between(
        run.execution_id, run.unit, run.started_at, run.ended_at, run.next_start, job
    )


def _whole(journal: Journal, window: RunWindow, kept: str) -> str:
    """Return all that a run printed, as far as the journal has it, at most ``WHOLE_BYTES``.

    ``kept`` is what is on record of it: the end alone where there was more, and our notes.
    """
    if CUT_NOTE not in kept[: len(UNSURE_NOTE) + len(CUT_NOTE)]:
        return kept
    try:
        (found,) = journal.outputs([window], WHOLE_BYTES)
    except JournalError:
        return kept
    if len(found.text) <= len(kept):
        return kept
    _, end, notes = kept.rpartition(found.text[-_END:])
    return found.text + notes if end else found.text
