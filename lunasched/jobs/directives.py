"""Directives that a job passes on to systemd as they are (the key ``systemd``).

They are those of ``[Service]``, apart from ``REFUSED``, and ``directivelines.UNIT`` of ``[Unit]``.
systemd has no directive in both, so that the section follows from the name.
"""

from __future__ import annotations

from collections.abc import Mapping

from lunasched.errors import InvalidInput
from lunasched.formats import unitfile, unittext
from lunasched.formats.pattern import pattern
from lunasched.jobs import keys
from lunasched.jobs.model import Directive

_NAME = pattern(r"[A-Za-z]+\Z")

_OUTPUT = "a run's output is read from the journal into the history"
_RETRIES = "a failed run is retried by retry_policy"
_ENDS = "the history is made from the start and the end of each run"
_ACCOUNTING = "the resources that a run used are recorded with it"

_COMMANDS = ("ExecStart", "ExecStartPre", "ExecStartPost")
_IS_RUN = "a job is started by its timer, by retries and by hand"
_NO_LIMIT = "a job would be refused after a few starts"
_SECTIONS = ("Unit", "Service")

REFUSED: Mapping[str, str] = {
    **{directive: row.advice for row in keys.ROWS for directive in row.refuses},
    "TimeoutSec": "use resource_limits: timeout_seconds, kill_after_seconds",
    "SendSIGKILL": "a run that ignores SIGTERM is killed after kill_after_seconds",
    **dict.fromkeys(("ExecStop", "ExecStopPost"), "use hooks: on_success, on_failure"),
    "ExecCondition": "it is the guard that keeps a slot from running twice",
    "ExecReload": "a run is not reloaded",
    **dict.fromkeys(
        (
            "Type", "RemainAfterExit", "GuessMainPID", "PIDFile", "BusName", "NotifyAccess",
            "WatchdogSec", "TimeoutStartSec", "ExitType",
        ),
        _ENDS,
    ),
    **dict.fromkeys(
        ("Restart", "RestartSec", "RestartForceExitStatus", "RestartPreventExitStatus"), _RETRIES
    ),
    **dict.fromkeys(
        (
            "SyslogIdentifier", "LogNamespace", "LogRateLimitIntervalSec", "LogRateLimitBurst",
            "LogLevelMax",
        ),
        _OUTPUT,
    ),
    **dict.fromkeys(("CPUAccounting", "MemoryAccounting", "TasksAccounting"), _ACCOUNTING),
    "IgnoreSIGPIPE": "jobs end by SIGPIPE as they do outside of services",
    "Slice": "jobs are in lunasched.slice, whose limits hold for all of them together",
    **dict.fromkeys(
        ("StartLimitInterval", "StartLimitIntervalSec", "StartLimitBurst", "StartLimitAction"),
        _NO_LIMIT,
    ),
    **dict.fromkeys(("Description", "Documentation", "SourcePath"), "it is made from the name"),
    "CollectMode": "a run that failed is on record, and does not have to stay with systemd",
    **dict.fromkeys(
        (
            "RefuseManualStart", "RefuseManualStop", "StopWhenUnneeded", "AllowIsolate",
            "SurviveFinalKillSignal", "StopPropagatedFrom", "PropagatesStopTo",
            "PropagatesReloadTo", "ReloadPropagatedFrom",
        ),
        _IS_RUN,
    ),
    **dict.fromkeys(
        ("JobTimeoutSec", "JobRunningTimeoutSec", "JobTimeoutAction", "JobTimeoutRebootArgument"),
        "a start that waits has no time limit",
    ),
    **dict.fromkeys(
        (
            "FailureAction", "SuccessAction", "FailureActionExitStatus", "RebootArgument",
            "SuccessActionExitStatus",
        ),
        "hooks are for what follows a run",
    ),
    **dict.fromkeys(_SECTIONS, "write it without its section, which follows from the name"),
}  # fmt: skip
"""The directives that have a key of their own, or on which lunasched relies, with the reason."""

NO_ALTERNATIVE = "'|' has no place here: each condition of a job has to hold"
_OUTPUTS = ("journal", "null")
OF_SOME_VALUES: Mapping[str, tuple[tuple[str, ...], str]] = {
    # systemd would open a file before it changes to the job's user.
    "StandardOutput": (_OUTPUTS, f"{_OUTPUT}, or goes nowhere: journal, null"),
    "StandardError": (_OUTPUTS, f"{_OUTPUT}, or goes nowhere: journal, null"),
    **{
        row.becomes.directive: (row.becomes.left, row.advice)
        for row in keys.ROWS
        if isinstance(row.becomes, keys.Line) and row.becomes.left
    },
}
"""The directives that have a meaning for a job with these values alone, with the reason."""


def check_name(name: object) -> None:
    """Refuse names that are no directive, or none for a job; raises ``InvalidInput``."""
    if not isinstance(name, str) or not _NAME.match(name):
        raise InvalidInput("the name of a directive has letters only, as in systemd.exec(5)")
    if name in REFUSED:
        raise InvalidInput(f"this directive cannot be set here: {REFUSED[name]}")


def read_directive(name: str, value: object) -> Directive:
    """The value of one directive, or of each of its lines; raises ``InvalidInput``."""
    check_name(name)
    if isinstance(value, (list, tuple)):
        if not value:
            raise InvalidInput("the list is empty")
        return tuple(_line(name, each) for each in value)
    return _line(name, value)


def _line(name: str, value: object) -> str:
    line = _text(value)
    if name.startswith("Condition") and line.startswith("|"):
        # One of all "|" conditions has to hold, and the gate of Exclusive jobs has two of them.
        raise InvalidInput(NO_ALTERNATIVE)
    accepted, why = OF_SOME_VALUES.get(name, ((line,), ""))
    if line not in accepted:
        raise InvalidInput(f"{line!r} cannot be set here: {why}")
    if name in _COMMANDS:
        _check_command(line)
    return line


def _check_command(line: str) -> None:
    """Refuse a text that is no single command, or would have more rights than its unit."""
    found = unitfile.commands(line)
    if len(found) > 1:
        raise InvalidInput("it is more than one command; write a list of them")
    if set(found[0].prefixes) & set("+!|"):
        raise InvalidInput(
            f"the prefix {found[0].prefixes!r} has no place in a job: the line would have more "
            "rights than the job's user, in an environment and a directory that are the job's; "
            "have a directory made by StateDirectory=, CacheDirectory= or tmpfiles.d(5), and what "
            "else needs the rights of root done by a job of root that this one depends on"
        )


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return str(value)
    if not isinstance(value, str):
        raise InvalidInput(f"{value!r} is neither a text nor a number nor a list of them")
    unittext.raw(value.strip())
    return value.strip()
