"""Starting hooks: units of their own, one at a time for each job and event, in order."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from lunasched.errors import LunaschedError, SystemdUnreachable
from lunasched.history.run import Result
from lunasched.paths import Mode
from lunasched.supervisor.recorder import result_of

if TYPE_CHECKING:
    from lunasched.state.runtimedir import RuntimeDirectory
    from lunasched.store import OpenHook, PendingHook, Store
    from lunasched.systemd.manager import Manager

_SETTLED_USEC = 2_000_000
_TRIES = 5


class HookStarter:
    """Carries out the rows of ``hooks``; the recorder notes their starts and ends."""

    def __init__(
        self,
        mode: Mode,
        store: Store,
        manager: Manager,
        runtime: RuntimeDirectory,
        *,
        now: Callable[[], int],
        guard: Callable[[Callable[[], bool]], Callable[..., bool]],
        asked: Callable[[], None],
    ) -> None:
        """``guard`` wraps main-loop callbacks.

        ``asked`` is called when systemd is asked for something, so that the journal is read.
        """
        self._mode = mode
        self._guard = guard
        self._store = store
        self._manager = manager
        self._runtime = runtime
        self._now = now
        self._asked = asked
        # The hooks that systemd did not know of any more when it was last asked.
        self._doubted: set[int] = set()

    def look(self) -> None:
        """Start the hooks whose turn it is."""
        for hook in self._store.hooks.next():
            if self._store.hooks.claim(hook, self._now()):
                self._start(hook)

    def forget_message(self, unit: str) -> None:
        """Remove what a command that carried a message has found."""
        self._runtime.forget_message(unit)

    def doubt(self) -> None:
        """Note what is over for systemd; the journal is read once more before ``reconcile``."""
        self._doubted = {
            hook.id
            for hook in self._store.hooks.open()
            if not self._is_fresh(hook) and not self._manager.is_busy(hook.unit)
        }

    def reconcile(self) -> bool:
        """The journal is silent: find out about the hooks that it does not tell of.

        Returns whether it is too early to tell.
        """
        doubted, self._doubted = self._doubted, set()
        unclear = False
        for hook in self._store.hooks.open():
            if self._is_fresh(hook) or not self._check(hook, doubted=hook.id in doubted):
                unclear = True
        self.look()
        return unclear

    def _is_fresh(self, hook: OpenHook) -> bool:
        # Below 0 the clock has been set back since.
        return 0 <= self._now() - hook.claimed_at < _SETTLED_USEC

    def _start(self, hook: PendingHook) -> None:
        try:
            if hook.text is None:
                self._runtime.describe_run(hook.unit, hook.facts)
            else:
                self._runtime.give_message(hook.unit, hook.facts, hook.text, hook.reader)
        except KeyError:
            self._fail(hook.id, hook.unit, f"there is no user {hook.reader}")
            return
        except OSError as error:
            self._fail(hook.id, hook.unit, f"{error.filename}: {error.strerror}")
            return

        def answered(error: LunaschedError | None) -> None:
            self._guard(partial(self._answered, hook, error))()

        self._manager.start_later(hook.unit, answered)
        self._asked()

    def _answered(self, hook: PendingHook, error: LunaschedError | None) -> bool:
        if isinstance(error, SystemdUnreachable):
            self._store.hooks.unclaim(hook.id)
        elif error is not None:
            self._fail(hook.id, hook.unit, str(error))
        return False

    def _fail(self, hook_id: int, unit: str, reason: str) -> None:
        print(f"<4>{unit} could not be started: {reason}", file=sys.stderr)
        self._store.hooks.fail(hook_id, Result.EXEC_ERROR, self._now())

    def _check(self, hook: OpenHook, *, doubted: bool) -> bool:
        """Settle a hook that is over; ``False`` if the journal is to be read once more before.

        It may have ended after the journal was read, and be unloaded by now.
        """
        if self._manager.is_busy(hook.unit):
            return True
        if hook.hook_execution_id is None:
            if not doubted:
                return False
            if hook.tries < _TRIES:
                self._store.hooks.unclaim(hook.id)
            else:
                self._fail(hook.id, hook.unit, "systemd does not begin it")
            return True
        held = self._manager.invocation(hook.unit)
        same = held.execution_id == hook.hook_execution_id
        if same and held.result != "success":
            result = result_of(held.result)
        elif same or self._mode is Mode.USER:
            # A user's manager logs failures only.
            result = Result.SUCCESS
        elif doubted:
            result = Result.LOST
        else:
            return False
        self._store.hooks.ended(hook.hook_execution_id, result, held.ended_at if same else None)
        return True
