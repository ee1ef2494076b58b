"""Noticing that the host's time zone, or the time zone database, is not what it was.

The units of a job depend on both (lunasched-schedule(5)), and it takes the manager's own rights to
write them: that is done by ``lunasched-sync.service``, which the supervisor may start. What the
units were last made for is noted beside the slot guard's files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gi.repository import Gio

from lunasched.config import LOCALTIME, ZONE_DATABASE, zone_identity
from lunasched.errors import LunaschedError

if TYPE_CHECKING:
    from lunasched.slotfile import SlotDirectory
    from lunasched.systemd import Manager

SYNC_UNIT = "lunasched-sync.service"


class Zones:
    """The host's zone and the database of zones, watched."""

    def __init__(
        self, slots: SlotDirectory, manager: Manager, guard: Callable[..., Callable[..., bool]]
    ) -> None:
        """``guard`` wraps the callbacks of the main loop."""
        self._slots = slots
        self._manager = manager
        self._guard = guard
        self._now = zone_identity()
        self._monitors: list[Gio.FileMonitor] = []

    def watch(self, changed: Callable[[], None], *, outdated: bool = False) -> None:
        """Bring the units up to date if they are not; call ``changed`` when they are not again.

        ``changed`` ends this supervisor: nothing more is recorded by the old zone, not even while
        the units are brought up to date. ``outdated`` is whether they are known not to be.
        """
        for path in (LOCALTIME, ZONE_DATABASE):
            monitor = Gio.File.new_for_path(str(path)).monitor_file(
                Gio.FileMonitorFlags.WATCH_MOVES, None
            )
            monitor.connect("changed", self._guard(lambda: self._compare(changed)))
            self._monitors.append(monitor)
        # They may have changed before they were watched.
        self._compare(changed)
        if outdated or self._slots.zones() != self._now:
            self.bring_up_to_date()

    def _compare(self, changed: Callable[[], None]) -> bool:
        if zone_identity() != self._now:
            # Without waiting: meanwhile runs would be recorded.
            try:
                self._manager.start_soon(SYNC_UNIT)
            except LunaschedError as error:
                _complain(error)
            changed()
        return True

    def bring_up_to_date(self) -> None:
        """Have ``lunasched sync`` run, as who may write units."""
        error = self._manager.start_and_wait(SYNC_UNIT)
        if error is not None:
            _complain(error)


def _complain(error: LunaschedError) -> None:
    print(f"<4>the units cannot be brought up to date: {error}", flush=True)
