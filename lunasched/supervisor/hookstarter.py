"""Starting hooks: units of their own, one at a time for each job and event, in order."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from lunasched.history.run import Result
from lunasched.paths import Mode
from lunasched.supervisor.claims import Claims
from lunasched.supervisor.recorder import result_of

if TYPE_CHECKING:
    from lunasched.errors import LunaschedError
    from lunasched.state.runtimedir import RuntimeDirectory
    from lunasched.store import OpenHook, PendingHook, Store
    from lunasched.supervisor.loop import Loop
    from lunasched.systemd.manager import Manager


class _ClaimedHooks:
    """Those rows of ``hooks`` that systemd was asked for and that have no end on record."""

    def __init__(self, loop: Loop, mode: Mode, store: Store, manager: Manager) -> None:
        self._loop = loop
        self._mode = mode
        self._store = store
        self._manager = manager

    def claimed(self) -> list[OpenHook]:
        return self._store.hooks.open()

    def unclaim(self, row_id: int) -> None:
        self._store.hooks.unclaim(row_id)

    def give_up(self, claim: OpenHook | PendingHook, reason: str) -> None:
        print(f"<4>{claim.unit} could not be started: {reason}", file=sys.stderr)
        self._store.hooks.fail(claim.id, Result.EXEC_ERROR, self._loop.now())

    def has_begun(self, claim: OpenHook) -> bool:
        return claim.hook_execution_id is not None

    def close(self, claim: OpenHook, *, doubted: bool) -> bool:
        """It may have ended after the journal was read, and be unloaded by now."""
        assert claim.hook_execution_id is not None
        held = self._manager.invocation(claim.unit)
        same = held.execution_id == claim.hook_execution_id
        if same and held.result != "success":
            result = result_of(held.result)
        elif same or self._mode is Mode.USER:
            # A user's manager logs failures only.
            result = Result.SUCCESS
        elif doubted:
            result = Result.LOST
        else:
            return False
        self._store.hooks.ended(claim.hook_execution_id, result, held.ended_at if same else None)
        return True


class HookStarter:
    """Carries out the rows of ``hooks``; the recorder notes their starts and ends."""

    def __init__(
        self,
        loop: Loop,
        mode: Mode,
        store: Store,
        manager: Manager,
        runtime: RuntimeDirectory,
        *,
        on_asked: Callable[[], None],
    ) -> None:
        """``on_asked`` is that of ``Claims``."""
        self._loop = loop
        self._store = store
        self._runtime = runtime
        self._table = _ClaimedHooks(loop, mode, store, manager)
        self.claims = Claims(loop, manager, self._table, on_asked=on_asked)

    def start_due(self) -> None:
        """Start the hooks whose turn it is."""
        for hook in self._store.hooks.next():
            if self._store.hooks.claim(hook, self._loop.now()):
                self._start(hook)

    def forget_notification(self, unit: str) -> None:
        """Remove what a command that carried a notification has found."""
        self._runtime.forget_notification(unit)

    def _start(self, hook: PendingHook) -> None:
        try:
            if hook.text is None:
                self._runtime.describe_run(hook.unit, hook.facts)
            else:
                self._runtime.give_notification(hook.unit, hook.facts, hook.text, hook.reader)
        except KeyError:
            self._table.give_up(hook, f"there is no user {hook.reader}")
        except OSError as error:
            self._table.give_up(hook, f"{error.filename}: {error.strerror}")
        else:
            self.claims.ask(hook.id, hook.unit, partial(self._refused, hook))

    def _refused(self, hook: PendingHook, error: LunaschedError) -> None:
        self._table.give_up(hook, str(error))
