"""The slow half of the slot guard: may this start of a job be, or did its slot run already?

``unit-templates/slot-guard`` lets ordinary starts pass by itself and asks here about all others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lunasched import schedule, slot, unittext
from lunasched.errors import LunaschedError
from lunasched.slot import Moment, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from lunasched.slotfile import SlotDirectory
    from lunasched.systemd import Manager


def may_start(
    job: str,
    unit: str,
    text: str,
    zone: str,
    moment: Moment,
    *,
    slots: SlotDirectory,
    recorded: Callable[[], int | None],
    manager: Callable[[], Manager],
    durable: bool,
) -> bool:
    """Whether a start of ``job`` at ``moment`` may go on; notes the slot that it uses up.

    ``unit`` is what the job's timer starts. Only a start that the timer caused can be for a slot:
    others pass and use none.
    ``recorded`` gives the last slot in the history and ``manager`` connects to systemd, if needed.
    """
    rule = schedule.parse(text)
    known = slots.read(job)
    last = recorded() if known is None else None
    verdict, state = slot.judge(rule, zone, moment, known, last)
    if verdict is Verdict.NO_SLOT or not _caused_by_timer(job, unit, manager):
        return True
    if state != known:
        slots.write(job, state, durable=durable)
    return verdict is Verdict.NEW_SLOT


def _caused_by_timer(job: str, unit: str, manager: Callable[[], Manager]) -> bool:
    """Whether the timer has just started the service; taken as so where systemd cannot tell."""
    try:
        return manager().started_by_timer(unit, unittext.timer_name(job))
    except LunaschedError:
        return True
