"""Job definitions as people write them, turned into ``Job`` objects with every fault named.

The input is a mapping with the keys of a job file, whose values may be what YAML, TOML or a
command line gives: numbers in the unit of the key's name, or texts such as ``30m`` and ``2G``.
All faults of a definition are found before any is reported.

A field of a job may have several keys: in a mapping (``retry_policy: max_attempts``), and flat
(``max_retries``), as the command line and Lunasched 1.x have it. They must agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from lunasched import directives, sandbox, schedule
from lunasched import jobvalues as values
from lunasched.errors import InvalidInput, InvalidJob
from lunasched.model import (
    Backoff,
    ExecutionMode,
    HookEvent,
    Hooks,
    Job,
    Overlap,
    Priority,
    ResourceLimits,
    RetryPolicy,
)

Label = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class _Key:
    """Where a key's value goes: a field of ``Job``, or after a dot of one of its parts."""

    field: str
    read: Callable[[object], Any]


_TIMEOUT = _Key("limits.timeout", values.read_time_limit)
_MAX_MEMORY = _Key("limits.max_memory", values.read_memory)
_CPU_QUOTA = _Key("limits.cpu_quota", values.read_cpu_quota)
_TASKS_MAX = _Key("limits.tasks_max", values.whole(1, 1 << 22))
_IO_WEIGHT = _Key("limits.io_weight", values.whole(1, 10000))
_KILL_AFTER = _Key("limits.kill_after", values.read_time_limit)
_BACKOFF = _Key("retry.backoff", values.one_of(Backoff, "backoff strategy"))
_RETRY_DELAY = _Key("retry.initial_delay", values.read_duration)
_RETRY_MAX_DELAY = _Key("retry.max_delay", values.read_duration)
_RETRY_ON = _Key("retry.retry_on", values.read_exit_codes)
_NO_RETRY_ON = _Key("retry.no_retry_on", values.read_exit_codes)
_HOOKS = {event.value: _Key(f"hooks.{event.value}", values.read_command) for event in HookEvent}
_HOOK_TIMEOUT = _Key("hooks.timeout", values.read_time_limit)
_JITTER = _Key("jitter", values.read_duration)

_KEYS: Mapping[str, _Key] = {
    "name": _Key("name", values.read_name),
    "schedule": _Key("schedule", values.read_schedule),
    "command": _Key("command", values.read_command),
    "user": _Key("user", values.read_user),
    "timezone": _Key("timezone", values.read_timezone),
    "timeout": _TIMEOUT,
    "max_memory": _MAX_MEMORY,
    "cpu_quota": _CPU_QUOTA,
    "tasks_max": _TASKS_MAX,
    "io_weight": _IO_WEIGHT,
    "kill_after": _KILL_AFTER,
    "jitter": _JITTER,
    "jitter_seconds": _JITTER,
    "env": _Key("environment", values.read_environment),
    "working_directory": _Key("working_directory", values.read_working_directory),
    "priority": _Key("priority", values.one_of(Priority, "priority")),
    "tags": _Key("tags", values.read_tags),
    "enabled": _Key("enabled", values.read_boolean),
    "catch_up": _Key("catch_up", values.read_boolean),
    "max_retries": _Key("retry.max_attempts", values.read_attempts_after),
    "backoff": _BACKOFF,
    "retry_delay": _RETRY_DELAY,
    "retry_max_delay": _RETRY_MAX_DELAY,
    "retry_on_exit_codes": _RETRY_ON,
    "no_retry_on_exit_codes": _NO_RETRY_ON,
    **_HOOKS,
    "hook_timeout": _HOOK_TIMEOUT,
    "execution_mode": _Key("mode", values.one_of(ExecutionMode, "execution mode")),
    "overlap": _Key("overlap", values.one_of(Overlap, "way to treat an overlap")),
    "max_concurrent": _Key("max_concurrent", values.whole(0, 1000)),
    "dependencies": _Key("dependencies", values.read_names),
}
"""The keys of a job, apart from those that are mappings themselves."""

_GROUPS: Mapping[str, Mapping[str, _Key]] = {
    "resource_limits": {
        "timeout_seconds": _TIMEOUT,
        "max_memory_mb": _Key("limits.max_memory", values.read_mebibytes),
        "max_memory": _MAX_MEMORY,
        "cpu_quota": _CPU_QUOTA,
        "tasks_max": _TASKS_MAX,
        "io_weight": _IO_WEIGHT,
        "kill_after_seconds": _KILL_AFTER,
    },
    "retry_policy": {
        "max_attempts": _Key("retry.max_attempts", values.whole(1, 1000)),
        "backoff_strategy": _BACKOFF,
        "initial_delay_seconds": _RETRY_DELAY,
        "max_delay_seconds": _RETRY_MAX_DELAY,
        "retry_on_exit_codes": _RETRY_ON,
        "no_retry_on_exit_codes": _NO_RETRY_ON,
    },
    "hooks": {**_HOOKS, "timeout_seconds": _HOOK_TIMEOUT},
    "sandbox": {
        key: _Key(f"sandbox.{key}", option.kind.read) for key, option in sandbox.OPTIONS.items()
    },
}
"""The keys that are mappings, and theirs."""

_DIRECTIVES = "systemd"
_SEQUENTIAL = ExecutionMode.SEQUENTIAL
_ALL_KEYS = (*_KEYS, *_GROUPS, _DIRECTIVES)


def job_from_mapping(mapping: Mapping[str, Any], *, label: Label = lambda key: key) -> Job:
    """The job that ``mapping`` describes.

    ``label`` turns a key into what its author knows it by (an option's name, a path in a file).
    Raises ``InvalidJob`` with all problems, each as ``label: message``.
    """
    found = _Found()
    for key, value in mapping.items():
        if key in _GROUPS:
            found.take_group(_GROUPS[key], value, label(key))
        elif key == _DIRECTIVES:
            found.take_directives(value, label(key))
        else:
            found.take(_KEYS, key, value, label(key), known=_ALL_KEYS)
    _check_present(mapping, found, label)
    for target, message in _contradictions(found.fields, found.labels):
        found.problems.append(f"{found.labels[target]}: {message}")
    if found.problems:
        raise InvalidJob(found.problems)
    return found.job()


def _check_present(mapping: Mapping[str, Any], found: _Found, label: Label) -> None:
    for key in ("name", "schedule", "command"):
        if mapping.get(key) is not None:
            continue
        if key == "schedule" and found.fields.get("dependencies"):
            found.fields["schedule"] = schedule.ON_DEMAND
            continue
        others = " (or dependencies, after which it runs)" if key == "schedule" else ""
        found.problems.append(f"{label(key)}: it is missing, and every job needs one{others}")


def _contradictions(
    fields: Mapping[str, Any], labels: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """What is right alone and wrong beside something else: the field, and why."""
    mode = fields.get("mode", _SEQUENTIAL)
    if fields.get("overlap", Overlap.QUEUE) is not Overlap.QUEUE and mode is not _SEQUENTIAL:
        yield "overlap", f"only a Sequential job has a choice, and this one is {mode.value}"
    if fields.get("max_concurrent") and mode is not ExecutionMode.PARALLEL:
        yield "max_concurrent", f"it is for Parallel jobs, and this one is {mode.value}"
    if fields.get("name") in fields.get("dependencies", ()):
        yield "dependencies", "a job cannot wait for itself"
    first = fields.get("retry.initial_delay", 0)
    if fields.get("retry.max_delay", first) < first:
        yield "retry.max_delay", f"it is less than {labels['retry.initial_delay']}"
    for code in fields.get("retry.no_retry_on", ()):
        if code in fields.get("retry.retry_on", ()):
            yield "retry.no_retry_on", f"{code} is also in {labels['retry.retry_on']}"


@dataclass
class _Found:
    """What was read so far, by field, and what was wrong with it."""

    fields: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    """What the key of each field is called."""
    problems: list[str] = field(default_factory=list)

    def take(
        self,
        keys: Mapping[str, _Key],
        key: str,
        value: object,
        label: str,
        known: tuple[str, ...] = (),
    ) -> None:
        """Read the value of one key."""
        if key not in keys:
            near = get_close_matches(str(key), known or tuple(keys), 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            self.problems.append(f"{label}: there is no such key{hint}")
            return
        if value is None:
            return
        target = keys[key].field
        try:
            read = keys[key].read(value)
        except InvalidInput as error:
            self.problems.append(f"{label}: {error}")
            return
        if target in self.fields and self.fields[target] != read:
            self.problems.append(f"{label}: {self.labels[target]} says something else; keep one")
            return
        self.fields[target], self.labels[target] = read, label

    def take_group(self, keys: Mapping[str, _Key], value: object, label: str) -> None:
        """Read the keys of a mapping."""
        for key, inner in self._items(value, label):
            self.take(keys, key, inner, f"{label}.{key}")

    def take_directives(self, value: object, label: str) -> None:
        """Read the mapping whose keys are directives of systemd."""
        chosen = {}
        for name, inner in self._items(value, label):
            if inner is None:
                continue
            try:
                chosen[name] = directives.read(name, inner)
            except InvalidInput as error:
                self.problems.append(f"{label}.{name}: {error}")
        self.fields["directives"] = tuple(sorted(chosen.items()))

    def _items(self, value: object, label: str) -> list[tuple[Any, Any]]:
        if value is None or isinstance(value, Mapping):
            return list((value or {}).items())
        self.problems.append(f"{label}: it must be a mapping of keys to values")
        return []

    def job(self) -> Job:
        """The job, once there are no problems."""
        parts: dict[str, dict[str, Any]] = {
            "limits": {}, "retry": {}, "hooks": {}, "sandbox": {}, "": {}
        }  # fmt: skip
        for target, value in self.fields.items():
            part, _, name = target.rpartition(".")
            parts[part][name] = value
        retry = parts["retry"]
        first = retry.get("initial_delay", 0)
        retry.setdefault("max_delay", max(first, RetryPolicy().max_delay))
        chosen = parts["sandbox"]
        return Job(
            limits=ResourceLimits(**parts["limits"]),
            retry=RetryPolicy(**retry),
            hooks=Hooks(**parts["hooks"]),
            sandbox=tuple((key, chosen[key]) for key in sandbox.OPTIONS if key in chosen),
            **parts[""],
        )
