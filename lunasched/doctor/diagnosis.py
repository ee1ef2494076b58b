"""Problems of an installation, and the commands that fix them: facts in, findings out.

Each check judges some of the facts. It changes nothing, names the effect of what it found, and a
command that fixes it, where one does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from lunasched.doctor import (
    calendarcheck,
    cgroupcheck,
    clockcheck,
    configurationcheck,
    croncheck,
    crontabcheck,
    databasecheck,
    diskcheck,
    journalcheck,
    lingercheck,
    mailcheck,
    needcheck,
    notificationcheck,
    orphancheck,
    overruncheck,
    polkitcheck,
    recordingcheck,
    scriptcheck,
    servicemanagercheck,
    sessioncheck,
    supervisorcheck,
    timercheck,
    unitcheck,
    webcheck,
    zonecheck,
)

if TYPE_CHECKING:
    from lunasched.doctor.facts import Facts
    from lunasched.doctor.finding import Finding

Check = Callable[["Facts"], Iterable["Finding"]]

CHECKS: Mapping[str, Check] = {
    "systemd": servicemanagercheck.judge,
    "cgroups": cgroupcheck.judge,
    "clock": clockcheck.judge,
    "zones": zonecheck.judge,
    "calendars": calendarcheck.judge,
    "journal": journalcheck.judge,
    "polkit": polkitcheck.judge,
    "linger": lingercheck.judge,
    "disk": diskcheck.judge,
    "configuration": configurationcheck.judge,
    "definitions": databasecheck.judge_definitions,
    "history": databasecheck.judge_history,
    "supervisor": supervisorcheck.judge,
    "recording": recordingcheck.judge,
    "runs": overruncheck.judge,
    "web": webcheck.judge,
    "notifications": notificationcheck.judge,
    "mail": mailcheck.judge,
    "scripts": scriptcheck.judge,
    "units": unitcheck.judge,
    "timers": timercheck.judge,
    "orphans": orphancheck.judge,
    "users": needcheck.judge_users,
    "files": needcheck.judge_files,
    "sessions": sessioncheck.judge,
    "cron": croncheck.judge,
    "crontabs": crontabcheck.judge,
}
"""The checks by name, in the order in which they are reported."""


def diagnose(facts: Facts) -> list[Finding]:
    """Run every check; a check that found nothing wrong says so in one finding."""
    return [finding.of(name) for name, check in CHECKS.items() for finding in check(facts)]
