"""Schedules that other programs would read differently."""

from __future__ import annotations

import re

from lunasched.schedule.cronexpression import seconds_last
from lunasched.schedule.describe import describe
from lunasched.schedule.rule import Calendar, Limited, Schedule, Several


def doubt(schedule: Schedule) -> str | None:
    """Return a sentence about a schedule that seems to have its seconds first, or None.

    Spring, Quartz and robfig/cron have them in the first of six fields, and lunasched has them in
    the last. A first field of one number beside a last one that would be a usual field of weekdays
    is more often theirs.
    """
    if isinstance(schedule, Several):
        doubts = filter(None, map(doubt, schedule.rules))
        return next(doubts, None)
    if isinstance(schedule, Limited):
        return doubt(schedule.base)
    if not isinstance(schedule, Calendar):
        return None
    fields = schedule.text.removeprefix("cron:").split()
    if len(fields) != 6 or not fields[0].isdecimal() or not _like_weekdays(fields[5]):
        return None
    return (
        f"its sixth field is that of seconds, so {schedule.text!r} is: {describe(schedule)} "
        f"Where the seconds come first, as for Spring and Quartz, it is {seconds_last(fields)!r} "
        "here"
    )


def _like_weekdays(field: str) -> bool:
    """Tell if the seconds are many, or could be weekdays; one second is meant as such."""
    if field.startswith("*"):
        return True
    return not field.isdecimal() and all(int(number) <= 7 for number in re.findall("[0-9]+", field))
