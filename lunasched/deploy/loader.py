"""Units into a running systemd: what it has read, which timers run, what the slot guard knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from lunasched import schedule
from lunasched.deploy.firstrun import FirstRuns
from lunasched.errors import LunaschedError
from lunasched.formats import unittext
from lunasched.history import slot
from lunasched.state.slotfile import SlotDirectory, clock_offset
from lunasched.state.unitdir import UnitDirectory
from lunasched.units import versions
from lunasched.units.compiler import CompiledJob, Context

if TYPE_CHECKING:
    from lunasched.jobs.model import Job
    from lunasched.systemd.manager import Manager

# A change takes less than this, and a timer may elapse this late.
_CHANGE = timedelta(seconds=60)
_LATE = timedelta(seconds=5)
# Up to so many timers are asked for by name.
_FEW = 20
# The share of a full slot list that is enough for now.
_ENOUGH = 0.75


class Loader:
    """One service manager and the directory that it reads its units from."""

    def __init__(
        self,
        units: UnitDirectory,
        slots: SlotDirectory,
        stamps: Path,
        manager: Manager,
        context: Context,
        first_runs: FirstRuns,
    ) -> None:
        self._units = units
        self._slots = slots
        self._stamps = stamps
        self._manager = manager
        self._context = context
        self._first_runs = first_runs

    def running(self, among: Sequence[CompiledJob] | None = None) -> set[str]:
        """The timers of jobs that are started; of a few jobs, not all timers are listed."""
        patterns = [f"{unittext.JOB_PREFIX}*.timer"]
        if among is not None and len(among) <= _FEW:
            patterns = timers(among)
        # Without a pattern, systemd lists all units.
        states = self._manager.states(*patterns) if patterns else {}
        return {name for name, state in states.items() if state.active == "active"}

    def unload(self, compiled: Sequence[CompiledJob], keep: Iterable[str] = ()) -> None:
        """Have systemd forget the old files; running services, and the timers of ``keep``, go on.

        A service stays loaded as long as its timer runs, or the service of a job that depends on
        it is loaded.
        """
        kept = set(keep)
        raise_first(self._manager.stop([name for name in timers(compiled) if name not in kept]))
        self._manager.reset_failed([unit.name for job in compiled for unit in job.units])

    def unload_stale(self, names: Sequence[str]) -> None:
        """Have systemd forget units that will be removed."""
        stale_timers = [name for name in names if name.endswith(".timer")]
        raise_first(self._manager.stop(stale_timers))
        self._units.unwant(stale_timers)
        for timer in stale_timers:
            self._first_runs.remove(timer)
        self._manager.reset_failed(filter(unittext.is_unit_name, names))

    def load(
        self,
        compiled: Sequence[CompiledJob],
        now: int,
        running: set[str],
        keep: Iterable[str] = (),
    ) -> None:
        """Have systemd know the new files, and start the timers of those that are enabled.

        ``running`` are the timers that ran before the change, ``keep`` those that it left alone.
        """
        kept = set(keep)
        self.prepare(
            [job for job in compiled if not (job.timer and job.timer.name in kept)], now, running
        )
        self.activate(compiled)

    def activate(self, compiled: Sequence[CompiledJob]) -> None:
        """The same without a word to the slot guard, which asks us then."""
        enabled = [job for job in compiled if job.job.enabled]
        self._units.unwant(timers(job for job in compiled if not job.job.enabled))
        self._units.want(timers(enabled))
        # A timer that was there at boot stays loaded with its old content, even when stopped
        # (timers.target refers to it): it may not be started before systemd has read the new.
        self.reload_if_needed(compiled)
        raise_first(self._manager.start(to_start(enabled)))

    def prepare(self, compiled: Sequence[CompiledJob], now: int, running: set[str]) -> None:
        """See to it that no timer fires for a slot that was before now, or for the boot.

        Except where it was ``running`` for the same slots: the random delay of one may not be over.
        """
        for item in compiled:
            job = item.job
            if item.timer is not None and item.until_boot is not None and job.enabled:
                self._first_runs.write(item.timer.name, item.until_boot)
            elif item.timer is not None:
                self._first_runs.remove(item.timer.name)
            if not item.guarded or item.timer is None:
                self._slots.remove([job.name])
                continue
            rule, zone = self._slots_of(job)
            known = self._slots.read(job.name) if item.timer.name in running else None
            if known is None or not known.is_for(rule, zone):
                self._slots.write(job.name, slot.slot_list(rule, zone, now))
                was_running = item.timer.name in running
                last = now if was_running else self._last_slot(item, now)
                found = slot.LastSlot(last, clock_offset(now))
                self._slots.set_last(job.name, found, job.user, durable=job.catch_up)
            else:
                self._slots.own_last(job.name, job.user, durable=job.catch_up)
        self.forget_elapses(timers(item for item in compiled if item.job.catch_up))

    def _last_slot(self, item: CompiledJob, now: int) -> int:
        """The slot up to which a timer that is started afresh shall not elapse.

        A timer with an offset elapses for the slots before now whose time is to come, and for none
        that ran.
        """
        if not item.has_offset:
            return now
        ran = self._slots.last(item.job.name)
        began = now - round(item.job.jitter * 1_000_000)
        return began if ran is None else max(began, min(ran.slot, now))

    def refill(self, compiled: Sequence[CompiledJob], now: int) -> None:
        """See to it that the guard of each job knows enough of its slots, by the zones of today."""
        anew = self._slots.zones() != self._context.zones
        for item in compiled:
            job = item.job
            if not item.guarded:
                continue
            rule, zone = self._slots_of(job)
            known = self._slots.read(job.name)
            lasts = known is not None and known.is_for(rule, zone) and known.lasts(now, _ENOUGH)
            if anew or not lasts:
                self._slots.write(job.name, slot.slot_list(rule, zone, now))
            self._slots.own_last(job.name, job.user, durable=job.catch_up)
        systemd = versions.made_for(self._context.systemd)
        if anew or self._slots.systemd() != systemd:
            self._slots.write_made_for(self._context.zones, systemd)

    def _slots_of(self, job: Job) -> tuple[schedule.Schedule, str]:
        return schedule.parse(job.schedule), job.timezone or self._context.host_timezone

    def forget_elapses(self, names: Sequence[str]) -> None:
        """Have ``Persistent=`` timers count from now: without a stamp they do."""
        for name in names:
            with suppress(OSError):
                (self._stamps / f"stamp-{name}").unlink(missing_ok=True)

    def reload_if_needed(self, compiled: Sequence[CompiledJob]) -> None:
        """Reload systemd if it holds any of the units in an older version."""
        units = [unit.name for job in compiled for unit in job.units]
        if self._manager.need_reload(units):
            self._manager.reload()

    def keep(
        self,
        compiled: Iterable[CompiledJob],
        old_texts: Mapping[str, str | None],
        running: set[str],
        now: int,
    ) -> set[str]:
        """The running timers that stay as they are and would elapse otherwise if restarted."""
        return {
            item.timer.name
            for item in compiled
            if item.timer is not None
            and item.job.enabled
            and item.timer.name in running
            and old_texts[item.timer.name] == item.timer.text
            and self._must_go_on(item, now)
        }

    def _must_go_on(self, item: CompiledJob, now: int) -> bool:
        """Tell whether stopping and starting the job's timer now would change when it elapses.

        It would for an interval, and for a slot that comes, or whose delay ends, while it is
        stopped.
        """
        if not item.guarded:
            return True
        job = item.job
        soon = schedule.elapses(
            schedule.parse(job.schedule),
            timezone=job.timezone or self._context.host_timezone,
            after=slot.to_datetime(now) - timedelta(seconds=job.leeway) - _LATE,
        )
        following = next(soon, None)
        return following is not None and following <= slot.to_datetime(now) + _CHANGE


def timers(compiled: Iterable[CompiledJob]) -> list[str]:
    """The timers of jobs, of those that have one."""
    return [job.timer.name for job in compiled if job.timer is not None]


def to_start(enabled: Iterable[CompiledJob]) -> list[str]:
    """The timers of enabled jobs that are started when they are deployed."""
    return timers(job for job in enabled if not job.at_boot_only)


def raise_first(failures: dict[str, LunaschedError]) -> None:
    """Raise one of the errors, if there are any."""
    for error in failures.values():
        raise error
