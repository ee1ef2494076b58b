"""One point in time as people say it: ``now + 2h``, ``18:00``, ``tomorrow 03:00``, ``Mon 9am``.

What the wall clock skips is refused, and of what it repeats the first pass is meant.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, timezone
from typing import TYPE_CHECKING

from lunasched.errors import InvalidInput, ScheduleError
from lunasched.formats import tzdatabase
from lunasched.formats.pattern import pattern
from lunasched.schedule.cronexpression import WEEKDAYS
from lunasched.schedule.parse import parse
from lunasched.schedule.phrase import parse_time
from lunasched.schedule.rule import Every
from lunasched.schedule.zone import timer_zone

if TYPE_CHECKING:
    from datetime import tzinfo

_NOW = pattern(r"(?:now *\+ *|in )(.+)")
_ISO = pattern(r"^([0-9]{4}-[0-9]{2}-[0-9]{2})T")
_DATE = pattern(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_FORMS = "write 18:00, 'tomorrow 03:00', '2026-12-24 18:00 Europe/Berlin' or 'now + 2h'"
_DAYS = {"today": 0, "tomorrow": 1}


def parse_moment(text: str, *, now: datetime, zone: str) -> datetime:
    """Read a point in time; returns it in UTC, in whole seconds, and later than ``now`` (aware).

    ``zone`` is that of a time that names none. Raises ``InvalidInput`` with what is wrong.
    """
    words = _ISO.sub(r"\1 ", text.strip()).split()
    said = " ".join(words).lower()
    if said == "now":
        return _whole(now)
    if match := _NOW.fullmatch(said):
        return _whole(now) + timedelta(seconds=_seconds(match[1]))
    if len(words) > 1 and ("/" in words[-1] or words[-1].upper() == "UTC"):
        zone = timer_zone(words.pop())
    rules = tzdatabase.rules_of(zone) or timezone.utc
    today = now.astimezone(rules).date()
    day, rest = _day([word.lower() for word in words if word.lower() not in ("at", "on")], today)
    if not rest:
        raise InvalidInput(f"{text!r} has no time of day; {_FORMS}")
    try:
        hour, minute, second = parse_time(text, " ".join(rest), 0)
    except ScheduleError as error:
        reason = f"{error.message} Or {_FORMS}"
        raise InvalidInput(f"{text!r} is not a point in time: {reason}") from None
    wall = time(hour, minute, second)
    if day is None:
        # The next time that it is so late.
        return _next(today, wall, rules, now, text, zone)
    found = _instant(datetime.combine(day, wall), rules, text, zone)
    if found <= now:
        raise InvalidInput(f"{text!r} has passed: it was {found:%Y-%m-%d %H:%M:%S} UTC")
    return found


def _whole(now: datetime) -> datetime:
    """The next whole second, in UTC."""
    moment = now.astimezone(timezone.utc)
    return moment.replace(microsecond=0) + timedelta(seconds=1 if moment.microsecond else 0)


def _seconds(text: str) -> int:
    try:
        rule = parse(f"every {text}")
    except ScheduleError as error:
        raise InvalidInput(f"{text!r} is not a span of time: {error.message}") from None
    if not isinstance(rule, Every):
        raise InvalidInput(f"{text!r} is not a span of time; write 90s, 15m or 2h30m")
    return rule.seconds


def _day(words: list[str], today: date) -> tuple[date | None, list[str]]:
    """The day that is named, before or after the time, and the other words."""
    for place in (0, len(words) - 1):
        word = words[place] if words else ""
        rest = words[:place] + words[place + 1 :]
        if word in _DAYS:
            return today + timedelta(days=_DAYS[word]), rest
        if word in WEEKDAYS:
            ahead = (WEEKDAYS[word] - today.weekday()) % 7
            return today + timedelta(days=ahead or 7), rest
        if _DATE.fullmatch(word):
            try:
                return date.fromisoformat(word), rest
            except ValueError:
                raise InvalidInput(f"{word!r} is not a date, YYYY-MM-DD") from None
    return None, words


def _next(today: date, wall: time, rules: tzinfo, now: datetime, text: str, zone: str) -> datetime:
    for ahead in range(3):
        day = today + timedelta(days=ahead)
        found = _instant(datetime.combine(day, wall), rules, text, zone)
        if found > now:
            return found
    raise AssertionError(text)  # a time of day that exists comes again


def _instant(wall: datetime, rules: tzinfo, text: str, zone: str) -> datetime:
    """The instant of a time on the wall clock; raises ``InvalidInput`` where it is skipped."""
    found = wall.replace(tzinfo=rules, fold=0).astimezone(timezone.utc)
    if found.astimezone(rules).replace(tzinfo=None) != wall:
        raise InvalidInput(
            f"{text!r}: there is no {wall:%H:%M} on {wall:%Y-%m-%d} in {zone}, where the clock is "
            "put forward"
        )
    return found
