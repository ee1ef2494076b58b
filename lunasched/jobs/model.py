"""The nouns of lunasched: jobs as they were defined, runs as they were recorded.

Everything here is frozen and knows nothing of systemd, SQLite or the clock. Durations are
seconds, sizes bytes, and points in time microseconds since the epoch in UTC, as the journal has
them.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import field
from enum import Enum
from functools import cache
from typing import Any, TypeVar

from lunasched.dataclass import dataclass


class Priority(Enum):
    """The weight of a job in competition for the machine."""

    LOW = "Low"
    NORMAL = "Normal"
    HIGH = "High"
    CRITICAL = "Critical"


class ExecutionMode(Enum):
    """The runs that may be in progress beside a run of the job."""

    SEQUENTIAL = "Sequential"
    """Any, but none of the same job."""
    PARALLEL = "Parallel"
    """Any, runs of the same job included."""
    EXCLUSIVE = "Exclusive"
    """None at all."""


class Overlap(Enum):
    """The effect of a trigger during a run of a Sequential job."""

    QUEUE = "queue"
    """One run right after the one in progress, however many triggers there were."""
    SKIP = "skip"
    """Nothing."""
    REPLACE = "replace"
    """The run in progress is stopped and a new one started."""


class Backoff(Enum):
    """The growth of the delay before a retry with the number of attempts."""

    EXPONENTIAL = "Exponential"
    LINEAR = "Linear"
    FIXED = "Fixed"


class HookEvent(Enum):
    """The event at which a hook runs."""

    ON_START = "on_start"
    ON_SUCCESS = "on_success"
    ON_FAILURE = "on_failure"
    """After a failed run that no further attempt follows."""
    ON_RETRY = "on_retry"
    """After a failed run that another attempt will follow."""


class NotifyEvent(Enum):
    """The event of a job that notifications are sent for."""

    ON_START = "on_start"
    ON_SUCCESS = "on_success"
    ON_FAILURE = "on_failure"
    """A failed run that no further attempt follows."""
    ON_RECOVERY = "on_recovery"
    """A success after a failure that was notified."""
    ON_SKIPPED = "on_skipped"
    """A run that was due and did not begin."""
    ON_MISSED = "on_missed"
    """Slots that passed without a run."""
    ON_OVERRUN = "on_overrun"
    """A run that goes on while slots of its job pass, and its end."""
    ON_OUTPUT = "on_output"
    """A run that printed anything, whatever its result."""


class ChannelType(Enum):
    """A way to carry notifications."""

    EMAIL = "email"
    WEBHOOK = "webhook"
    DISCORD = "discord"
    SLACK = "slack"
    NTFY = "ntfy"
    SENDMAIL = "sendmail"
    """Email by the machine's own sendmail(8), which the job's user runs."""
    EXEC = "exec"
    """A command of one's own."""
    HEARTBEAT = "heartbeat"
    """Pings to a service that alerts when they stay away."""


class MailStyle(Enum):
    """The form of an email about what a run printed."""

    CRON = "cron"
    """That of cron(8): its headers, and the output alone."""


class _FieldForm:
    """The form of a field in a mapping, where its value is neither text, number nor list."""

    # No dataclass, which takes each command that is started 0.3 ms to make.
    __slots__ = ("read", "write", "write_asked_for")

    def __init__(
        self,
        write: Callable[[Any], Any],
        read: Callable[[Any], Any],
        write_asked_for: Callable[[Any], Any] | None = None,
    ) -> None:
        """``write_asked_for`` writes without what is as it is by default, of what has parts."""
        self.write = write
        self.read = read
        self.write_asked_for = write_asked_for or write


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return list(value) if isinstance(value, tuple) else value


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _frozen_items(mapping: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((key, _frozen(value)) for key, value in mapping.items())


_PAIRS = _FieldForm(lambda pairs: {key: _plain(value) for key, value in pairs}, _frozen_items)

# A job and its parts become mappings, and are read back, by their fields alone. What a field says
# of that is in its metadata: ``key``, its name in a job file, if that is another one, and
# ``form``. The same name is in its row of ``jobs.keys``, which most commands do not load.


@dataclass(frozen=True, slots=True)
class ResourceLimits:
    """The limits of a run; ``None`` is no limit."""

    timeout: float | None = field(default=None, metadata={"key": "timeout_seconds"})
    """Seconds of running time (``RuntimeMaxSec=``)."""
    max_memory: int | None = None
    """Bytes (``MemoryMax=``)."""
    cpu_quota: float | None = None
    """Fraction of one core, 0.5 is half of one and 2.0 two whole ones (``CPUQuota=``)."""
    tasks_max: int | None = None
    """Processes and threads (``TasksMax=``)."""
    io_weight: int | None = None
    """Share of the disks' time from 1 to 10000, 100 is the default (``IOWeight=``)."""
    kill_after: float | None = field(default=None, metadata={"key": "kill_after_seconds"})
    """Seconds from SIGTERM to SIGKILL (``TimeoutStopSec=``); ``None`` is systemd's default."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The rules for retries of a failed run. Delays are seconds."""

    max_attempts: int = 1
    """The most attempts, the first run included; 1 is no retry."""
    backoff: Backoff = field(default=Backoff.EXPONENTIAL, metadata={"key": "backoff_strategy"})
    initial_delay: float = field(default=60, metadata={"key": "initial_delay_seconds"})
    max_delay: float = field(default=3600, metadata={"key": "max_delay_seconds"})
    retry_on: tuple[int, ...] = field(default=(), metadata={"key": "retry_on_exit_codes"})
    """The exit codes after which alone there is a retry; empty: after any failure."""
    no_retry_on: tuple[int, ...] = field(default=(), metadata={"key": "no_retry_on_exit_codes"})
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
    timeout: float = field(default=60, metadata={"key": "timeout_seconds"})
    """Seconds that each of them may take."""

    def command(self, event: HookEvent) -> Command | None:
        """Return the command for an event."""
        found: Command | None = getattr(self, event.value)
        return found

    def events(self) -> tuple[HookEvent, ...]:
        """The events that have a hook."""
        return tuple(event for event in HookEvent if self.command(event) is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """The destination of notifications. A URL may be a secret: whoever has it can write there."""

    type: ChannelType = field(kw_only=False)
    target: Command = field(kw_only=False)
    """The addresses of an email, the command of ``exec``, the URL of anything else."""
    subject: str | None = None
    """Template of a subject; ``None`` is ours."""
    body: str | None = None
    """Template of a text; ``None`` is ours."""
    style: MailStyle | None = None
    """The form of an email about output; ``None`` is ours."""
    headers: tuple[tuple[str, str], ...] = ()
    """Of a webhook's request."""
    secret: str | None = None
    """The secret that signs a webhook's request."""
    token: str | None = None
    """Of an account at ntfy."""
    priority: str | None = None
    """The priority for ntfy: ``min``, ``low``, ``default``, ``high`` or ``max``; ``None`` is
    ours."""
    timeout: float | None = None
    """Seconds that the command of ``exec`` may take; ``None`` is that of hooks."""

    @property
    def is_command(self) -> bool:
        """True if a unit of the job carries its notifications, and no connection of ours."""
        return self.type in (ChannelType.EXEC, ChannelType.SENDMAIL)

    @property
    def is_mail(self) -> bool:
        """True if its notifications are emails."""
        return self.type in (ChannelType.EMAIL, ChannelType.SENDMAIL)

    @property
    def where(self) -> str:
        """The target as one text."""
        return self.target if isinstance(self.target, str) else shlex.join(self.target)

    @property
    def key(self) -> str:
        """The identity of the channel: the same for the same type and target."""
        import hashlib  # takes 7 ms to load

        identity = json.dumps([self.type.value, _plain(self.target)])
        return hashlib.sha256(identity.encode()).hexdigest()[:16]

    def to_mapping(self) -> dict[str, Any]:
        """The channel with the keys of a job file."""
        mapping = {"type": self.type.value, TARGET_KEYS[self.type]: _plain(self.target)}
        for name in _TEXTS_OF_CHANNELS:
            if getattr(self, name) is not None:
                mapping[name] = getattr(self, name)
        if self.style is not None:
            mapping["style"] = self.style.value
        if self.headers:
            mapping["headers"] = dict(self.headers)
        return mapping

    def without_secrets(self) -> Channel:
        """The channel as it may be shown: of a URL the host alone, of headers the names."""
        if self.is_mail or self.is_command:
            return self
        return dataclasses.replace(
            self,
            target=_host_alone(self.where),
            headers=tuple((name, HIDDEN) for name, _ in self.headers),
            secret=self.secret and HIDDEN,
            token=self.token and HIDDEN,
        )

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Channel:
        """Read back what ``to_mapping`` gave, also that of a version with fewer keys."""
        type_, style = ChannelType(mapping["type"]), mapping.get("style")
        return cls(
            type_,
            _frozen(mapping[TARGET_KEYS[type_]]),
            style=style and MailStyle(style),
            headers=tuple(mapping.get("headers", {}).items()),
            **{name: mapping.get(name) for name in _TEXTS_OF_CHANNELS},
        )


HIDDEN = "..."
"""The text in the place of a secret."""

TARGET_KEYS: Mapping[ChannelType, str] = {
    ChannelType.EMAIL: "to",
    ChannelType.WEBHOOK: "url",
    ChannelType.DISCORD: "webhook_url",
    ChannelType.SLACK: "webhook_url",
    ChannelType.NTFY: "url",
    ChannelType.SENDMAIL: "to",
    ChannelType.EXEC: "command",
    ChannelType.HEARTBEAT: "url",
}
"""The key in a job file that holds a channel's target."""

_TEXTS_OF_CHANNELS = ("subject", "body", "secret", "token", "priority", "timeout")


def _host_alone(url: str) -> str:
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0].partition("?")[0].partition("#")[0].rpartition("@")[2]
    return f"{scheme}://{host}/{HIDDEN}"


_CHANNELS = _FieldForm(
    lambda channels: None if channels is None else [one.to_mapping() for one in channels],
    lambda mappings: tuple(map(Channel.from_mapping, mappings)),
)
_HEARTBEAT = _FieldForm(
    lambda channel: channel and channel.where,
    lambda url: url and Channel(ChannelType.HEARTBEAT, url),
)

PINGED = (NotifyEvent.ON_START, NotifyEvent.ON_SUCCESS, NotifyEvent.ON_FAILURE)
"""The events that a heartbeat has pings for."""


@dataclass(frozen=True, slots=True)
class Notifications:
    """The channels that a job notifies, by event, and how often."""

    on_start: tuple[Channel, ...] = field(default=(), metadata={"form": _CHANNELS})
    on_success: tuple[Channel, ...] = field(default=(), metadata={"form": _CHANNELS})
    on_failure: tuple[Channel, ...] = field(default=(), metadata={"form": _CHANNELS})
    on_recovery: tuple[Channel, ...] | None = field(default=None, metadata={"form": _CHANNELS})
    """``None``: those of ``on_failure``, without pings."""
    on_skipped: tuple[Channel, ...] = field(default=(), metadata={"form": _CHANNELS})
    on_missed: tuple[Channel, ...] = field(default=(), metadata={"form": _CHANNELS})
    on_overrun: tuple[Channel, ...] | None = field(default=None, metadata={"form": _CHANNELS})
    """``None``: those of ``on_failure``, without pings."""
    on_output: tuple[Channel, ...] = field(default=(), metadata={"form": _CHANNELS})
    remind_every: float = 86400
    """Seconds between notifications of a job that goes on failing; 0 is none after the first."""
    every_failure: bool = False
    """True if each failure is notified, and not only the first of several."""
    overrun_after: float = 300
    """Seconds from the first slot that passes during a run to its notification."""
    heartbeat: Channel | None = field(default=None, metadata={"form": _HEARTBEAT})
    """The URL that is pinged at each start, success and failure."""

    def channels(self, event: NotifyEvent) -> tuple[Channel, ...]:
        """Return the channels to notify of an event, the heartbeat included."""
        found: tuple[Channel, ...] | None = getattr(self, event.value)
        if found is None:
            found = tuple(one for one in self.on_failure if one.type is not ChannelType.HEARTBEAT)
        if self.heartbeat is not None and event in PINGED and self.heartbeat not in found:
            return (*found, self.heartbeat)
        return found

    def without_secrets(self) -> Notifications:
        """The same as it may be shown."""
        shown: dict[str, Any] = {
            event.value: tuple(one.without_secrets() for one in listed)
            for event in NotifyEvent
            if (listed := getattr(self, event.value)) is not None
        }
        heartbeat = self.heartbeat and self.heartbeat.without_secrets()
        return dataclasses.replace(self, **shown, heartbeat=heartbeat)

    def without_commands(self) -> Notifications:
        """The same without what is run to notify."""
        shown: dict[str, Any] = {
            event.value: tuple(
                dataclasses.replace(one, target=HIDDEN) if one.type is ChannelType.EXEC else one
                for one in listed
            )
            for event in NotifyEvent
            if (listed := getattr(self, event.value)) is not None
        }
        return dataclasses.replace(self, **shown)

    def to_mapping(self) -> dict[str, Any]:
        """The keys of ``notification_config``."""
        return _to_mapping(self)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Notifications:
        """Read back what ``to_mapping`` gave, also that of a version with fewer keys."""
        return _from_mapping(cls, mapping)


Directive = str | tuple[str, ...]
"""The value of a directive of systemd, or of each of its lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job, validated: whatever holds one of these can compile it.

    ``schedule`` is ``schedule.ON_DEMAND`` for a job that has none.
    ``user`` is ``None`` for the user of the manager: root, or oneself in user mode.
    """

    name: str
    schedule: str
    command: Command
    user: str | None = None
    timezone: str | None = None
    limits: ResourceLimits = field(default=ResourceLimits(), metadata={"key": "resource_limits"})
    jitter: float = field(default=0, metadata={"key": "jitter_seconds"})
    accuracy: float = 0
    """Seconds by which a start may be late, so that one wake-up of the machine serves several."""
    environment: tuple[tuple[str, str], ...] = field(
        default=(), metadata={"key": "env", "form": _PAIRS}
    )
    working_directory: str | None = None
    priority: Priority = Priority.NORMAL
    tags: tuple[str, ...] = ()
    enabled: bool = True
    catch_up: bool = False
    """True if a slot that passed while the machine was off is made up for, once, at boot."""
    remove_when_over: bool = False
    """True if the job is removed when its schedule has no slot left and its run is over."""
    any_exit_code: bool = False
    """True if a run that ends by itself is a success, whatever its exit code."""
    private: bool = False
    """True if what it runs is kept out of its units, which every user can read."""
    retry: RetryPolicy = field(default=RetryPolicy(), metadata={"key": "retry_policy"})
    hooks: Hooks = Hooks()
    notifications: Notifications = field(
        default=Notifications(), metadata={"key": "notification_config"}
    )
    mode: ExecutionMode = field(
        default=ExecutionMode.SEQUENTIAL, metadata={"key": "execution_mode"}
    )
    overlap: Overlap = Overlap.QUEUE
    max_concurrent: int = 0
    """Runs of a Parallel job at the same time; 0 is no limit."""
    dependencies: tuple[str, ...] = ()
    """The jobs whose latest run must have succeeded."""
    after: tuple[str, ...] = ()
    """The jobs that come first where they are due at the same time, however they end."""
    sandbox: tuple[tuple[str, bool | str | tuple[str, ...]], ...] = field(
        default=(), metadata={"form": _PAIRS}
    )
    """Options of the compiler's table of sandboxing directives, by key."""
    directives: tuple[tuple[str, Directive], ...] = field(
        default=(), metadata={"key": "systemd", "form": _PAIRS}
    )
    """Further directives of the service, as they are (the key ``systemd``).

    Where ``ExecStart`` is among them, ``command`` is its lines as people read them.
    """

    @property
    def leeway(self) -> float:
        """Seconds after its slot at which a start is still on time."""
        return self.jitter + self.accuracy

    @property
    def waits_for(self) -> tuple[str, ...]:
        """The jobs that have to end before it begins, where they run or are due, too."""
        return tuple(dict.fromkeys((*self.dependencies, *self.after)))

    def evolve(self, **changes: Any) -> Job:
        """A copy with some fields replaced."""
        return dataclasses.replace(self, **changes)

    def to_mapping(self) -> dict[str, Any]:
        """The job with the keys of a job file; JSON-ready, and read back by ``from_mapping``."""
        return _to_mapping(self)

    def asked_for(self) -> dict[str, Any]:
        """The same mapping without what any job has by default.

        It identifies the definition, and stays as it is when a later version has more keys.
        """
        return _asked_for(self)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Job:
        """Read back what ``to_mapping`` gave, also that of a version with fewer keys.

        Input of users goes through ``jobs.reading`` instead.
        """
        return _from_mapping(cls, mapping)


_Whole = TypeVar("_Whole")


@cache
def _fields(whole: Any) -> tuple[tuple[str, str, Any, Any, _FieldForm], ...]:
    """The fields of a job or of a part of one: name, key, default, the same in a mapping, form."""
    found = []
    for one in dataclasses.fields(whole):
        form: _FieldForm = one.metadata.get("form") or _form_of(one)
        usual = None if one.default is dataclasses.MISSING else form.write(one.default)
        found.append((one.name, one.metadata.get("key", one.name), one.default, usual, form))
    return tuple(found)


def _form_of(one: dataclasses.Field[Any]) -> _FieldForm:
    """The form of a field whose default says what its values are."""
    kind = type(one.default)
    if dataclasses.is_dataclass(kind):
        return _FieldForm(_to_mapping, lambda mapping: _from_mapping(kind, mapping), _asked_for)
    return _FieldForm(_plain, kind if issubclass(kind, Enum) else _frozen)


def _to_mapping(whole: Any) -> dict[str, Any]:
    """The fields of a job or of a part of one, with the keys of a job file."""
    return {
        key: form.write(getattr(whole, name)) for name, key, _, _, form in _fields(whole.__class__)
    }


def _asked_for(whole: Any) -> dict[str, Any]:
    """The same without what is as it is by default, in the parts, too."""
    return {
        key: form.write_asked_for(value)
        for name, key, default, _, form in _fields(whole.__class__)
        if (value := getattr(whole, name)) is not default and value != default
    }


def _from_mapping(whole: Callable[..., _Whole], mapping: Mapping[str, Any]) -> _Whole:
    """Read back what ``_to_mapping`` gave; a key that it lacks has its default.

    Of ten thousand jobs, nearly all fields are as they are by default: these are told apart by
    one comparison, and are one object. Raises ``TypeError`` where a key without one is missing.
    """
    return whole(
        **{
            name: form.read(value)
            for name, key, _, usual, form in _fields(whole)
            if (value := mapping.get(key)) is not None and value != usual
        }
    )
