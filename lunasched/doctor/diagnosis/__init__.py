"""Problems of an installation, and the commands that fix them: facts in, findings out.

The facts are gathered by ``examination``; each check looks at some of them. A check changes
nothing, names the effect of what it found, and a command that fixes it, where one does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from lunasched.doctor.diagnosis import around, deployed, lacks, mail, own, runs, sessions
from lunasched.doctor.diagnosis.facts import (
    ClockFacts,
    ClosedFacts,
    CronLine,
    DatabaseFacts,
    DeployedFacts,
    DiskFacts,
    Facts,
    FileFacts,
    JournalFacts,
    MailFacts,
    ManagerFacts,
    NotificationFacts,
    OverrunFacts,
    PolkitFacts,
    RecordingFacts,
    SettingsFacts,
    UnitSeen,
    Unseen,
    WebFacts,
    ZoneFacts,
)
from lunasched.doctor.diagnosis.finding import Finding, Severity

Check = Callable[[Facts], Iterable[Finding]]

CHECKS: Mapping[str, Check] = {
    "systemd": around.systemd,
    "cgroups": around.cgroups,
    "clock": around.clock,
    "zones": around.zones,
    "journal": around.journal,
    "polkit": around.polkit,
    "linger": around.linger,
    "disk": around.disk,
    "configuration": own.configuration,
    "definitions": own.definitions,
    "history": own.history,
    "supervisor": own.supervisor,
    "recording": own.recording,
    "runs": runs.runs,
    "web": own.web,
    "notifications": own.notifications,
    "mail": mail.mail,
    "scripts": own.scripts,
    "units": deployed.units,
    "timers": deployed.timers,
    "orphans": deployed.orphans,
    "users": lacks.users,
    "files": lacks.files,
    "sessions": sessions.sessions,
    "cron": deployed.cron,
}
"""The checks by name, in the order in which they are reported."""


def diagnose(facts: Facts) -> list[Finding]:
    """Run every check; a check that found nothing wrong says so in one finding."""
    return [finding for name, check in CHECKS.items() for finding in _named(name, check(facts))]


def _named(name: str, findings: Iterable[Finding]) -> list[Finding]:
    return [finding.of(name) for finding in findings]


__all__ = [
    "CHECKS",
    "ClockFacts",
    "ClosedFacts",
    "CronLine",
    "DatabaseFacts",
    "DeployedFacts",
    "DiskFacts",
    "Facts",
    "FileFacts",
    "Finding",
    "JournalFacts",
    "MailFacts",
    "ManagerFacts",
    "NotificationFacts",
    "OverrunFacts",
    "PolkitFacts",
    "RecordingFacts",
    "SettingsFacts",
    "Severity",
    "UnitSeen",
    "Unseen",
    "WebFacts",
    "ZoneFacts",
    "diagnose",
]
