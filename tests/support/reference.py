"""Cron's meaning a second time, minute by minute, from cron(8) and crontab(5) alone.

Nothing here comes from ``lunasched``: the fields are parsed anew, every minute (or second, where
an expression has a field for it) of a stretch of time is looked at, and the wall clock is what
``zoneinfo`` says for that instant.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from typing import Protocol
from zoneinfo import ZoneInfo

MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
LIMITS = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7), (0, 59)]
THREE_HOURS = timedelta(hours=3)


class Question(Protocol):
    """What is asked of each time of the wall clock."""

    @property
    def wildcard(self) -> bool: ...

    def matches(self, wall: datetime) -> bool: ...


class Cron:
    """A cron expression as sets; weekdays are cron's, 0 is Sunday."""

    def __init__(self, expression: str) -> None:
        fields = expression.lower().split()
        self.last_day = "l" in fields[2].split(",")
        self.nth: set[tuple[int, int]] = set()
        weekday_items = []
        for item in fields[4].split(","):
            if "#" in item:
                day, count = item.split("#")
                self.nth.add((number(4, day) % 7, int(count)))
            elif item.startswith("l"):
                self.nth.add((number(4, item[1:]) % 7, -1))
            else:
                weekday_items.append(item)
        every_item = fields[2].split(",")
        self.special = [item for item in every_item if item.endswith("w") or item[:2] == "l-"]
        month_items = [item for item in every_item if item not in ("l", *self.special)]
        self.minutes = values(0, fields[0])
        self.hours = values(1, fields[1])
        self.days = values(2, ",".join(month_items)) if month_items else set()
        self.months = values(3, fields[3])
        week = values(4, ",".join(weekday_items)) if weekday_items else set()
        self.weekdays = {day % 7 for day in week}
        self.with_seconds = len(fields) == 6
        self.seconds = values(5, fields[5]) if self.with_seconds else {0}
        self.day_star = fields[2].startswith("*")
        self.weekday_star = fields[4].startswith("*")
        # "Only jobs that run at a particular time (... nor with '*' in the hour or minute
        # specifier) are affected."
        self.wildcard = fields[0].startswith("*") or fields[1].startswith("*")

    def matches(self, wall: datetime) -> bool:
        if wall.minute not in self.minutes or wall.hour not in self.hours:
            return False
        if wall.second not in self.seconds or wall.month not in self.months:
            return False
        weekday = wall.isoweekday() % 7
        is_last_day = (wall + timedelta(days=1)).month != wall.month
        is_last_week = (wall + timedelta(days=7)).month != wall.month
        by_month = wall.day in self.days or (self.last_day and is_last_day)
        by_month = by_month or any(special_day(item, wall.date()) for item in self.special)
        by_week = (
            weekday in self.weekdays
            or (weekday, (wall.day - 1) // 7 + 1) in self.nth
            or ((weekday, -1) in self.nth and is_last_week)
        )
        if self.day_star or self.weekday_star:
            return by_month and by_week
        return by_month or by_week


def special_day(item: str, today: date) -> bool:
    """``15w``, ``lw`` and ``l-3``: by looking at every day of the month."""
    month = [today.replace(day=1) + timedelta(days=n) for n in range(31)]
    month = [day for day in month if day.month == today.month]
    if item.startswith("l-"):
        return month[::-1].index(today) == int(item[2:])
    if item == "lw":
        wanted = month[-1]
    elif int(item[:-1]) <= len(month):
        wanted = month[int(item[:-1]) - 1]
    else:
        return False
    working = [day for day in month if day.isoweekday() < 6]
    # Saturday is nearer to Friday, Sunday to Monday, where the month has them.
    return today == min(working, key=lambda day: abs((day - wanted).days))


def number(field: int, word: str) -> int:
    if word in MONTHS and field == 3:
        return MONTHS.index(word) + 1
    if word in WEEKDAYS and field == 4:
        return WEEKDAYS.index(word)
    return int(word)


def values(field: int, text: str) -> set[int]:
    low, high = LIMITS[field]
    found: set[int] = set()
    for item in text.split(","):
        body, _, step = item.partition("/")
        if body == "*":
            first, last = low, high
        elif "-" in body:
            first, last = (number(field, word) for word in body.split("-"))
        else:
            first = number(field, body)
            last = high if step else first
        found |= set(range(first, last + 1, int(step or 1)))
    return found


def runs(expression: str, zone_name: str, after: datetime, until: datetime) -> list[datetime]:
    """The instants in ``after`` < instant ≤ ``until`` (UTC) at which cron runs the job."""
    cron = Cron(expression)
    step = timedelta(seconds=1) if cron.with_seconds else timedelta(minutes=1)
    return [instant for instant, _ in walk(cron, wall_clock(zone_name, after, until, step), after)]


def wall_clock(
    zone_name: str, after: datetime, until: datetime, step: timedelta
) -> list[tuple[datetime, datetime]]:
    """Pairs of instant and naive wall-clock time, from a day before ``after`` on.

    The day before tells what time was repeated or skipped when ``after`` is close to a change.
    """
    zone = ZoneInfo(zone_name)
    instant = (after - timedelta(hours=5)).replace(second=0, microsecond=0)
    pairs = []
    while instant <= until:
        pairs.append((instant, instant.astimezone(zone).replace(tzinfo=None)))
        instant += step
    return pairs


def walk(
    cron: Question, clock: list[tuple[datetime, datetime]], after: datetime
) -> list[tuple[datetime, datetime]]:
    """The pairs at which the job runs, by the rules of cron(8)."""
    step = clock[1][0] - clock[0][0]
    furthest = clock[0][1] - step  # the latest wall-clock time that was there so far
    previous = furthest
    found = []
    for instant, wall in clock:
        change = wall - previous - step
        if abs(change) >= THREE_HOURS:
            # "Clock changes of more than 3 hours are considered to be corrections"
            furthest = previous = wall - step
        if cron.wildcard:
            due = cron.matches(wall)
        elif wall <= furthest:
            # "those jobs that fall into the repeated time will not be re-run"
            due = False
        else:
            # "those jobs which would have run in the time that was skipped will be run soon
            # after the change": once, with what is due anyway at that instant
            due = False
            skipped = previous + step if wall > previous + step else wall
            while skipped <= wall and not due:
                due = skipped > furthest and cron.matches(skipped)
                skipped += step
        furthest = max(furthest, wall)
        previous = wall
        if due and instant > after:
            found.append((instant, wall))
    return found


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=timezone.utc)  # type: ignore[arg-type, misc]
