"""Notifications that were held back, in one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lunasched.history import alerting
from lunasched.history.report import Held, Report, ReportKind
from lunasched.notify.message.wording import what_happened
from lunasched.paths import Mode

if TYPE_CHECKING:
    from lunasched.supervisor.notificationqueue import Origin


def digest_report(reports: Sequence[Report], origin: Origin, now: int) -> Report:
    """The report of a digest: how much there was of each kind and job, and what came last."""
    found: dict[tuple[ReportKind, str], Held] = {}
    for report in reports:
        before = found.get((report.kind, report.job))
        count = 1 if before is None else before.count + 1
        found[report.kind, report.job] = Held(
            report.kind, report.job, count, report.at, what_happened(report)
        )
    return Report(
        kind=ReportKind.DIGEST,
        job="",
        host=origin.host,
        at=now,
        timezone=origin.timezone,
        user_mode=origin.mode is Mode.USER,
        held=tuple(found.values()),
    )


def digest_key(first: str) -> str:
    """The key of a digest, from that of the first message in it."""
    return alerting.notification_key(first, ReportKind.DIGEST.value, "")
