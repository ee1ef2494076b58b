"""Cron expressions as Lunasched 1.x ran them, in the language of lunasched-schedule(5).

The parser of 1.x (the Rust crate ``cron``) wants six or seven fields, ``second minute hour day
month weekday [year]``, where 1 is Sunday and all fields have to match, also both of the days. 1.x
asked it for the next time in UTC, whatever the zone of the host or of the job. It could not read
five fields, nor the prefix ``cron:``: jobs with these were kept and never ran.
"""

from __future__ import annotations

from collections.abc import Mapping

from lunasched.dataclass import dataclass
from lunasched.errors import ScheduleError
from lunasched.formats.pattern import pattern

_MACROS = ("@yearly", "@monthly", "@weekly", "@daily", "@hourly")
_MONTHS = "january february march april may june july august september october november december"
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_ITEM = pattern(r"(?:(\*)|(\?)|([0-9]{1,9}|[a-z]+)(?:-([0-9]{1,9}|[a-z]+))?)(?:/([0-9]{1,9}))?")
_PLAIN = pattern(r"[0-9*/,-]+")


@dataclass(frozen=True, slots=True)
class Translated:
    """A schedule of ours; ``ran`` is whether 1.x ran it, which it then did by UTC."""

    schedule: str
    ran: bool


def _names(*groups: str) -> dict[str, int]:
    """Names to numbers from 1 on; names of one number are in one text."""
    return {name: number for number, group in enumerate(groups, 1) for name in group.split()}


@dataclass(frozen=True, slots=True)
class _LegacyField:
    name: str
    low: int
    high: int
    names: Mapping[str, int]
    takes_any: bool = False

    def everything(self) -> frozenset[int]:
        return frozenset(range(self.low, self.high + 1))


_FIELDS = (
    _LegacyField("second", 0, 59, {}),
    _LegacyField("minute", 0, 59, {}),
    _LegacyField("hour", 0, 23, {}),
    _LegacyField("day of month", 1, 31, {}, takes_any=True),
    _LegacyField("month", 1, 12, _names(*(f"{name} {name[:3]}" for name in _MONTHS.split()))),
    _LegacyField(
        "day of week",
        1,
        7,
        _names(
            "sun sunday",
            "mon monday",
            "tue tues tuesday",
            "wed wednesday",
            "thu thurs thursday",
            "fri friday",
            "sat saturday",
        ),
        takes_any=True,
    ),
    _LegacyField("year", 1970, 2100, {}),
)


def translate(typed: str) -> Translated:
    """Return the meaning of ``typed``; raises ``ScheduleError`` where it has none."""
    text = " ".join(typed.split())
    had_prefix = text.lower().startswith("cron:")
    if had_prefix:
        text = text[len("cron:") :].strip()
    fields = text.lower().split(" ")
    if text.startswith("@") or len(fields) not in (6, 7):
        return Translated(text, ran=text in _MACROS and not had_prefix)
    values = [_values(field, word) for field, word in zip(_FIELDS, fields, strict=False)]
    return Translated(_say(fields, values), ran=not had_prefix)


def _say(words: list[str], values: list[frozenset[int]]) -> str:
    full = [chosen == field.everything() for field, chosen in zip(_FIELDS, values, strict=False)]
    second, minute, hour, day, month = (
        "*" if is_full else word if _PLAIN.fullmatch(word) else _numbers(chosen, "-")
        for word, chosen, is_full in zip(words[:5], values[:5], full, strict=False)
    )
    weekday = "*" if full[5] else _weekdays(values[5], "-")
    any_year = len(values) < 7 or full[6]
    # Cron takes either day where both are given, unless one begins with an asterisk.
    if any_year and (full[3] or full[5] or day.startswith("*")):
        text = f"{minute} {hour} {day} {month} {weekday}"
        return text if values[0] == {0} else f"{text} {second}"
    parts = [
        "*" if is_full else _numbers(chosen, "..")
        for chosen, is_full in zip(values, full, strict=True)
    ]
    year = "*" if any_year else parts[6]
    weekdays = "" if full[5] else f"{_weekdays(values[5], '..')} "
    return f"calendar:{weekdays}{year}-{parts[4]}-{parts[3]} {parts[2]}:{parts[1]}:{parts[0]}"


def _values(field: _LegacyField, text: str) -> frozenset[int]:
    values: set[int] = set()
    for item in text.split(","):
        match = _ITEM.fullmatch(item)
        if match is None or (match[2] and not field.takes_any):
            raise _wrong(field, item, "is not a value, range or step")
        star, anything, first, last, step_text = match.groups()
        step = int(step_text or 1)
        if star or anything:
            low, high = field.low, field.high
        else:
            low = _number(field, first)
            high = _number(field, last) if last else field.high if step_text else low
            mixed = last is not None and first.isdigit() != last.isdigit()
            if mixed or (step_text and not last and not first.isdigit()):
                raise _wrong(field, item, "is not a value, range or step")
        if low > high or step == 0:
            raise _wrong(field, item, "has no values")
        values.update(range(low, high + 1, step))
    return frozenset(values)


def _number(field: _LegacyField, word: str) -> int:
    number = int(word) if word.isdigit() else field.names.get(word, -1)
    if not field.low <= number <= field.high:
        raise _wrong(field, word, f"is not between {field.low} and {field.high}")
    return number


def _wrong(field: _LegacyField, item: str, what: str) -> ScheduleError:
    return ScheduleError(
        f"{item!r} in the {field.name} field {what}, so that Lunasched 1.x could not run it either"
    )


def _runs(values: frozenset[int] | set[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for value in sorted(values):
        if runs and runs[-1][1] == value - 1:
            runs[-1] = (runs[-1][0], value)
        else:
            runs.append((value, value))
    return runs


def _numbers(values: frozenset[int], dash: str) -> str:
    return ",".join(
        str(low) if low == high else f"{low}{dash}{high}" for low, high in _runs(values)
    )


def _weekdays(values: frozenset[int], dash: str) -> str:
    """The days from Monday on; 1 is Sunday in ``values``."""
    from_monday = {(value - 2) % 7 for value in values}
    return ",".join(
        ",".join(_DAYS[low : high + 1]) if high - low < 2 else f"{_DAYS[low]}{dash}{_DAYS[high]}"
        for low, high in _runs(from_monday)
    )
