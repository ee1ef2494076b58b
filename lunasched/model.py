"""The nouns of lunasched: jobs as they were asked for, runs as they were recorded.

Everything here is frozen and knows nothing of systemd, SQLite or the clock. Durations are
seconds, sizes bytes, and points in time microseconds since the epoch in UTC, as the journal has
them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Priority(Enum):
    """How a job competes with others for the machine."""

    LOW = "Low"
    NORMAL = "Normal"
    HIGH = "High"
    CRITICAL = "Critical"


class ExecutionMode(Enum):
    """Which runs may be in progress beside a run of the job."""

    SEQUENTIAL = "Sequential"
    """Any, but none of the same job."""
    PARALLEL = "Parallel"
    """Any, runs of the same job included."""
    EXCLUSIVE = "Exclusive"
    """None at all."""


class Overlap(Enum):
    """What becomes of a trigger during a run of a Sequential job."""

    QUEUE = "queue"
    """One run right after the one in progress, however many triggers there were."""
    SKIP = "skip"
    """Nothing."""
    REPLACE = "replace"
    """The run in progress is stopped and a new one started."""


class Backoff(Enum):
    """How the delay before a retry grows with the number of attempts."""

    EXPONENTIAL = "Exponential"
    LINEAR = "Linear"
    FIXED = "Fixed"


class HookEvent(Enum):
    """When a hook runs."""

    ON_START = "on_start"
    ON_SUCCESS = "on_success"
    ON_FAILURE = "on_failure"
    """After a failed run that no further attempt follows."""
    ON_RETRY = "on_retry"
    """After a failed run that another attempt will follow."""


class NotifyEvent(Enum):
    """What of a job people are told."""

    ON_START = "on_start"
    ON_SUCCESS = "on_success"
    ON_FAILURE = "on_failure"
    """A failed run that no further attempt follows."""


class ChannelType(Enum):
    """A service that carries messages."""

    EMAIL = "email"
    WEBHOOK = "webhook"
    DISCORD = "discord"
    SLACK = "slack"


class Trigger(Enum):
    """What started a run."""

    TIMER = "timer"
    MANUAL = "manual"
    RETRY = "retry"
    CATCH_UP = "catch-up"
    DEPENDENCY = "dependency"


class Result(Enum):
    """How a run ended; the words are systemd's own ``Result=`` where it has one."""

    SUCCESS = "success"
    EXIT_CODE = "exit-code"
    SIGNAL = "signal"
    CORE_DUMP = "core-dump"
    TIMEOUT = "timeout"
    OOM_KILL = "oom-kill"
    EXEC_ERROR = "exec-error"
    SKIPPED = "skipped"
    STOPPED = "stopped"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class ResourceLimits:
    """What a run may use; ``None`` is no limit."""

    timeout: float | None = None
    """Seconds of running time (``RuntimeMaxSec=``)."""
    max_memory: int | None = None
    """Bytes (``MemoryMax=``)."""
    cpu_quota: float | None = None
    """Fraction of one core, 0.5 is half of one and 2.0 two whole ones (``CPUQuota=``)."""
    tasks_max: int | None = None
    """Processes and threads (``TasksMax=``)."""
    io_weight: int | None = None
    """Share of the disks' time from 1 to 10000, 100 is the default (``IOWeight=``)."""
    kill_after: float | None = None
    """Seconds from SIGTERM to SIGKILL (``TimeoutStopSec=``); ``None`` is systemd's default."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Whether and when a failed run is tried again. Delays are seconds."""

    max_attempts: int = 1
    """How many runs there are at most, the first one included; 1 is no retry."""
    backoff: Backoff = Backoff.EXPONENTIAL
    initial_delay: float = 60
    max_delay: float = 3600
    retry_on: tuple[int, ...] = ()
    """The exit codes after which alone there is a retry; empty: after any failure."""
    no_retry_on: tuple[int, ...] = ()
    """The exit codes after which there is none."""


Command = str | tuple[str, ...]
"""A string for the shell, or the arguments of a program that runs without one."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """Commands that follow what becomes of a run, as the job's user."""

    on_start: Command | None = None
    on_success: Command | None = None
    on_failure: Command | None = None
    on_retry: Command | None = None
    timeout: float = 60
    """Seconds that each of them may take."""

    def command(self, event: HookEvent) -> Command | None:
        """What runs at an event."""
        found: Command | None = getattr(self, event.value)
        return found

    def events(self) -> tuple[HookEvent, ...]:
        """The events that have a hook."""
        return tuple(event for event in HookEvent if self.command(event) is not None)


@dataclass(frozen=True, slots=True)
class Channel:
    """Where a message goes. A URL may be a secret: whoever has it can write there."""

    type: ChannelType
    target: str
    """The addresses of an email, the URL of anything else."""
    subject: str | None = None
    """Of an email; ``None`` is ours."""
    headers: tuple[tuple[str, str], ...] = ()
    """Of a webhook's request."""

    def to_mapping(self) -> dict[str, Any]:
        """The channel with the keys of a job file."""
        mapping: dict[str, Any] = {"type": self.type.value, TARGET_KEYS[self.type]: self.target}
        if self.subject is not None:
            mapping["subject"] = self.subject
        if self.headers:
            mapping["headers"] = dict(self.headers)
        return mapping

    def without_secrets(self) -> Channel:
        """The channel as it may be shown: of a URL the host alone, of headers the names."""
        if self.type is ChannelType.EMAIL:
            return self
        scheme, _, rest = self.target.partition("://")
        host = rest.partition("/")[0].partition("?")[0].rpartition("@")[2]
        hidden = tuple((name, HIDDEN) for name, _ in self.headers)
        return Channel(self.type, f"{scheme}://{host}/{HIDDEN}", self.subject, hidden)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Channel:
        """Read back what ``to_mapping`` gave."""
        type_ = ChannelType(mapping["type"])
        return cls(
            type_,
            mapping[TARGET_KEYS[type_]],
            mapping.get("subject"),
            tuple(mapping.get("headers", {}).items()),
        )


HIDDEN = "..."
"""What stands in the place of a secret."""

TARGET_KEYS: Mapping[ChannelType, str] = {
    ChannelType.EMAIL: "to",
    ChannelType.WEBHOOK: "url",
    ChannelType.DISCORD: "webhook_url",
    ChannelType.SLACK: "webhook_url",
}
"""What a channel's target is called in a job file."""


@dataclass(frozen=True, slots=True)
class Notifications:
    """Whom to tell of a job's runs."""

    on_start: tuple[Channel, ...] = ()
    on_success: tuple[Channel, ...] = ()
    on_failure: tuple[Channel, ...] = ()

    def channels(self, event: NotifyEvent) -> tuple[Channel, ...]:
        """Who is told of an event."""
        found: tuple[Channel, ...] = getattr(self, event.value)
        return found

    def without_secrets(self) -> Notifications:
        """The same as it may be shown."""
        return Notifications(
            **{
                event.value: tuple(one.without_secrets() for one in self.channels(event))
                for event in NotifyEvent
            }
        )


Directive = str | tuple[str, ...]
"""The value of a directive of systemd, or of each of its lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job, validated: whatever holds one of these can compile it.

    ``schedule`` is ``schedule.ON_DEMAND`` for a job that has none.
    ``user`` is ``None`` for the owner of the manager: root, or oneself in user mode.
    """

    name: str
    schedule: str
    command: Command
    user: str | None = None
    timezone: str | None = None
    limits: ResourceLimits = ResourceLimits()
    jitter: float = 0
    environment: tuple[tuple[str, str], ...] = ()
    working_directory: str | None = None
    priority: Priority = Priority.NORMAL
    tags: tuple[str, ...] = ()
    enabled: bool = True
    catch_up: bool = False
    """Whether a slot that passed while the machine was off is made up for, once, at boot."""
    retry: RetryPolicy = RetryPolicy()
    hooks: Hooks = Hooks()
    notifications: Notifications = Notifications()
    mode: ExecutionMode = ExecutionMode.SEQUENTIAL
    overlap: Overlap = Overlap.QUEUE
    max_concurrent: int = 0
    """Runs of a Parallel job at the same time; 0 is no limit."""
    dependencies: tuple[str, ...] = ()
    """The jobs whose latest run must have succeeded."""
    sandbox: tuple[tuple[str, bool | str | tuple[str, ...]], ...] = ()
    """Options of the compiler's table of sandboxing directives, by key."""
    directives: tuple[tuple[str, Directive], ...] = ()
    """Further directives of the service, as they are (the key ``systemd``)."""

    def evolve(self, **changes: Any) -> Job:
        """A copy with some fields replaced."""
        return dataclasses.replace(self, **changes)

    def to_mapping(self) -> dict[str, Any]:
        """The job with the keys of a job file; JSON-ready, and read back by ``from_mapping``."""
        return {
            "name": self.name,
            "schedule": self.schedule,
            "command": _plain(self.command),
            "user": self.user,
            "timezone": self.timezone,
            "resource_limits": {
                "timeout_seconds": self.limits.timeout,
                "max_memory": self.limits.max_memory,
                "cpu_quota": self.limits.cpu_quota,
                "tasks_max": self.limits.tasks_max,
                "io_weight": self.limits.io_weight,
                "kill_after_seconds": self.limits.kill_after,
            },
            "jitter_seconds": self.jitter,
            "env": dict(self.environment),
            "working_directory": self.working_directory,
            "priority": self.priority.value,
            "tags": list(self.tags),
            "enabled": self.enabled,
            "catch_up": self.catch_up,
            "retry_policy": {
                "max_attempts": self.retry.max_attempts,
                "backoff_strategy": self.retry.backoff.value,
                "initial_delay_seconds": self.retry.initial_delay,
                "max_delay_seconds": self.retry.max_delay,
                "retry_on_exit_codes": list(self.retry.retry_on),
                "no_retry_on_exit_codes": list(self.retry.no_retry_on),
            },
            "hooks": {
                **{event.value: _plain(self.hooks.command(event)) for event in HookEvent},
                "timeout_seconds": self.hooks.timeout,
            },
            "notification_config": {
                event.value: [one.to_mapping() for one in self.notifications.channels(event)]
                for event in NotifyEvent
            },
            "execution_mode": self.mode.value,
            "overlap": self.overlap.value,
            "max_concurrent": self.max_concurrent,
            "dependencies": list(self.dependencies),
            "sandbox": {key: _plain(value) for key, value in self.sandbox},
            "systemd": {key: _plain(value) for key, value in self.directives},
        }

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Job:
        """Read back what ``to_mapping`` gave, also that of a version with fewer keys.

        Input of users goes through ``jobfile`` instead.
        """
        limits = mapping["resource_limits"]
        retry, hooks = mapping.get("retry_policy"), mapping.get("hooks")
        return cls(
            name=mapping["name"],
            schedule=mapping["schedule"],
            command=_frozen(mapping["command"]),
            user=mapping["user"],
            timezone=mapping["timezone"],
            limits=ResourceLimits(
                timeout=limits["timeout_seconds"],
                max_memory=limits["max_memory"],
                cpu_quota=limits["cpu_quota"],
                tasks_max=limits.get("tasks_max"),
                io_weight=limits.get("io_weight"),
                kill_after=limits.get("kill_after_seconds"),
            ),
            jitter=mapping["jitter_seconds"],
            environment=tuple(mapping["env"].items()),
            working_directory=mapping["working_directory"],
            priority=Priority(mapping["priority"]),
            tags=tuple(mapping["tags"]),
            enabled=mapping["enabled"],
            catch_up=mapping["catch_up"],
            retry=RetryPolicy() if retry is None else _retry_policy(retry),
            hooks=Hooks() if hooks is None else _hooks(hooks),
            notifications=_notifications(mapping.get("notification_config", {})),
            mode=ExecutionMode(mapping.get("execution_mode", ExecutionMode.SEQUENTIAL.value)),
            overlap=Overlap(mapping.get("overlap", Overlap.QUEUE.value)),
            max_concurrent=mapping.get("max_concurrent", 0),
            dependencies=tuple(mapping.get("dependencies", ())),
            sandbox=_frozen_items(mapping.get("sandbox", {})),
            directives=_frozen_items(mapping.get("systemd", {})),
        )


def _retry_policy(mapping: Mapping[str, Any]) -> RetryPolicy:
    return RetryPolicy(
        max_attempts=mapping["max_attempts"],
        backoff=Backoff(mapping["backoff_strategy"]),
        initial_delay=mapping["initial_delay_seconds"],
        max_delay=mapping["max_delay_seconds"],
        retry_on=tuple(mapping["retry_on_exit_codes"]),
        no_retry_on=tuple(mapping["no_retry_on_exit_codes"]),
    )


def _hooks(mapping: Mapping[str, Any]) -> Hooks:
    commands = {event.value: _frozen(mapping.get(event.value)) for event in HookEvent}
    return Hooks(**commands, timeout=mapping["timeout_seconds"])


def _notifications(mapping: Mapping[str, Any]) -> Notifications:
    return Notifications(
        **{
            event.value: tuple(map(Channel.from_mapping, mapping.get(event.value, ())))
            for event in NotifyEvent
        }
    )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _frozen_items(mapping: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((key, _frozen(value)) for key, value in mapping.items())


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. ``exit_code`` and ``signal`` are the main process's, one of them set."""

    result: Result
    exit_code: int | None = None
    signal: int | None = None


@dataclass(frozen=True, slots=True)
class HookRun:
    """One hook of one run; its own execution ID, and no result while it waits or runs."""

    event: HookEvent
    execution_id: str | None
    result: Result | None
    exit_code: int | None
    signal: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of a job, identified by systemd's invocation ID (32 hexadecimal digits).

    ``ended_at`` is ``None`` while it runs and where nobody saw the end (``lost``);
    ``result`` is ``None`` while it runs.
    """

    execution_id: str
    job: str
    unit: str
    trigger: Trigger
    scheduled_at: int | None
    started_at: int
    ended_at: int | None = None
    result: Result | None = None
    exit_code: int | None = None
    signal: int | None = None
    attempt: int = 1
    first_attempt_id: str | None = None
    cpu_usec: int | None = None
    memory_peak: int | None = None
    output: str | None = None
