"""Generated lines as systemd evaluates them against cron's rule, instant for instant."""

from __future__ import annotations

import random
import shutil
from collections import defaultdict
from datetime import datetime, timedelta
from itertools import takewhile

import pytest
import reference
from analyze import evaluate
from campaign import rounds
from reference import Cron, utc
from schedule_draws import HOUR, MINUTE, ZONES, base_time, expression, unions

from lunasched.errors import ScheduleError
from lunasched.schedule import elapses, latest_elapse, parse, timing, transitions

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)

WINDOW = timedelta(hours=62)


def check(zone: str, base: datetime, expressions: list[str], window: timedelta) -> list[str]:
    """What differs between the lines as systemd reads them, the engine and the reference."""
    until = base + window
    with_seconds = len(expressions[0].split()) == 6
    step = timedelta(seconds=1) if with_seconds else timedelta(minutes=1)
    clock = reference.wall_clock(zone, base, until, step)
    problems: list[str] = []
    wanted: dict[str, list[datetime]] = {}
    requests: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for text in expressions:
        wanted[text] = [
            instant for instant, _ in reference.walk(Cron(text.replace("?", "*")), clock, base)
        ]
        schedule = parse(text)
        own = takewhile(lambda slot: slot <= until, elapses(schedule, timezone=zone, after=base))
        if list(own) != wanted[text]:
            problems.append(f"elapses of {text!r} in {zone} after {base}")
        for at in wanted[text][:1] + wanted[text][-1:]:
            late = at + timedelta(seconds=0 if with_seconds else 59)
            if latest_elapse(schedule, timezone=zone, at=late) != at:
                problems.append(f"latest of {text!r} in {zone} at {late}")
        try:
            lines = timing(schedule, timezone=None, host_timezone=zone, now=base).on_calendar
        except ScheduleError:  # days that no timer can say, covered elsewhere
            wanted.pop(text)
            continue
        size = 8 * 2 ** (len(wanted[text]) // 7).bit_length()
        requests[size] += [(text, line) for line in lines]
    return problems + unions(requests, wanted, zone, base, until)


@pytest.mark.slow
def test_working_days_and_days_before_the_last_in_every_month_of_a_leap_cycle() -> None:
    """At noon in UTC, so that each of the lines is looked at on its own for 28 years."""
    base, until = utc(2020, 1, 1), utc(2048, 1, 1)
    days = [*(f"{day}W" for day in (1, 2, 15, 27, 28, 29, 30, 31)), "LW", "L-1", "L-27", "L-3,1W"]
    wrong = []
    for day in days:
        text = f"0 12 {day} * *"
        cron = reference.Cron(text)
        noons = (base + timedelta(days=n, hours=12) for n in range((until - base).days))
        wanted = [noon for noon in noons if cron.matches(noon.replace(tzinfo=None))]
        rule = parse(text)
        own = takewhile(lambda slot: slot < until, elapses(rule, timezone="UTC", after=base))
        lines = timing(rule, timezone="UTC", host_timezone="UTC", now=base).on_calendar
        answers = evaluate(lines, base=base, iterations=len(wanted) + 9)
        found = {instant for answer in answers for instant in answer.elapses if instant < until}
        if list(own) != wanted or sorted(found) != wanted:
            wrong.append((text, lines))
    assert wrong == []


def run(rng: random.Random, nights: int, each: int) -> None:
    zones = [ZONES[index % len(ZONES)] for index in range(nights)]
    problems = []
    for zone in zones:
        base = base_time(rng, zone)
        expressions = sorted({expression(rng) for _ in range(each)})
        problems += check(zone, base, expressions, WINDOW)
    assert not problems, "\n".join(problems[:20])


def test_a_few_random_expressions_elapse_as_cron_runs_them(rng: random.Random) -> None:
    run(rng, nights=len(ZONES), each=6)


@pytest.mark.slow
@pytest.mark.long  # the one above has as many zones
def test_many_random_expressions_elapse_as_cron_runs_them(rng: random.Random) -> None:
    run(rng, nights=3 * len(ZONES), each=25)


@pytest.mark.slow
def test_random_expressions_with_seconds_elapse_as_cron_runs_them(rng: random.Random) -> None:
    problems = []
    for zone in ZONES:
        base = base_time(rng, zone).replace(second=0)
        texts = sorted(
            f"{rng.choice(MINUTE)} {rng.choice(HOUR)} * * * {rng.choice(['*/20', '30', '7,8'])}"
            for _ in range(6)
        )
        problems += check(zone, base, texts, timedelta(hours=5))
    assert not problems, "\n".join(problems[:20])


@pytest.mark.slow
def test_a_zone_suffix_means_what_the_hosts_zone_means(rng: random.Random) -> None:
    for zone in ZONES:
        base = base_time(rng, zone)
        texts = [expression(rng) for _ in range(4)]
        for text in texts:
            try:
                named = timing(parse(text), timezone=zone, host_timezone="UTC", now=base)
            except ScheduleError:
                continue
            wanted = reference.runs(text.replace("?", "*"), zone, base, base + WINDOW)[:60]
            count = len(wanted) + 2
            answers = evaluate(named.on_calendar, base=base, iterations=count)
            found = sorted({instant for answer in answers for instant in answer.elapses})
            assert found[: len(wanted)] == wanted, (text, zone, base)


@pytest.mark.slow
@pytest.mark.parametrize("zone", ZONES)
def test_the_lines_are_exact_for_ten_years(zone: str, rng: random.Random) -> None:
    """Against the engine, which the tests above hold against the reference."""
    start = utc(2026, 11, 23, 6)
    until = utc(2036, 11, 1)
    texts = ("30 2 * * *", "0 */6 * * *", "15,45 0-3 * * 0", "59 2 * * L0", "at 00:00")
    for text in rng.sample(texts, rounds(2, len(texts))):
        schedule = parse(text)
        lines = timing(schedule, timezone=None, host_timezone=zone, now=start).on_calendar
        own = takewhile(lambda slot: slot <= until, elapses(schedule, timezone=zone, after=start))
        wanted = list(own)
        answers = evaluate(lines, base=start, iterations=len(wanted) + 9, host_zone=zone)
        found = {instant for answer in answers for instant in answer.elapses}
        assert sorted(instant for instant in found if instant <= until) == wanted, (text, lines)


@pytest.mark.slow
def test_a_timer_that_looks_anew_after_each_elapse_misses_none(rng: random.Random) -> None:
    """As a real timer does: the next elapse of all lines from the last one, a second late."""
    for zone in ZONES:
        changes = transitions(zone, utc(2026, 1, 1), utc(2028, 1, 1))
        for change in changes[:2]:
            base = change.at - timedelta(hours=5)
            hour = rng.choice(["0-5", "*/2", "1-3", "22-23,0-2"])
            text = f"{rng.choice(['30', '0,40', '59', '*/20'])} {hour} * * *"
            lines = timing(parse(text), timezone=None, host_timezone=zone, now=base).on_calendar
            for slot in reference.runs(text, zone, base, base + timedelta(hours=9)):
                answers = evaluate(lines, base=base, iterations=1, host_zone=zone)
                following = min(instant for answer in answers for instant in answer.elapses)
                assert following == slot, (text, zone, base)
                base = slot + timedelta(seconds=1)
