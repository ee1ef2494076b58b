"""Our reading of calendar event expressions against systemd's own."""

from __future__ import annotations

import random
import shutil
from datetime import datetime, timedelta
from itertools import islice

import pytest
from analyze import evaluate
from reference import utc

from lunasched.errors import ScheduleError
from lunasched.schedule import SystemdCalendar, elapses, latest_elapse, parse, timing, transitions

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)

EXAMPLES = (
    """
Sat,Thu,Mon..Wed,Sat..Sun|Mon,Sun 12-*-* 2,1:23|Wed *-1|Wed..Wed,Wed *-1|Wed, 17:48
Wed..Sat,Tue 12-10-15 1:2:3|*-*-7 0:0:0|10-15|monday *-12-* 17:00|Mon,Fri *-*-3,1,2 *:30:45
12,14,13,12:20,10,30|12..14:10,20,30|mon,fri *-1/2-1,3 *:30:45|03-05 08:05:40|08:05:40|05:40
Sat,Sun 12-05 08:05:40|Sat,Sun 08:05:40|2003-03-05 05:40|05:40:23.4200004/3.1700005
2003-02..04-05|2003-03-05 05:40 UTC|2003-03-05|03-05|hourly|daily|daily UTC|monthly|weekly
weekly Pacific/Auckland|yearly|annually|*:2/3|minutely|quarterly|semiannually|biannually
*-*~1|*-02~03|Mon *-05~07/1|*-*~1..7/2|*-*~05,03 12:00|@1700000000|*:*:*|*:*:0/0.5|Mon,|99-1-1
2027/2-01-01|*-*-1..5,10..20/3|*:0..30/7|0/7:00|*:0/7|*:*:0/7|*-1/5-1|*-*-1/7|*-*~11/7
*-2-29|Mon *-2-29|5..5:00|*:7..7/3|*:*:5..5|*-*~05,27,22|*-*~18,23,22|*-*~20,24
*-*~07/17|1/30:00|*:60|24:00
2300-01-01|1969-01-01|70-01-01|*-13-01|*-*-32|*-*-0|Mon..Mon|Fri..Mon|Mon..Tue..Wed|Mon.|12:00:60
*:05..10/6|*:*:05..10/6|*:0..3/4|*:5..6/60|*-*-1..2/31|*-*~1..7/9|*:*:1..2/60|*-1..2/3-1
*:05..10/6,3|1..2/9-1-1|*:5/55|*:5..5/6|*:*:5..5/6|*:*:0.5..0.7/0.3|*:10..5/6|*-*-31..40/20
foo|*|*-*|*-*-*|*-*-* 10|10 12:00|*~*-1|*-*~*|12:00 Foo/Bar|0.5:00|*:*:0.5|*:*:59.9999999|1-1~1
*-*-* *:*:00..30/10|*:*:10..20|*-*-29,30,31|Tue *-*-13|2026-*-* *:00|tomorrow|12:00 +01:00
""".replace("\n", "|")
    .strip("|")
    .split("|")
)


def test_we_take_and_normalise_what_systemd_takes_and_normalises() -> None:
    answers = evaluate(EXAMPLES, base=utc(2026, 1, 1), iterations=1)
    differing = []
    for text, answer in zip(EXAMPLES, answers, strict=True):
        try:
            schedule = parse(f"calendar:{text}")
            assert isinstance(schedule, SystemdCalendar)
            zone = f" {schedule.zone}" if schedule.zone else ""
            ours: str | None = schedule.expression + zone
        except ScheduleError as error:
            if "No such date" in error.message:
                assert not answer.elapses
                continue
            ours = None
        if ours != answer.normalized:
            differing.append((text, ours, answer.normalized))
    assert not differing


def field(rng: random.Random, low: int, high: int) -> str:
    first, last = sorted(rng.sample(range(low, high + 1), 2))
    step = rng.randint(1, max(1, high - first))
    return rng.choice(
        [
            *("*", "*", f"{first}", f"{first}/{step}", f"{first}..{last}", f"{first},{last}"),
            f"{first}..{last}/{max(1, (last - first) // 2)}",
            f"{first}..{last}/{rng.randint(1, high)}",
        ]
    )


def expression(rng: random.Random, *, from_end: bool) -> str:
    weekdays = rng.choice(["", "", "", "Mon ", "Sat,Sun ", "Mon..Fri "])
    mark = rng.choice(["-", "-", "~"]) if from_end else "-"
    day = field(rng, 1, 28) if rng.random() < 0.5 else "*"
    month = field(rng, 1, 12) if rng.random() < 0.3 else "*"
    second = rng.choice(["00", "00", "00", "30", "0/7", "*/1", "0..59/20"]).replace("*/1", "*")
    return f"{weekdays}*-{month}{mark}{day} {field(rng, 0, 23)}:{field(rng, 0, 59)}:{second}"


def differing(expressions: list[str], base: datetime, zone: str, count: int) -> list[str]:
    rules = []
    for text in expressions:
        try:
            rules.append(parse(f"calendar:{text}"))
        except ScheduleError:
            continue
    lines = [rule.line for rule in rules if isinstance(rule, SystemdCalendar)]
    answers = evaluate(lines, base=base, iterations=count, host_zone=zone)
    found = []
    for schedule, answer in zip(rules, answers, strict=True):
        text = schedule.text
        assert answer.normalized is not None, text
        ours = list(islice(elapses(schedule, timezone=zone, after=base), count))
        # systemd looks as far as 2199, we forty years from one elapse to the next.
        ours = [instant for instant in ours if instant.year < 2200]
        shown = [instant.replace(microsecond=0) for instant in ours]
        if shown != answer.elapses[: len(ours)] or (len(ours) < count and count < 3):
            found.append(f"{text!r} in {zone} after {base}")
        elif ours:
            latest = latest_elapse(schedule, timezone=zone, at=ours[-1])
            if latest != ours[-1]:
                found.append(f"latest of {text!r} in {zone} at {ours[-1]}: {latest}")
    return found


def test_random_expressions_elapse_when_systemd_says(rng: random.Random) -> None:
    found = []
    for _ in range(8):
        base = utc(rng.randint(2020, 2030), rng.randint(1, 12), rng.randint(1, 28), 22, 50)
        texts = [expression(rng, from_end=True) for _ in range(40)]
        found += differing(texts, base, "UTC", 70)
    assert not found, "\n".join(found[:20])


def test_the_search_across_years_is_that_of_systemd() -> None:
    assert not differing(["Sat,Sun *-*-6/11 5:28/19:00"], utc(2027, 8, 16, 22, 50), "UTC", 70)


def test_steps_without_an_end_lose_no_slot() -> None:
    texts = ["*:0/7", "*:*:0/7", "0/7:00", "*-*-1/7", "*-*~11/7", "*:10/38", "*:*:0/0.7"]
    for base in (utc(2026, 12, 31, 23, 40), utc(2026, 4, 30, 20), utc(2026, 5, 1, 23, 59)):
        assert not differing(texts, base, "UTC", 130)
    midnight = next(elapses(parse("calendar:*:0/7"), timezone="UTC", after=utc(2026, 5, 1, 23, 56)))
    assert midnight == utc(2026, 5, 2)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("*-*-1/7", "*-*-01..29/7 00:00:00"),
        ("*-*~11/7", "*-*~04..11/7 00:00:00"),
        ("Mon *-05~07/1", "Mon *-05~01..07 00:00:00"),
        ("*-1/5-1", "*-01..11/5-01 00:00:00"),
        ("0/6:00", "*-*-* 00..18/6:00:00"),
        ("*:0/7", "*-*-* *:00..56/7:00"),
        ("*:3,5/15", "*-*-* *:03,05..50/15:00"),
        ("*:*:0/0.7", "*-*-* *:*:00..59.500000/0.700000"),
        # These run over onto a value, and lose none.
        ("*:0/15", "*-*-* *:00/15:00"),
        ("*:5/30", "*-*-* *:05/30:00"),
        ("*:*:*", "*-*-* *:*:*"),
        ("2026/2-1-1", "2026/2-01-01 00:00:00"),
    ],
)
def test_a_step_that_would_run_over_is_written_with_its_end(text: str, line: str) -> None:
    rule = parse(f"calendar:{text}")
    assert isinstance(rule, SystemdCalendar)
    assert rule.line == line
    found = timing(rule, timezone=None, host_timezone="UTC", now=utc(2026, 1, 1))
    assert found.on_calendar == (line,)


@pytest.mark.parametrize(
    "zone",
    ["Europe/Berlin", "America/New_York", "America/Santiago", "Australia/Lord_Howe", "Asia/Beirut"],
)
def test_systemd_skips_a_gap_and_takes_the_first_pass(zone: str, rng: random.Random) -> None:
    found = []
    for change in transitions(zone, utc(2026, 1, 1), utc(2027, 1, 1)):
        base = change.at - timedelta(minutes=rng.choice([1500, 61, 30, 1]))
        minutes = ("00/15", "30", "59", "*", "10,20,30")
        every_hour = [f"*-*-* *:{minute}:00" for minute in minutes]
        some = [f"*-*-* {hour:02}:{rng.choice(minutes)}:00" for hour in (0, 1, 2, 3, 22, 23)]
        found += differing(every_hour + some, base, zone, 120)
    assert not found, "\n".join(found[:20])


def test_within_a_repeated_hour_systemd_goes_on_in_its_second_pass() -> None:
    base = utc(2026, 10, 25, 1, 10)
    assert not differing(["*:0/15", "02:30", "02,03:00"], base, "Europe/Berlin", 20)
