"""The keys of a job definition: what each is about, how its value is read, and where it goes.

One table for what ``reading`` reads, what ``files.schema`` describes, and what lunasched.yaml(5)
lists.

A field of a job may have several keys: in a mapping (``retry_policy: max_attempts``), and flat
(``max_retries``), as the command line and Lunasched 1.x have it. They must agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lunasched.jobs import sandbox
from lunasched.jobs import values as values
from lunasched.jobs.channels import read_channels, read_heartbeat, read_messengers
from lunasched.jobs.model import (
    PINGED,
    Backoff,
    ExecutionMode,
    HookEvent,
    NotifyEvent,
    Overlap,
    Priority,
)


@dataclass(frozen=True, slots=True)
class Key:
    """Where a key's value goes: a field of ``Job``, or after a dot of one of its parts."""

    field: str
    read: Callable[[object], Any]
    about: str


_TIMEOUT = Key("limits.timeout", values.read_time_limit, "Longest running time.")
_MAX_MEMORY = Key("limits.max_memory", values.read_memory, "Most memory, in bytes or as 512M.")
_CPU_QUOTA = Key("limits.cpu_quota", values.read_cpu_quota, "Share of one core: 0.5, 50%, 2.")
_TASKS_MAX = Key("limits.tasks_max", values.Whole(1, 1 << 22), "Most processes and threads.")
_IO_WEIGHT = Key("limits.io_weight", values.Whole(1, 10000), "Share of the disks.")
_KILL_AFTER = Key("limits.kill_after", values.read_time_limit, "Time from SIGTERM to SIGKILL.")
_BACKOFF = Key(
    "retry.backoff", values.OneOf(Backoff, "backoff strategy"), "How the delays of retries grow."
)
_RETRY_DELAY = Key("retry.initial_delay", values.read_duration, "Delay before the first retry.")
_RETRY_MAX_DELAY = Key("retry.max_delay", values.read_duration, "Longest delay before a retry.")
_RETRY_ON = Key(
    "retry.retry_on", values.read_exit_codes, "The exit codes after which alone to try again."
)
_NO_RETRY_ON = Key(
    "retry.no_retry_on", values.read_exit_codes, "The exit codes after which not to try again."
)
_HOOK_TEXTS = {
    HookEvent.ON_START: "Command that follows each start.",
    HookEvent.ON_SUCCESS: "Command that follows a success.",
    HookEvent.ON_FAILURE: "Command that follows a failure that is not tried again.",
    HookEvent.ON_RETRY: "Command that follows a failure that is tried again.",
}
_HOOKS = {
    event.value: Key(f"hooks.{event.value}", values.read_command, _HOOK_TEXTS[event])
    for event in HookEvent
}
_HOOK_TIMEOUT = Key("hooks.timeout", values.read_time_limit, "Longest running time of a hook.")
_JITTER = Key("jitter", values.read_duration, "Longest delay of a start, the same each time.")
_USER = Key("user", values.read_user, "User that the job runs as; root if nothing is said.")

_TOLD = {
    NotifyEvent.ON_START: "Whom to tell of each start.",
    NotifyEvent.ON_SUCCESS: "Whom to tell of each success.",
    NotifyEvent.ON_FAILURE: "Whom to tell of failures that are not tried again.",
    NotifyEvent.ON_RECOVERY: "Whom to tell of the success after them; those of on_failure if not.",
    NotifyEvent.ON_SKIPPED: "Whom to tell of runs that were due and did not begin.",
    NotifyEvent.ON_MISSED: "Whom to tell of slots that passed without a run.",
    NotifyEvent.ON_OVERRUN: "Whom to tell of runs that slots pass during; on_failure's if not.",
}


def _tells(event: NotifyEvent, about: str) -> Key:
    read = read_channels if event in PINGED else read_messengers
    return Key(f"notifications.{event.value}", read, about)


KEYS: Mapping[str, Key] = {
    "name": Key("name", values.read_name, "Name of the job."),
    "schedule": Key(
        "schedule", values.read_schedule, "When the job runs: 'every 1h', 'at 02:30', '0 3 * * *'."
    ),
    "command": Key(
        "command",
        values.read_command,
        "Command line for /bin/sh, or a program and its arguments as a list.",
    ),
    "user": _USER,
    "owner": _USER,
    "timezone": Key(
        "timezone", values.read_timezone, "Zone of the schedule, such as Europe/Berlin."
    ),
    "timeout": _TIMEOUT,
    "max_memory": _MAX_MEMORY,
    "cpu_quota": _CPU_QUOTA,
    "tasks_max": _TASKS_MAX,
    "io_weight": _IO_WEIGHT,
    "kill_after": _KILL_AFTER,
    "jitter": _JITTER,
    "jitter_seconds": _JITTER,
    "env": Key("environment", values.read_environment, "Environment variables."),
    "working_directory": Key(
        "working_directory", values.read_working_directory, "Where to run; the user's home if not."
    ),
    "priority": Key(
        "priority", values.OneOf(Priority, "priority"), "How the job competes with others."
    ),
    "tags": Key("tags", values.read_tags, "Tags to list the job by."),
    "enabled": Key("enabled", values.read_boolean, "Whether the timer is started."),
    "catch_up": Key(
        "catch_up",
        values.read_boolean,
        "Whether slots that passed while the machine was off are made up for, once, at boot.",
    ),
    "max_retries": Key(
        "retry.max_attempts", values.read_attempts_after, "How often a failed run is tried again."
    ),
    "backoff": _BACKOFF,
    "retry_delay": _RETRY_DELAY,
    "retry_max_delay": _RETRY_MAX_DELAY,
    "retry_on_exit_codes": _RETRY_ON,
    "no_retry_on_exit_codes": _NO_RETRY_ON,
    **_HOOKS,
    "hook_timeout": _HOOK_TIMEOUT,
    "execution_mode": Key(
        "mode",
        values.OneOf(ExecutionMode, "execution mode"),
        "Which runs may be in progress beside one of the job.",
    ),
    "overlap": Key(
        "overlap",
        values.OneOf(Overlap, "way to treat an overlap"),
        "What becomes of a trigger during a run.",
    ),
    "max_concurrent": Key(
        "max_concurrent",
        values.Whole(0, 1000),
        "Most runs at a time of a Parallel job; 0 is no limit.",
    ),
    "dependencies": Key(
        "dependencies", values.read_names, "The jobs whose last run must have succeeded."
    ),
}
"""The keys of a job, apart from those that are mappings themselves."""

ARGUMENTS = "args"
"""The key whose values follow those of ``command``, as in Lunasched 1.x."""

GROUPS: Mapping[str, Mapping[str, Key]] = {
    "resource_limits": {
        "timeout_seconds": _TIMEOUT,
        "max_memory_mb": Key(
            "limits.max_memory", values.read_mebibytes, "Most memory, in MiB or as 2G."
        ),
        "max_memory": _MAX_MEMORY,
        "cpu_quota": _CPU_QUOTA,
        "tasks_max": _TASKS_MAX,
        "io_weight": _IO_WEIGHT,
        "kill_after_seconds": _KILL_AFTER,
    },
    "retry_policy": {
        "max_attempts": Key(
            "retry.max_attempts", values.read_attempts, "Most runs, the first one included."
        ),
        "backoff_strategy": _BACKOFF,
        "initial_delay_seconds": _RETRY_DELAY,
        "max_delay_seconds": _RETRY_MAX_DELAY,
        "retry_on_exit_codes": _RETRY_ON,
        "no_retry_on_exit_codes": _NO_RETRY_ON,
    },
    "hooks": {**_HOOKS, "timeout_seconds": _HOOK_TIMEOUT},
    "notification_config": {
        **{event.value: _tells(event, text) for event, text in _TOLD.items()},
        "remind_every": Key(
            "notifications.remind_every",
            values.read_duration,
            "Time between messages while a job goes on failing; 0 is none after the first.",
        ),
        "every_failure": Key(
            "notifications.every_failure", values.read_boolean, "Whether each failure is told."
        ),
        "overrun_after": Key(
            "notifications.overrun_after",
            values.read_duration,
            "Time from the first slot that passes during a run until that is told.",
        ),
        "heartbeat": Key(
            "notifications.heartbeat",
            read_heartbeat,
            "URL that is pinged at each start, success and failure.",
        ),
    },
    "sandbox": {
        key: Key(f"sandbox.{key}", option.kind.read, f"{option.directive}= of systemd.exec(5).")
        for key, option in sandbox.OPTIONS.items()
    },
}
"""The keys that are mappings, and theirs."""

GROUP_TEXTS: Mapping[str, str] = {
    "resource_limits": "What a run may use.",
    "retry_policy": "Whether and when a failed run is tried again.",
    "hooks": "Commands that follow what becomes of a run.",
    "notification_config": "Whom to tell of runs.",
    "sandbox": "What a run is kept from.",
}

DIRECTIVES = "systemd"
"""The key whose keys are directives of systemd."""

DIRECTIVES_TEXT = "Further directives of [Service] and [Unit], as they are."

ARGUMENTS_TEXT = (
    "Further arguments: of a program, without a shell, or at the end of a command line."
)
