"""`make soak` tells a supervisor that grows from one that is as large as it is."""

from __future__ import annotations

from soak import Size, grown

FLAT = [Size(30_000, 20, 3)] * 2


def test_the_first_third_is_no_measure() -> None:
    assert grown([Size(10_000, 5, 1)] * 2 + FLAT * 2) == []
    assert grown([]) == grown(FLAT) == []


def test_what_grows_is_told() -> None:
    before = FLAT * 2
    assert grown([*before, *[Size(30_500, 20, 3)] * 2]) == []
    assert grown([*before, Size(40_000, 20, 3), Size(30_000, 21, 4)]) == [
        "memory grew from 30000 to 40000 KiB",
        "files grew from 20 to 21",
        "threads grew from 3 to 4",
    ]
