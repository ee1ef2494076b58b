"""True if the jobs that others depend on have succeeded, where their services do not say so.

The service of a job that others depend on notes its success itself. What its latest run was when
it became one is in the history, and in systemd's memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lunasched.errors import StoreError
from lunasched.formats import unittext
from lunasched.history.run import Result
from lunasched.jobs.dependencies import keeps_success
from lunasched.units.compiler import CompiledJob

if TYPE_CHECKING:
    from lunasched.state.slotfile import SlotDirectory
    from lunasched.store import Store
    from lunasched.systemd.manager import Invocation, Manager


class SuccessFiles:
    """The files that say so."""

    def __init__(self, store: Store, slots: SlotDirectory, manager: Manager) -> None:
        self._store = store
        self._slots = slots
        self._manager = manager

    def note(self, names: Iterable[str]) -> None:
        """Say of jobs whether their latest run was a success, before their services do."""
        for name in names:
            self._say(name, self._has_succeeded(name))

    def own(self, compiled: Iterable[CompiledJob]) -> None:
        """See to it that the services of jobs can say it, whoever they run as from now on."""
        for item in compiled:
            job = item.job
            if keeps_success(item.service.text) and not self._can_say(job.name):
                self._say(job.name, self._slots.says_success(job.name))

    def forget(self, names: Iterable[str]) -> None:
        """Take it back."""
        for name in names:
            self._slots.forget_success(name)

    def forget_freed(self, compiled: Iterable[CompiledJob]) -> None:
        """Forget those of the jobs that nobody depends on."""
        self.forget(item.job.name for item in compiled if not keeps_success(item.service.text))

    def restore(self, names: Iterable[str]) -> None:
        """Say so of jobs that succeeded and do not say it: their file was lost.

        Only where systemd and the history agree on which run was the latest.
        """
        for name in names:
            if self._slots.says_success(name):
                succeeded = True
            else:
                latest = self._manager.invocation(unittext.service_name(name))
                try:
                    run = self._store.runs.get(latest.execution_id) if latest.ended else None
                except StoreError:
                    # Without the history it stays as it is.
                    continue
                succeeded = run is not None and run.result is Result.SUCCESS
            if succeeded != self._slots.says_success(name) or not self._can_say(name):
                self._say(name, succeeded)

    def _can_say(self, name: str) -> bool:
        return self._slots.can_say_success(name, self._user(name))

    def _say(self, name: str, succeeded: bool) -> None:
        self._slots.set_succeeded(name, succeeded, self._user(name))

    def _user(self, name: str) -> str | None:
        job = self._store.jobs.get(name)
        return None if job is None else job.user

    def forget_all(self, but: Iterable[str]) -> None:
        """Forget whatever job it is, except some."""
        self._slots.forget_successes(but)

    def _has_succeeded(self, name: str) -> bool:
        latest = self._manager.invocation(unittext.service_name(name))
        if not latest.ended:
            return False
        try:
            return self._was_success(name, latest)
        except StoreError:
            # The history cannot be read: a failure is the safe assumption.
            return False

    def _was_success(self, name: str, latest: Invocation) -> bool:
        run = self._store.runs.get(latest.execution_id)
        recorded = run is not None and run.result is not None
        if latest.execution_id and not recorded and latest.result != "exec-condition":
            # The supervisor is a moment behind, or down.
            return latest.result == "success" and not latest.signal
        outcome = self._store.runs.latest_outcome(name)
        return outcome is not None and outcome[0] is Result.SUCCESS
