"""Claimed rows: starts that systemd was asked for, until their outcome is known.

::

    row ─ claim ─► asked ─► busy ─► the journal tells of its start and its end
             ▲       │ refused ────► given up, or handled otherwise
             └───────┴ not begun ──► asked for again, a few times

A claim is *doubted* when systemd does not know of its unit while the journal is silent. The journal
is read once more before the claim is *reconciled*: a doubted start that is still not recorded will
never be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from lunasched.errors import LunaschedError, SystemdUnreachable

if TYPE_CHECKING:
    from lunasched.supervisor.loop import Loop
    from lunasched.systemd.bus import Answered

# The time that systemd has to begin a start before it counts as failed.
_SETTLED_USEC = 2_000_000
_TRIES = 5


class Claim(Protocol):
    """The part of a row by which its claim is judged."""

    @property
    def id(self) -> int:
        """The number of the row in its table."""

    @property
    def unit(self) -> str:
        """The unit that systemd was asked to start."""

    @property
    def claimed_at(self) -> int | None:
        """The time (µs, UTC) at which the row was claimed; ``None`` before."""

    @property
    def tries(self) -> int:
        """The number of claims so far."""


class StartableUnits(Protocol):
    """The part of a service manager that starts units and knows them."""

    def start_later(self, unit: str, answered: Answered) -> None:
        """Ask for a start; ``answered`` is called with the error, if there is one."""

    def is_busy(self, unit: str) -> bool:
        """Tell if a unit runs, or is about to."""


AnyClaim = TypeVar("AnyClaim", bound=Claim)


class ClaimTable(Protocol[AnyClaim]):
    """The claimed rows of a table, and what to do with each."""

    def claimed(self) -> Sequence[AnyClaim]:
        """Return the rows that were claimed and have no end on record."""

    def unclaim(self, row_id: int) -> None:
        """Give a row back, to be claimed again."""

    def give_up(self, claim: AnyClaim, reason: str) -> None:
        """Drop a row that systemd does not start."""

    def has_begun(self, claim: AnyClaim) -> bool:
        """Tell if the start of a row is on record, so that only its end is missing."""

    def close(self, claim: AnyClaim, *, doubted: bool) -> bool:
        """Close a row that has begun and is over; ``False`` if it is too early to tell how."""


class Claims(Generic[AnyClaim]):
    """The claims of one table."""

    def __init__(
        self,
        loop: Loop,
        units: StartableUnits,
        table: ClaimTable[AnyClaim],
        *,
        on_asked: Callable[[], None],
    ) -> None:
        """``on_asked`` is called when systemd is asked for something: the journal is read then."""
        self._loop = loop
        self._units = units
        self._table = table
        self._on_asked = on_asked
        # The rows that systemd did not know of when it was last asked.
        self._doubted: set[int] = set()

    def ask(self, row_id: int, unit: str, on_refused: Callable[[LunaschedError], None]) -> None:
        """Have systemd start the unit of a row that was claimed; give it back if it cannot hear."""

        def answered(error: LunaschedError | None) -> None:
            if isinstance(error, SystemdUnreachable):
                self._table.unclaim(row_id)
            elif error is not None:
                on_refused(error)

        self._units.start_later(unit, self._loop.callback(answered))
        self._on_asked()

    def doubt(self) -> None:
        """Note what systemd has not begun, or what is over: it may not have been read yet."""
        self._doubted = {
            claim.id
            for claim in self._table.claimed()
            if not self._is_fresh(claim) and not self._units.is_busy(claim.unit)
        }

    def reconcile(self) -> bool:
        """Settle claims without a record in the silent journal; ``True`` if it is too early.

        A start that did not begin is released, to be requested again.
        """
        doubted, self._doubted = self._doubted, set()
        is_unclear = False
        for claim in self._table.claimed():
            if self._is_fresh(claim):
                is_unclear = True
            elif self._units.is_busy(claim.unit):
                continue
            elif not self._settle(claim, doubted=claim.id in doubted):
                is_unclear = True
        return is_unclear

    def _settle(self, claim: AnyClaim, *, doubted: bool) -> bool:
        if self._table.has_begun(claim):
            return self._table.close(claim, doubted=doubted)
        if not doubted:
            # It may have begun and ended after the journal was read.
            return False
        if claim.tries < _TRIES:
            self._table.unclaim(claim.id)
        else:
            self._table.give_up(claim, "systemd does not begin it")
        return True

    def _is_fresh(self, claim: AnyClaim) -> bool:
        # Below 0 the clock has been set back since.
        return claim.claimed_at is not None and (
            0 <= self._loop.now() - claim.claimed_at < _SETTLED_USEC
        )
