"""The check of time zones, and of the units that bring jobs' units up to date with them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from lunasched import schedule
from lunasched.dataclass import dataclass
from lunasched.doctor.facts import Unseen
from lunasched.doctor.finding import error, fine, warning
from lunasched.errors import CalendarError, InvalidInput
from lunasched.history.slot import to_datetime
from lunasched.machine import host
from lunasched.state.slotfile import SlotDirectory
from lunasched.units.compiler import lost_zones

if TYPE_CHECKING:
    from lunasched.doctor.facts import Facts
    from lunasched.doctor.finding import Finding
    from lunasched.doctor.servicemanagercheck import UnitSeen
    from lunasched.jobs.model import Job
    from lunasched.paths import Paths
    from lunasched.units.compiler import Context

ZONES_YEARS_MAX = 2
"""Countries change their rules with less notice than that."""
_YEAR_USEC = 366 * 86_400_000_000


@dataclass(frozen=True, slots=True)
class ZoneFacts:
    """Time zones and their database."""

    now: str
    """The zones that units depend on (``config.zone_identity``), as they are."""
    deployed: str
    """The same when the units were made; empty where none were."""
    version: str
    """The version of the zone database, such as ``2025b``."""
    released: int
    """The year of that version; 0 where it is not known."""
    changing: tuple[str, ...]
    """The zones of jobs whose clocks will be changed within a year."""
    lost: tuple[LostZone, ...] = ()


@dataclass(frozen=True, slots=True)
class LostZone:
    """A zone of a job that the machine does not have, or has no more."""

    job: str
    said: str
    has_rules: bool
    """True if it is known under another name, which the job's timer has."""


def look(paths: Paths, context: Context, jobs: Sequence[Job], now: int) -> ZoneFacts:
    """Return the zones as they are, and as the units were made for."""
    version = host.zone_database_version()
    moment, then = to_datetime(now), to_datetime(now + _YEAR_USEC)
    names = sorted({job.timezone or context.host_timezone for job in jobs})
    changing = []
    for name in names:
        try:
            if schedule.transitions(name, moment, then):
                changing.append(name)
        except InvalidInput:
            continue
    released = re.match(r"\d{4}", version)
    return ZoneFacts(
        now=context.zones,
        deployed=SlotDirectory(paths.slots).zones(),
        version=version,
        released=int(released[0]) if released else 0,
        changing=tuple(changing),
        lost=tuple(lost for job in jobs for lost in _lost(job)),
    )


def _lost(job: Job) -> Iterator[LostZone]:
    try:
        yield from (LostZone(job.name, said, has_rules=True) for said in lost_zones(job))
        if job.timezone is not None:
            schedule.timer_zone(job.timezone)
    except CalendarError:
        return  # the check of calendars tells
    except InvalidInput as error:
        yield LostZone(job.name, str(error), has_rules=False)


def judge(facts: Facts) -> Iterator[Finding]:
    """Tell whether the units are right for the time zones, now and in the years to come."""
    known = facts.zones
    found = []
    if facts.has_jobs and not isinstance(facts.deployed, Unseen) and known.deployed != known.now:
        found.append(
            error(
                f"the units were made for {known.deployed or 'no zone'!r}, and it is {known.now!r}",
                "jobs may run an hour too early or too late",
                f"{facts.lunasched} sync",
                as_root=facts.is_system,
            )
        )
    if not known.version:
        found.append(
            warning(
                "the version of the zone database is not known",
                "the supervisor does not notice when it is updated",
                "apt-get install tzdata",
                as_root=True,
            )
        )
    found += [_of_lost(lost, facts) for lost in known.lost]
    year = to_datetime(facts.now).year
    if known.changing and known.released and year - known.released >= ZONES_YEARS_MAX:
        found.append(
            warning(
                f"the zone database is {known.version}, of {year - known.released} years ago, and "
                f"the clocks of {', '.join(known.changing)} change within a year",
                "where a country has changed its rules since, jobs run an hour off",
                "apt-get install --only-upgrade tzdata",
                as_root=True,
            )
        )
    yield from found or [fine(f"the units are right for {known.now}")]
    if facts.has_jobs and not isinstance(facts.manager, Unseen):
        yield from _sync_units(facts, facts.manager.units)


def _of_lost(lost: LostZone, facts: Facts) -> Finding:
    install = "apt-get install tzdata-legacy"
    if lost.has_rules:
        return warning(
            f"the job {lost.job!r}: {lost.said}",
            "its timer has the name of today; files and commands with the old one are refused",
            install,
            as_root=True,
        )
    return error(
        f"the job {lost.job!r}: {lost.said}",
        "its timer is that of before, and systemd takes a zone that it does not find for UTC",
        install,
        f"{facts.lunasched} sync",
        as_root=True,
    )


def _sync_units(facts: Facts, units: Mapping[str, UnitSeen]) -> Iterator[Finding]:
    """Check the units that bring the jobs' units up to date, when zones change and once a year."""
    service = units.get("lunasched-sync.service")
    if service is not None and service.active == "failed":
        yield error(
            "lunasched-sync.service, which brings the units up to date, has failed",
            "the units may be for another time zone",
            f"{facts.lunasched} sync",
            f"{facts.systemctl} reset-failed lunasched-sync.service",
            as_root=facts.is_system,
        )
    timer = units.get("lunasched-sync.timer")
    if timer is None or timer.active != "active":
        yield warning(
            "lunasched-sync.timer does not run",
            "once a year it renews the units for the next ten years",
            f"{facts.systemctl} start lunasched-sync.timer",
            as_root=facts.is_system,
        )
