"""The check of time zones, and of the units that bring jobs' units up to date with them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lunasched import schedule
from lunasched.doctor.facts import Unseen
from lunasched.doctor.finding import error, fine, warning
from lunasched.errors import InvalidInput
from lunasched.history.slot import to_datetime
from lunasched.machine import host
from lunasched.state.slotfile import SlotDirectory

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
    )


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
