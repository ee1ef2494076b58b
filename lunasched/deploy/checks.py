"""True if jobs can be as a change would have them, each of them and together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lunasched import schedule
from lunasched.errors import InvalidInput, InvalidJob, InvalidJobs
from lunasched.history import slot
from lunasched.jobs import dependencies
from lunasched.jobs.model import ExecutionMode, Job

if TYPE_CHECKING:
    from lunasched.deploy.intendedjobs import IntendedJobs
    from lunasched.deploy.plan import Plan
    from lunasched.transfer.ejection import Ejection
    from lunasched.units.compiler import CompiledJob, Context


def compiled_if_valid(
    plan: Plan, jobs: IntendedJobs, context: Context, now: int
) -> tuple[CompiledJob, ...]:
    """The units of the jobs that a plan puts, ``jobs`` being all as it would have them.

    Raises ``InvalidJobs`` with all that is wrong, or ``InvalidInput`` where a job cannot go.
    ``now`` is in µs UTC.
    """
    faults: list[tuple[str, str]] = []
    compiled = []
    before = plan.before
    for job in plan.put:
        try:
            found = jobs.compile(job)
            if _has_other_times(job, before[job.name]):
                _check_elapses(job, context, now)
        except InvalidJob as error:
            faults += [(job.name, problem) for problem in error.problems]
        else:
            compiled.append(found)
            faults += [(job.name, problem) for problem in _dependency_faults(job, jobs)]
    faults = faults or _circles(plan, jobs) or _refused_by_systemd(plan, compiled, context)
    if faults:
        raise InvalidJobs(faults)
    check_removable(plan, jobs)
    return tuple(compiled)


def check_losses(found: Ejection, force: bool) -> None:
    """Refuse to eject a job that does more than plain units can."""
    if found.losses and not force:
        lost = "".join(f"\n  {loss}" for loss in found.losses)
        raise InvalidInput(
            f"the job {found.job.name!r} was not ejected, because plain units cannot do all that "
            f"it does:{lost}\nTo leave that out: --force"
        )


def check_removable(plan: Plan, jobs: IntendedJobs, verb: str = "removed") -> None:
    """Refuse to remove a job that others wait for, that are not removed with it."""
    for job in plan.removed:
        dependents = jobs.dependent_names(job.name)
        if dependents:
            raise InvalidInput(
                f"the job {job.name!r} was not {verb}, because others wait for it: "
                f"{_listed(dependents)}; remove or change them first"
            )


def waiting_key(job: Job, name: str) -> str:
    """The key by which a job waits for another."""
    return "dependencies" if name in job.dependencies else "after"


def _has_other_times(job: Job, before: Job | None) -> bool:
    return before is None or (before.schedule, before.timezone) != (job.schedule, job.timezone)


def _check_elapses(job: Job, context: Context, now: int) -> None:
    """Refuse a job that would never run again."""
    rule = schedule.parse(job.schedule)
    if isinstance(rule, (schedule.Every, *schedule.UNTIMED)):
        return
    zone = job.timezone or context.host_timezone
    upcoming = schedule.elapses(rule, timezone=zone, after=slot.to_datetime(now))
    if next(upcoming, None) is None:
        raise InvalidJob([f"schedule: {job.schedule!r} never elapses again; it is in the past"])


def _dependency_faults(job: Job, jobs: IntendedJobs) -> Iterator[str]:
    for name in job.waits_for:
        key = waiting_key(job, name)
        dependency = jobs.get(name)
        if jobs.is_removed(name):
            yield f"{key}: the job {name!r} is in none of the files and would be removed"
        elif dependency is None:
            yield f"{key}: there is no job {name!r}; add it first"
        elif dependency.mode is ExecutionMode.PARALLEL:
            yield (
                f"{key}: {name!r} is a Parallel job: its runs overlap, and there is no "
                "latest one that could be waited for"
            )
    dependents = jobs.dependent_names(job.name)
    if job.mode is ExecutionMode.PARALLEL and dependents:
        yield (
            f"execution_mode: a job that others wait for ({_listed(dependents)}) cannot be Parallel"
        )


def _circles(plan: Plan, jobs: IntendedJobs) -> list[tuple[str, str]]:
    found, seen = [], set[str]()
    for job in plan.put:
        if job.name in seen:
            continue
        circle = dependencies.cycle(job.name, job.waits_for, jobs.waits_for)
        if circle is not None:
            seen.update(circle)
            key = waiting_key(job, circle[1])
            said = f"{key}: they form a cycle: {' -> '.join(circle)}"
            found.append((job.name, said))
    return found


def _refused_by_systemd(
    plan: Plan, compiled: Sequence[CompiledJob], context: Context
) -> list[tuple[str, str]]:
    before = plan.before
    asked = [item for item in compiled if _has_other_words(item.job, before[item.job.name])]
    if not asked:
        return []
    from lunasched.systemd import verify

    # Of thousands of jobs that say the same, systemd says the same.
    said = {_words(item.job): item for item in reversed(asked)}
    found = verify.problems(said.values(), context.mode)
    return [
        (item.job.name, problem)
        for item in asked
        for problem in found.get(said[_words(item.job)].job.name, ())
    ]


def _has_other_words(job: Job, before: Job | None) -> bool:
    """Tell whether a job says something of its own in systemd's words."""
    return _words(job) != (_words(before) if before else ((), ()))


def _words(job: Job) -> tuple[object, object]:
    return job.directives, job.sandbox


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
