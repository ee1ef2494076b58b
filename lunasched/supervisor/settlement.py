"""Runs that are over: closed if the journal lacks their end, and settled once.

A run ends in the history with its record in the journal. Some ends have none: a user's manager
logs failures only, a power cut leaves no record, and journald may have lost it. These runs are
closed with what systemd still knows.

A run is settled when its result is final: then, and once, its consequences are drawn.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from lunasched.formats import unittext
from lunasched.history.run import Result
from lunasched.jobs import directivelines
from lunasched.paths import Mode
from lunasched.supervisor.announced import AnnouncedRun, AnnouncedRuns
from lunasched.supervisor.recorder import Recorder, result_of
from lunasched.systemd.journal import Event, EventKind

if TYPE_CHECKING:
    from lunasched.history.run import Run
    from lunasched.store import OpenRun, Store, UnsettledRun
    from lunasched.supervisor.consequences import Consequences
    from lunasched.systemd.manager import Invocation, UnitState, UnitTimes


_BATCH = 500


class KnownUnits(Protocol):
    """The part of a service manager that knows the units of runs."""

    def invocation(self, unit: str) -> Invocation:
        """Return what is known of the current or last run of a unit."""

    def state(self, unit: str) -> UnitState | None:
        """Return the state of a unit, if it is loaded."""

    def states(self, pattern: str) -> dict[str, UnitState]:
        """Return the states of the units that match a glob pattern, by name."""

    def main_signal(self, unit: str, execution_id: str) -> int | None:
        """Return the signal that ended the main process of a run, if it is known."""


class Settlement:
    """The ends of runs, as far as the journal does not settle them by itself."""

    def __init__(
        self,
        mode: Mode,
        store: Store,
        units: KnownUnits,
        recorder: Recorder,
        consequences: Consequences,
        *,
        now: Callable[[], int],
        boot_id: Callable[[], str | None],
    ) -> None:
        """``now`` is in µs, UTC; ``boot_id`` is that of the journal."""
        self._mode = mode
        self._store = store
        self._units = units
        self._recorder = recorder
        self._consequences = consequences
        self._now = now
        self._boot_id = boot_id
        self._announced = AnnouncedRuns(store, now())
        # When units changed since everything was last recorded.
        self._changed_at: dict[str, int] = {}

    def unit_changed(self, unit: str, times: UnitTimes) -> None:
        """Note what D-Bus reported of a unit: the history has to account for it."""
        self._changed_at[unit] = self._now()
        self._announced.note(unit, times)

    def end_between(self, unit: str, since: int, until: int) -> int | None:
        """Return when D-Bus reported that a unit ended, in a span of time (µs, UTC)."""
        return self._announced.end_between(unit, since, until)

    def begin_anew(self) -> None:
        """Note that everything that D-Bus reported is recorded, or never will be."""
        self._changed_at.clear()
        self._announced.settle(self._now())

    # Settling

    def settle(self, *, last_word: bool = False) -> list[str]:
        """Draw the consequences of the runs that ended; return their execution IDs.

        A job that others depend on seems to have failed until it is known that it was stopped:
        with ``last_word`` there has been time for that.
        """
        unsettled = self._store.runs.unsettled()
        signals = self._clean_signals(unsettled)
        over = iter(unsettled if last_word else self._clear(unsettled))
        settled = []
        while batch := list(islice(over, _BATCH)):
            with self._store.transaction():
                for run in batch:
                    number = signals.get(run.execution_id)
                    if number is not None:
                        self._store.runs.correct_signal(run.execution_id, number)
                    self._consequences.settled(run.execution_id)
                    self._store.runs.set_settled(run.execution_id)
                    settled.append(run.execution_id)
        return settled

    def _clear(self, unsettled: list[UnsettledRun]) -> Iterator[UnsettledRun]:
        """Return the runs whose result is not that of a stop that is still to be recorded."""
        unclear: set[str] = set()
        for run in unsettled:
            stopped_maybe = run.result in (Result.SIGNAL, Result.EXIT_CODE)
            if stopped_maybe and self._store.jobs.dependent_names(run.job):
                unclear.add(run.job)
            # Later events must not be mistaken for earlier ones.
            if run.job not in unclear:
                yield run

    def _clean_signals(self, unsettled: list[UnsettledRun]) -> dict[str, int | None]:
        """Return the signals that ended runs which systemd calls a success, as far as it knows.

        SIGHUP, SIGINT, SIGTERM and SIGPIPE are clean ends to systemd (``SuccessExitStatus=``),
        with no record of them in the journal; for a job they are not. Of the runs of a unit, it
        knows the last.
        """
        last = {run.unit: run.execution_id for run in unsettled if run.result is Result.SUCCESS}
        return {held: self._units.main_signal(unit, held) for unit, held in last.items()}

    def note_running(self) -> bool:
        """Find the jobs of ``Type=oneshot`` that have begun, which only D-Bus reports.

        Return whether any run is starting.
        """
        starting = [run for run in self._store.runs.open() if run.is_starting]
        for run in starting:
            job = self._store.jobs.get(run.job)
            oneshot = job is not None and directivelines.is_oneshot(job.directives)
            if not oneshot and not self._store.jobs.dependents(run.job):
                continue
            state = self._units.state(run.unit)
            if state is not None and state.sub == "start":
                with self._store.transaction():
                    if self._store.runs.running(run.execution_id):
                        self._consequences.went_ahead(run.execution_id)
        return bool(starting)

    # Closing

    def close_runs_of_earlier_boots(self) -> None:
        """Close as lost what is still open from another boot, once its records have been read."""
        boot_id = self._boot_id()
        self._store.runs.forget_elapses(boot_id or "")
        for run in self._store.runs.open():
            # A run that the manager knows is of this boot, whatever anything else says.
            if run.boot_id != boot_id and (
                self._units.invocation(run.unit).execution_id != run.execution_id
            ):
                self._store.runs.end(run.execution_id, Result.LOST, None)

    def close_successes(self, before: int) -> None:
        """Close the successes that a user's manager does not log, without waiting for silence.

        The journal would have a failure ``before`` this time (µs, UTC) by now.
        """
        if self._mode is Mode.USER:
            over = [run for run in self._behind() if self._changed_before(run.unit, before)]
            self._close(over)

    def _changed_before(self, unit: str, moment: int) -> bool:
        changed_at = self._changed_at.get(unit)
        return changed_at is not None and changed_at < moment

    def missing(self) -> frozenset[str]:
        """Name each event that systemd reported and the journal should have, and history lacks."""
        ends = {run.execution_id for run in self._close(self._behind())}
        begun = {f"{one.unit} {one.began_at}" for one in self._announced.unaccounted()}
        return frozenset(ends | begun)

    def goes_on(self, run: Run) -> bool:
        """Ask the manager if a run is in progress."""
        held = self._units.invocation(run.unit)
        return held.execution_id == run.execution_id and not held.ended

    def give_up(self) -> None:
        """Close runs that the journal will never have, with what systemd still knows."""
        for announced in self._announced.unaccounted():
            self._record(announced)
        self._announced.settle(self._now())
        for run in self._behind():
            print(
                f"<4>run {run.execution_id} of {run.unit} is over and the journal does not say how",
                file=sys.stderr,
            )
            held = self._units.invocation(run.unit)
            if held.execution_id != run.execution_id:
                self._store.runs.end(run.execution_id, Result.LOST, None)
                continue
            if held.result == "exec-condition":
                # A guard refused it: no program of the job ran, and none failed.
                at = (held.ended_at or self._now(), held.ended_since_boot)
                skipped = (EventKind.SKIPPED, run.execution_id, run.unit, *at)
                self._recorder.skip(Event(*skipped, self._boot_id() or ""))
                continue
            self._store.runs.process_ended(
                run.execution_id, exit_code=held.exit_code, signal=held.signal
            )
            result = Result.SUCCESS if held.result == "success" else result_of(held.result)
            self._store.runs.end(run.execution_id, result, held.ended_at, held.ended_since_boot)

    def _behind(self) -> list[OpenRun]:
        """Return the runs that are over for systemd and, so far, not for the journal."""
        states = self._units.states(f"{unittext.JOB_PREFIX}*.service")
        active = {unit for unit, state in states.items() if state.is_active}
        return [run for run in self._store.runs.open() if run.unit not in active]

    def _close(self, runs: list[OpenRun]) -> list[OpenRun]:
        """Close runs whose end the journal will never have; return the others.

        A user's manager logs failures only: a run of its that ended without one was a success,
        which the unit says itself as long as it is loaded.
        """
        left = []
        for run in runs:
            held = self._units.invocation(run.unit)
            same = held.execution_id == run.execution_id
            if self._mode is Mode.SYSTEM or (same and held.result != "success"):
                left.append(run)
            else:
                ended_at = held.ended_at if same else self._changed_at.get(run.unit)
                since_boot = held.ended_since_boot if same else None
                self._store.runs.end(run.execution_id, Result.SUCCESS, ended_at, since_boot)
        return left

    def _record(self, announced: AnnouncedRun) -> None:
        """Give a run a row of which the journal has not even the beginning, if it can be found."""
        held = self._units.invocation(announced.unit)
        if not held.execution_id or held.began_at != announced.began_at:
            print(f"<4>the journal lacks records of a run of {announced.unit}", file=sys.stderr)
            return
        boot_id = self._boot_id() or ""
        began = (announced.began_at, held.began_since_boot)
        self._recorder.begin(
            Event(EventKind.STARTING, held.execution_id, announced.unit, *began, boot_id)
        )
