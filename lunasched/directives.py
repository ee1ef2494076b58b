"""Directives of ``[Service]`` that a job passes on to systemd as they are (the key ``systemd``)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lunasched import sandbox, unittext
from lunasched.errors import InvalidInput
from lunasched.model import Directive
from lunasched.unittext import UnitText

_NAME = re.compile(r"[A-Za-z]+\Z")

_OUTPUT = "what a run prints is read from the journal into its history"
_ONE_COMMAND = "a job has one command, and hooks for what comes before and after it"
_RETRIES = "a run that failed is tried again by retry_policy"
_ENDS = "how a run begins and ends is what its history is made of"
_ACCOUNTING = "what a run used is recorded with it"

REFUSED: Mapping[str, str] = {
    **{option.directive: f"use sandbox: {key}" for key, option in sandbox.OPTIONS.items()},
    "ExecStart": "use command",
    "User": "use user",
    "DynamicUser": "use user",
    "WorkingDirectory": "use working_directory",
    "Environment": "use env",
    "RuntimeMaxSec": "use resource_limits: timeout_seconds",
    "MemoryMax": "use resource_limits: max_memory_mb",
    "MemoryLimit": "use resource_limits: max_memory_mb",
    "CPUQuota": "use resource_limits: cpu_quota",
    "TasksMax": "use resource_limits: tasks_max",
    "IOWeight": "use resource_limits: io_weight",
    "TimeoutStopSec": "use resource_limits: kill_after_seconds",
    "TimeoutSec": "use resource_limits: timeout_seconds, kill_after_seconds",
    "SendSIGKILL": "a run that ignores SIGTERM is killed after kill_after_seconds",
    **dict.fromkeys(("ExecStartPre", "ExecStartPost", "ExecStop", "ExecStopPost"), _ONE_COMMAND),
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
            "StandardOutput", "StandardError", "SyslogIdentifier", "LogNamespace",
            "LogRateLimitIntervalSec", "LogRateLimitBurst", "LogLevelMax",
        ),
        _OUTPUT,
    ),
    **dict.fromkeys(("CPUAccounting", "MemoryAccounting", "TasksAccounting"), _ACCOUNTING),
    "IgnoreSIGPIPE": "jobs end by SIGPIPE as they do outside of services",
    "Slice": "jobs are in lunasched.slice, whose limits hold for all of them together",
    "StartLimitInterval": "a job would be refused after a few starts",
    "StartLimitBurst": "a job would be refused after a few starts",
}  # fmt: skip
"""The directives that have a key of their own, or on which lunasched relies, with the reason."""


def check_name(name: object) -> None:
    """Refuse what is no directive, or is none for a job; raises ``InvalidInput``."""
    if not isinstance(name, str) or not _NAME.match(name):
        raise InvalidInput("the name of a directive has letters only, as in systemd.exec(5)")
    if name in REFUSED:
        raise InvalidInput(f"this directive cannot be set here: {REFUSED[name]}")


def read(name: str, value: object) -> Directive:
    """The value of one directive, or of each of its lines; raises ``InvalidInput``."""
    check_name(name)
    if isinstance(value, (list, tuple)):
        if not value:
            raise InvalidInput("the list is empty")
        return tuple(_line(each) for each in value)
    return _line(value)


def lines(directives: tuple[tuple[str, Directive], ...]) -> list[tuple[UnitText, UnitText]]:
    """The lines of ``[Service]``."""
    return [
        (unittext.plain(name), unittext.raw(line))
        for name, value in directives
        for line in ((value,) if isinstance(value, str) else value)
    ]


def _line(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return str(value)
    if not isinstance(value, str):
        raise InvalidInput(f"{value!r} is no text, number, or list of them")
    unittext.raw(value.strip())
    return value.strip()
