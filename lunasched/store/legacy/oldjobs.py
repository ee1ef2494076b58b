"""A row of the ``jobs`` of Lunasched 1.x as one of our jobs, checked as a job file is."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lunasched import schedule
from lunasched.dataclass import dataclass
from lunasched.errors import InvalidInput, InvalidJob
from lunasched.formats.measures import DAYS_TO_SECONDS
from lunasched.jobs.model import Job
from lunasched.jobs.reading import job_from_mapping
from lunasched.paths import Mode
from lunasched.store.legacy.oldcron import translate

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_ORDINALS = {1: "1st", 2: "2nd", 3: "3rd", 4: "4th", 5: "5th"}

# What 1.x did with an owner that was not named.
_OWNER = "lunasched"
_MOST_ATTEMPTS = 1000

# Keys of a job, with those of the mappings in it, and what `add` calls them.
_OPTIONS: Mapping[str, str] = {
    "name": "--name",
    "schedule": "--schedule",
    "timezone": "--timezone",
    "user": "--run-as",
    "priority": "--priority",
    "execution_mode": "--execution-mode",
    "max_concurrent": "--max-concurrent",
    "resource_limits.timeout_seconds": "--timeout",
    "resource_limits.max_memory_mb": "--max-memory",
    "resource_limits.cpu_quota": "--cpu-quota",
    "jitter_seconds": "--jitter",
    "retry_policy.backoff_strategy": "--backoff",
    "retry_policy.initial_delay_seconds": "--retry-delay",
    "retry_policy.max_delay_seconds": "--retry-max-delay",
    "hooks.on_success": "--on-success",
    "hooks.on_failure": "--on-failure",
}


@dataclass(frozen=True, slots=True)
class Converted:
    """The result for a row: a job, or the reason why there is none; and notes about it."""

    name: str
    job: Job | None
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    command: str
    """The command line that adds the job, as far as it can be said."""

    def refuse(self, problem: str) -> Converted:
        """The same without the job."""
        return Converted(self.name, None, (*self.problems, problem), self.notes, self.command)


def convert(row: Mapping[str, Any], dependencies: Sequence[str], mode: Mode) -> Converted:
    """Turn a row into a job; ``dependencies`` are those that another table has of it."""
    reader = _LegacyRow(row)
    mapping: dict[str, Any] = {"name": reader.text("name") or reader.text("id")}
    problems = []
    try:
        mapping |= reader.schedule()
    except InvalidInput as error:
        mapping["schedule"] = reader.text("schedule_value")
        problems.append(f"schedule: {error}")
    mapping |= reader.command(mode)
    mapping |= reader.settings()
    mapping |= reader.relations(dependencies)
    try:
        job = job_from_mapping(mapping)
    except InvalidJob as error:
        job = None
        known = {problem.partition(":")[0] for problem in problems}
        problems += [text for text in error.problems if text.partition(":")[0] not in known]
    return Converted(
        name=str(mapping["name"]),
        job=None if problems else job,
        problems=tuple(problems),
        notes=tuple(reader.notes),
        command=_command_line(mapping),
    )


class _LegacyRow:
    """One row, read by what it means; what is remarkable is added to ``notes``."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        self._row = row
        self.notes: list[str] = []

    def text(self, column: str) -> str:
        value = self._row.get(column)
        if isinstance(value, bytes):
            return value.decode(errors="replace")
        return "" if value is None else str(value)

    def schedule(self) -> dict[str, Any]:
        """The schedule and its zone; raises ``InvalidInput``."""
        zone = self.text("timezone") or None
        kind, value = self.text("schedule_type"), self.text("schedule_value")
        if kind == "every":
            return {"schedule": _every(value)}
        if kind == "calendar":
            return {"schedule": _calendar(value), "timezone": self._known(zone)}
        if kind != "cron":
            raise InvalidInput(f"{kind!r} is not a kind of schedule that there is")
        found = translate(value)
        if found.ran:
            told = f", and not by {zone}, which was set" if zone not in (None, "UTC") else ""
            self.notes.append(f"its schedule {value!r} went by UTC{told}; it still does")
            zone = "UTC"
        else:
            self.notes.append(
                f"its schedule {value!r} was kept by Lunasched 1.x and never ran; it will now"
            )
        return {"schedule": found.schedule, "timezone": self._known(zone)}

    def command(self, mode: Mode) -> dict[str, Any]:
        """Return the command: 1.x gave a shell the command and its arguments with spaces between
        them."""
        words = [self.text("command"), *map(str, self._json("args", list))]
        environment = {str(key): str(text) for key, text in self._json("env", dict).items()}
        owner = self.text("owner") or _OWNER
        return {
            "command": " ".join(words),
            "env": environment,
            "user": None if mode is Mode.USER or owner == "root" else owner,
            "enabled": self.text("enabled").lower() not in ("0", "false"),
        }

    def settings(self) -> dict[str, Any]:
        """Limits, retries, hooks, notifications."""
        limits = _set(self._json("resource_limits", dict))
        if isinstance(quota := limits.get("cpu_quota"), float) and quota >= 0.005:
            limits["cpu_quota"] = round(quota, 2)
        retry = _set(self._json("retry_policy", dict))
        if isinstance(attempts := retry.get("max_attempts"), int):
            # 1.x did not count the first run.
            retry["max_attempts"] = min(attempts + 1, _MOST_ATTEMPTS)
        first, longest = (retry.get(f"{which}_delay_seconds") for which in ("initial", "max"))
        if isinstance(first, int) and isinstance(longest, int):
            retry["initial_delay_seconds"] = min(first, longest)
        channels = {
            event: [_channel(channel) for channel in chosen]
            for event, chosen in _set(self._json("notification_config", dict)).items()
            if isinstance(chosen, list) and chosen
        }
        jitter = self._row.get("jitter_seconds") or 0
        return {
            "resource_limits": limits,
            "retry_policy": retry,
            "jitter_seconds": jitter,
            "hooks": _set(self._json("hooks", dict)),
            **({"notification_config": channels} if channels else {}),
        }

    def relations(self, dependencies: Sequence[str]) -> dict[str, Any]:
        """Return the keys that relate the job to others."""
        tags = [tag.strip() for text in self._json("tags", list) for tag in str(text).split(",")]
        mode = self._word("execution_mode")
        most = self._row.get("max_concurrent") or 0
        if (mode or "").lower() != "parallel":
            # Runs of the others do not overlap in the first place.
            most = 0
        named = [*map(str, self._json("dependencies", list)), *dependencies]
        return {
            "tags": [tag for tag in tags if tag],
            "priority": self._word("priority"),
            "execution_mode": mode,
            "max_concurrent": most,
            "dependencies": list(dict.fromkeys(named)),
        }

    def _json(self, column: str, kind: type[Any]) -> Any:
        """A value of this type; 1.x took the default for what it could not read."""
        text = self.text(column)
        try:
            value = json.loads(text) if text.strip() else None
        except (ValueError, RecursionError):
            value = text
        if value is not None and not isinstance(value, kind):
            self.notes.append(f"{column} cannot be read and counts as empty, as in Lunasched 1.x")
        return value if isinstance(value, kind) else kind()

    def _word(self, column: str) -> str | None:
        """A word, as JSON has it or bare."""
        text = self.text(column).strip()
        word = text[1:-1] if text.startswith('"') and text.endswith('"') else text
        return None if word in ("", "{}", "null") else word

    def _known(self, zone: str | None) -> str | None:
        try:
            if zone is not None:
                schedule.check_timezone(zone)
        except InvalidInput:
            self.notes.append(
                f"its time zone {zone!r} is unknown: the host's counts, as in Lunasched 1.x"
            )
            return None
        return zone


_UNREADABLE = (
    ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError,
)  # fmt: skip


def _every(value: str) -> str:
    if not re.fullmatch(r"[0-9]{1,30}", value, re.ASCII) or int(value) == 0:
        raise InvalidInput(f"{value!r} is not a number of seconds")
    seconds = int(value)
    unit = next(one for one in DAYS_TO_SECONDS if seconds % int(one.seconds) == 0)
    return f"every {seconds // int(unit.seconds)}{unit.letter}"


def _calendar(value: str) -> str:
    try:
        content = json.loads(value)
        days, nth = content.get("days_of_week"), content.get("nth_weekday")
        hour, minute, second = map(int, content["time"])
        days = None if days is None else sorted({int(day) for day in days})
        ordinal, weekday = map(int, nth) if nth is not None else (0, 0)
    except _UNREADABLE as error:
        raise InvalidInput(f"{value!r} cannot be read as a calendar") from error
    time = f"at {hour:02}:{minute:02}" + (f":{second:02}" if second else "")
    if nth is not None:
        if ordinal not in _ORDINALS or not 1 <= weekday <= 7:
            raise InvalidInput(f"there is no such weekday of a month in {value!r}")
        if days is not None and weekday not in days:
            raise InvalidInput(f"no day matches {value!r}")
        return f"on {_ORDINALS[ordinal]} {_DAYS[weekday - 1]} {time}"
    if days is None:
        return time
    if not days or days[0] < 1 or days[-1] > 7:
        raise InvalidInput(f"there are no such weekdays: {value!r}")
    return f"{time} on {','.join(_DAYS[day - 1] for day in days)}"


def _set(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if value is not None}


def _channel(value: Any) -> Any:
    """``{"Email": {"to": …}}`` as ``{"type": "email", "to": …}``."""
    if not isinstance(value, dict) or len(value) != 1:
        return value
    kind, fields = next(iter(value.items()))
    return {"type": str(kind).lower(), **_set(fields)} if isinstance(fields, dict) else value


def _command_line(mapping: Mapping[str, Any]) -> str:
    """``lunasched add`` with what the row holds; what is wrong in it has to be put right."""
    return shlex.join(["lunasched", "add", *_arguments(mapping)])


def _arguments(mapping: Mapping[str, Any]) -> Iterator[str]:
    for key, option in _OPTIONS.items():
        group, _, inner = key.rpartition(".")
        value = (mapping.get(group) or {}).get(inner) if group else mapping.get(inner)
        if value not in (None, "", 0, "Normal", "Sequential"):
            suffix = "M" if inner == "max_memory_mb" else ""
            yield from (option, f"{value}{suffix}")
    attempts = mapping["retry_policy"].get("max_attempts", 1)
    if isinstance(attempts, int) and attempts > 1:
        yield from ("--max-retries", str(attempts - 1))
    for name, text in mapping["env"].items():
        yield from ("--env", f"{name}={text}")
    for key, option in (("tags", "--tags"), ("dependencies", "--depends-on")):
        if mapping[key]:
            yield from (option, ",".join(mapping[key]))
    if not mapping["enabled"]:
        yield "--disabled"
    yield from ("--command", mapping["command"])
