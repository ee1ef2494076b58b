"""The figures of `make bench` beside their goals, limits and last values."""

from __future__ import annotations

from pathlib import Path

import pytest
from figures import FILE, Figure, Figures


def test_a_figure_is_shown_beside_its_goal_limit_and_last_value(tmp_path: Path) -> None:
    figures = Figures(tmp_path / "bench.json", {"list": Figure("ms", 350, 700, 640)})
    line = figures.line("list", 344.4, "ms")
    assert line.split() == ["list", "344", "ms", "350", "ms", "700", "ms", "640", "ms"]
    assert line.index("344 ms") == Figures.header().index("now") - 3
    assert figures.told == []
    # The next time, this is the last value.
    figures.save()
    again = Figures.load(figures.path)
    assert again.known["list"] == Figure("ms", 350, 700, 344.4)
    assert again.line("list", 344.4, "ms").endswith("344 ms")


def test_what_is_worse_by_a_tenth_is_told_of_in_a_line() -> None:
    known = {"a": Figure("ms", last=100), "b": Figure("MB", last=60), "c": Figure("/s", last=2000)}
    figures = Figures(known=known)
    for name, value, unit in (("a", 109, "ms"), ("b", 66.1, "MB"), ("c", 1800, "/s")):
        figures.line(name, value, unit)
    assert figures.told == [
        "worse by more than a tenth: b, 66 MB after 60 MB",
        "worse by more than a tenth: c, 1800/s after 2000/s",
    ]


def test_what_passes_its_limit_is_told_of() -> None:
    figures = Figures(known={"reload": Figure("ratio", 1.1, 1.5, 1.2)})
    figures.line("reload", 1.51, "ratio")
    assert figures.told[-1] == "over its limit: reload, 1.51"


def test_a_new_figure_needs_no_entry(tmp_path: Path) -> None:
    figures = Figures.load(tmp_path / "none.json")
    assert figures.line("new", 5, "ms").split() == ["new", "5.0", "ms"]
    assert figures.told == []
    with pytest.raises(ValueError, match="in MB"):
        figures.line("new", 5, "MB")


def test_the_file_of_the_tree_is_valid(tmp_path: Path) -> None:
    figures = Figures.load()
    assert figures.known
    for figure in figures.known.values():
        assert figure.unit in ("ms", "MB", "/s", "ratio")
        assert figure.limit is None or not figure.is_worse(figure.goal or 0, figure.limit)
    # Saved, it is the same: what changes in it are values.
    figures.path = tmp_path / "bench.json"
    figures.save()
    assert figures.path.read_text() == FILE.read_text()
