"""Checks of the machine around lunasched: systemd, the kernel, the journal, the clock, polkit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from lunasched.doctor.diagnosis.facts import DiskFacts, Facts, UnitSeen, Unseen
from lunasched.doctor.diagnosis.finding import Finding, error, fine, unseen, warning
from lunasched.history.slot import to_datetime
from lunasched.jobs.model import Job
from lunasched.paths import Mode

SYSTEMD_TESTED = 252
"""The oldest that the tests run on."""
SYSTEMD_NEEDED = 240
"""``Type=exec``: without it time limits and missing programs go unnoticed."""
JOURNAL_BYTES_MIN = 64 << 20
"""A journal that is smaller may have dropped a run before the supervisor has read it."""
ZONES_YEARS_MAX = 2
"""Countries change their rules with less notice than that."""
_FULL, _NEARLY_FULL, _NEARLY_FULL_SHARE = 16 << 20, 512 << 20, 0.05

_JOURNAL_CONF = "/etc/systemd/journald.conf.d"
# The last of journald's drop-ins by name takes precedence.
_OUR_CONF = f"{_JOURNAL_CONF}/zz-lunasched.conf"


def systemd(facts: Facts) -> Iterator[Finding]:
    """Tell whether the service manager answers, and is new enough."""
    if isinstance(facts.manager, Unseen):
        yield _no_manager(facts, facts.manager)
        return
    version = facts.manager.version
    found = re.match(r"\d+", version)
    number = int(found[0]) if found else 0
    if number < SYSTEMD_NEEDED:
        yield error(
            f"systemd {version} is older than {SYSTEMD_NEEDED}",
            "time limits do not work, and a missing program is taken for a success",
        )
    elif number < SYSTEMD_TESTED:
        yield warning(
            f"systemd {version} is older than {SYSTEMD_TESTED}, the oldest that is tested",
            "it may write records that the supervisor does not read",
        )
    else:
        yield fine(f"systemd {version} answers")


def _no_manager(facts: Facts, reason: Unseen) -> Finding:
    if facts.mode is Mode.SYSTEM:
        return error(
            f"systemd does not answer: {reason.reason}",
            "jobs can neither be added nor shown",
            "systemctl start dbus.socket",
            as_root=True,
        )
    restart = f'systemctl restart "user@$(id -u {facts.user}).service"'
    if facts.lacks_bus:
        return error(
            "your own systemd manager runs and has no D-Bus",
            "you can neither add nor show jobs; a restart of the manager ends what it runs",
            *facts.bus_package,
            restart,
            as_root=True,
        )
    what = f"your own systemd manager does not answer: {reason.reason}"
    why = "your jobs do not run until it does"
    if facts.lingers:
        # With lingering it should run whether the user is logged in or not.
        return error(what, why, restart, as_root=True)
    return error(what, why, f"loginctl enable-linger {facts.user}")


def cgroups(facts: Facts) -> Iterator[Finding]:
    """Tell whether resource limits hold."""
    if facts.cgroup != "v2":
        lost = (
            "a run that is killed for lack of memory is recorded as signal 9"
            if facts.mode is Mode.SYSTEM
            else "your jobs have no limits of memory, CPU or tasks"
        )
        fix = (
            "sed -i 's/^GRUB_CMDLINE_LINUX=\"/&systemd.unified_cgroup_hierarchy=1 /' "
            "/etc/default/grub",
            "update-grub",
            "systemctl reboot",
        )
        yield warning(
            f"this machine has cgroup {facts.cgroup}, not v2 alone",
            f"{lost}; the host of this container decides that" if facts.in_container else lost,
            *(() if facts.in_container else fix),
            as_root=True,
        )
        return
    if isinstance(facts.controllers, Unseen):
        yield unseen("the controllers of cgroup v2", facts.controllers)
        return
    wanted = _controllers_wanted(facts)
    missing = sorted(wanted.keys() - facts.controllers)
    for controller in missing:
        names = ", ".join(wanted[controller])
        what = f"the cgroup controller {controller!r} is not there for jobs that need it: {names}"
        yield _no_controller(facts, what)
    if not missing:
        yield fine("cgroup v2, with the controllers that jobs need")


def _no_controller(facts: Facts, what: str) -> Finding:
    why = "their limits are not enforced"
    if facts.mode is Mode.SYSTEM:
        return error(what, f"{why}; the kernel, or the host of this container, has to provide it")
    directory = "/etc/systemd/system/user@.service.d"
    return error(
        what,
        why,
        f"mkdir -p {directory}",
        f"printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' >{directory}/lunasched.conf",
        "systemctl daemon-reload",
        f"systemctl restart user@$(id -u {facts.user}).service",
        as_root=True,
    )


def _controllers_wanted(facts: Facts) -> dict[str, list[str]]:
    """The controllers that limits of jobs work by, and these jobs."""
    jobs: tuple[Job, ...] = () if isinstance(facts.deployed, Unseen) else facts.deployed.jobs
    wanted: dict[str, list[str]] = {}
    for job in jobs:
        limits = job.limits
        for controller, limit in (
            ("memory", limits.max_memory),
            ("cpu", limits.cpu_quota),
            ("pids", limits.tasks_max),
            ("io", limits.io_weight),
        ):
            if limit is not None:
                wanted.setdefault(controller, []).append(job.name)
    return wanted


def clock(facts: Facts) -> Iterator[Finding]:
    """Tell whether something keeps the clock right."""
    if facts.in_container:
        yield fine("the clock is that of this container's host")
    elif isinstance(facts.clock, Unseen):
        yield unseen("the clock", facts.clock)
    elif facts.clock.synchronised:
        yield fine("the clock is synchronised")
    else:
        yield warning(
            "the clock is not synchronised",
            "jobs run by the clock, and a clock that is corrected later makes them "
            "run late, or in quick succession",
            "timedatectl set-ntp true",
            as_root=True,
        )


def zones(facts: Facts) -> Iterator[Finding]:
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


def journal(facts: Facts) -> Iterator[Finding]:
    """Tell whether the journal keeps what the supervisor reads from it."""
    known = facts.journal
    if isinstance(known, Unseen):
        yield unseen("the journal", known)
        return
    found = []
    if known.storage == "none":
        found.append(
            error(
                "journald stores nothing (Storage=none)",
                "no run is ever recorded, and nothing that jobs print is kept",
                *_make_persistent(),
                as_root=True,
            )
        )
    elif known.storage == "volatile":
        own = facts.mode is Mode.USER and known.readable is not True
        severity = error if own else warning
        found.append(
            severity(
                "the journal does not outlive a reboot",
                "your runs are not recorded: you can read no file that holds their records"
                if own
                else "runs that were not recorded before one are lost, and with it all output but "
                "the last 8 KiB of each run",
                *_make_persistent(),
                as_root=True,
            )
        )
    if isinstance(known.readable, Unseen):
        found.append(unseen("what the journal holds", known.readable))
    elif not known.readable and known.storage == "persistent":
        user = "lunasched" if facts.is_system else facts.user
        found.append(
            error(
                f"{user} cannot read the journal",
                "no run is recorded",
                f"usermod --append --groups systemd-journal {user}",
                f"{facts.systemctl} restart lunasched.service",
                as_root=True,
            )
        )
    if known.limit is not None and known.limit < JOURNAL_BYTES_MIN:
        found.append(
            warning(
                f"the journal is limited to {known.limit >> 20} MiB",
                "where much is logged while the supervisor is down, runs are dropped before they "
                "are recorded",
                f"mkdir -p {_JOURNAL_CONF}",
                f"printf '[Journal]\\nSystemMaxUse=1G\\nRuntimeMaxUse=256M\\n' >>{_OUR_CONF}",
                "systemctl restart systemd-journald.service",
                as_root=True,
            )
        )
    yield from found or [fine("the journal is persistent")]


def _make_persistent() -> tuple[str, ...]:
    return (
        f"mkdir -p {_JOURNAL_CONF} /var/log/journal",
        f"printf '[Journal]\\nStorage=persistent\\n' >>{_OUR_CONF}",
        "systemd-tmpfiles --create --prefix /var/log/journal",
        "systemctl restart systemd-journald.service",
        "journalctl --flush",
    )


def polkit(facts: Facts) -> Iterator[Finding]:
    """Polkit permits the supervisor's user nothing: it has units started by a socket of ours."""
    known = facts.polkit
    if known is None:
        return
    if isinstance(known, Unseen):
        yield unseen("polkit", known)
    elif known.unit != "loaded":
        yield fine("polkit is not installed, and so permits the supervisor nothing")
    elif isinstance(known.permitted, Unseen):
        yield unseen("what polkit lets the supervisor do", known.permitted)
    elif known.permitted:
        yield error(
            f"polkit lets the supervisor {' and '.join(known.permitted)}",
            "whoever takes the supervisor over can do that, too; the rule 00-lunasched.rules is "
            "missing, or an earlier rule permits it",
            *facts.reinstall,
            as_root=True,
        )
    else:
        yield fine("polkit lets the supervisor do nothing")


def linger(facts: Facts) -> Iterator[Finding]:
    """Tell whether a user's jobs run while they are logged out."""
    if facts.lingers is None:
        return
    if facts.lingers:
        yield fine("your manager runs while you are logged out")
    else:
        yield warning(
            "your jobs run only while you are logged in",
            "your systemd manager ends with your last session, and your jobs with it",
            f"loginctl enable-linger {facts.user}",
        )


def disk(facts: Facts) -> Iterator[Finding]:
    """Find file systems without room, and directories of ours that cannot be written."""
    for closed in facts.closed:
        yield error(
            f"the directory {closed.path} is {closed.reason}",
            "runs are not recorded"
            if closed.path == facts.paths.history.parent
            else "jobs cannot be added, changed, enabled, disabled or removed",
            *([closed.fix] if closed.fix else []),
            as_root=True,
        )
    full = [one for one in facts.disks if _is_nearly_full(one)]
    for one in full:
        severity = error if one.free < _FULL else warning
        yield severity(
            f"the disk of {one.path} has {one.free >> 20} MiB left of {one.total >> 20}",
            "when it is full, runs are not recorded and jobs cannot be changed",
            "journalctl --vacuum-size=100M",
            f"{facts.lunasched} vacuum",
            as_root=True,
        )
    if not full and not facts.closed:
        yield fine("the disks have room and are writable")


def _is_nearly_full(one: DiskFacts) -> bool:
    return one.free < min(_NEARLY_FULL, max(_FULL, one.total * _NEARLY_FULL_SHARE))
