"""What we write for systemd, as each version from the oldest to the newest reads it.

``systemd-analyze`` of each of them is asked, whatever the host runs. FUZZ_N is the number of random
calendar expressions; ``make fuzz`` takes many.
"""

from __future__ import annotations

import os
import random
from datetime import datetime, timedelta
from itertools import islice

import pytest
from analyze import evaluate
from reference import utc
from systemds import QUIRKS, SUITES, Quirk, analyzer

from lunasched.errors import ScheduleError
from lunasched.schedule import SystemdCalendar, elapses, latest_elapse, parse, timing, transitions

pytestmark = pytest.mark.machine

SEED = 20261126
EXPRESSIONS = int(os.environ.get("FUZZ_N", "400"))
_BATCH = 40
_ELAPSES = 40
# Where the clock changes by an hour at a whole hour; on other nights systemd may skip the rest of a
# day (test_schedule_lines.py), which a line as it was written cannot help.
_ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Europe/London")


@pytest.mark.parametrize("version", SUITES)
@pytest.mark.parametrize("quirk", QUIRKS, ids=lambda quirk: quirk.name)
def test_a_quirk_is_of_the_versions_that_the_table_says(quirk: Quirk, version: int) -> None:
    (answer,) = evaluate(
        [quirk.expression],
        base=quirk.base,
        iterations=2,
        host_zone=quirk.zone,
        tool=analyzer(version),
    )
    if quirk.gives_up:
        assert answer.gave_up is quirk.is_of(version)
    else:
        assert (answer.elapses[0] != quirk.lost) is quirk.is_of(version)


@pytest.mark.parametrize("version", SUITES)
@pytest.mark.parametrize("quirk", QUIRKS, ids=lambda quirk: quirk.name)
def test_no_version_has_a_quirk_with_what_we_write(quirk: Quirk, version: int) -> None:
    rule = parse(f"calendar:{quirk.expression}")
    lines = timing(rule, timezone=None, host_timezone=quirk.zone, now=quirk.base).on_calendar
    (answer,) = evaluate(
        lines, base=quirk.base, iterations=2, host_zone=quirk.zone, tool=analyzer(version)
    )
    assert not answer.gave_up
    assert answer.elapses[0] == quirk.lost
    ours = next(elapses(rule, timezone=quirk.zone, after=quirk.base))
    assert ours.replace(microsecond=0) == quirk.lost


@pytest.mark.parametrize("version", SUITES)
def test_calendar_expressions_elapse_as_we_say_on_each_version(version: int) -> None:
    rng = random.Random(SEED)
    found: list[str] = []
    for _ in range(0, EXPRESSIONS, _BATCH):
        found += _differing(rng, version)
    assert not found, "\n".join(found[:20])


def _differing(rng: random.Random, version: int) -> list[str]:
    zone = rng.choice(_ZONES)
    base = utc(rng.randint(2020, 2030), rng.randint(1, 12), rng.randint(1, 28), 22, 50)
    changes = transitions(zone, base, base + timedelta(days=366))
    if changes and rng.random() < 0.5:
        base = changes[0].at - timedelta(minutes=rng.choice([1500, 300, 61, 30, 1]))
    rules = [rule for rule in map(_read, (_expression(rng) for _ in range(_BATCH))) if rule]
    lines = [rule.line for rule in rules]
    answers = evaluate(
        lines, base=base, iterations=_ELAPSES, host_zone=zone, tool=analyzer(version)
    )
    found = []
    for rule, answer in zip(rules, answers, strict=True):
        where = f"{rule.text!r} in {zone} after {base}"
        ours = list(islice(elapses(rule, timezone=zone, after=base), _ELAPSES))
        if answer.gave_up or (answer.normalized != rule.line and ours):
            found.append(f"{where}: {answer.normalized!r} and not {rule.line!r}")
        elif _whole(ours) != answer.elapses[: len(ours)] or _ends_early(ours, answer.elapses):
            found.append(f"{where}: the elapses")
        elif ours and latest_elapse(rule, timezone=zone, at=ours[-1]) != ours[-1]:
            found.append(f"{where}: the latest at {ours[-1]}")
    return found


def _read(text: str) -> SystemdCalendar | None:
    try:
        rule = parse(f"calendar:{text}")
    except ScheduleError:
        return None
    assert isinstance(rule, SystemdCalendar)
    return rule


def _whole(instants: list[datetime]) -> list[datetime]:
    return [instant.replace(microsecond=0) for instant in instants]


def _ends_early(ours: list[datetime], answer: list[datetime]) -> bool:
    """Tell whether there are elapses after our last one; we look forty years ahead."""
    return len(ours) < len(answer) and answer[len(ours)].year < 2060


def _expression(rng: random.Random) -> str:
    weekdays = rng.choice(["", "", "", "Mon ", "Sat,Sun ", "Mon..Fri "])
    year = rng.choice(["*"] * 8 + ["2026/2", "2026..2031/2"])
    month = _field(rng, 1, 12) if rng.random() < 0.3 else "*"
    day = _field(rng, 1, 28) if rng.random() < 0.5 else "*"
    second = rng.choice(["00", "00", "00", "30", "*", "0/7", "5/0.7", "3,5/15"])
    date = f"{year}-{month}{rng.choice('--~')}{day}"
    return f"{weekdays}{date} {_field(rng, 0, 23)}:{_field(rng, 0, 59)}:{second}"


def _field(rng: random.Random, low: int, high: int) -> str:
    first, last = sorted(rng.sample(range(low, high + 1), 2))
    step = rng.randint(1, max(1, high - first))
    return rng.choice(
        [
            *("*", f"{first}", f"{first}..{last}", f"{first},{last}", f"{low}/{step}"),
            *(f"{first}/{step}", f"{first}/{step}", f"{first}/{step},{last}"),
            f"{first}..{last}/{max(1, (last - first) // 2)}",
        ]
    )
