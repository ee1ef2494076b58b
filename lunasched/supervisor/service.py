"""How the supervisor waits and wakes.

It sleeps on D-Bus until a unit of ours changes state; then it reads the journal and follows it
until everything that D-Bus told of is accounted for, however late journald is, and it has been
quiet for two seconds. In between, nothing that other programs write to the journal wakes it, and no
timer of its own does.

The signals are only a reason to look. What is recorded comes from the journal, from the cursor
on that is stored with the rows: what was missed is read later, what is read again changes nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack

from gi.repository import GLib

from lunasched.errors import LunaschedError
from lunasched.files.settings import Settings
from lunasched.formats import unittext
from lunasched.history.run import Result, Run
from lunasched.history.timerstate import Timers
from lunasched.jobs import directives, userswitch
from lunasched.paths import Mode
from lunasched.state.deploylock import DeployLock
from lunasched.state.runtimedir import RuntimeDirectory
from lunasched.state.slotfile import SlotDirectory
from lunasched.store import EndedRun, OpenRun, Store, UnsettledRun
from lunasched.supervisor.clock import Clock
from lunasched.supervisor.consequences import Consequences
from lunasched.supervisor.elapses import Elapses
from lunasched.supervisor.follow import Follow
from lunasched.supervisor.hooks import HookStarter
from lunasched.supervisor.intervals import Intervals
from lunasched.supervisor.lag import Lag
from lunasched.supervisor.leftovers import leftovers
from lunasched.supervisor.messages import Origin
from lunasched.supervisor.missed import SlotChecker
from lunasched.supervisor.notifier import Notifier
from lunasched.supervisor.overruns import OverrunWatch
from lunasched.supervisor.pageserver import Pages
from lunasched.supervisor.pruner import Pruner
from lunasched.supervisor.recorder import Recorder, result_of
from lunasched.supervisor.slotlists import SlotLists
from lunasched.supervisor.starter import Starter
from lunasched.supervisor.textfile import TextFile
from lunasched.supervisor.told import Told, ToldRun
from lunasched.supervisor.unfinished import KilledChanges
from lunasched.supervisor.zones import Zones
from lunasched.systemd.journal import Event, EventKind, Journal, RunWindow, Tail, dropped_note
from lunasched.systemd.manager import Manager, UnitTimes, unit_path
from lunasched.systemd.notify import notify
from lunasched.units import leftover
from lunasched.web.metrics import Metrics, Supervision

# The journal may be read as late as this and still meet what was kept for its runs.
_FORGET_USEC = 30 * 86400 * 1_000_000
# So many turns of journald the output of a run may grow after its end, where it has no end itself.
_READS = 60
# How long a stop waits for messages that are being sent.
_LAST_SENDS_S = 3

_JOBS = unit_path("")
_OUR_PREFIXES = (unittext.JOB_PREFIX, unittext.HOOK_PREFIX, unittext.LAUNCH_PREFIX)
_OUR_LABELS = tuple(map(unittext.bus_label, _OUR_PREFIXES))
_SERVICE_LABEL = unittext.bus_label(".service")


class Supervisor:
    """The main loop around one store, one journal and one manager."""

    def __init__(
        self,
        *,
        mode: Mode,
        store: Store,
        journal: Journal,
        manager: Manager,
        host_timezone: str,
        slots: SlotDirectory,
        deploy_lock: DeployLock,
        runtime: RuntimeDirectory,
        settings: Settings,
        now: Callable[[], int],
    ) -> None:
        self._mode = mode
        self._store = store
        self._journal = journal
        self._manager = manager
        self._runtime = runtime
        origin = Origin(os.uname().nodename, host_timezone, mode)
        self._consequences = Consequences(store, origin, now)
        self._hooks = HookStarter(
            mode, store, manager, runtime, now=now, guard=self.guard, asked=self._wake
        )
        self._notifier = Notifier(
            store,
            self._hooks,
            origin,
            settings=settings,
            now=now,
            guard=self.guard,
            tried=lambda: self._textfile.changed(),
        )
        self._starter = Starter(
            store,
            manager,
            runtime,
            self._consequences,
            limit=settings.max_concurrent_jobs,
            now=now,
            guard=self.guard,
            asked=self._wake,
        )
        self._clock = Clock(
            store,
            manager,
            now,
            self.guard,
            host_timezone=host_timezone,
            stepped=self._stepped,
        )
        self._zones = Zones(slots, manager, self.guard)
        self._lists = SlotLists(slots, now, self._zones.request_sync)
        self._elapses = Elapses(store, manager)
        self._recorder = Recorder(
            store,
            host_timezone,
            self._consequences,
            self._elapses,
            now=now,
            begun=self._lists.begun,
            waits=journal.waits,
        )
        self._killed = KilledChanges(deploy_lock, self._zones.bring_up_to_date, self.guard)
        self._overruns = OverrunWatch(
            store,
            self._consequences,
            host_timezone,
            now=now,
            guard=self.guard,
            goes_on=self._goes_on,
            told=self._notifier.look,
        )
        self._checker = SlotChecker(
            store,
            self._consequences,
            host_timezone,
            now,
            self.guard,
            told=self._notifier.look,
            looked=self._overruns.look,
        )
        self._pruner = Pruner(
            store, settings.retention, now, self.guard, needs_runs=lambda: self._checker.is_busy
        )
        self._intervals = Intervals(store, manager, now, self.guard, act=self._starter.look)
        self._pages = Pages(
            settings.web,
            mode=mode,
            database=store.path,
            host_timezone=host_timezone,
            metrics=lambda store: self._metrics.render(store, now()),
            timers=self._timers,
            now=now,
            guard=self.guard,
        )
        self._started_at = now()
        self._lag = Lag()
        self._metrics = Metrics(
            host_timezone,
            self._supervision,
            duration_ms=settings.metrics.duration_ms,
            timers=self._timers,
        )
        self._textfile = TextFile(
            settings.metrics.textfile,
            metrics=self._metrics,
            database=store.path,
            now=now,
            guard=self.guard,
        )
        self._now = now
        self._loop = GLib.MainLoop()
        self._is_running = True
        self._is_over = False
        self._error: BaseException | None = None
        self._follow: Follow | None = None
        self._told = Told(store, self._started_at)
        # The outputs that may still grow: the last record of each, and how often it was read.
        self._drafts: dict[str, tuple[str | None, int]] = {}
        # When the units that changed during this follow last did so.
        self._changed_at: dict[str, int] = {}

    def run(self) -> int:
        """Record until stopped; 1 if the bus went away, for systemd to start us again."""
        self._manager.on_closed(self._bus_lost)
        # Subscribed before the first read: no change can fall between the two.
        self._manager.subscribe(self._unit_changed)
        self._elapses.watch(self._journal.boot_id() or "")
        self._manager.on_nudge(self._nudged)
        self._runtime.clear()
        self._store.runs.forget(before=self._now() - _FORGET_USEC)
        self._consequences.forget_gone()
        self._close_runs_of_earlier_boots()
        self._intervals.watch()
        # A new zone is a new start: systemd starts us again, with nothing of the old one left.
        # What was taken over from Lunasched 1.x has no units yet.
        self._zones.watch(self._quit, outdated=self._store.migration is not None)
        self._lists.look(self._store.jobs.names())
        self._killed.watch()
        self._clock.watch()
        self._checker.woke()
        self._overruns.look_at_all()
        # Before anybody takes us for ready: where there is a limit, the gate is shut from now on.
        self._starter.look()
        self._notifier.begin()
        self._wake()
        notify("READY=1")
        # What was waited for until here has had a main loop, too, which may have ended us.
        if not self._is_over:
            self._loop.run()
        self._pages.close()
        if self._follow is not None:
            self._follow.close()
        notify("STOPPING=1")
        self._is_running = False
        self._notifier.finish(_LAST_SENDS_S)
        self._textfile.close()
        if self._error is not None:
            raise self._error
        return 0

    def _timers(self) -> Timers:
        """Ask the manager for the timers of jobs, from any thread."""
        try:
            return Timers(self._manager.timers())
        except LunaschedError:
            return Timers()

    def _supervision(self) -> Supervision:
        return Supervision(self._is_running, self._started_at, self._lag.usec)

    def stop(self) -> bool:
        """End ``run``. What has not been read stays in the journal for the next start."""
        self._quit()
        return True

    def _quit(self) -> None:
        self._is_over = True
        self._loop.quit()

    def _fail(self, error: BaseException) -> None:
        self._error = error
        self._quit()

    def _bus_lost(self) -> None:
        from lunasched.errors import SystemdUnreachable

        self._fail(SystemdUnreachable("the connection to the bus was lost"))

    def _unit_changed(self, path: str, times: Callable[[], UnitTimes]) -> None:
        label = path.removeprefix(_JOBS)
        if label.startswith(_OUR_LABELS) and label.endswith(_SERVICE_LABEL):
            self._changed_at[path] = self._now()
            self._told.tell(unittext.unit_of_label(label), times())
            self._lag.noticed()
            self._wake()

    def _stepped(self) -> None:
        """The clock was set, or the machine resumed."""
        self._starter.look()
        self._checker.woke()
        self._overruns.look_at_all()
        self._notifier.clock_stepped()

    def _nudged(self) -> None:
        self.guard(self._jobs_may_be_gone)()

    def _jobs_may_be_gone(self) -> bool:
        self._consequences.forget_gone()
        return self._act()

    def _act(self) -> bool:
        """Start what is to be started."""
        self._hooks.look()
        self._starter.look()
        self._overruns.look_at_starts()
        self._notifier.look()
        return True

    def _wake(self) -> None:
        if self._follow is None:
            self._follow = Follow(self)
            self._pages.look()
        self._follow.poke()

    def _close_runs_of_earlier_boots(self) -> None:
        """What is still open from another boot after its records were read was lost with it."""
        with self._journal.tail(self._store.cursor()) as tail:
            self._recorder.take(tail.drain())
        boot_id = self._journal.boot_id()
        self._store.runs.forget_elapses(boot_id or "")
        for run in self._store.runs.open():
            # A run that the manager knows is of this boot, whatever anything else says.
            if run.boot_id != boot_id and (
                self._manager.invocation(run.unit).execution_id != run.execution_id
            ):
                self._store.runs.end(run.execution_id, Result.LOST, None)

    # What a follow calls back

    def take(self, tail: Tail) -> int:
        """Record what has been written, and act on it; how many events there were."""
        events = self._recorder.take(tail.drain())
        if events:
            self._lag.recorded()
            self.conclude()
            self._checker.recorded()
            self._lists.look()
            self._pruner.recorded(events)
            self._textfile.changed()
        return events

    def conclude(self, *, last_word: bool = False) -> None:
        """Draw the consequences of the runs that ended, and act on them.

        A job that others depend on seems to have failed until it is known that it was stopped:
        with ``last_word`` there has been time for that.
        """
        unclear: set[str] = set()
        for run in self._store.runs.unsettled():
            stopped_maybe = run.result in (Result.SIGNAL, Result.EXIT_CODE)
            if not last_word and stopped_maybe and self._store.jobs.dependent_names(run.job):
                unclear.add(run.job)
            if run.job in unclear:
                # What came after it is not to be taken for what came before.
                continue
            number = self._clean_signal(run)
            with self._store.transaction():
                if number is not None:
                    self._store.runs.correct_signal(run.execution_id, number)
                self._consequences.settled(run.execution_id)
                self._store.runs.set_settled(run.execution_id)
            self._overruns.ended(run.execution_id)
        self._act()

    def complete(self) -> bool:
        """Add the outputs that have not grown in a turn of journald; whether that was all."""
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
            self._notifier.look()
        return not self._drafts

    def _left_behind(self, run: EndedRun, window: RunWindow) -> str:
        """The note about what goes on of a run; empty where nothing does."""
        found = leftovers(self._journal, self._manager, run, window)
        systemctl = "systemctl" if self._mode is Mode.SYSTEM else "systemctl --user"
        return leftover.note(found, systemctl) if found else ""

    def _window(self, run: EndedRun) -> RunWindow:
        job = self._store.jobs.get(unittext.job_name(run.unit) or "")
        names = userswitch.users(job) if job else ()
        return RunWindow.between(
            run.execution_id, run.unit, run.started_at, run.ended_at, run.next_start, names
        )

    def notice_successes(self, before: int) -> None:
        """Close the successes that a user's manager keeps to itself, without waiting for silence.

        Of a failure ``before`` this time, the journal would have told by now.
        """
        if self._mode is Mode.USER:
            over = [run for run in self.behind() if self._changed_before(run.unit, before)]
            self.settle(over)

    def _changed_before(self, unit: str, moment: int) -> bool:
        changed_at = self._changed_at.get(unit_path(unit))
        return changed_at is not None and changed_at < moment

    def notice_running(self) -> None:
        """Find the jobs of ``Type=oneshot`` that have begun: of those, only D-Bus tells."""
        starting = [run for run in self._store.runs.open() if run.is_starting]
        for run in starting:
            job = self._store.jobs.get(run.job)
            oneshot = job is not None and directives.is_oneshot(job.directives)
            if not oneshot and not self._store.jobs.dependents(run.job):
                continue
            state = self._manager.state(run.unit)
            if state is not None and state.sub == "start":
                with self._store.transaction():
                    if self._store.runs.running(run.execution_id):
                        self._consequences.went_ahead(run.execution_id)
        if starting:
            self._act()

    def _clean_signal(self, run: UnsettledRun) -> int | None:
        """The signal that ended a run which systemd calls a success, if it still knows.

        SIGHUP, SIGINT, SIGTERM and SIGPIPE are clean ends to systemd (``SuccessExitStatus=``),
        with no record of them in the journal; for a job they are not.
        """
        if run.result is not Result.SUCCESS:
            return None
        return self._manager.main_signal(run.unit, run.execution_id)

    def _goes_on(self, run: Run) -> bool:
        """Ask the manager if a run is in progress."""
        held = self._manager.invocation(run.unit)
        return held.execution_id == run.execution_id and held.active not in ("inactive", "failed")

    def behind(self) -> list[OpenRun]:
        """Runs that are over for systemd and, so far, not for the journal."""
        states = self._manager.states(f"{unittext.JOB_PREFIX}*.service")
        active = {unit for unit, state in states.items() if state.is_active}
        return [run for run in self._store.runs.open() if run.unit not in active]

    def settle(self, runs: list[OpenRun]) -> bool:
        """Close what the journal will not tell the end of; whether that was all of ``runs``.

        A user's manager logs failures only: a run of its that ended without one was a success,
        which the unit says itself as long as it is loaded.
        """
        left = 0
        for run in runs:
            held = self._manager.invocation(run.unit)
            same = held.execution_id == run.execution_id
            if self._mode is Mode.SYSTEM or (same and held.result != "success"):
                left += 1
            else:
                ended_at = held.ended_at if same else self._changed_at.get(unit_path(run.unit))
                since_boot = held.ended_since_boot if same else None
                self._store.runs.end(run.execution_id, Result.SUCCESS, ended_at, since_boot)
        return not left

    def tail(self, stack: ExitStack, mark: str) -> Tail:
        """The journal from where it was last read, and the marks of this name in it."""
        return stack.enter_context(self._journal.tail(self._store.cursor(), mark))

    def now(self) -> int:
        """The time (µs, UTC)."""
        return self._now()

    def unaccounted(self) -> bool:
        """Whether systemd told of what the history does not have, and the journal should have."""
        behind = self.behind()
        is_behind = bool(behind) and not self.settle(behind)
        return is_behind or bool(self._told.unaccounted())

    def give_up(self) -> None:
        """Close what the journal will never tell of, with what systemd still knows."""
        for told in self._told.unaccounted():
            self._record_told(told)
        self._told.settle(self._now())
        for run in self.behind():
            print(
                f"<4>run {run.execution_id} of {run.unit} is over and the journal does not say how",
                file=sys.stderr,
            )
            held = self._manager.invocation(run.unit)
            if held.execution_id != run.execution_id:
                self._store.runs.end(run.execution_id, Result.LOST, None)
                continue
            self._store.runs.process_ended(
                run.execution_id, exit_code=held.exit_code, signal=held.signal
            )
            result = Result.SUCCESS if held.result == "success" else result_of(held.result)
            self._store.runs.end(run.execution_id, result, held.ended_at, held.ended_since_boot)

    def _record_told(self, told: ToldRun) -> None:
        """Give a run a row of which the journal has not even the beginning, if it can be found."""
        held = self._manager.invocation(told.unit)
        if not held.execution_id or held.began_at != told.began_at:
            print(f"<4>the journal lacks records of a run of {told.unit}", file=sys.stderr)
            return
        boot_id = self._journal.boot_id() or ""
        began = (told.began_at, held.began_since_boot)
        self._recorder.begin(
            Event(EventKind.STARTING, held.execution_id, told.unit, *began, boot_id)
        )

    def doubt(self) -> None:
        """It will be quiet soon: note what the journal should have told of by then."""
        self._hooks.doubt()
        self._starter.doubt()

    def followed(self) -> None:
        """The follow is over; sleep on D-Bus alone, if nothing is left to be done."""
        self._follow = None
        self._changed_at.clear()
        self._told.settle(self._now())
        self._drafts.clear()
        self._lag.recorded()
        self._textfile.changed()
        self.conclude(last_word=True)
        unclear = [self._hooks.reconcile(), self._starter.reconcile()]
        self._notifier.look()
        if any(unclear):
            self._wake()

    def guard(self, action: Callable[[], bool]) -> Callable[..., bool]:
        """A main-loop callback whose error ends ``run`` instead of being printed and dropped."""

        def guarded(*_: object) -> bool:
            try:
                return action()
            except BaseException as error:
                self._fail(error)
                return False

        return guarded
