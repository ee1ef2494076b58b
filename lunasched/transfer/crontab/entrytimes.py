"""The five fields of an entry, or its name with ``@``, as a schedule."""

from __future__ import annotations

import hashlib
import re

from lunasched import schedule
from lunasched.dataclass import dataclass
from lunasched.errors import InvalidInput, ScheduleError
from lunasched.formats import numerals
from lunasched.formats.pattern import pattern

NAMES = frozenset(
    (
        "@reboot", "@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly",
    )
)  # fmt: skip
"""The names that cron takes in the place of the five fields, in this letter case."""

_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_WEEKDAYS = "sun|mon|tue|wed|thu|fri|sat"
# No value of a time has more, with as many zeros before it as anybody writes.
_DIGITS = "[0-9]{1,9}"
_STEP = pattern(r"[0-9a-z]{1,9}/[0-9]{1,9}\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _CrontabField:
    name: str
    low: int
    high: int
    names: str = ""

    def item(self) -> re.Pattern[str]:
        """One item of the list in the field, as crontab(5) has it."""
        value = f"(?:{_DIGITS}{'|' + self.names if self.names else ''})"
        return re.compile(
            rf"\*(?:/{_DIGITS})?\Z|{value}(?:-{value}(?:/{_DIGITS})?)?\Z",
            re.IGNORECASE | re.ASCII,
        )


_FIELDS = (
    _CrontabField("minute", 0, 59),
    _CrontabField("hour", 0, 23),
    _CrontabField("day of month", 1, 31),
    _CrontabField("month", 1, 12, _MONTHS),
    _CrontabField("day of week", 0, 7, _WEEKDAYS),
)


@dataclass(frozen=True, slots=True)
class Times:
    """The schedule of an entry, and the rest of its line."""

    schedule: str
    rest: str
    differences: tuple[str, ...] = ()


def read_times(line: str) -> Times:
    """The schedule at the beginning of an entry; raises ``InvalidInput`` with the column."""
    differences = []
    text = line.lstrip(" \t")
    start = len(line) - len(text)
    if text.startswith("-"):
        # cronie and SUSE; no field of cron begins like this.
        text, start = text[1:], start + 1
        differences.append(
            "'-' keeps cronie from logging the start; here every run is in the journal and the "
            "history"
        )
    if text.startswith("@"):
        name, rest = _word(text)
        if name not in NAMES:
            raise InvalidInput(_of_name(name))
        return Times(name, rest, tuple(differences))
    fields: list[tuple[str, int]] = []
    rest = text
    for _ in _FIELDS:
        column = start + len(text) - len(rest) + 1
        word, rest = _word(rest)
        if not word:
            raise InvalidInput(
                f"it has {len(fields)} of the five fields of a time and no command; "
                "is it an entry at all?"
            )
        fields.append((word, column))
    random = tuple(_placed(number, word, rest) for number, (word, _) in enumerate(fields))
    for number, (word, column) in enumerate(fields):
        _check(number, word, column)
    chosen = [
        word if place is None else place for (word, _), place in zip(fields, random, strict=True)
    ]
    for (word, _), place in zip(fields, random, strict=True):
        if place is not None:
            differences.append(
                f"{word!r} is {place} here, always; cronie draws a number each time that it reads "
                "the crontab, and Debian's cron does not know it"
            )
    return Times(_parsed(chosen, fields), rest, tuple(differences))


def _word(text: str) -> tuple[str, str]:
    word = re.match(r"[^ \t]*", text)
    assert word
    return word[0], text[word.end() :].lstrip(" \t")


def _of_name(name: str) -> str:
    if name.lower() in NAMES:
        return f"cron knows {name.lower()} in lower case only"
    return f"{name!r} is not one of {', '.join(sorted(NAMES))}"


def _placed(number: int, text: str, rest: str) -> str | None:
    """The field with a place for each ``~``, or ``None`` where it has none (crontab(5) of cronie).

    The place depends on the field and the command alone: the same on each host and each import.
    """
    if "~" not in text:
        return None
    field, found = _FIELDS[number], []
    for item in text.split(","):
        low, tilde, high = item.partition("~")
        if not tilde:
            found.append(item)
            continue
        first = numerals.whole(low) if low else field.low
        last = numerals.whole(high) if high else field.high
        if first is None or last is None:
            return text
        if not field.low <= first <= last <= field.high:
            return text
        digest = hashlib.sha256(f"{number} {item} {rest}".encode()).digest()
        found.append(str(first + int.from_bytes(digest[:8], "big") % (last - first + 1)))
    return ",".join(found)


def _check(number: int, text: str, column: int) -> None:
    """Refuse what cron does not take, or takes for something else than ``schedule`` does."""
    field = _FIELDS[number]
    for item in text.split(","):
        if field.item().match(item):
            _check_range(field, item, column)
        elif "~" in item:
            if "~" in (_placed(number, item, "") or ""):
                raise InvalidInput(
                    f"column {column}: {item!r} is not a random place in the {field.name} field; "
                    f"it is two numbers from {field.low} to {field.high}, as in "
                    f"{field.low}~{field.high}"
                )
        elif _STEP.match(item):
            first = item.partition("/")[0]
            raise InvalidInput(
                f"column {column}: {item!r}: cron accepts no step after a single value; write "
                f"{first}-{field.high}/{item.partition('/')[2]}, or {first} alone"
            )
        else:
            raise InvalidInput(
                f"column {column}: {item!r} is not a value, range or step of the {field.name} "
                "field as crontab(5) has them"
            )
        column += len(item) + 1


def _check_range(field: _CrontabField, item: str, column: int) -> None:
    """Refuse ranges of weekdays that run backwards to Sunday, on which crons disagree."""
    span, slash, step = item.lower().partition("/")
    first, dash, last = span.partition("-")
    if not dash or not field.names.startswith("sun"):
        return
    numbers = {name: number for number, name in enumerate(_WEEKDAYS.split("|"))}
    low, high = numbers.get(first, first), numbers.get(last, last)
    if int(high) == 0 < int(low):
        instead = f"{low}-7{slash}{step}" if int(low) < 7 else "7"
        raise InvalidInput(
            f"column {column}: {item!r}: Sunday is the first day to Debian's cron, which never "
            f"runs this, and the last to cronie; write {instead}"
        )


def _parsed(words: list[str], fields: list[tuple[str, int]]) -> str:
    text = " ".join(words)
    try:
        return schedule.parse(text).text
    except ScheduleError as error:
        start = 0
        for word, (_, column) in zip(words, fields, strict=True):
            if error.position is not None and error.position <= start + len(word):
                at = column + max(error.position - start, 0)
                raise InvalidInput(f"column {at}: {error.message}") from error
            start += len(word) + 1
        raise InvalidInput(error.message) from error
