"""One table of the units of time, one of those of size: who reads and writes by them agrees."""

from __future__ import annotations

import ast
import shutil
import subprocess
from pathlib import Path

import pytest

import lunasched
from lunasched import schedule
from lunasched.errors import InvalidInput
from lunasched.formats import measures, quantities, unitfile
from lunasched.formats.measures import SECONDS, SIZES
from lunasched.jobs import values
from lunasched.notify.message import wording
from lunasched.schedule import Every, describe

PACKAGE = Path(lunasched.__file__).resolve().parent
ALL = (
    measures.YEAR, measures.MONTH, measures.WEEK, *measures.DAYS_TO_SECONDS,
    measures.MILLISECOND, measures.MICROSECOND,
)  # fmt: skip


def test_a_name_is_of_one_unit() -> None:
    assert len(SECONDS) == sum(len(unit.names) for unit in ALL)
    for unit in ALL:
        assert unit.letter in unit.names
        assert SECONDS[unit.letter] == unit.seconds


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze")
@pytest.mark.parametrize("name", [name for name in SECONDS if name.isascii()])
def test_systemd_reads_the_unit_so(name: str) -> None:
    done = subprocess.run(
        ["systemd-analyze", "timespan", f"3{name}"], capture_output=True, text=True, check=True
    )
    (line,) = (one for one in done.stdout.splitlines() if "s: " in one and "Original" not in one)
    assert int(line.partition(":")[2]) == round(3 * SECONDS[name] * 1_000_000)


@pytest.mark.parametrize("name", SECONDS)
def test_a_unit_of_time_in_a_unit_file(name: str) -> None:
    assert unitfile.timespan(f"2{name}") == pytest.approx(2 * SECONDS[name])


@pytest.mark.parametrize("name", values.DURATION_UNITS)
def test_a_unit_of_time_in_a_job(name: str) -> None:
    assert values.read_duration(f"2{name}") == 2 * SECONDS[name]
    assert values.read_duration(f"2 {name.upper()} ") == 2 * SECONDS[name]


@pytest.mark.parametrize("text", ["", "h", "1x", "1h30", "1h x", "1minutes", "1,5h", "-1h", "1h\0"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(InvalidInput):
        values.read_duration(text)


@pytest.mark.parametrize("unit", [measures.WEEK, *measures.DAYS_TO_SECONDS])
def test_a_unit_of_time_in_a_schedule(unit: measures.TimeUnit) -> None:
    rule = schedule.parse(f"every 3{unit.letter}")
    assert isinstance(rule, Every)
    assert rule.seconds == 3 * unit.seconds
    assert f"3 {unit.noun}s" in describe(rule)


@pytest.mark.parametrize("letter", SIZES)
def test_a_unit_of_size(letter: str) -> None:
    assert values.read_size(f"3{letter}") == 3 * SIZES[letter]
    assert quantities.size(3 * SIZES[letter]) == f"3{letter}"
    assert wording.short_size(3 * SIZES[letter]) == (f"3 {letter}iB" if letter else "3 bytes")


def test_what_is_written_can_be_read() -> None:
    for seconds in (1, 59, 60, 3599, 3600, 5400, 86_399, 86_400, 90_061, 1_000_000):
        parts = measures.split(seconds, measures.DAYS_TO_SECONDS)
        text = "".join(f"{count}{unit.letter}" for count, unit in parts)
        assert measures.seconds_in(text, SECONDS) == seconds
    for count in (1, 1023, 1024, 1536, 1 << 20, 3 << 30, 5 << 40):
        assert values.read_size(quantities.size(count)) == count


def test_nobody_has_another_table() -> None:
    """A mapping or a list of pairs with the seconds of an hour, or the bytes of a mebibyte."""
    for path in PACKAGE.rglob("*.py"):
        if path.name == "measures.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Dict, ast.Tuple, ast.List)):
                numbers = {
                    ast.unparse(one)
                    for one in ast.walk(node)
                    if isinstance(one, (ast.Constant, ast.BinOp))
                }
                assert not {"3600", "86400"} <= numbers, f"{path}:{node.lineno}"
                assert not {"1 << 20", "1 << 30"} <= numbers, f"{path}:{node.lineno}"
