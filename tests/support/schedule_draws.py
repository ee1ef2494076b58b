"""Random schedules and times for them, and the lines of timers as systemd evaluates them."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta

from analyze import evaluate
from reference import utc

from lunasched.errors import ScheduleError
from lunasched.schedule import parse, transitions

# Whole and half hours, midnight and mid-hour gaps, two- and three-hour changes, negative DST,
# gaps of a day, no DST, changes of standard time, moving dates.
ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Europe/Dublin",
    "Africa/Casablanca",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "America/Santiago",
    "America/Havana",
    "Asia/Beirut",
    "Asia/Gaza",
    "Africa/Cairo",
    "Asia/Amman",
    "Atlantic/Azores",
    "America/Scoresbysund",
    "America/Nuuk",
    "America/St_Johns",
    "Antarctica/Troll",
    "Antarctica/Casey",
    "Pacific/Apia",
    "Asia/Pyongyang",
    "America/Caracas",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Etc/UTC",
]
YEARS = (2005, 2010, 2011, 2015, 2018, 2022, 2024, 2026, 2027, 2029, 2030, 2035)
MINUTE = [
    "*",
    "0",
    "30",
    "*/15",
    "*/30",
    "15,45",
    "59",
    "*/7",
    "*/40",
    "0-59/20",
    "10/38",
    "5/15",
    "0-59",
    "20-50/10",
    "*/2",
    "3",
]
HOUR = [
    "*",
    "*",
    "*/2",
    "*/3",
    "0",
    "1",
    "2",
    "3",
    "23",
    "2,3",
    "0-3",
    "22-23",
    "1-3",
    "0-23",
    "0-23/2",
    "*/7",
    "12-18/6",
    "1/5",
    "0,12",
    "9-17",
]
DAY = [
    "*",
    "*",
    "*",
    "*",
    "*",
    "*",
    "*/2",
    "1",
    "15",
    "L",
    "1-7",
    "28-31",
    "10,20,30",
    "L,15",
    "15W",
    "LW",
    "1W,L-2",
    "31W,28W",
    "*/5",
    "?",
]
MONTH = ["*", "*", "*", "*", "*", "*", "3", "10", "*/2", "3-4", "jan-jun", "9,10,11", "apr"]
WEEKDAY = [
    "*",
    "*",
    "*",
    "*",
    "*",
    "*",
    "0",
    "7",
    "1-5",
    "sun",
    "mon,wed",
    "6#1",
    "0#4",
    "L0",
    "0#5",
    "*/2",
    "5-7",
    "sun-mon",
    "L5,1",
]


def expression(rng: random.Random) -> str:
    """A cron expression with some day on which it matches."""
    while True:
        fields = [rng.choice(choices) for choices in (MINUTE, HOUR, DAY, MONTH, WEEKDAY)]
        if rng.random() < 0.3:
            fields[0] = str(rng.randrange(60))
        if rng.random() < 0.2:
            fields[1] = str(rng.randrange(24))
        try:
            parse(" ".join(fields))
        except ScheduleError:
            continue
        return " ".join(fields)


def base_time(rng: random.Random, zone: str) -> datetime:
    """Shortly before or within a night on which the clock changes, or any time."""
    year = rng.choice(YEARS)
    changes = transitions(zone, utc(year, 1, 1), utc(year + 2, 1, 1))
    if not changes or rng.random() < 0.1:
        return utc(year, rng.randint(1, 12), rng.randint(1, 28), rng.randrange(24), 11)
    before = rng.choice([1500, 1500, 1500, 300, 61, 60, 1, 0, -1, -10, -29, -40, -59, -61])
    return rng.choice(changes).at - timedelta(minutes=before)


def unions(
    requests: Mapping[int, list[tuple[str, str]]],
    wanted: Mapping[str, list[datetime]],
    zone: str,
    base: datetime,
    until: datetime,
) -> list[str]:
    """What differs between the lines as systemd reads them and what is wanted of each schedule.

    ``requests`` are pairs of a schedule and one of its lines, by how many elapses are asked for.
    """
    problems: list[str] = []
    found: dict[str, set[datetime]] = defaultdict(set)
    for size, pairs in requests.items():
        answers = evaluate([line for _, line in pairs], base=base, iterations=size, host_zone=zone)
        for (text, line), answer in zip(pairs, answers, strict=True):
            if answer.normalized != line or answer.gave_up:
                problems.append(f"{line!r} of {text!r} in {zone} after {base} is not evaluated")
            found[text].update(answer.elapses)
    for text, instants in wanted.items():
        got = sorted(instant for instant in found[text] if instant <= until)
        if got != instants:
            odd = sorted(set(got) ^ set(instants))[:4]
            problems.append(f"lines of {text!r} in {zone} after {base}: {[str(at) for at in odd]}")
    return problems
