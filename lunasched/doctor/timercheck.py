"""The check of timers: those of enabled jobs run, and will elapse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lunasched.doctor.facts import Unseen
from lunasched.doctor.finding import error, fine, for_each, listed, plural, unseen
from lunasched.errors import InvalidInput
from lunasched.history import slot
from lunasched.jobs.model import Job

if TYPE_CHECKING:
    from lunasched.doctor.facts import Facts
    from lunasched.doctor.finding import Finding
    from lunasched.doctor.servicemanagercheck import UnitSeen


def judge(facts: Facts) -> Iterator[Finding]:
    """Tell whether the timers of enabled jobs run, and will elapse."""
    known, manager = facts.deployed, facts.manager
    for part in (known, manager):
        if isinstance(part, Unseen):
            yield unseen("the timers of jobs", part)
            return
    assert not isinstance(known, Unseen)
    assert not isinstance(manager, Unseen)
    states = {timer: manager.units.get(timer) for timer in known.timers}
    stopped = [timer for timer, unit in states.items() if unit is None or unit.active != "active"]
    sleeping = [
        timer
        for timer, unit in states.items()
        if _has_elapsed(unit) and _goes_on(known.timers[timer], facts)
    ]
    if stopped:
        yield error(
            f"timers of enabled jobs do not run: {listed(stopped)}",
            "their jobs do not run; to keep a job from running, disable it",
            f"{facts.lunasched} sync",
            as_root=facts.is_system,
        )
    if sleeping:
        yield error(
            f"timers run and will never elapse again: {listed(sleeping)}",
            "their jobs do not run, though their schedules have times to come",
            f"{facts.systemctl} daemon-reload",
            *for_each(f"{facts.systemctl} restart", sleeping),
            as_root=facts.is_system,
        )
    if not stopped and not sleeping:
        count = len(known.timers)
        yield fine(f"{count} {plural(count, 'timer')} of enabled jobs run and will elapse")


def _has_elapsed(unit: UnitSeen | None) -> bool:
    # "elapsed" is what a timer is that runs and has no next elapse (systemd.timer(5)).
    return unit is not None and unit.active == "active" and unit.sub == "elapsed"


def _goes_on(job: Job, facts: Facts) -> bool:
    try:
        past = slot.Past(facts.now, None, None)
        return slot.next_slot_of_job(job, facts.now, past, facts.host_timezone) is not None
    except InvalidInput:
        return False
