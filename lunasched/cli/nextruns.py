"""Commands about when jobs run: explain, next."""

from __future__ import annotations

import heapq
import os
import sys
from datetime import date, datetime, time, timedelta, timezone
from typing import TYPE_CHECKING, List, Optional

import typer

from lunasched.cli import render
from lunasched.cli.app import JSON_OPTION, MODE_OPTION, TIMES_MAX, app, chosen_mode
from lunasched.cli.session import Session
from lunasched.errors import InvalidInput
from lunasched.history import jsonview
from lunasched.history.agenda import agenda, starts_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lunasched.history.agenda import Agenda
    from lunasched.history.slot import Past
    from lunasched.jobs.model import Job
    from lunasched.schedule import Schedule, Transition

_YEAR = timedelta(days=366)
_WEEKS = 5
_NAMED = 6
"""The most names of jobs in one line of an agenda."""
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@app.command()
def explain(
    schedule: List[str] = typer.Argument(
        ..., help="Schedules, as 'lunasched add' takes them.", show_default=False
    ),
    zone: Optional[str] = typer.Option(
        None,
        "--timezone",
        metavar="ZONE",
        help="Time zone.  [default: the host's]",
        show_default=False,
    ),
    start: Optional[str] = typer.Option(
        None,
        "--from",
        metavar="ISO",
        help="Show times after this one.  [default: now]",
        show_default=False,
    ),
    count: int = typer.Option(
        5, "-n", "--count", min=1, max=TIMES_MAX, help="Number of times to show."
    ),
    job: str = typer.Option(
        "", "--job", metavar="NAME", help="Name of the job, for H.", show_default=False
    ),
    month: bool = typer.Option(False, "--month", help="Draw the next five weeks."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Explain a schedule, and show its next times."""
    from lunasched.history.slot import to_usec
    from lunasched.jobs.values import schedule_text
    from lunasched.machine.host import machine_id
    from lunasched.schedule import (
        check_timezone,
        describe,
        doubt,
        named_calendars,
        parse,
        placed,
        timing,
    )

    host = Session.choose(None).host_timezone
    if zone is not None:
        check_timezone(zone)
    text = schedule_text(schedule)
    chosen = placed(text, f"{machine_id()}\0{job}")
    rule = parse(chosen)
    # One that the schedule names is the zone of its times.
    zone = getattr(rule, "zone", None) or zone
    now = _moment(start, zone or host)
    lines = timing(rule, timezone=zone, host_timezone=host, now=now)
    upcoming = list(_elapses(rule, zone or host, now, count))
    valid_until = None if lines.valid_until is None else to_usec(lines.valid_until)
    if as_json:
        render.print_json(
            {
                "schedule": rule.text,
                "kind": rule.kind.value,
                "words": describe(rule),
                "warning": doubt(rule),
                "timezone": zone or host,
                "calendars": [named.name for named in named_calendars(rule)],
                "exact_until": None if valid_until is None else jsonview.iso(valid_until),
                "on_calendar": list(lines.on_calendar),
                "on_unit_active_sec": lines.on_unit_active_sec,
                "on_boot_sec": lines.on_boot_sec,
                "on_startup_sec": lines.on_startup_sec,
                "next": [jsonview.iso(moment) for moment in upcoming],
            }
        )
        return
    print(describe(rule))
    if chosen != text:
        of_whom = f"the job {job!r}" if job else "a job without a name (--job)"
        print(f"On this host, for {of_whom}, it is {chosen!r}.")
    if unsure := doubt(rule):
        print(f"warning: {unsure}", file=sys.stderr)
    print(f"\nTime zone: {zone or host}{'' if zone else ' (of the host)'}\n\nTimer:")
    if lines.is_empty:
        print("  none")
    for line in lines.on_calendar:
        print(f"  OnCalendar={line}")
    if lines.on_unit_active_sec is not None:
        print(f"  OnUnitActiveSec={lines.on_unit_active_sec}s")
    if lines.on_boot_sec is not None:
        print(f"  OnBootSec={lines.on_boot_sec}s")
    if lines.on_startup_sec is not None:
        print(f"  OnStartupSec={lines.on_startup_sec}s")
    if lines.valid_until is not None:
        print(f"  exact until {lines.valid_until:%Y-%m-%d}; lunasched-sync.timer renews the lines")
    if upcoming:
        print("\nNext times:")
        for moment in upcoming:
            print(f"  {render.zone_time(moment, zone or host)}")
    if month:
        _print_month(rule, zone or host, now)
    _print_nights(rule, zone or host, now)


@app.command("next")
def next_runs(
    ctx: typer.Context,
    name: Optional[str] = typer.Argument(
        None, help="Name of the job.  [default: all jobs]", show_default=False
    ),
    count: int = typer.Option(
        10, "-n", "--count", min=1, max=TIMES_MAX, help="Number of runs to show."
    ),
    week: bool = typer.Option(False, "--week", help="Show the next seven days, by day."),
    ics: bool = typer.Option(False, "--ics", help="Print the next four weeks as iCalendar."),
    as_json: bool = JSON_OPTION,
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Show the next runs of a job or of all jobs."""
    session = Session.choose(chosen_mode(ctx, system))
    jobs = session.jobs() if name is None else [session.job(name)]
    if week or ics:
        _show_agenda(session, jobs, ics=ics, as_json=as_json)
        return
    deployed = session.store.jobs.updated_at()
    obstacles: dict[str, str] = {}
    streams = [_upcoming(session, job, deployed.get(job.name, 0), obstacles) for job in jobs]
    runs = [run for run, _ in zip(heapq.merge(*streams), range(count), strict=False)]
    _note_obstacles(obstacles)
    if as_json:
        render.print_json([{"at": jsonview.iso(at), "job": job} for at, job in runs])
        return
    rows = [(render.local_time(at), job) for at, job in runs]
    render.print_table(("NEXT ELAPSE", "JOB"), rows)


def _show_agenda(session: Session, jobs: Sequence[Job], *, ics: bool, as_json: bool) -> None:
    """Print what starts in the next time, those at one time together."""
    deployed = session.store.jobs.updated_at()
    obstacles: dict[str, str] = {}
    going = [job for job in jobs if _is_going(session, job, obstacles)]
    pasts = ((job, past_of(session, job, deployed.get(job.name, 0))) for job in going)
    _note_obstacles(obstacles)
    now = session.now()
    until = now + (28 if ics else 7) * 86_400_000_000
    planned = agenda(pasts, now=now, until=until, host_timezone=session.host_timezone)
    if ics:
        from lunasched.machine import terminal
        from lunasched.web.calendarfeed import calendar_text

        known = {job.name: job for job in going}
        text = calendar_text(planned, known, host=os.uname().nodename, now=now)
        terminal.print_exact(text.decode())
    elif as_json:
        render.print_json(
            {
                "from": jsonview.iso(now),
                "until": jsonview.iso(until),
                "slots": [
                    {"at": jsonview.iso(slot.at), "jobs": list(slot.jobs)} for slot in planned.slots
                ],
                "often": [{"job": job, "starts_a_day": count} for job, count in planned.often],
            }
        )
    else:
        _print_week(planned)


def _print_week(planned: Agenda) -> None:
    rows = [
        (
            render.local_time(slot.at),
            f"{len(slot.jobs)} jobs" if len(slot.jobs) > 1 else "",
            ", ".join(slot.jobs[:_NAMED]) + (" ..." if len(slot.jobs) > _NAMED else ""),
        )
        for slot in planned.slots
    ]
    render.print_table(("AT", "TOGETHER", "JOBS"), rows)
    for job, count in planned.often:
        print(f"{job} starts often, {count:g} times a day.")
    if planned.busiest is not None:
        at = render.local_time(planned.busiest.at)
        print(f"Most start together at {at}: {len(planned.busiest.jobs)} jobs.")


def _upcoming(
    session: Session, job: Job, deployed_at: int, obstacles: dict[str, str]
) -> Iterator[tuple[int, str]]:
    """The next elapses of a job, each with its name; ``obstacles`` has why there are none."""
    if not _is_going(session, job, obstacles):
        return
    past = past_of(session, job, deployed_at)
    for at in starts_of(job, past, session.now(), session.host_timezone):
        yield at, job.name


def _is_going(session: Session, job: Job, obstacles: dict[str, str]) -> bool:
    """Tell if a job has times to come, and its timer runs; ``obstacles`` has why not."""
    from lunasched.schedule import UNTIMED, parse

    try:
        if not job.enabled or isinstance(parse(job.schedule), UNTIMED):
            return False
    except InvalidInput as error:
        # Such as a zone that the machine has no more; the other jobs have their times.
        obstacles[job.name] = str(error)
        return False
    obstacle = session.timers.obstacle(job.name)
    if obstacle:
        obstacles[job.name] = obstacle.words
    return not obstacle


def _note_obstacles(obstacles: dict[str, str]) -> None:
    for one, obstacle in obstacles.items():
        print(f"note: {one} has no next run: {obstacle}", file=sys.stderr)


def past_of(session: Session, job: Job, deployed_at: int) -> Past:
    """The past that the next starts of a job depend on; only an interval asks the history."""
    from lunasched.history.slot import Past
    from lunasched.schedule import Every, parse

    try:
        counts = isinstance(parse(job.schedule), Every)
    except InvalidInput:
        counts = False  # it has no next start at all
    return Past(deployed_at, session.store.runs.last_start(job.name) if counts else None, None)


def _elapses(rule: Schedule, zone: str, now: datetime, count: int) -> Iterator[int]:
    """The next times of a schedule (µs, UTC); an interval counts from now."""
    from itertools import islice

    from lunasched.history.slot import to_usec
    from lunasched.schedule import UNTIMED, Every, elapses

    if isinstance(rule, UNTIMED):
        return
    if isinstance(rule, Every):
        yield from (to_usec(now) + n * rule.seconds * 1_000_000 for n in range(1, count + 1))
        return
    yield from map(to_usec, islice(elapses(rule, timezone=zone, after=now), count))


def _print_month(rule: Schedule, zone: str, now: datetime) -> None:
    """Draw the next weeks: the number of times of each day, on the clock of the zone."""
    from itertools import takewhile

    from lunasched.formats import tzdatabase
    from lunasched.schedule import UNTIMED, Every, elapses

    if isinstance(rule, (Every, *UNTIMED)):
        print("\nThe times of this schedule are not those of a calendar.")
        return
    rules = tzdatabase.rules_of(zone) or timezone.utc
    today = now.astimezone(rules).date()
    monday = today - timedelta(days=today.weekday())
    end = datetime.combine(monday + timedelta(weeks=_WEEKS), time(), rules)
    counts: dict[date, int] = {}
    for moment in takewhile(lambda at: at < end, elapses(rule, timezone=zone, after=now)):
        day = moment.astimezone(rules).date()
        counts[day] = counts.get(day, 0) + 1
    print("\nThe next weeks, with the number of times of each day:")
    print("            " + "".join(f"{name:>6}" for name in _WEEKDAYS))
    for week in range(_WEEKS):
        first = monday + timedelta(weeks=week)
        days = [first + timedelta(days=n) for n in range(7)]
        marks = ("" if day < today else str(counts.get(day, ".")) for day in days)
        print(f"  {first.isoformat()}" + "".join(f"{mark:>6}" for mark in marks))


def _print_nights(rule: Schedule, zone: str, now: datetime) -> None:
    """Print the elapses around the changes of the clock within a year."""
    from lunasched.schedule import UNTIMED, Every, transitions

    if isinstance(rule, (Every, *UNTIMED)):
        return
    nights = transitions(zone, now, now + _YEAR)
    if not nights:
        print(f"\nThe clock of {zone} does not change within a year.")
        return
    print("\nWhen the clock changes:")
    for night in nights:
        print(f"  {_night(rule, zone, night)}")


def _night(rule: Schedule, zone: str, night: Transition) -> str:
    from lunasched.history.slot import to_usec
    from lunasched.schedule import elapses

    shift = night.after - night.before
    at = render.zone_time(to_usec(night.at), zone)
    minutes = int(abs(shift).total_seconds() // 60)
    change = f"{at}: {minutes} minutes {'skipped' if shift > timedelta(0) else 'repeated'}"
    span = abs(shift)
    times: list[str] = []
    for moment in elapses(rule, timezone=zone, after=night.at - span - timedelta(microseconds=1)):
        if moment >= night.at + span or len(times) == 6:
            break
        times.append(render.zone_time(to_usec(moment), zone, short=True))
    return f"{change}; runs around it: {', '.join(times) or 'none'}"


def _moment(text: Optional[str], zone: str) -> datetime:
    """``--from`` as an aware time; one without an offset is in the schedule's zone."""
    from lunasched.formats import tzdatabase
    from lunasched.schedule.calendar import MAX_YEAR, MIN_YEAR

    if text is None:
        return datetime.now(timezone.utc)
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise InvalidInput(
            f"--from: {text!r} is not a time in ISO 8601; write 2027-03-28T01:30 or add +02:00"
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=tzdatabase.rules_of(zone))
    if not MIN_YEAR < moment.year < MAX_YEAR:
        raise InvalidInput(
            f"--from: {text!r} is out of range: its year is after {MIN_YEAR} and before {MAX_YEAR}"
        )
    return moment
