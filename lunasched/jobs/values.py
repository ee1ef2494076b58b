"""Single values of a job definition: what YAML, TOML or a command line gives, read and checked.

Each reader takes a value of any type and returns what ``model`` holds, or raises ``InvalidInput``
with a message that its caller puts the key in front of.
"""

from __future__ import annotations

import math
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from enum import Enum
from typing import Any

from lunasched import schedule
from lunasched.dataclass import dataclass
from lunasched.errors import InvalidInput
from lunasched.formats import numerals, unittext
from lunasched.formats.measures import LONGEST, SECONDS, SIZES, seconds_in
from lunasched.formats.pattern import pattern
from lunasched.jobs.model import Command

DURATION_UNITS = {unit: SECONDS[unit] for unit in ("ms", "s", "m", "min", "h", "d", "w")}
_SIZE = pattern(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*([KMGT]?)(?:i?B)?\Z", re.IGNORECASE | re.ASCII)
_SHARE = pattern(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*(%?)\Z", re.ASCII)
_VARIABLE = pattern(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# systemd's relaxed rule for user names (USER_NAMES on systemd.io), without what only LDAP has.
_USER = pattern(r"(?:[A-Za-z_][A-Za-z0-9_.-]*\$?|0|[1-9][0-9]*)\Z")
_NO_USERS = {65535, 4294967295}
_UID_MAX = (1 << 32) - 1
# A name that the shell accepts unchanged.
_PROGRAM = pattern(r"[\w@%+=:,./-]+\Z", re.ASCII)
_MEMORY_MIN = SIZES["M"]


@dataclass(frozen=True, slots=True)
class Part:
    """An error in a part of a value, which its keys and indexes lead to."""

    path: tuple[str | int, ...]
    message: str


class InvalidParts(InvalidInput):
    """A value of which some parts are wrong."""

    def __init__(self, parts: Sequence[Part]) -> None:
        super().__init__("; ".join(part.message for part in parts))
        self.parts = tuple(parts)


def read_name(value: object) -> str:
    """A job's name: any text in one line that fits into the name of a unit."""
    name = read_text(value)
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
        text = read_text(value).strip().lower()
        plain = numerals.decimal(text)
        found = seconds_in(text, DURATION_UNITS) if plain is None else plain
        if found is None:
            raise InvalidInput(f"{value!r} is not a duration; write 90, 90s, 15m or 1h30m")
        seconds = found
    if not 0 <= seconds <= LONGEST:
        raise InvalidInput(f"{value!r} is out of range (0 to ten years)")
    return int(seconds) if seconds == int(seconds) else seconds


def read_size(value: object) -> int:
    """Bytes from a number of bytes or a text such as ``512M`` (powers of 1024, as systemd's)."""
    if isinstance(value, int) and not isinstance(value, bool):
        size: float = value
    else:
        match = _SIZE.match(read_text(value).strip())
        if not match:
            raise InvalidInput(f"{value!r} is not a size; write 512M or 2G")
        size = float(match[1]) * SIZES[match[2].upper()]
    if size < 0 or size >= 1 << 60:
        raise InvalidInput(f"{value!r} is out of range")
    return int(size)


def read_text(value: object) -> str:
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


def read_schedule(value: object) -> str:
    """One schedule, or several: a list of them, or a text with ``;`` between them."""
    found = schedule.parse(schedule_text(value))
    for zone in schedule.named_zones(found):
        schedule.check_timezone(zone)
    return found.text


def schedule_text(value: object) -> str:
    """The text of a schedule, or of a list of them."""
    if isinstance(value, (list, tuple)):
        return f"{schedule.SEPARATOR} ".join(read_text(each) for each in value)
    return read_text(value)


def read_clauses(value: object) -> list[str]:
    """What follows one clause of a schedule: a text, a number, a date (TOML), or a list of them."""
    found = []
    for each in value if isinstance(value, (list, tuple)) else [value]:
        if isinstance(each, (date, datetime)):
            each = each.isoformat(" ") if isinstance(each, datetime) else each.isoformat()
        elif isinstance(each, int) and not isinstance(each, bool):
            each = str(each)
        text = read_text(each)
        if not text.strip() or schedule.SEPARATOR in text:
            raise InvalidInput(f"{text!r} is not one clause of a schedule")
        found.append(text.strip())
    return found


def read_command(value: object) -> Command:
    if isinstance(value, str):
        unittext.shell_command_line(read_text(value))
        return value
    if isinstance(value, (list, tuple)):
        argv = tuple(read_text(word) for word in value)
        unittext.command_line(argv)
        return argv
    raise InvalidInput(f"{value!r} is neither a shell command nor a list of arguments")


def read_arguments(value: object) -> tuple[str, ...]:
    """Read the arguments of the command that another key names."""
    if not isinstance(value, (list, tuple)):
        raise InvalidInput("it must be a list of texts")
    arguments = tuple(read_text(word) for word in value)
    unittext.command_line(("true", *arguments))
    return arguments


def with_arguments(command: Command, arguments: tuple[str, ...]) -> Command:
    """A command with further arguments: a program without a shell, a command line with one."""
    if isinstance(command, str) and not _PROGRAM.match(command):
        return f"{command} {shlex.join(arguments)}"
    return (*((command,) if isinstance(command, str) else command), *arguments)


def read_user(value: object) -> str:
    user = read_text(value)
    if not _USER.match(user) or len(user) > 31:
        raise InvalidInput(f"{user!r} cannot be a user's name")
    number = numerals.whole(user)
    if user[0].isdecimal() and (number is None or number in _NO_USERS or number > _UID_MAX):
        raise InvalidInput(f"{user!r} cannot be a user's ID")
    return user


def read_timezone(value: object) -> str:
    zone = read_text(value)
    schedule.check_timezone(zone)
    return zone


def read_time_limit(value: object) -> float:
    seconds = read_duration(value)
    if round(seconds * 1000) < 1:
        # The unit has milliseconds, and systemd takes 0 for no limit.
        raise InvalidInput("a time limit must be longer than 0; leave it out for none")
    return seconds


def read_memory(value: object) -> int:
    size = read_size(value)
    if size < _MEMORY_MIN:
        raise InvalidInput(f"{value!r} is less than 1M, in which no process can start")
    return size


def read_cpu_quota(value: object) -> float:
    """A fraction of one core, or a percentage of one; systemd counts in steps of 1 %."""
    if isinstance(value, str):
        match = _SHARE.match(value.strip())
        if not match:
            raise InvalidInput(f"{value!r} is not a share of a core; write 0.5 or 50%")
        quota = float(match[1]) / (100 if match[2] else 1)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        quota = _float(value)
    else:
        raise InvalidInput(f"{value!r} is not a share of a core; write 0.5 or 50%")
    if not 0.01 <= quota <= 4096:
        raise InvalidInput(f"{value!r} is out of range (0.01 is 1 % of a core, 2 is two cores)")
    if abs(round(quota * 100) - quota * 100) > 1e-6:
        raise InvalidInput(f"{value!r} is finer than 1 % of a core, the step that systemd has")
    return round(quota * 100) / 100


def read_environment(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping):
        raise InvalidInput("it must map names of variables to texts")
    for name, content in value.items():
        if not isinstance(name, str) or not _VARIABLE.match(name):
            raise InvalidInput(f"{name!r} cannot be the name of an environment variable")
        try:
            unittext.assignment(name, read_text(content))
        except InvalidInput as error:
            raise InvalidInput(f"{name}: {error}") from None
    return tuple(value.items())


def read_working_directory(value: object) -> str:
    path = read_text(value)
    unittext.working_directory(path)
    return path


def read_tags(value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        raise InvalidInput("it must be a list")
    tags = [read_text(tag).strip() for tag in value]
    for tag in tags:
        if not tag or not tag.isprintable() or "," in tag:
            raise InvalidInput(f"{tag!r} cannot be a tag: a tag is one line of text without commas")
    return tuple(dict.fromkeys(tags))


def read_boolean(value: object) -> bool:
    """True or false, and nothing that might be meant so."""
    if not isinstance(value, bool):
        raise InvalidInput(f"{value!r} is neither true nor false")
    return value


def read_names(value: object) -> tuple[str, ...]:
    """Names of jobs, none of them twice."""
    if not isinstance(value, (list, tuple)):
        raise InvalidInput("it must be a list of names of jobs")
    names = tuple(read_name(name) for name in value)
    for name, count in Counter(names).items():
        if count > 1:
            raise InvalidInput(f"{name!r} is there more than once")
    return names


def read_exit_codes(value: object) -> tuple[int, ...]:
    """Exit codes of failures from a list, or a text such as ``1,75``."""
    if isinstance(value, str):
        value = value.split(",")
    elif isinstance(value, int):
        value = [value]
    if not isinstance(value, (list, tuple)):
        raise InvalidInput("it must be a list of exit codes")
    return tuple(dict.fromkeys(EXIT_CODE(code) for code in value))


def read_mebibytes(value: object) -> int:
    """Bytes from a number of MiB, or a text with its unit such as ``2G``."""
    number = _number(value)
    if number is None:
        return read_memory(value)
    return read_memory(int(min(number, 1e18) * SIZES["M"]) if number >= 0 else -1)


def read_attempts(value: object) -> int:
    """Read the most attempts; 0, which Lunasched 1.x had for no retry, is one."""
    return max(1, ATTEMPTS(value))


def read_attempts_after(value: object) -> int:
    """Read a number of retries; return the number of attempts that this makes."""
    return RETRIES(value) + 1


@dataclass(frozen=True, slots=True)
class OneOf:
    """A reader of an enumeration's words, in any letter case."""

    words: type[Enum]
    what: str

    def __call__(self, value: object) -> Any:
        # Of ASCII alone: the sign of Kelvin is a k in lower case, too.
        text = value.strip() if isinstance(value, str) and value.strip().isascii() else ""
        for word in self.words:
            if text.lower() == word.value.lower():
                return word
        known = ", ".join(word.value for word in self.words)
        raise InvalidInput(f"{value!r} is not a valid {self.what}; use one of {known}")


@dataclass(frozen=True, slots=True)
class Whole:
    """A reader of whole numbers in a range, also written as text."""

    least: int
    most: int

    def __call__(self, value: object) -> int:
        if isinstance(value, str):
            number = numerals.whole(value.strip())
            value = value if number is None else number
        if not isinstance(value, int) or isinstance(value, bool):
            raise InvalidInput(f"{value!r} is not a whole number")
        if not self.least <= value <= self.most:
            raise InvalidInput(f"{value!r} is out of range ({self.least} to {self.most})")
        return value


EXIT_CODE = Whole(1, 255)
RETRIES = Whole(0, 999)
ATTEMPTS = Whole(0, 1000)


def _number(value: object) -> float | None:
    """A number, also written as text without a unit; ``None`` for anything else."""
    if isinstance(value, str):
        return numerals.decimal(value.strip())
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        number = _float(value)
        return None if math.isnan(number) else number
    return None
