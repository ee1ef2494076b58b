"""Numbers that job and host choose: H and ~ in cron expressions."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from lunasched.errors import ScheduleError
from lunasched.jobs.reading import Defaults, job_from_mapping
from lunasched.schedule import has_places, parse, placed


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("H * * * *", r"(\d+) \* \* \* \*"),
        ("h H(2-4) * * *", r"\d+ [234] \* \* \*"),
        ("H/15 * * * *", r"(?:\d|1[0-4])-59/15 \* \* \* \*"),
        ("H(10-39)/10 3 * * 1-5", r"1\d-39/10 3 \* \* 1-5"),
        ("0 4 H * *", r"0 4 (?:[1-9]|1\d|2[0-8]) \* \*"),
        ("0 4 1 H *", r"0 4 1 (?:[1-9]|1[0-2]) \*"),
        ("0 4 * * H", r"0 4 \* \* [0-6]"),
        ("5,H(30-34) 4 * * *", r"5,3[0-4] 4 \* \* \*"),
        ("~ 2 * * *", r"\d+ 2 \* \* \*"),
        ("0~9 2 * * *", r"\d 2 \* \* \*"),
        ("50~ 2 * * *", r"5\d 2 \* \* \*"),
        ("~9 2 * * *", r"\d 2 \* \* \*"),
        ("cron:H 2 * * *", r"cron:\d+ 2 \* \* \*"),
        ("TZ=Europe/Berlin H 2 * * * except Sun", r"TZ=Europe/Berlin \d+ 2 \* \* \* except Sun"),
        ("0 2 * * * H", r"0 2 \* \* \* \d+"),
        ("at 09:00; H 2 * * *", r"at 09:00; \d+ 2 \* \* \*"),
    ],
)
def test_what_is_chosen(text: str, form: str) -> None:
    for number in range(30):
        chosen = placed(text, f"host {number}")
        assert re.fullmatch(form, chosen)
        assert placed(text, f"host {number}") == chosen
        parse(chosen)
    assert len({placed(text, f"host {number}") for number in range(30)}) > 1


@pytest.mark.parametrize(
    "text",
    [
        "hourly",
        "every 1 hour and 3 minutes",
        "at 09:00 on Thu, Fri",
        "0 2 * * thu",
        "calendar:*-*~3",
    ],
)
def test_where_nothing_is_chosen(text: str) -> None:
    assert not has_places(text)
    assert placed(text, "x") == text


def test_the_numbers_are_spread_and_independent() -> None:
    pairs = [placed("H H * * *", f"host\0job-{n}").split()[:2] for n in range(6000)]
    minutes, hours = Counter(minute for minute, _ in pairs), Counter(hour for _, hour in pairs)
    assert (len(minutes), len(hours)) == (60, 24)
    assert max(minutes.values()) < 2 * min(minutes.values())
    assert len({tuple(pair) for pair in pairs}) > 1200


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("H(50-70) * * * *", 0), ("0 H(9-8) * * *", 2), ("0 0 H/40 * *", 4), ("H(1) * * * *", 0),
        ("60~70 * * * *", 0), ("H/0 * * * *", 0),
    ],
)  # fmt: skip
def test_what_cannot_be_chosen(text: str, position: int) -> None:
    with pytest.raises(ScheduleError, match="not a number that job and host choose") as caught:
        placed(text, "x")
    assert caught.value.position == position


def test_a_job_keeps_what_was_chosen() -> None:
    definition = {"name": "x", "schedule": ["H 2 * * *", "at 09:00"], "command": "true"}
    here = job_from_mapping(definition, defaults=Defaults(host="here"))
    assert re.fullmatch(r"\d+ 2 \* \* \*; at 09:00", here.schedule)
    assert job_from_mapping(definition, defaults=Defaults(host="here")) == here
    others = {
        job_from_mapping({**definition, "name": name}, defaults=Defaults(host=host)).schedule
        for name in ("x", "y", "z")
        for host in ("here", "there")
    }
    assert len(others) > 3
