"""``every X`` across a boot or a reload: the interval goes on from where it began.

A timer's ``OnActiveSec=`` counts from the start of the timer, which after a boot is later than the
last run. So for each such job the supervisor plans one start, at the end of the interval that the
last run began, or at once where that is over; once, however many intervals were missed. The
timer is restarted with it: from there on it counts from this start by itself, supervisor or not.

A daemon-reload has a timer that has not elapsed yet count from the reload (seen with systemd 252
and 257), so that the first run of ``every 7d`` would never come where packages are installed each
week. A start is planned for the moment that it should have been.

Nothing is kept of a plan. After a kill it is made again from the history, where the run that was
started counts as the last one.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from lunasched.dataclass import dataclass
from lunasched.formats import unittext
from lunasched.history.run import Trigger
from lunasched.schedule import Every, Reboot, parse
from lunasched.supervisor.loop import Handle, Loop
from lunasched.systemd.questions import Property
from lunasched.units import concurrency

if TYPE_CHECKING:
    from lunasched.errors import LunaschedError
    from lunasched.jobs.model import Job
    from lunasched.store import Start, Store
    from lunasched.systemd.manager import Manager


@dataclass(frozen=True, slots=True)
class _Interval:
    """The interval of a job."""

    job: Job
    deployed_at: int
    usec: int
    boot: Reboot | None


@dataclass(frozen=True, slots=True)
class _Planned:
    """A start at the end of an interval that began at a point in time (µs, UTC)."""

    job: Job
    began: int
    trigger: Trigger
    slot: int


class Intervals:
    """The planned starts of jobs with an interval."""

    def __init__(
        self, loop: Loop, store: Store, manager: Manager, *, start_due: Callable[[], None]
    ) -> None:
        """``start_due`` starts what is due of the rows of ``starts``."""
        self._loop = loop
        self._start_due = start_due
        self._store = store
        self._manager = manager
        # When what each planned start waits for the end of began.
        self._planned: dict[str, int] = {}
        self._after_reloads = Handle()

    def watch(self) -> None:
        """Plan the starts, now and after every daemon-reload."""
        self.plan()
        self._plan_moved()
        self._manager.on_reloaded(self._reloaded)

    def plan(self) -> None:
        """Plan a start for every job whose timer was started after its last run."""
        timers = map(unittext.timer_name, self._store.jobs.possible_intervals())
        told = self._loop.callback(self._plan)
        self._manager.ask_later(timers, (Property.STATE, Property.SINCE), told)

    def _plan(self, timer: str, said: tuple[str, int]) -> None:
        state, since = said
        found = self._interval(timer)
        # One that is to run after each boot counts from there.
        if state != "active" or found is None or found.boot is not None:
            return
        job, began = found.job, max(found.deployed_at, self._last_start(found.job))
        if since <= began + _DEPLOYMENT_USEC:
            return
        due = began + found.usec
        late = due <= self._loop.now()
        # Many jobs may be overdue after a long night: their jitter spreads them here, too.
        spread = random.uniform(0, job.jitter) * 1000 if late else 0
        delay = max(0, (due - self._loop.now()) // 1000) + int(spread)
        self._start_in(delay, job.name, began, Trigger.CATCH_UP if late else Trigger.TIMER)

    def _reloaded(self) -> None:
        # Reloads come in a row, for example when packages are installed.
        if not self._after_reloads.is_pending:
            self._after_reloads = self._loop.after(_RELOADS_MS, self._plan_moved)

    def _plan_moved(self) -> None:
        """Plan a start for every job whose first run a daemon-reload has put off."""
        unstarted = self._store.runs.unstarted(self._store.jobs.possible_intervals())
        wanted = (Property.STATE, Property.SINCE_BOOT, Property.NEXT_SINCE_BOOT)
        told = self._loop.callback(self._plan_if_moved)
        self._manager.ask_later(map(unittext.timer_name, unstarted), wanted, told)

    def _plan_if_moved(self, timer: str, said: tuple[str, int, int]) -> None:
        state, since, following = said
        # One that was stopped keeps the time that it had.
        if state != "active" or not following:
            return
        found = self._interval(timer)
        if found is None or self._planned.get(found.job.name) == found.deployed_at:
            return
        due = since + found.usec
        latest = due + round(found.job.leeway * 1_000_000) + _MOVED_USEC
        if following > latest:
            delay = max(0, (due - self._loop.monotonic()) // 1000)
            self._start_in(delay, found.job.name, found.deployed_at, Trigger.TIMER)

    def _interval(self, timer: str) -> _Interval | None:
        """Return the interval that an enabled job of this timer has by now, if it has one."""
        name = unittext.job_name(timer)
        found = None if name is None else self._store.jobs.get_with_time(name)
        if found is None or not found[0].enabled:
            return None
        rule = parse(found[0].schedule)
        if not isinstance(rule, Every):
            return None
        return _Interval(*found, usec=rule.seconds * 1_000_000, boot=rule.boot)

    def _last_start(self, job: Job) -> int:
        return self._store.runs.last_start(job.name) or 0

    def _start_in(self, delay: int, name: str, began: int, trigger: Trigger) -> None:
        """Start a job after so many milliseconds, which may be ten years."""
        self._planned[name] = began
        self._loop.after(delay, partial(self._start, name, began, trigger))

    def _start(self, name: str, began: int, trigger: Trigger) -> None:
        """Start the job unless it was started, changed or removed since; never again."""
        if self._planned.get(name) == began:
            del self._planned[name]
        found = self._store.jobs.get_with_time(name)
        if found is None or not found[0].enabled:
            return
        job, deployed_at = found
        rule = parse(job.schedule)
        if not isinstance(rule, Every):
            return
        if max(deployed_at, self._store.runs.last_start(name) or 0) != began:
            return
        planned = _Planned(job, began, trigger, slot=began + rule.seconds * 1_000_000)
        # The start is on record before anything is asked for, as what it is. It is due later, for
        # the case that we are killed before the manager answers.
        self._put(planned, due_in=_UNSURE_USEC)
        timer = unittext.timer_name(name)
        answered = self._loop.callback(partial(self._restarted, planned))
        self._manager.restart_later(timer, answered)

    def _put(self, planned: _Planned, due_in: int = 0) -> None:
        """Have a planned start carried out."""
        job, now = planned.job, self._loop.now()
        with self._store.transaction():
            waiting = self._waiting(planned)
            if waiting is not None:
                self._store.starts.drop(waiting)
            self._store.starts.put(
                job,
                unit=concurrency.started_unit(job),
                trigger=planned.trigger,
                slot=planned.slot,
                due_at=now + due_in,
                now=now,
            )
        self._start_due()

    def _restarted(self, planned: _Planned, error: LunaschedError | None) -> None:
        """Ask if the timer elapsed right before it was restarted: from now on it does not."""
        name = planned.job.name
        if error is not None:
            timer = unittext.timer_name(name)
            print(f"<4>{name}: {timer} could not be started: {error}", flush=True)
        unit = concurrency.started_unit(planned.job)
        told = self._loop.callback(partial(self._decide, planned))
        self._manager.ask_later([unit], (Property.STARTED,), told)

    def _decide(self, planned: _Planned, unit: str, said: tuple[int]) -> None:
        waiting = self._waiting(planned)
        if waiting is None:
            return  # carried out, or dropped with its job
        (started,) = said
        # The start that began the interval has not quite the same time for systemd as on record.
        if started > (planned.began + planned.slot) // 2:
            # The history does not have that run yet: the journal is behind.
            self._store.starts.drop(waiting)
        else:
            self._put(planned)

    def _waiting(self, planned: _Planned) -> Start | None:
        """Return what is on record of a planned start and was not asked for yet."""
        unit = concurrency.started_unit(planned.job)
        return next(
            (
                start
                for start in self._store.starts.all()
                if (start.unit, start.scheduled_at) == (unit, planned.slot) and not start.claimed_at
            ),
            None,
        )


# A timer is started a moment after its job is written to the database.
_DEPLOYMENT_USEC = 60_000_000
# How long an answer of the manager may take before a planned start is carried out without it.
_UNSURE_USEC = 60_000_000
# How soon after a daemon-reload the timers are looked at.
_RELOADS_MS = 1000
# Smaller shifts are ignored.
_MOVED_USEC = 500_000
