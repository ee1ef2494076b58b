"""Jobs that start together, moved apart: by minutes of their schedules, or by a jitter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lunasched import schedule
from lunasched.dataclass import dataclass
from lunasched.errors import InvalidInput
from lunasched.formats.pattern import pattern
from lunasched.history.agenda import Agenda
from lunasched.jobs.model import Job

_CLOCK = pattern(r"(?<![0-9:])([0-9]{1,2}):([0-9]{2})(?![0-9:apm]| ?[ap]m)")
_CRON = pattern(r"(?:cron:)?([0-9]{1,2}) ([^ ]+ [^ ]+ [^ ]+ [^ ]+)")


@dataclass(frozen=True, slots=True)
class Move:
    """A job that starts with others, and what it would be instead."""

    before: Job
    after: Job


def moves(
    planned: Agenda, jobs: Mapping[str, Job], *, within: int, by_jitter: bool
) -> tuple[Move, ...]:
    """Return a change for each job that starts together with others, apart from one of them.

    ``within`` are seconds: what starts at one time now starts within so long after it. By minutes
    where the text of a schedule has one that can be another, and by a jitter everywhere else.
    """
    return tuple(
        move
        for group in _groups(planned)
        for move in _apart([jobs[name] for name in group if name in jobs], within, by_jitter)
    )


def _groups(planned: Agenda) -> list[list[str]]:
    """The jobs that start together at some time, also by way of a third one."""
    group_of: dict[str, set[str]] = {}
    for slot in planned.slots:
        together = set(slot.jobs).union(*(group_of.get(name, ()) for name in slot.jobs))
        for name in together:
            group_of[name] = together
    groups = {id(group): group for group in group_of.values() if len(group) > 1}
    return sorted(map(sorted, groups.values()))


def _apart(group: list[Job], within: int, by_jitter: bool) -> Iterator[Move]:
    minutes_within = within // 60
    step = max(1, minutes_within // len(group)) if group else 1
    for place, job in enumerate(group[1:], start=1):
        # Where there are more jobs than minutes, some still share one.
        minutes = (place * step - 1) % minutes_within + 1
        moved = None if by_jitter else _later(job, minutes)
        yield Move(job, job.evolve(jitter=within) if moved is None else moved)


def _later(job: Job, minutes: int) -> Job | None:
    """The job with its schedule some minutes later, or None where its text does not show how."""
    text = job.schedule
    clocks = list(_CLOCK.finditer(text))
    cron = _CRON.fullmatch(text)
    if cron is not None and int(cron[1]) + minutes < 60:
        later = f"{int(cron[1]) + minutes} {cron[2]}"
    elif len(clocks) == 1 and not text.startswith("calendar:"):
        hour, minute = int(clocks[0][1]), int(clocks[0][2]) + minutes
        if hour + minute // 60 > 23:
            return None
        time = f"{hour + minute // 60:02}:{minute % 60:02}"
        later = text[: clocks[0].start()] + time + text[clocks[0].end() :]
    else:
        return None
    try:
        schedule.parse(later)
    except InvalidInput:
        return None
    return job.evolve(schedule=later)
