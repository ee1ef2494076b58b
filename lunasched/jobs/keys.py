"""The keys of a job, a row each: how it is read, spelled and shown, and what it becomes.

Everything that depends on the list of keys is made from these rows: reading, the JSON Schema,
exports, the options of ``lunasched add``, the rows of ``get``, the directives that ``systemd:``
refuses, the plain rules of ``adopt``. tests/test_keys.py takes every row and shows that it works.

A field of a job may have several keys: in a mapping (``retry_policy: max_attempts``), and flat
(``max_retries``), as the command line and Lunasched 1.x have it. They must agree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Any

from lunasched.dataclass import dataclass
from lunasched.formats import quantities, unitfile, unittext
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

Read = Callable[[object], Any]
_NOTICEABLE = 0.1
"""Seconds of accuracy from which on somebody meant it."""


@dataclass(frozen=True, slots=True)
class Line:
    """The key is one line of ``[Service]``, which the unit builder takes from the table."""

    directive: str
    write: Callable[[Any], str]
    adopt: Callable[[str], Any] | None = None
    """The reader of a unit of somebody, where the directive says no more than the key."""
    aliases: tuple[str, ...] = ()
    """Further directives that ``systemd:`` refuses for the key."""
    left: tuple[str, ...] = ()
    """Values that ``systemd:`` takes, because the key has no word for them."""


@dataclass(frozen=True, slots=True)
class Built:
    """A function of the unit builder makes something of the key."""

    function: str
    """Its path below ``lunasched``."""
    directives: tuple[str, ...] = ()
    """The directives that ``systemd:`` refuses for the key."""
    adopt: tuple[str, str, Callable[[str], Any]] | None = None
    """The section, the directive and its reader, where it says no more than the key."""


@dataclass(frozen=True, slots=True)
class NoUnit:
    """The key changes no unit: the supervisor, or another part of lunasched, acts upon it."""

    module: str
    """That part's path below ``lunasched``."""


Becomes = Line | Built | NoUnit


class Takes(Enum):
    """The value that an option of ``lunasched add`` takes."""

    TEXT = auto()
    REQUIRED = auto()
    """A text, without which there is no job."""
    SCHEDULES = auto()
    """A text; the option can be repeated."""
    LIST = auto()
    """Texts with commas between them."""
    LISTS = auto()
    """The same, and the option can be repeated."""
    PAIRS = auto()
    """``NAME=VALUE``; the option can be repeated."""
    EMAIL = auto()
    """Addresses with commas between them; the option can be repeated."""
    FILE = auto()
    """The path of a file whose first line is the value."""
    SWITCH = auto()
    """Nothing: the option says yes, and ``--no-`` before its name no."""
    OFF = auto()
    """Nothing: the option says no."""


@dataclass(frozen=True, slots=True)
class KeyOption:
    """The option of ``lunasched add`` for a key."""

    help: str
    metavar: str | None = None
    name: str = ""
    """The name of the option, if it is not the key with dashes."""
    takes: Takes = Takes.TEXT


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One key of a job, with all its spellings."""

    field: str
    """The place of the value: a field of ``Job``, or after a dot of one of its parts."""
    read: Read
    about: str
    keys: tuple[str, ...]
    """The spellings; those in a mapping have its name and a dot before them."""
    becomes: Becomes
    option: KeyOption | None = None
    label: str = ""
    """The name of what ``get`` and the pages show; empty for a part of another row."""
    show: Callable[[Any], str] | None = None
    """The text that they show, where the value alone says it."""
    written: str = ""
    """The spelling that is written; the last one if empty."""
    special: Mapping[str, tuple[Read, str]] = dataclasses.field(default_factory=dict)
    """The spellings that are read in another way, and what these are about."""

    @property
    def writes(self) -> str:
        """The spelling that ``Job.to_mapping`` has, and so an export."""
        return self.written or self.keys[-1]

    @property
    def flag(self) -> str:
        """The name of the option; raises ``ValueError`` where there is none."""
        if self.option is None:
            raise ValueError(self.field)
        return self.option.name or f"--{self.keys[0].replace('_', '-')}"

    @property
    def adopts(self) -> tuple[str, str, Callable[[str], Any]] | None:
        """The section, the directive and its reader, where that says no more than the key."""
        made = self.becomes
        if isinstance(made, Line):
            return None if made.adopt is None else ("Service", made.directive, made.adopt)
        return made.adopt if isinstance(made, Built) else None

    @property
    def refuses(self) -> tuple[str, ...]:
        """The directives that ``systemd:`` refuses because this key sets them."""
        made = self.becomes
        if isinstance(made, Line):
            return () if made.left else (made.directive, *made.aliases)
        return made.directives if isinstance(made, Built) else ()

    @property
    def advice(self) -> str:
        """The words that send somebody to the key."""
        grouped = next((key for key in self.keys if "." in key), self.keys[0])
        return f"use {grouped.replace('.', ': ')}"


@dataclass(frozen=True, slots=True)
class Key:
    """One spelling of a row."""

    field: str
    read: Read
    about: str


def _seconds_shown(value: float) -> str:
    return f"{value:g}s" if value else ""


def _accuracy(value: str) -> float:
    """``AccuracySec=`` as the key has it: what nobody would notice is nothing."""
    seconds = unitfile.timespan(value)
    return 0.0 if seconds < _NOTICEABLE else seconds


def _percent(quota: float) -> str:
    # The one percent sign in our units that is not doubled: CPUQuota= expands no specifiers.
    return f"{round(quota * 100)}%"


_TIMING = Built("units.compiler._timing")
_WHAT = (
    KeyRow(
        "name", values.read_name, "Name of the job.", ("name",),
        Built("units.compiler.compile"), KeyOption("Name of the job.", takes=Takes.REQUIRED),
        "Name",
    ),
    KeyRow(
        "schedule", values.read_schedule,
        "When the job runs: 'every 1h', 'at 02:30', '0 3 * * *'.", ("schedule",), _TIMING,
        KeyOption(
            "'every 1h', 'at 02:30 on Mon,Fri', '0 3 * * *'; can be repeated; "
            "see lunasched-schedule(5).",
            takes=Takes.SCHEDULES,
        ),
        "Schedule",
    ),
    KeyRow(
        "command", values.read_command,
        "Command line for /bin/sh, or a program and its arguments as a list.", ("command",),
        Built("units.compiler._command_line"), KeyOption("Command line for /bin/sh."), "Command",
    ),
    KeyRow(
        "user", values.read_user, "User that the job runs as; root if not given.",
        ("user", "owner"), Built("units.compiler._user", ("User", "DynamicUser")),
        KeyOption("User to run as.  [default: root]", "USER", "--run-as"), "User", written="user",
    ),
    KeyRow(
        "timezone", values.read_timezone, "Zone of the schedule, such as Europe/Berlin.",
        ("timezone",), _TIMING,
        KeyOption("Zone of the schedule, such as Europe/Berlin.  [default: the host's]", "ZONE"),
        "Time zone",
    ),
)  # fmt: skip

_LIMITS = (
    KeyRow(
        "limits.timeout", values.read_time_limit, "Time limit of a run.",
        ("timeout", "resource_limits.timeout_seconds"), Line("RuntimeMaxSec", unittext.seconds),
        KeyOption("Time limit of a run: 90, 15m, 1h30m.", "TIME"), "Timeout", _seconds_shown,
    ),
    KeyRow(
        "limits.max_memory", values.read_memory, "Memory limit of a run, in bytes or as 512M.",
        ("max_memory", "resource_limits.max_memory_mb", "resource_limits.max_memory"),
        Line("MemoryMax", str, unitfile.byte_count, ("MemoryLimit",)),
        KeyOption("Memory limit: 512M, 2G.", "SIZE"), "Memory limit", quantities.size,
        special={
            "resource_limits.max_memory_mb": (
                values.read_mebibytes, "Memory limit of a run, in MiB or as 2G."
            ),
        },
    ),
    KeyRow(
        "limits.cpu_quota", values.read_cpu_quota, "Share of one core: 0.5, 50%, 2.",
        ("cpu_quota", "resource_limits.cpu_quota"),
        Line("CPUQuota", _percent, unitfile.percentage),
        KeyOption("Share of one core: 0.5, 50%, 2.", "SHARE"), "CPU quota",
        lambda quota: f"{quota:g} cores",
    ),
    KeyRow(
        "limits.tasks_max", values.Whole(1, 1 << 22), "Limit of processes and threads.",
        ("tasks_max", "resource_limits.tasks_max"), Line("TasksMax", str, unitfile.number),
        KeyOption("Limit of processes and threads.", "N"), "Task limit", str,
    ),
    KeyRow(
        "limits.io_weight", values.Whole(1, 10000), "Weight for disk time.",
        ("io_weight", "resource_limits.io_weight"), Line("IOWeight", str),
        KeyOption("Weight for disk time, 1 to 10000.  [default: 100]", "N"), "Disk weight", str,
    ),
    KeyRow(
        "limits.kill_after", values.read_time_limit, "Time from SIGTERM to SIGKILL.",
        ("kill_after", "resource_limits.kill_after_seconds"),
        Line("TimeoutStopSec", unittext.seconds, left=("infinity",)),
        KeyOption("Time from SIGTERM to SIGKILL.  [default: systemd's, 90s]", "TIME"), "Kill after",
        _seconds_shown,
    ),
)  # fmt: skip

_HOW = (
    KeyRow(
        "jitter", values.read_duration, "Longest delay of a start, the same each time.",
        ("jitter", "jitter_seconds"),
        Built(
            "units.compiler._timer_values",
            adopt=("Timer", "RandomizedDelaySec", unitfile.timespan),
        ),
        KeyOption("Longest delay of a start, the same each time.", "TIME"), "Jitter",
        _seconds_shown,
    ),
    KeyRow(
        "accuracy", values.read_duration,
        "How late a start may be, so that one wake-up of the machine serves several.",
        ("accuracy",),
        Built("units.compiler._timer_values", adopt=("Timer", "AccuracySec", _accuracy)),
        KeyOption("How late a start may be, to save wake-ups.  [default: at once]", "TIME"),
        "Accuracy", _seconds_shown,
    ),
    KeyRow(
        "environment", values.read_environment, "Environment variables.", ("env",),
        Built("units.compiler._service_values", ("Environment",)),
        KeyOption("Environment variable; can be repeated.", "K=V", takes=Takes.PAIRS),
        "Environment",
    ),
    KeyRow(
        "working_directory", values.read_working_directory,
        "Directory to run in; the user's home if not given.", ("working_directory",),
        Built("units.compiler._service_values", ("WorkingDirectory",)),
        KeyOption("Directory to run in.  [default: the user's home]", "DIR"), "Directory",
    ),
    KeyRow(
        "priority", values.OneOf(Priority, "priority"), "Priority of the job over others.",
        ("priority",), Built("units.compiler._priority_directives"),
        KeyOption("Low, Normal, High or Critical.  [default: Normal]", "LEVEL"), "Priority",
        lambda priority: str(priority.value),
    ),
    KeyRow(
        "tags", values.read_tags, "Tags to list the job by.", ("tags",), NoUnit("cli.views"),
        KeyOption("Tags to list the job by.", "A,B", takes=Takes.LIST), "Tags", ", ".join,
    ),
    KeyRow(
        "enabled", values.read_boolean, "Start the timer.", ("enabled",),
        NoUnit("deploy.deployer"),
        KeyOption("Do not start the timer.", name="--disabled", takes=Takes.OFF), "Enabled",
        lambda enabled: "yes" if enabled else "no",
    ),
    KeyRow(
        "catch_up", values.read_boolean,
        "Run once at boot for slots missed while the machine was off.",
        ("catch_up",),
        Built("units.compiler._timer_values", adopt=("Timer", "Persistent", unitfile.boolean)),
        KeyOption(
            "Run once at boot for slots missed while the machine was off.  [default: no]",
            takes=Takes.SWITCH,
        ),
        "Catch-up", lambda catch_up: "yes" if catch_up else "",
    ),
    KeyRow(
        "remove_when_over", values.read_boolean,
        "Remove the job when its schedule has no slot left and its last run is over.",
        ("remove_when_over",), NoUnit("deploy.overjobs"),
        KeyOption(
            "Remove the job when its schedule has no slot left and its last run is over."
            "  [default: no]",
            takes=Takes.SWITCH,
        ),
        "Afterwards", lambda remove: "it is removed" if remove else "",
    ),
    KeyRow(
        "any_exit_code", values.read_boolean,
        "Count a run that ends by itself as a success, whatever its exit code.",
        ("any_exit_code",), Built("units.compiler._service_values"),
        KeyOption(
            "Count a run that ends by itself as a success, whatever its exit code.  [default: no]",
            takes=Takes.SWITCH,
        ),
        "Exit codes", lambda any_exit_code: "each is a success" if any_exit_code else "",
    ),
    KeyRow(
        "private", values.read_boolean,
        "Keep arguments and variables out of the units, which every user can read.",
        ("private",), Built("units.compiler._hide"),
        KeyOption(
            "Keep arguments and variables out of the units, which every user can read."
            "  [default: no]",
            takes=Takes.SWITCH,
        ),
        "Private", lambda private: "yes" if private else "",
    ),
)  # fmt: skip

_RETRIES = NoUnit("history.retry")
_RETRY = (
    KeyRow(
        "retry.max_attempts", values.read_attempts,
        "Maximum number of attempts, the first one included.",
        ("max_retries", "retry_policy.max_attempts"), _RETRIES,
        KeyOption("Number of retries after a failed run.  [default: 0]", "N"), "Retries",
        special={
            "max_retries": (values.read_attempts_after, "Number of retries after a failed run."),
        },
    ),
    KeyRow(
        "retry.backoff", values.OneOf(Backoff, "backoff strategy"),
        "Growth of the delays between retries.",
        ("backoff", "retry_policy.backoff_strategy"), _RETRIES,
        KeyOption("Exponential, Linear or Fixed.  [default: Exponential]", "HOW"),
    ),
    KeyRow(
        "retry.initial_delay", values.read_duration, "Delay before the first retry.",
        ("retry_delay", "retry_policy.initial_delay_seconds"), _RETRIES,
        KeyOption("Delay before the first retry.  [default: 1m]", "TIME"),
    ),
    KeyRow(
        "retry.max_delay", values.read_duration, "Longest delay before a retry.",
        ("retry_max_delay", "retry_policy.max_delay_seconds"), _RETRIES,
        KeyOption("Longest delay before a retry.  [default: 1h]", "TIME"),
    ),
    KeyRow(
        "retry.retry_on", values.read_exit_codes,
        "Retry only after these exit codes.",
        ("retry_on_exit_codes", "retry_policy.retry_on_exit_codes"), _RETRIES,
        KeyOption("Retry only after these exit codes.", "A,B"),
    ),
    KeyRow(
        "retry.no_retry_on", values.read_exit_codes,
        "Do not retry after these exit codes.",
        ("no_retry_on_exit_codes", "retry_policy.no_retry_on_exit_codes"), _RETRIES,
        KeyOption("Do not retry after these exit codes.", "A,B"),
    ),
)  # fmt: skip

_HOOK_TEXTS = {
    HookEvent.ON_START: ("each start", "each start"),
    HookEvent.ON_SUCCESS: ("a success", "a success"),
    HookEvent.ON_FAILURE: (
        "a failure that is not retried", "a failure that is not retried"
    ),
    HookEvent.ON_RETRY: ("a failure that is retried", "a failure that is retried"),
}  # fmt: skip
_HOOKS = (
    *(
        KeyRow(
            f"hooks.{event.value}", values.read_command, f"Command to run after {about}.",
            (event.value, f"hooks.{event.value}"), Built("units.compiler._hooks"),
            KeyOption(f"Command line to run after {short}.", "CMD"),
            "Hooks" if event is HookEvent.ON_START else "",
        )
        for event, (about, short) in _HOOK_TEXTS.items()
    ),
    KeyRow(
        "hooks.timeout", values.read_time_limit, "Time limit of a hook.",
        ("hook_timeout", "hooks.timeout_seconds"), Built("units.compiler._hooks"),
        KeyOption("Time limit of these hooks.  [default: 1m]", "TIME"),
    ),
)  # fmt: skip

_NOTIFIED = {
    NotifyEvent.ON_START: "Channels to notify of each start.",
    NotifyEvent.ON_SUCCESS: "Channels to notify of each success.",
    NotifyEvent.ON_FAILURE: "Channels to notify of failures that are not retried.",
    NotifyEvent.ON_RECOVERY: "Channels to notify of the recovery; on_failure's if not given.",
    NotifyEvent.ON_SKIPPED: "Channels to notify of runs that were due and did not begin.",
    NotifyEvent.ON_MISSED: "Channels to notify of slots that passed without a run.",
    NotifyEvent.ON_OVERRUN: "Channels to notify of runs that overrun; on_failure's if not given.",
    NotifyEvent.ON_OUTPUT: "Channels to notify of each run that printed anything.",
}
_EMAIL = KeyOption(
    "Email addresses to notify when the job begins to fail and when it recovers.",
    "A,B", "--notify-email", Takes.EMAIL,
)  # fmt: skip


def _of_event(event: NotifyEvent, about: str) -> KeyRow:
    """The channels of one event; a unit runs those that are commands."""
    return KeyRow(
        f"notifications.{event.value}",
        read_channels if event in PINGED else read_messengers,
        about,
        (f"notification_config.{event.value}",),
        Built("units.commandchannels.command_channels"),
        _EMAIL if event is NotifyEvent.ON_FAILURE else None,
        "Notifies" if event is NotifyEvent.ON_START else "",
    )


_NOTIFICATIONS = (
    *(_of_event(event, about) for event, about in _NOTIFIED.items()),
    KeyRow(
        "notifications.remind_every", values.read_duration,
        "Time between reminders while a job keeps failing; 0 means no reminders.",
        ("notification_config.remind_every",), NoUnit("history.alerting"),
    ),
    KeyRow(
        "notifications.every_failure", values.read_boolean, "Notify of each failure.",
        ("notification_config.every_failure",), NoUnit("history.alerting"),
    ),
    KeyRow(
        "notifications.overrun_after", values.read_duration,
        "Time from the first slot that passes during a run to the notification.",
        ("notification_config.overrun_after",), NoUnit("history.overrun"),
    ),
    KeyRow(
        "notifications.heartbeat", read_heartbeat,
        "URL to ping at each start, success and failure.",
        ("notification_config.heartbeat",), NoUnit("jobs.model"),
        KeyOption(
            "File with the URL to ping at each start, success and failure; - is stdin.", "FILE",
            "--heartbeat-from", Takes.FILE,
        ),
    ),
)  # fmt: skip

_BESIDE_OTHERS = (
    KeyRow(
        "mode", values.OneOf(ExecutionMode, "execution mode"),
        "Runs that may be in progress beside one of the job.", ("execution_mode",),
        Built("units.guards.concurrency_values"),
        KeyOption("Sequential, Parallel or Exclusive.  [default: Sequential]", "MODE"), "Mode",
    ),
    KeyRow(
        "overlap", values.OneOf(Overlap, "way to treat an overlap"),
        "Action when the job is due during a run.", ("overlap",),
        Built("units.guards.concurrency_values"),
        KeyOption("When due during a run: queue, skip or replace.  [default: queue]", "HOW"),
    ),
    KeyRow(
        "max_concurrent", values.Whole(0, 1000),
        "Concurrent runs of a Parallel job, at most; 0 means no limit.", ("max_concurrent",),
        Built("units.guards.launch_command"),
        KeyOption("Concurrent runs of a Parallel job, at most.  [default: 0, no limit]", "N"),
    ),
    KeyRow(
        "dependencies", values.read_names, "Jobs whose last run must have succeeded.",
        ("dependencies",), Built("jobs.dependencies.dependency_values"),
        KeyOption(
            "Jobs whose last run must have succeeded; can be repeated.", "A,B", "--depends-on",
            Takes.LISTS,
        ),
        "Depends on", "\n".join,
    ),
    KeyRow(
        "after", values.read_names, "Jobs that come first where both are due, however they end.",
        ("after",), Built("jobs.dependencies.dependency_values"),
        KeyOption(
            "Jobs that come first where both are due, however they end; can be repeated.", "A,B",
            "--after", Takes.LISTS,
        ),
        "After", "\n".join,
    ),
)  # fmt: skip

_SANDBOX = tuple(
    KeyRow(
        f"sandbox.{key}", option.kind.read, f"{option.directive}= of systemd.exec(5).",
        (f"sandbox.{key}",), Built("jobs.sandbox.directives", (option.directive,)),
    )
    for key, option in sandbox.OPTIONS.items()
)  # fmt: skip

ROWS: tuple[KeyRow, ...] = (
    *_WHAT, *_LIMITS, *_HOW, *_RETRY, *_HOOKS, *_NOTIFICATIONS, *_BESIDE_OTHERS, *_SANDBOX,
)  # fmt: skip
"""All keys of a job."""

ARGUMENTS = "args"
"""The key whose values follow those of ``command``, as in Lunasched 1.x."""

CLAUSES: Mapping[str, str] = {
    "except": "Days and times that the schedule leaves out: Sat,Sun, 2026-12-24..2027-01-02, "
    "a calendar, at 03:00-04:00 on Sun.",
    "only": "Days and times to which it is limited, as for except.",
    "shift": "Where a slot goes from a day that is no business day: next-business-day or "
    "previous-business-day.",
    "from": "The first day of the schedule, or day and time: 2026-11-30, 2026-11-30 09:00.",
    "until": "Its last day, or day and time.",
    "count": "How many slots it has, from its first day on.",
}
"""The keys whose values follow the text of ``schedule`` as clauses."""

GROUP_TEXTS: Mapping[str, str] = {
    "resource_limits": "Resource limits of a run.",
    "retry_policy": "Retries of a failed run.",
    "hooks": "Commands to run at events of a run.",
    "notification_config": "Notifications about runs.",
    "sandbox": "Sandbox of a run.",
}


def _spelled(group: str) -> dict[str, Key]:
    """The keys of one mapping, or the flat ones."""
    found: dict[str, Key] = {}
    for row in ROWS:
        for key in row.keys:
            outer, _, inner = key.rpartition(".")
            if outer == group:
                read, about = row.special.get(key, (row.read, row.about))
                found[inner] = Key(row.field, read, about)
    return found


KEYS: Mapping[str, Key] = _spelled("")
"""The keys of a job, apart from those that are mappings themselves."""

GROUPS: Mapping[str, Mapping[str, Key]] = {group: _spelled(group) for group in GROUP_TEXTS}
"""The keys that are mappings, and theirs."""

DIRECTIVES = "systemd"
"""The key whose keys are directives of systemd."""

DIRECTIVES_TEXT = "Further directives of [Service] and [Unit], in systemd's words."

ARGUMENTS_TEXT = (
    "Further arguments: of a program, without a shell, or at the end of a command line."
)
