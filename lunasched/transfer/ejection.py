"""A job without lunasched: plain units, and the list of what they cannot do.

What systemd does in the same way stays. What of the job it does not do is a *loss*, for its author
to decide upon; what no unit does that lunasched has left is a *note*.
"""

from __future__ import annotations

from collections.abc import Callable

from lunasched import schedule
from lunasched.dataclass import dataclass
from lunasched.errors import InvalidInput
from lunasched.formats.pattern import pattern
from lunasched.jobs.directivelines import directive_lines
from lunasched.jobs.model import ExecutionMode, Job, Notifications, Overlap
from lunasched.units import compiler
from lunasched.units.compiler import Context, Unit

MARK = "# Ejected from lunasched"
"""The beginning of an ejected unit's first line; lunasched has no claim to it."""

SCHEDULE_NOTE, ZONE_NOTE = "Schedule", "Time zone"
"""The names of the comments in an ejected timer that say which schedule its lines are."""

OF_THE_UNITS_NAME = pattern(r"(?<!%)(?:%%)*%[nNpPiIjJfyY]")
"""A specifier that a unit of another name has another text for (systemd.unit(5))."""

_NAME = pattern(r"[A-Za-z0-9:_.\\-]+\Z")
_NAME_BYTES_MAX = 200


@dataclass(frozen=True, slots=True)
class Ejection:
    """The units that take the place of a job."""

    job: Job
    name: str
    units: tuple[Unit, ...]
    losses: tuple[str, ...]
    """The features of the job that the units lack."""
    notes: tuple[str, ...]
    """The features that lunasched gave it as it gives every job."""

    @property
    def service(self) -> Unit:
        """The unit that runs the command."""
        return self.units[0]

    @property
    def timer(self) -> Unit | None:
        """``None`` for a job without a schedule."""
        return self.units[1] if len(self.units) > 1 else None


def ejected_units(job: Job, context: Context, name: str | None = None) -> Ejection:
    """The plain units of ``job``, called ``name`` or as the job is.

    Raises ``InvalidInput`` where units cannot be called that.
    """
    name = job.name if name is None else name
    if not _NAME.match(name) or len(name.encode()) > _NAME_BYTES_MAX or name.startswith("."):
        raise InvalidInput(
            f"{name!r} cannot be the name of a unit, which has letters, digits and ':_.-\\' only; "
            "choose another one with --as"
        )
    about = [
        f'{MARK.removeprefix("# ")}, where it was the job "{job.name}", and needs nothing of it.'
    ]
    if job.schedule != schedule.ON_DEMAND:
        about.append(f"{SCHEDULE_NOTE}: {job.schedule}")
        if job.timezone is not None:
            about.append(f"{ZONE_NOTE}: {job.timezone}")
    units = compiler.plain_units(job, context, name, about)
    losses = tuple(what for is_lost, what in _LOSSES if is_lost(job))
    return Ejection(job, name, units, losses, _notes(job, context))


_LOSSES: tuple[tuple[Callable[[Job], bool], str], ...] = (
    (lambda job: job.retry.max_attempts > 1, "a failed run is not retried"),
    (lambda job: bool(job.hooks.events()), "its hooks do not run"),
    (lambda job: job.notifications != Notifications(), "nobody is notified"),
    (
        lambda job: any(
            OF_THE_UNITS_NAME.search(text.text) for _, text in directive_lines(job.directives)
        ),
        "what %n and the like stand for in its directives is the name of another unit",
    ),
    (lambda job: job.private, "every user can read its arguments and variables in the units"),
    (lambda job: bool(job.waits_for), "it does not wait for other jobs"),
    (
        lambda job: job.mode is ExecutionMode.PARALLEL,
        "its runs do not overlap: one that is due during another starts after it",
    ),
    (lambda job: job.mode is ExecutionMode.EXCLUSIVE, "other jobs run beside it"),
    (
        lambda job: job.overlap is Overlap.SKIP,
        "what is due during a run is not skipped, but starts after it",
    ),
    (
        lambda job: job.overlap is Overlap.REPLACE,
        "what is due during a run does not replace it, but starts after it",
    ),
)


def _notes(job: Job, context: Context) -> tuple[str, ...]:
    notes = ["its runs are no longer recorded; the history up to now stays"]
    rule = schedule.parse(job.schedule)
    if isinstance(rule, schedule.Every):
        notes.append("its interval begins anew at each boot")
    elif not isinstance(rule, schedule.UNTIMED):
        notes.append("when the clock is set back, it may run twice for the same time")
        zone = job.timezone or context.host_timezone
        timing = schedule.timing(
            rule, timezone=job.timezone, host_timezone=context.host_timezone, now=context.now
        )
        rules = rule.rules if isinstance(rule, schedule.Several) else (rule,)
        if timing.valid_until is not None and any(
            isinstance(each, schedule.Limited) for each in rules
        ):
            until = f"{timing.valid_until:%Y-%m-%d}"
            notes.append(f"its timer has dates until {until}, and nothing renews them")
        elif timing.valid_until is not None:
            notes.append(
                f"its timer knows the nights on which the clock changes in {zone} "
                f"until {timing.valid_until.year}"
            )
    if job.jitter:
        notes.append("its random delay is drawn anew, once")
    if job.tags:
        notes.append(f"its tags are gone: {', '.join(job.tags)}")
    return tuple(notes)
