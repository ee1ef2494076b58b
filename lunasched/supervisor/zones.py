"""Noticing that the host's time zone, the time zone database or a calendar is not what it was.

The units of a job depend on them (lunasched-schedule(5)), and it takes the manager's own rights to
write them: that is done by ``lunasched-sync.service``, which the supervisor may start. What the
units were last made for is noted beside the slot guard's files.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gi.repository import Gio

from lunasched.errors import LunaschedError
from lunasched.paths import LOCALTIME, ZONE_DATABASE, Mode, zone_identity
from lunasched.supervisor.loop import Loop
from lunasched.systemd.manager import Manager
from lunasched.systemd.startsocket import StartSocket

if TYPE_CHECKING:
    from lunasched.state.slotfile import SlotDirectory

SYNC_UNIT = "lunasched-sync.service"
_SETTLE_SECONDS = 60
_LOOK_SECONDS = 0.05


class Zones:
    """The host's zone, the database of zones and the calendars, watched."""

    def __init__(self, loop: Loop, slots: SlotDirectory, manager: Manager, calendars: Path) -> None:
        self._loop = loop
        self._slots = slots
        self._manager = manager
        self._calendars = calendars
        self._now = zone_identity(calendars)
        self._monitors: dict[Path, Gio.FileMonitor] = {}
        self._changed: Callable[[], None] = loop.quit

    def watch(self, changed: Callable[[], None], *, outdated: bool = False) -> None:
        """Bring the units up to date if they are not; call ``changed`` when they are not again.

        ``changed`` ends this supervisor: nothing more is recorded by the old zone, not even while
        the units are brought up to date. ``outdated`` is whether they are known not to be.
        """
        self._changed = changed
        for path in (LOCALTIME, ZONE_DATABASE, ZONE_DATABASE.parent):
            self._watch(path)
        self.watch_calendars()
        # They may have changed before they were watched.
        self._compare()
        if outdated or self._slots.zones() != self._now:
            self.bring_up_to_date()

    def watch_calendars(self) -> None:
        """Watch the directory of calendars from now on, if it is there and is not watched yet."""
        if self._calendars not in self._monitors and self._calendars.is_dir():
            self._watch(self._calendars)

    def _watch(self, path: Path) -> None:
        # Of a directory, what is added, changed and removed in it.
        monitor = Gio.File.new_for_path(str(path)).monitor(Gio.FileMonitorFlags.WATCH_MOVES, None)
        monitor.connect("changed", self._loop.callback(lambda *_: self._compare()))
        self._monitors[path] = monitor

    def _compare(self) -> None:
        if zone_identity(self._calendars) != self._now:
            # Without waiting, so that runs are recorded meanwhile.
            self.request_sync()
            self._changed()

    def request_sync(self) -> None:
        """Have ``lunasched sync`` run, without waiting for it."""
        try:
            self._manager.start_soon(SYNC_UNIT)
        except LunaschedError as error:
            _complain(error)

    def bring_up_to_date(self) -> None:
        """Have ``lunasched sync`` run, as who may write units."""
        error = self._manager.start_and_wait(SYNC_UNIT)
        if error is not None:
            _complain(error)


def settle(database: Path) -> None:
    """Have root take back what a command began in a database, and was killed; wait until it has.

    It is needed in the middle of a question to the definitions: nothing else may happen meanwhile,
    so the main loop stands still.
    """
    journal = database.with_name(f"{database.name}-journal")
    try:
        Manager.connect(Mode.SYSTEM, starts=StartSocket()).start_soon(SYNC_UNIT)
    except LunaschedError as error:
        _complain(error)
        return
    deadline = time.monotonic() + _SETTLE_SECONDS
    while journal.exists() and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)


def _complain(error: LunaschedError) -> None:
    print(f"<4>the units cannot be brought up to date: {error}", flush=True)
