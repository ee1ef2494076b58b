"""The check of the calendars that jobs' schedules name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING

from lunasched import schedule
from lunasched.dataclass import dataclass
from lunasched.doctor.facts import file_seen
from lunasched.doctor.finding import error, fine, warning
from lunasched.errors import CalendarError, InvalidInput
from lunasched.formats import daycalendar
from lunasched.history.slot import to_datetime
from lunasched.paths import SUPERVISOR_USER, Mode

if TYPE_CHECKING:
    from lunasched.doctor.facts import Facts
    from lunasched.doctor.finding import Finding
    from lunasched.jobs.model import Job

ENDS_WITHIN_DAYS = 60
"""An end this close is told: somebody has to find out the days that follow."""


@dataclass(frozen=True, slots=True)
class NamedCalendar:
    """A calendar that schedules name."""

    name: str
    path: str
    jobs: tuple[str, ...]
    last: int | None
    """The last day that it can have (``date.toordinal``), or None if there is no end to them."""
    readable_by_supervisor: bool = True


@dataclass(frozen=True, slots=True)
class CalendarFacts:
    """The calendars of jobs."""

    found: tuple[NamedCalendar, ...] = ()
    broken: tuple[tuple[str, str], ...] = ()
    """Jobs whose calendars cannot be read, each with what is wrong."""


def look(mode: Mode, jobs: Sequence[Job]) -> CalendarFacts:
    """Return the calendars that the jobs name."""
    users: dict[str, list[str]] = {}
    broken = []
    for job in jobs:
        try:
            for named in schedule.named_calendars(schedule.parse(job.schedule)):
                users.setdefault(named.name, []).append(job.name)
        except CalendarError as problem:
            broken.append((job.name, problem.message))
        except InvalidInput:
            continue
    found = []
    for name, names in sorted(users.items()):
        calendar = daycalendar.read_calendar(name)
        file = file_seen(calendar.path)
        readable = mode is Mode.USER or file is None or file.is_readable_by_supervisor
        found.append(NamedCalendar(name, str(calendar.path), tuple(names), calendar.last, readable))
    return CalendarFacts(tuple(found), tuple(broken))


def judge(facts: Facts) -> Iterator[Finding]:
    """Tell of calendars that cannot be read, and of those that come to their end."""
    known = facts.calendars
    found = [
        error(
            f"the job {job!r}: {problem}",
            "its timer stays as it was; it is renewed once the file is right again",
        )
        for job, problem in known.broken
    ]
    today = to_datetime(facts.now).date().toordinal()
    for calendar in known.found:
        if not calendar.readable_by_supervisor:
            found.append(
                error(
                    f"{calendar.path} cannot be read by the user {SUPERVISOR_USER}",
                    "runs of its jobs are recorded without their slots",
                    f"chmod a+r {calendar.path}",
                    as_root=facts.is_system,
                )
            )
        if calendar.last is not None and calendar.last - today < ENDS_WITHIN_DAYS:
            end = date.fromordinal(calendar.last).isoformat() if calendar.last else "no day at all"
            found.append(
                warning(
                    f"the calendar {calendar.name} ends: its last day is {end}",
                    f"from then on it says nothing to {_named(calendar.jobs)}; add the days that "
                    f"follow to {calendar.path}",
                )
            )
    yield from found or [fine("the calendars that jobs name can be read, and go on")]


def _named(jobs: Sequence[str]) -> str:
    shown = ", ".join(jobs[:3])
    return f"{shown} and {len(jobs) - 3} more" if len(jobs) > 3 else shown
