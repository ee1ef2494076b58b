"""The starts of the supervisor: retries when they are due, and the jobs that wait at the gate.

The gate is a file that every job's unit looks at before it starts (a condition that systemd
evaluates itself; ``RuntimeDirectory``). It is shut while an Exclusive job waits, and always where
the number of running jobs is limited. A start that finds it shut is in the journal, becomes a row
in ``starts``, and is done here, with a pass, when it may be::

    timer ─► unit ─ gate open ─► run
                └── gate shut ─► row in starts ─ its turn ─► pass, StartUnit ─► run

Who comes first: the higher priority, then the one that has waited longer. An Exclusive job waits
until nothing runs; what came to the gate after it waits until it has run, so it cannot starve.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from lunasched.formats.unittext import JOB_PREFIX, LAUNCH_PREFIX, instance_name, launch_name
from lunasched.history.run import Trigger
from lunasched.jobs.model import ExecutionMode
from lunasched.supervisor.claims import Claims
from lunasched.supervisor.loop import Handle, Loop

if TYPE_CHECKING:
    from lunasched.errors import LunaschedError
    from lunasched.state.runtimedir import RuntimeDirectory
    from lunasched.store import Start, Store
    from lunasched.supervisor.consequences import Consequences
    from lunasched.systemd.manager import Manager

_JOBS = f"{JOB_PREFIX}*.service"


class _ClaimedStarts:
    """The rows of ``starts`` that systemd was asked for; they go when their start is on record."""

    def __init__(self, store: Store, consequences: Consequences) -> None:
        self._store = store
        self._consequences = consequences

    def claimed(self) -> list[Start]:
        return [start for start in self._store.starts.all() if start.claimed_at is not None]

    def unclaim(self, row_id: int) -> None:
        self._store.starts.unclaim(row_id)

    def give_up(self, claim: Start, reason: str) -> None:
        print(f"<4>{claim.unit} could not be started: {reason}", file=sys.stderr)
        job = self._store.jobs.get(claim.job)
        with self._store.transaction():
            if self._store.starts.drop(claim) and job is not None:
                self._consequences.dropped(claim, job)

    def has_begun(self, claim: Start) -> bool:
        return False

    def close(self, claim: Start, *, doubted: bool) -> bool:
        return True


class Starter:
    """Carries out the rows of ``starts``."""

    def __init__(
        self,
        loop: Loop,
        store: Store,
        manager: Manager,
        runtime: RuntimeDirectory,
        consequences: Consequences,
        *,
        limit: int,
        on_asked: Callable[[], None],
    ) -> None:
        """``limit`` is ``max_concurrent_jobs`` (0: none); ``on_asked`` is that of ``Claims``."""
        self._loop = loop
        self._store = store
        self._manager = manager
        self._runtime = runtime
        self._limit = limit
        self._timer = Handle()
        self._marked: set[tuple[str, str]] = set()
        self._table = _ClaimedStarts(store, consequences)
        self.claims = Claims(loop, manager, self._table, on_asked=on_asked)

    def start_due(self) -> None:
        """Start what may start now, and plan for starts that are due later."""
        starts = self._store.starts.all()
        claimed = [start for start in starts if start.claimed_at is not None]
        self._forget_begun({(start.job, start.unit) for start in claimed})
        now = self._loop.now()
        waiting = [start for start in starts if start.claimed_at is None]
        self._plan([start.due_at for start in waiting if start.due_at > now])
        due = [start for start in waiting if start.due_at <= now]
        # Until its unit has its directory, an Exclusive run is held apart from others by the gate.
        begins = any(start.exclusive for start in claimed) or self._exclusive_begins()
        shut = self._limit > 0 or begins or any(start.exclusive for start in due)
        if shut and not self._runtime.gate_is_shut() and not self._shut_gate():
            return
        if due:
            alone = begins or self._runtime.exclusive_runs()
            for start in [] if alone else self._choose(due, claimed):
                self._start(start, needs_pass=shut or start.exclusive)
        if not shut and self._runtime.gate_is_shut():
            self._runtime.open_gate()

    def _exclusive_begins(self) -> bool:
        """Tell whether systemd is starting an Exclusive run, which has come through a shut gate."""
        if not self._runtime.gate_is_shut():
            return False
        starting = {run.job for run in self._store.runs.open() if run.is_starting}
        jobs = filter(None, map(self._store.jobs.get, starting))
        return any(job.mode is ExecutionMode.EXCLUSIVE for job in jobs)

    def _choose(self, due: list[Start], claimed: list[Start]) -> list[Start]:
        """Those of the due starts whose turn it is, in their order."""
        busy = self._manager.busy(_JOBS) | {start.unit for start in claimed}
        due = sorted(due, key=lambda start: (-start.priority, start.due_at, start.id))
        exclusive = [start for start in due if start.exclusive]
        barrier = min((start.created_at for start in exclusive), default=None)
        chosen = []
        for start in due:
            if start.exclusive or start.unit in busy or self._has_enough(start, busy):
                continue
            if barrier is not None and start.created_at > barrier:
                continue
            if self._limit and len(busy) >= self._limit:
                break
            chosen.append(start)
            busy.add(start.unit)
        if exclusive and not busy:
            return exclusive[:1]
        return chosen

    def _has_enough(self, start: Start, busy: set[str]) -> bool:
        """Tell whether as many runs of a Parallel job are in progress as there may be."""
        if not start.unit.startswith(LAUNCH_PREFIX):
            return False
        job = self._store.jobs.get(start.job)
        runs = f"{JOB_PREFIX}{instance_name(start.job)}"
        count = sum(unit.startswith((f"{runs}:", f"{runs}.service")) for unit in busy)
        return job is not None and 0 < job.max_concurrent <= count

    def _start(self, start: Start, *, needs_pass: bool) -> None:
        if needs_pass:
            try:
                self._runtime.grant(start.unit)
            except OSError as error:
                _complain(f"{start.unit} cannot be let through the gate", error)
                return
        self._marked.add((start.job, start.unit))
        if not self._store.starts.claim(start, self._loop.now()):
            return
        for_slot = start.trigger in (Trigger.TIMER, Trigger.CATCH_UP)
        self._runtime.mark_start(start.job, for_slot=for_slot)
        self.claims.ask(start.id, start.unit, partial(self._refused, start))

    def _shut_gate(self) -> bool:
        """Tell whether it is shut now; where not, nothing is started, and ordinary jobs go on."""
        try:
            self._runtime.shut_gate()
        except OSError as error:
            _complain("the gate cannot be shut", error)
            return False
        return True

    def _refused(self, start: Start, error: LunaschedError) -> None:
        if ":" in start.unit:
            # The copy of the unit is gone (after a boot, or a long wait): have another one made.
            with self._store.transaction():
                self._store.starts.move(start, launch_name(start.job))
        else:
            self._table.give_up(start, str(error))

    def _forget_begun(self, claimed: set[tuple[str, str]]) -> None:
        """Take back the passes and marks of what has gone ahead, or will not.

        A run that is starting may still be before the slot guard, which reads the mark.
        """
        done = self._marked - claimed
        if done:
            starting = {run.job for run in self._store.runs.open() if run.is_starting}
            done = {(job, unit) for job, unit in done if job not in starting}
        for job, unit in done:
            self._runtime.revoke(unit)
            self._runtime.unmark_start(job)
        self._marked -= done

    def _plan(self, later: list[int]) -> None:
        self._timer.cancel()
        if later:
            self._timer = self._loop.at(min(later), self.start_due)


def _complain(what: str, error: OSError) -> None:
    print(f"<3>{what}: {error.filename}: {error.strerror}", file=sys.stderr)
