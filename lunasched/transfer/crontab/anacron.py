"""The entries of /etc/anacrontab, anacrontab(5): a job each so many days, made up for at boot."""

from __future__ import annotations

import re
from typing import Any

from lunasched.dataclass import dataclass
from lunasched.errors import InvalidInput
from lunasched.formats.pattern import pattern
from lunasched.transfer.crontab.lines import RawEntry

_ENTRY = pattern(
    r"[ \t]*(?P<period>[^ \t]+)[ \t]+(?P<delay>[0-9]+)[ \t]+(?P<name>[^ \t]+)[ \t]+(?P<command>.+)",
    re.DOTALL,
)
_PERIODS = {
    "@daily": "1",
    "@weekly": "7",
    "@monthly": "@monthly",
    "@yearly": "@yearly",
    "@annually": "@yearly",
}
_DAYS = {"1": "* * *", "7": "* * 0", "@monthly": "1 * *", "@yearly": "1 1 *"}
_START = (7, 30)
"""The time at which Debian's anacron.timer first starts anacron on a day."""
_DAYS_MAX = 3660


@dataclass(frozen=True, slots=True)
class AnacronEntry:
    """An entry of an anacrontab, with the keys of a job file."""

    name: str
    definition: dict[str, Any]
    differences: tuple[str, ...]


def read_anacron_entry(entry: RawEntry) -> AnacronEntry:
    """One entry; raises ``InvalidInput``."""
    match = _ENTRY.match(entry.text)
    if match is None:
        raise InvalidInput(
            "an entry here is: a period in days, a delay in minutes, a job identifier, a command"
        )
    if "/" in match["name"]:
        raise InvalidInput(f"the job identifier {match['name']!r} has a '/'")
    period = _PERIODS.get(match["period"], match["period"].lstrip("0"))
    hour, minute = _start(entry, int(match["delay"][:6]))
    differences = []
    if period in _DAYS:
        schedule = f"{minute} {hour} {_DAYS[period]}"
        differences.append(
            f"it is due at {hour:02}:{minute:02}; anacron runs it so many minutes after it was "
            "started itself, which is once a day or at boot"
        )
        if period == "7":
            differences.append(
                "it is due on Sundays; anacron lets seven days pass since the last run"
            )
        differences.append("a day that passed while the machine was off is made up for at boot")
    elif period.isdecimal() and int(period[:6]) <= _DAYS_MAX:
        schedule = f"every {period}d"
        differences.append(
            f"the first run is in {period} days, and each at the hour of the one before; "
            "anacron counts days, from its last run"
        )
    else:
        raise InvalidInput(
            f"{match['period']!r} is not a period: a period is a number of days from 1 to "
            f"{_DAYS_MAX}, or one of {', '.join(_PERIODS)}"
        )
    definition: dict[str, Any] = {
        "schedule": schedule,
        # Regardless of SHELL (anacron(8)), and "%" has no special meaning.
        "command": match["command"].rstrip(" \t"),
        "env": {name: entry.value(name) for name in entry.variables},
        "working_directory": "/",
        # A period that counts from the last run needs no catching up.
        "catch_up": period in _DAYS,
    }
    return AnacronEntry(match["name"], definition, tuple(differences))


def _start(entry: RawEntry, delay: int) -> tuple[int, int]:
    """The hour and minute of the day at which a job is due."""
    hour, minute = _START
    text = entry.value("START_HOURS_RANGE")
    if text is not None:
        match = re.fullmatch(r"([0-9]{1,2})-([0-9]{1,2})", text)
        if match is None or not int(match[1]) < 24:
            raise InvalidInput(f"START_HOURS_RANGE={text} is not a range of hours, such as 3-22")
        hour, minute = int(match[1]), 0
    minute += delay
    if hour * 60 + minute >= 24 * 60:
        raise InvalidInput(
            f"a delay of {delay} minutes from {hour:02}:{minute - delay:02} leads into the next day"
        )
    return hour + minute // 60, minute % 60
