"""A short fuzz with a fixed seed; `make fuzz` tries 100,000 inputs with one that is drawn."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).with_name("fuzz.py")


def fuzz(*options: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, whose memory and clock have limits."""
    return subprocess.run(
        [sys.executable, FUZZ, *options], capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.parametrize("kind", ["schedule", "yaml", "toml", "crontab", "http"])
def test_no_input_does_harm(kind: str) -> None:
    done = fuzz("--count", "400", "--seed", "13", "--kind", kind)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "LUNASCHED_SEED=13" in done.stdout


@pytest.mark.slow
def test_a_failure_can_be_repeated_from_what_is_printed() -> None:
    """What a reader did wrong is found, told with its input, and found again."""
    planted = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import fuzz, dataclasses\n"
        "def read(data):\n"
        "    if b'every' in data: int('x')\n"
        "    if b'cron' in data:\n"
        "        while True: pass\n"
        "    if b'last' in data: bytearray(300 << 20)\n"
        "fuzz.KINDS['schedule'] = dataclasses.replace(fuzz.KINDS['schedule'], read=read)\n"
        "fuzz.warm = lambda: None\n"
        "sys.exit(fuzz.main())\n"
    )
    command = [sys.executable, "-c", planted, str(FUZZ.parent), "--kind", "schedule", "--seed", "1"]
    done = subprocess.run(
        [*command, "--count", "60"], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 1
    for problem in ("ValueError", "MemoryError", "more than 1 s of processor time"):
        assert problem in done.stdout
        told = done.stdout[: done.stdout.index(problem)].rpartition("--number ")[2]
        number = told.split()[0]
        again = subprocess.run(
            [*command, "--number", number], capture_output=True, text=True, check=False, timeout=300
        )
        assert problem in again.stdout
