"""What a notification tells, for tests of the channels that send it."""

from __future__ import annotations

from lunasched.history.report import Report, ReportKind
from lunasched.history.run import Result, Trigger

REPORT = Report(
    kind=ReportKind.FAILURE,
    job="backup",
    host="web1",
    at=1_764_000_184_000_000,
    timezone="Europe/Berlin",
    execution_id="0123456789abcdef" * 2,
    trigger=Trigger.TIMER,
    result=Result.EXIT_CODE,
    exit_code=3,
    started_at=1_764_000_000_000_000,
    ended_at=1_764_000_184_000_000,
    output="one\ntwo",
)
