"""The drop-in that makes all jobs look at the gate: there only while something needs the gate."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from lunasched.formats import unittext
from lunasched.state.unitdir import UnitDirectory
from lunasched.units import compiler

if TYPE_CHECKING:
    from lunasched.store import Store
    from lunasched.systemd.manager import Manager
    from lunasched.units.compiler import Context


class Gate:
    """The drop-in of one mode."""

    def __init__(self, store: Store, manager: Manager, context: Context, limit: int) -> None:
        """``limit`` is ``max_concurrent_jobs`` (0: none)."""
        directory, _, self._name = compiler.GATE_NAME.partition("/")
        self._directory = context.units / directory
        self._files = UnitDirectory(
            self._directory, mark=unittext.OWNERSHIP_MARK, prefix=self._name
        )
        self._store = store
        self._manager = manager
        self._context = context
        self._limit = limit

    def remove_leftovers(self) -> None:
        """Remove what killed processes staged; only for who holds the deploy lock."""
        self._files.remove_leftovers()
        self._remove_directory()

    @property
    def differs(self) -> bool:
        """True if the drop-in is not as the jobs and the limit have it."""
        return self._files.read(self._name) != self._wanted

    def follow(self) -> tuple[str, ...]:
        """Put the drop-in there or take it away, as the jobs and the limit have it.

        Returns its name if that was a change, else nothing. systemd has to read all units again
        for it: a loaded service, as those of started timers are, would not see it otherwise.
        """
        if not self.differs:
            return ()
        wanted = self._wanted
        if wanted is None:
            self._files.remove([self._name])
            self._remove_directory()
        else:
            with self._files.stage({self._name: wanted}) as staged:
                staged.install()
        self._manager.reload()
        return (compiler.GATE_NAME,)

    @property
    def _wanted(self) -> str | None:
        if self._limit or self._store.jobs.any_exclusive():
            return compiler.gate(self._context).text
        return None

    def _remove_directory(self) -> None:
        # Only an empty one: there may be our drop-in, or those of an administrator.
        with suppress(OSError):
            self._directory.rmdir()
