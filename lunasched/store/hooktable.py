"""The table of hooks: which ran for which run, and how that ended."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from lunasched.dataclass import dataclass
from lunasched.history.run import HookRun, Result
from lunasched.jobs.model import HookEvent
from lunasched.store.connection import Execute


@dataclass(frozen=True, slots=True)
class PendingHook:
    """A hook that is to be started; ``facts`` are the variables it finds.

    A command that carries a notification has a ``text`` on its standard input, which
    like the facts is for one user alone, the ``reader``.
    """

    id: int
    unit: str
    facts: dict[str, str]
    tries: int
    text: str | None = None
    reader: str | None = None


@dataclass(frozen=True, slots=True)
class OpenHook:
    """A hook that was asked for and has no end on record; without an ID, no start either."""

    id: int
    unit: str
    claimed_at: int
    hook_execution_id: str | None
    tries: int


class HookTable:
    """Hooks, one of each event for each run."""

    def __init__(self, execute: Execute) -> None:
        self._execute = execute

    def put(
        self,
        execution_id: str,
        event: HookEvent | str,
        job: str,
        unit: str,
        facts: Mapping[str, str],
        now: int,
        *,
        text: str | None = None,
        reader: str | None = None,
    ) -> None:
        """Have a hook run for a run; once, however often this is called.

        For a command, ``execution_id`` is the key of its notification.
        """
        self._execute(
            "put_hook",
            execution_id=execution_id,
            event=event.value if isinstance(event, HookEvent) else event,
            job=job,
            unit=unit,
            facts=json.dumps(facts),
            text=text,
            reader=reader,
            created_at=now,
        )

    def next(self) -> list[PendingHook]:
        """The hooks to start: of each unit the oldest, if none of it is under way."""
        return [
            PendingHook(
                row["id"],
                row["unit"],
                json.loads(row["facts"]),
                row["tries"],
                row["text"],
                row["reader"],
            )
            for row in self._execute("next_hooks")
        ]

    def claim(self, hook: PendingHook, now: int) -> bool:
        """Take the hook upon oneself; ``False`` if it is gone or claimed already."""
        return bool(self._execute("claim_hook", id=hook.id, now=now))

    def unclaim(self, hook_id: int) -> None:
        """Give the hook back: systemd did not start it."""
        self._execute("unclaim_hook", id=hook_id)

    def started(self, unit: str, hook_execution_id: str) -> None:
        """Record the start of a hook's unit, for the run whose hook was claimed."""
        self._execute("hook_started", unit=unit, hook_execution_id=hook_execution_id)

    def spawn_failed(self, hook_execution_id: str, exit_code: int | None) -> None:
        """Record that a hook could not be executed."""
        self._execute("hook_spawn_failed", hook_execution_id=hook_execution_id, exit_code=exit_code)

    def process_ended(
        self, hook_execution_id: str, *, exit_code: int | None, signal: int | None
    ) -> None:
        """Record how a hook's process ended."""
        self._execute(
            "hook_process_ended",
            hook_execution_id=hook_execution_id,
            exit_code=exit_code,
            signal=signal,
        )

    def ended(self, hook_execution_id: str, result: Result, ended_at: int | None) -> None:
        """Close a hook."""
        self._execute(
            "hook_ended",
            hook_execution_id=hook_execution_id,
            result=result.value,
            ended_at=ended_at,
        )

    def fail(self, hook_id: int, result: Result, now: int) -> None:
        """Close a hook that nothing more will be heard of."""
        self._execute("fail_hook", id=hook_id, result=result.value, now=now)

    def open(self) -> list[OpenHook]:
        """The hooks that were claimed and have no end."""
        return [
            OpenHook(
                row["id"], row["unit"], row["claimed_at"], row["hook_execution_id"], row["tries"]
            )
            for row in self._execute("open_hooks")
        ]

    def of(self, runs: Iterable[str]) -> dict[str, list[HookRun]]:
        """The hooks of runs, by their execution IDs, in their order."""
        found: dict[str, list[HookRun]] = {}
        for row in self._execute("hooks_of_runs", runs=json.dumps(list(runs))):
            found.setdefault(row["execution_id"], []).append(
                HookRun(
                    HookEvent(row["event"]),
                    row["hook_execution_id"],
                    Result(row["result"]) if row["result"] else None,
                    row["exit_code"],
                    row["signal"],
                )
            )
        return found

    def drop_job(self, job: str) -> None:
        """Forget the hooks of a removed job that have not begun."""
        self._execute("drop_hooks_of_job", job=job)
