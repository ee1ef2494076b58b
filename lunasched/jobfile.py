"""Job definitions as people write them, turned into ``Job`` objects with every fault named.

The input is a mapping with the keys of a job file, whose values may be what YAML, TOML or a
command line gives: numbers in the unit of the key's name, or texts such as ``30m`` and ``2G``.
All faults of a definition are found before any is reported.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from lunasched import schedule, unittext
from lunasched.errors import InvalidInput, InvalidJob
from lunasched.model import Job, Priority, ResourceLimits

_DURATION_UNITS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\Z", re.IGNORECASE | re.ASCII)
_SIZE_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# systemd's relaxed rule for user names (USER_NAMES on systemd.io), without what only LDAP has.
_USER = re.compile(r"(?:[A-Za-z_][A-Za-z0-9_.-]*\$?|0|[1-9][0-9]*)\Z")
_NO_USERS = {65535, 4294967295}
_UID_MAX = (1 << 32) - 1
_TEN_YEARS = 10 * 366 * 86400.0
_MEMORY_MIN = 1 << 20
_SCHEDULE_MAX = 4096


def job_from_mapping(
    mapping: Mapping[str, Any], *, label: Callable[[str], str] = lambda key: key
) -> Job:
    """The job that ``mapping`` describes.

    ``label`` turns a key into what its author knows it by (an option's name, a path in a file).
    Raises ``InvalidJob`` with all problems, each as ``label: message``.
    """
    problems: list[str] = []
    fields: dict[str, Any] = {}
    for key, value in mapping.items():
        if key not in _READERS:
            near = get_close_matches(str(key), _READERS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            problems.append(f"{label(key)}: there is no such key{hint}")
        elif value is not None:
            try:
                fields[key] = _READERS[key](value)
            except InvalidInput as error:
                problems.append(f"{label(key)}: {error}")
    for key in ("name", "schedule", "command"):
        if mapping.get(key) is None:
            problems.append(f"{label(key)}: it is missing, and every job needs one")
    if problems:
        raise InvalidJob(problems)
    limits = ResourceLimits(
        timeout=fields.pop("timeout", None),
        max_memory=fields.pop("max_memory", None),
        cpu_quota=fields.pop("cpu_quota", None),
    )
    fields["environment"] = fields.pop("env", ())
    return Job(limits=limits, **fields)


def read_name(value: object) -> str:
    """A job's name: any text in one line that fits into the name of a unit."""
    name = _text(value)
    if not name:
        raise InvalidInput("the name is empty")
    if name != name.strip() or not name.isprintable():
        raise InvalidInput(
            f"{name!r} holds a control character, or begins or ends with white space"
        )
    if name.startswith("-"):
        raise InvalidInput(f"{name!r} begins with '-', as options do")
    size = len(unittext.instance_name(name))
    if size > unittext.NAME_BYTES_MAX:
        raise InvalidInput(
            f"the name takes {size} bytes in the name of a unit, "
            f"where {unittext.NAME_BYTES_MAX} are the most; shorten it"
        )
    return name


def read_duration(value: object) -> float:
    """Seconds from a number of seconds or a text such as ``90``, ``1h30m`` or ``250ms``."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = _float(value)
    else:
        text = _text(value).strip().lower()
        if re.fullmatch(r"\d+(\.\d+)?", text):
            seconds = float(text)
        else:
            seconds, end = 0.0, 0
            while match := _DURATION_PART.match(text, end):
                if match[2] not in _DURATION_UNITS:
                    break
                seconds += float(match[1]) * _DURATION_UNITS[match[2]]
                end = match.end()
            if not text or end != len(text):
                raise InvalidInput(f"{value!r} is no duration; write 90, 90s, 15m or 1h30m")
    if not 0 <= seconds <= _TEN_YEARS:
        raise InvalidInput(f"{value!r} is out of range (0 to ten years)")
    return int(seconds) if seconds == int(seconds) else seconds


def read_size(value: object) -> int:
    """Bytes from a number of bytes or a text such as ``512M`` (powers of 1024, as systemd's)."""
    if isinstance(value, int) and not isinstance(value, bool):
        size: float = value
    else:
        match = _SIZE.match(_text(value).strip())
        if not match:
            raise InvalidInput(f"{value!r} is no size; write 512M or 2G")
        size = float(match[1]) * _SIZE_UNITS[match[2].upper()]
    if size < 0 or size >= 1 << 60:
        raise InvalidInput(f"{value!r} is out of range")
    return int(size)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"{value!r} is not a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"{value!r} is not valid UTF-8") from None
    return value


def _float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _schedule(value: object) -> str:
    text = schedule.parse(_text(value)).text
    if len(text) > _SCHEDULE_MAX:
        raise InvalidInput(f"a schedule has at most {_SCHEDULE_MAX} characters")
    return text


def _command(value: object) -> str | tuple[str, ...]:
    if isinstance(value, str):
        unittext.shell_command_line(_text(value))
        return value
    if isinstance(value, (list, tuple)):
        argv = tuple(_text(word) for word in value)
        unittext.command_line(argv)
        return argv
    raise InvalidInput(f"{value!r} is neither a shell command nor a list of arguments")


def _user(value: object) -> str:
    user = _text(value)
    if not _USER.match(user) or len(user) > 31:
        raise InvalidInput(f"{user!r} cannot be a user's name")
    if user.isdecimal() and (int(user) in _NO_USERS or int(user) > _UID_MAX):
        raise InvalidInput(f"{user!r} cannot be a user's ID")
    return user


def _timezone(value: object) -> str:
    zone = _text(value)
    schedule.check_timezone(zone)
    return zone


def _timeout(value: object) -> float:
    seconds = read_duration(value)
    if round(seconds * 1000) < 1:
        # The unit has milliseconds, and systemd takes 0 for no limit.
        raise InvalidInput("a time limit must be longer than 0; leave it out for none")
    return seconds


def _memory(value: object) -> int:
    size = read_size(value)
    if size < _MEMORY_MIN:
        raise InvalidInput(f"{value!r} is less than 1M, in which no process can start")
    return size


def _cpu_quota(value: object) -> float:
    """A fraction of one core, or a percentage of one; systemd counts in steps of 1 %."""
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", value.strip())
        if not match:
            raise InvalidInput(f"{value!r} is no share of a core; write 0.5 or 50%")
        quota = float(match[1]) / (100 if match[2] else 1)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        quota = _float(value)
    else:
        raise InvalidInput(f"{value!r} is no share of a core; write 0.5 or 50%")
    if not 0.01 <= quota <= 4096:
        raise InvalidInput(f"{value!r} is out of range (0.01 is 1 % of a core, 2 is two cores)")
    if abs(round(quota * 100) - quota * 100) > 1e-6:
        raise InvalidInput(f"{value!r} is finer than 1 % of a core, the step that systemd has")
    return round(quota * 100) / 100


def _environment(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping):
        raise InvalidInput("it must map names of variables to texts")
    for name, content in value.items():
        if not isinstance(name, str) or not _VARIABLE.match(name):
            raise InvalidInput(f"{name!r} cannot be the name of an environment variable")
        try:
            unittext.assignment(name, _text(content))
        except InvalidInput as error:
            raise InvalidInput(f"{name}: {error}") from None
    return tuple(value.items())


def _working_directory(value: object) -> str:
    path = _text(value)
    unittext.directory(path)
    return path


def _priority(value: object) -> Priority:
    for priority in Priority:
        if isinstance(value, str) and value.lower() == priority.value.lower():
            return priority
    known = ", ".join(priority.value for priority in Priority)
    raise InvalidInput(f"{value!r} is no priority; they are {known}")


def _tags(value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        raise InvalidInput("it must be a list")
    tags = [_text(tag).strip() for tag in value]
    for tag in tags:
        if not tag or not tag.isprintable() or "," in tag:
            raise InvalidInput(f"{tag!r} cannot be a tag: a tag is one line of text without commas")
    return tuple(dict.fromkeys(tags))


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(f"{value!r} is neither true nor false")
    return value


_READERS: dict[str, Callable[[object], Any]] = {
    "name": read_name,
    "schedule": _schedule,
    "command": _command,
    "user": _user,
    "timezone": _timezone,
    "timeout": _timeout,
    "max_memory": _memory,
    "cpu_quota": _cpu_quota,
    "jitter": read_duration,
    "env": _environment,
    "working_directory": _working_directory,
    "priority": _priority,
    "tags": _tags,
    "enabled": _boolean,
    "catch_up": _boolean,
}
"""The keys of a job and what reads each."""
