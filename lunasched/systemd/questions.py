"""Questions about many units, asked beside other work.

The manager answers one after the other, and does nothing else meanwhile: ten thousand in a row
would keep it, and who asks, from everything else for many seconds. So a few are in flight at a
time, and none is asked while the manager reads its unit files again: whoever installs a package
waits for that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import field
from enum import Enum
from typing import Any

from gi.repository import GLib

from lunasched.dataclass import dataclass
from lunasched.formats.unittext import bus_label
from lunasched.systemd.bus import (
    MANAGER,
    NAME,
    OBJECT,
    PROPERTIES,
    TIMEOUT_MS,
    TIMER,
    UNIT,
    Bus,
    Call,
)

_UNITS_IN_FLIGHT = 2
_NEVER = (1 << 64) - 1


class Property(Enum):
    """The facts about a unit that can be asked for; numbers are µs, 0 where there is none."""

    STATE = (UNIT, "ActiveState")
    SINCE = (UNIT, "ActiveEnterTimestamp")
    """UTC; also of a timer that is no longer active."""
    STARTED = (UNIT, "InactiveExitTimestamp")
    """The last time at which its start began, UTC."""
    SINCE_BOOT = (UNIT, "ActiveEnterTimestampMonotonic")
    NEXT = (TIMER, "NextElapseUSecRealtime")
    """UTC."""
    NEXT_SINCE_BOOT = (TIMER, "NextElapseUSecMonotonic")


Told = Callable[[str, tuple[Any, ...]], None]
"""Called with the name of a unit and the values that were asked for, in that order."""


@dataclass(slots=True)
class _Round:
    """Units that are still to be asked about."""

    units: Iterator[str]
    wanted: Sequence[Property]
    told: Told


@dataclass(slots=True)
class _Answers:
    """The answers about one unit, as they come."""

    unit: str
    told: Told
    values: list[Any]
    left: int
    failed: bool = field(default=False)


class Questions:
    """The questions to one manager."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._rounds: deque[_Round] = deque()
        self._in_flight = 0
        self._is_reloading = False
        self._patience = 0
        bus.on_signal(
            NAME, MANAGER, "Reloading", OBJECT, lambda _, said: self._reloading(bool(said[0]))
        )

    def ask(self, units: Iterable[str], wanted: Sequence[Property], told: Told) -> None:
        """Ask about each of many units, after those that were asked about before.

        ``told`` is not called for a unit of which the manager says nothing.
        """
        self._rounds.append(_Round(iter(units), wanted, told))
        self._go_on()

    @property
    def is_waiting(self) -> bool:
        """Tell if nothing is asked now, as the manager reads its unit files."""
        return self._is_reloading

    def _go_on(self) -> None:
        while self._rounds and self._in_flight < _UNITS_IN_FLIGHT and not self._is_reloading:
            following = self._rounds[0]
            unit = next(following.units, None)
            if unit is None:
                self._rounds.popleft()
            else:
                self._ask(unit, following)

    def _ask(self, unit: str, following: _Round) -> None:
        self._in_flight += 1
        wanted = following.wanted
        answers = _Answers(unit, following.told, [0] * len(wanted), len(wanted))
        path = f"{OBJECT}/unit/{bus_label(unit)}"
        for place, one in enumerate(wanted):
            call = Call("Get", GLib.Variant("(ss)", one.value), path, PROPERTIES)
            arguments = call.arguments(TIMEOUT_MS)
            self._bus.connection.call(*arguments, self._received, (answers, place))

    def _received(self, connection: Any, reply: Any, about: tuple[_Answers, int]) -> None:
        answers, place = about
        try:
            (value,) = connection.call_finish(reply).unpack()
            answers.values[place] = 0 if value == _NEVER else value
        except GLib.Error:
            answers.failed = True
        answers.left -= 1
        if answers.left:
            return
        self._in_flight -= 1
        try:
            if not answers.failed:
                answers.told(answers.unit, tuple(answers.values))
        finally:
            self._go_on()

    def _reloading(self, begins: bool) -> None:
        self._is_reloading = begins
        if self._patience:
            GLib.source_remove(self._patience)
            self._patience = 0
        if begins:
            # Should the manager never say that it is done, it is asked all the same.
            self._patience = GLib.timeout_add(TIMEOUT_MS, self._lose_patience)
        else:
            self._go_on()

    def _lose_patience(self) -> bool:
        self._patience = 0
        self._is_reloading = False
        self._go_on()
        return False
