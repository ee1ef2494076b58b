"""The supervisor: its parts, and how it waits and wakes.

It sleeps on D-Bus until a unit of ours changes state; then it reads the journal and follows it
until everything that D-Bus reported is recorded, however late journald is, and it has been
quiet for two seconds. In between, nothing that other programs write to the journal wakes it, and no
timer of its own does.

The signals are only a reason to look. What is recorded comes from the journal, from the cursor
on that is stored with the rows: what was missed is read later, what is read again changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from lunasched.errors import LunaschedError, SystemdUnreachable
from lunasched.files.settings import Settings
from lunasched.formats import unittext
from lunasched.history.timerstate import Timers
from lunasched.paths import Mode
from lunasched.state.deploylock import DeployLock
from lunasched.state.runtimedir import RuntimeDirectory
from lunasched.state.slotfile import SlotDirectory
from lunasched.store import Store
from lunasched.supervisor.clock import Clock
from lunasched.supervisor.consequences import Consequences
from lunasched.supervisor.elapses import Elapses
from lunasched.supervisor.follow import Follow
from lunasched.supervisor.hookstarter import HookStarter
from lunasched.supervisor.intervals import Intervals
from lunasched.supervisor.killedchanges import KilledChanges
from lunasched.supervisor.lastruns import LastRuns
from lunasched.supervisor.loop import Loop
from lunasched.supervisor.notificationqueue import Origin
from lunasched.supervisor.notifier import Notifier
from lunasched.supervisor.outputs import OutputCollector
from lunasched.supervisor.overrunwatch import OverrunWatch
from lunasched.supervisor.pageserver import PageServer
from lunasched.supervisor.pruner import Pruner
from lunasched.supervisor.recorder import Recorder
from lunasched.supervisor.recordingdelay import RecordingDelay
from lunasched.supervisor.settlement import Settlement
from lunasched.supervisor.slotchecker import SlotChecker
from lunasched.supervisor.slotlists import SlotLists
from lunasched.supervisor.starter import Starter
from lunasched.supervisor.textfile import TextFile
from lunasched.supervisor.zones import Zones
from lunasched.systemd.journal import Journal, Tail
from lunasched.systemd.manager import Manager, UnitTimes, unit_path
from lunasched.systemd.sdnotify import notify
from lunasched.units import versions
from lunasched.web.metrics import Metrics, Supervision

# The journal may be read as late as this and still meet what was kept for its runs.
_FORGET_USEC = 30 * 86400 * 1_000_000
# How long a stop waits for notifications that are being sent.
_LAST_SENDS_S = 3

_JOBS = unit_path("")
_OUR_PREFIXES = (unittext.JOB_PREFIX, unittext.HOOK_PREFIX, unittext.LAUNCH_PREFIX)
_OUR_LABELS = tuple(map(unittext.bus_label, _OUR_PREFIXES))
_SERVICE_LABEL = unittext.bus_label(".service")


class Supervisor:
    """The parts of the supervisor around one store, one journal and one manager, connected."""

    def __init__(
        self,
        loop: Loop,
        *,
        mode: Mode,
        store: Store,
        journal: Journal,
        manager: Manager,
        host_timezone: str,
        calendars: Path,
        slots: SlotDirectory,
        deploy_lock: DeployLock,
        runtime: RuntimeDirectory,
        settings: Settings,
    ) -> None:
        self._loop = loop
        self._store = store
        self._journal = journal
        self._manager = manager
        self._runtime = runtime
        self._slots = slots
        self._deploy_lock = deploy_lock
        self._started_at = loop.now()
        self._is_running = True
        self._last_timers = Timers()
        self._follow: Follow | None = None
        self._delay = RecordingDelay()
        origin = Origin(os.uname().nodename, host_timezone, mode)
        self._clock = Clock(
            loop, store, manager, host_timezone=host_timezone, on_step=self._clock_stepped
        )
        self._zones = Zones(loop, slots, manager, calendars)
        self._lists = SlotLists(loop, slots, self._zones.request_sync)
        self._last_runs = LastRuns(loop, store, host_timezone, manager.start_soon)
        self._killed = KilledChanges(loop, deploy_lock, self._zones.bring_up_to_date)
        self._make_consequences(mode, origin, settings)
        self._make_recording(mode, origin)
        self._make_upkeep(origin, settings)
        self._make_views(mode, host_timezone, settings)

    def _make_consequences(self, mode: Mode, origin: Origin, settings: Settings) -> None:
        """Make what decides on what follows from runs, and does it."""
        loop, store, manager, runtime = self._loop, self._store, self._manager, self._runtime
        self._consequences = Consequences(store, origin, loop.now)
        self._hooks = HookStarter(loop, mode, store, manager, runtime, on_asked=self._wake)
        self._notifier = Notifier(
            loop,
            store,
            self._hooks,
            origin,
            settings=settings,
            whole_output=lambda execution_id: self._outputs.whole(execution_id),
            on_tried=self._notification_tried,
        )
        self._starter = Starter(
            loop,
            store,
            manager,
            runtime,
            self._consequences,
            limit=settings.max_concurrent_jobs,
            on_asked=self._wake,
        )
        self._intervals = Intervals(loop, store, manager, start_due=self._starter.start_due)

    def _make_recording(self, mode: Mode, origin: Origin) -> None:
        """Make what takes runs into the history."""
        store, journal, manager = self._store, self._journal, self._manager
        self._elapses = Elapses(store, manager, monotonic=self._loop.monotonic)
        self._recorder = Recorder(
            mode,
            store,
            origin.timezone,
            self._consequences,
            self._elapses,
            now=self._loop.now,
            on_begun=self._begun,
            waits=journal.waits,
            end_between=lambda *span: self._settlement.end_between(*span),
        )
        self._settlement = Settlement(
            mode,
            store,
            manager,
            self._recorder,
            self._consequences,
            now=self._loop.now,
            boot_id=journal.boot_id,
        )
        self._outputs = OutputCollector(
            mode,
            store,
            journal,
            manager,
            on_printed=self._consequences.printed,
            on_notifications=self._notifier.send_due,
        )

    def _make_upkeep(self, origin: Origin, settings: Settings) -> None:
        """Make what looks after slots, overruns and the size of the history."""
        loop, store = self._loop, self._store
        self._overruns = OverrunWatch(
            loop,
            store,
            self._consequences,
            origin.timezone,
            goes_on=self._settlement.goes_on,
            on_notifications=self._notifier.send_due,
        )
        self._checker = SlotChecker(
            loop,
            store,
            self._consequences,
            origin.timezone,
            is_changing=lambda: self._deploy_lock.is_in_use,
            on_notifications=self._notifier.send_due,
            on_checked=self._overruns.watch_job,
        )
        self._pruner = Pruner(
            loop, store, settings.retention, needs_runs=lambda: self._checker.is_busy
        )

    def _make_views(self, mode: Mode, host_timezone: str, settings: Settings) -> None:
        """Make the status page and the metrics."""
        loop, database = self._loop, self._store.path
        self._metrics = Metrics(
            host_timezone,
            self._supervision,
            duration_ms=settings.metrics.duration_ms,
            timers=self._timers,
        )
        self._textfile = TextFile(
            loop, settings.metrics.textfile, metrics=self._metrics, database=database
        )
        self._page_server = PageServer(
            loop,
            settings.web,
            mode=mode,
            database=database,
            host_timezone=host_timezone,
            metrics=lambda store: self._metrics.render(store, loop.now()),
            timers=self._timers,
        )

    def run(self) -> int:
        """Record until stopped; raise an error if the bus went away, for systemd to restart us."""
        self._manager.on_closed(self._bus_lost)
        # Subscribed before the first read, so that no change is missed between the two.
        self._manager.subscribe(self._unit_changed)
        self._elapses.watch(self._journal.boot_id() or "")
        self._manager.on_nudge(self._loop.callback(self._jobs_changed))
        self._runtime.clear()
        self._store.runs.forget(before=self._loop.now() - _FORGET_USEC)
        self._consequences.forget_gone()
        self._close_runs_of_earlier_boots()
        self._intervals.watch()
        # A new zone needs a restart: systemd starts us again, without any state of the old zone.
        # Jobs that were migrated from Lunasched 1.x have no units; another systemd needs others.
        systemd = versions.made_for(versions.major_version(self._manager.version()))
        outdated = self._store.migration is not None or self._slots.systemd() != systemd
        self._zones.watch(self._loop.quit, outdated=outdated)
        self._lists.renew_all(self._store.jobs.names())
        self._last_runs.watch()
        self._killed.watch()
        self._clock.watch()
        self._checker.woke()
        self._overruns.watch_all()
        # Before we report that we are ready: with a limit, the gate is shut from now on.
        self._starter.start_due()
        self._notifier.begin()
        self._wake()
        notify("READY=1")
        self._loop.run()
        self._page_server.close()
        if self._follow is not None:
            self._follow.close()
        notify("STOPPING=1")
        self._is_running = False
        self._notifier.finish(_LAST_SENDS_S)
        self._textfile.close()
        self._loop.raise_failure()
        return 0

    def _timers(self) -> Timers:
        """Ask the manager for the timers of jobs, from any thread.

        While it reads its unit files, they are as they were.
        """
        if not self._manager.is_reloading:
            try:
                self._last_timers = Timers(self._manager.timers())
            except LunaschedError:
                return Timers()
        return self._last_timers

    def _supervision(self) -> Supervision:
        return Supervision(self._is_running, self._started_at, self._delay.usec)

    def _close_runs_of_earlier_boots(self) -> None:
        with self._journal.tail(self._store.cursor()) as tail:
            self._recorder.take(tail.drain())
        self._settlement.close_runs_of_earlier_boots()

    # Wake-ups

    def _bus_lost(self) -> None:
        self._loop.fail(SystemdUnreachable("the connection to the bus was lost"))

    def _unit_changed(self, path: str, times: Callable[[], UnitTimes]) -> None:
        label = path.removeprefix(_JOBS)
        if label.startswith(_OUR_LABELS) and label.endswith(_SERVICE_LABEL):
            self._settlement.unit_changed(unittext.unit_of_label(label), times())
            self._delay.noticed()
            self._wake()

    def _clock_stepped(self) -> None:
        """Look again at what waits for a time: the clock was set, or the machine resumed."""
        self._starter.start_due()
        self._checker.woke()
        self._overruns.watch_all()
        self._notifier.clock_stepped()

    def _jobs_changed(self) -> None:
        self._zones.watch_calendars()
        self._last_runs.recorded()
        self._consequences.forget_gone()
        self._start_due()

    def _wake(self) -> None:
        if self._follow is None:
            self._follow = Follow(self._loop, self)
            self._page_server.listen()
        self._follow.poke()

    def _start_due(self) -> None:
        """Start and send what is due."""
        self._hooks.start_due()
        self._starter.start_due()
        self._overruns.watch_starts()
        self._notifier.send_due()

    # What a follow calls (``follow.Recording``)

    def tail(self, stack: ExitStack, mark: str) -> Tail:
        """Open the journal from where it was last read, with the marks of this name."""
        return stack.enter_context(self._journal.tail(self._store.cursor(), mark))

    def take(self, tail: Tail) -> int:
        """Record what has been written, and act on it; how many events there were."""
        events = self._recorder.take(tail.drain())
        if events:
            self._delay.recorded()
            self._settle()
            self._checker.recorded()
            self._lists.renew()
            self._pruner.recorded(events)
            self._textfile.changed()
            self._store.sync()
        return events

    def _notification_tried(self) -> None:
        self._textfile.changed()
        self._last_runs.recorded()

    def _begun(self, job: str) -> None:
        self._lists.begun(job)
        self._last_runs.begun(job)

    def turned(self, before: int | None) -> bool:
        """Do what can be done after a turn of journald; ``True`` if all outputs are whole."""
        outputs_are_whole = self._outputs.collect()
        if self._settlement.note_running():
            self._start_due()
        if before is not None:
            self._settlement.close_successes(before)
        self._settle(last_word=True)
        return outputs_are_whole

    def doubt(self) -> None:
        """Note the events that the journal should have when it is read once more."""
        self._hooks.claims.doubt()
        self._starter.claims.doubt()

    def missing(self) -> frozenset[str]:
        """Name the events that systemd reported and that are not recorded."""
        return self._settlement.missing()

    def give_up(self) -> bool:
        """Record events that the journal will never have; ``True`` if all outputs are complete."""
        self._settlement.give_up()
        return self._outputs.collect()

    def followed(self) -> None:
        """Sleep on D-Bus alone again, if nothing is left to be done."""
        self._follow = None
        self._settlement.begin_anew()
        self._outputs.forget_drafts()
        self._delay.recorded()
        self._textfile.changed()
        self._settle(last_word=True)
        unclear = [self._hooks.claims.reconcile(), self._starter.claims.reconcile()]
        self._start_due()
        self._store.sync()
        if any(unclear):
            self._wake()

    def _settle(self, *, last_word: bool = False) -> None:
        for execution_id in self._settlement.settle(last_word=last_word):
            self._overruns.ended(execution_id)
        self._last_runs.recorded()
        self._start_due()
