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


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job, validated: whatever holds one of these can compile it.

    ``command`` is a string for the shell or a tuple of arguments that runs without one.
    ``user`` is ``None`` for the owner of the manager: root, or oneself in user mode.
    """

    name: str
    schedule: str
    command: str | tuple[str, ...]
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

    def evolve(self, **changes: Any) -> Job:
        """A copy with some fields replaced."""
        return dataclasses.replace(self, **changes)

    def to_mapping(self) -> dict[str, Any]:
        """The job with the keys of a job file; JSON-ready, and read back by ``from_mapping``."""
        return {
            "name": self.name,
            "schedule": self.schedule,
            "command": self.command if isinstance(self.command, str) else list(self.command),
            "user": self.user,
            "timezone": self.timezone,
            "resource_limits": {
                "timeout_seconds": self.limits.timeout,
                "max_memory": self.limits.max_memory,
                "cpu_quota": self.limits.cpu_quota,
            },
            "jitter_seconds": self.jitter,
            "env": dict(self.environment),
            "working_directory": self.working_directory,
            "priority": self.priority.value,
            "tags": list(self.tags),
            "enabled": self.enabled,
            "catch_up": self.catch_up,
        }

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Job:
        """Read back what ``to_mapping`` gave. Input of users goes through ``jobfile`` instead."""
        command = mapping["command"]
        limits = mapping["resource_limits"]
        return cls(
            name=mapping["name"],
            schedule=mapping["schedule"],
            command=command if isinstance(command, str) else tuple(command),
            user=mapping["user"],
            timezone=mapping["timezone"],
            limits=ResourceLimits(
                timeout=limits["timeout_seconds"],
                max_memory=limits["max_memory"],
                cpu_quota=limits["cpu_quota"],
            ),
            jitter=mapping["jitter_seconds"],
            environment=tuple(mapping["env"].items()),
            working_directory=mapping["working_directory"],
            priority=Priority(mapping["priority"]),
            tags=tuple(mapping["tags"]),
            enabled=mapping["enabled"],
            catch_up=mapping["catch_up"],
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. ``exit_code`` and ``signal`` are the main process's, one of them set."""

    result: Result
    exit_code: int | None = None
    signal: int | None = None


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
