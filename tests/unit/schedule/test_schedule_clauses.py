"""Schedules with clauses: exclusions, calendars, bounds, steps, as their words say."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import datetime, timedelta, timezone
from itertools import takewhile
from zoneinfo import ZoneInfo

import reference
import reference_limits
from campaign import rounds
from reference_limits import Meaning
from schedule_draws import ZONES, base_time, expression, unions

from lunasched.errors import ScheduleError
from lunasched.schedule import elapses, latest_elapse, parse, timing

_WINDOW = timedelta(hours=62)


def _wanted(meaning: Meaning, zone: str, base: datetime, until: datetime) -> list[datetime]:
    """The instants in ``base`` < instant ≤ ``until``, minute by minute."""
    start = base
    if meaning.count is not None:
        begin = meaning.begin.replace(tzinfo=ZoneInfo(zone)).astimezone(timezone.utc)
        start = min(base, begin - timedelta(days=2))
    clock = reference.wall_clock(zone, start, until, timedelta(minutes=1))
    found = [instant for instant, _ in reference.walk(meaning, clock, start)]
    if meaning.count is not None:
        found = found[: meaning.count]
    return [instant for instant in found if instant > base]


def _differences(
    meaning: Meaning, zone: str, base: datetime, until: datetime
) -> tuple[list[str], list[datetime], tuple[str, ...]]:
    """What the engine has other than the words say, what they say, and the lines of the timer."""
    wanted = _wanted(meaning, zone, base, until)
    place = f"{meaning.text!r} in {zone} after {base}"
    try:
        schedule = parse(meaning.text)
        lines = timing(schedule, timezone=None, host_timezone=zone, now=base).on_calendar
    except ScheduleError as error:
        left = ("Nothing is left", "never elapses again", "No such date", "together with a set")
        if not wanted and any(words in str(error) for words in left):
            return [], [], ()
        if "together with a set" in str(error) or "ends before it begins" in str(error):
            return [], [], ()
        return [f"{place}: {error}"], [], ()
    problems = []
    own = list(takewhile(lambda at: at <= until, elapses(schedule, timezone=zone, after=base)))
    if own != wanted:
        odd = sorted(set(own) ^ set(wanted))[:4]
        problems.append(f"elapses of {place}: {[str(at) for at in odd]}")
    for at in wanted[:1] + wanted[-1:]:
        if latest_elapse(schedule, timezone=zone, at=at + timedelta(seconds=59)) != at:
            problems.append(f"latest of {place} at {at}")
    return problems, wanted, lines


def check(zone: str, base: datetime, meanings: list[Meaning]) -> list[str]:
    """What differs between the lines as systemd reads them, the engine and the words."""
    until = base + _WINDOW
    problems: list[str] = []
    requests: dict[int, list[tuple[str, str]]] = defaultdict(list)
    wanted: dict[str, list[datetime]] = {}
    for meaning in meanings:
        wrong, instants, lines = _differences(meaning, zone, base, until)
        problems += wrong
        if not lines:
            continue
        wanted[meaning.text] = instants
        size = 8 * 2 ** (len(instants) // 7).bit_length()
        requests[size] += [(meaning.text, line) for line in lines]
    return problems + unions(requests, wanted, zone, base, until)


def test_random_clauses_mean_what_their_words_say(rng: random.Random) -> None:
    problems = []
    for zone in ZONES:
        base = base_time(rng, zone)
        near = base.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        meanings = [
            reference_limits.draw(rng, expression(rng), near)
            if rng.random() < 0.75
            else reference_limits.draw_stepped(rng, near)
            for _ in range(rounds(4, 84))
        ]
        problems += check(zone, base, meanings)
    assert not problems, "\n".join(problems[:20])
