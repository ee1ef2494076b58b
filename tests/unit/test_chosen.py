"""What is chosen to run on every systemd is there, and is a test on a machine."""

from __future__ import annotations

import subprocess
import sys

import chosen


def test_each_chosen_test_is_there() -> None:
    """pytest names the ones that are not."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "machine", *chosen.tests()],
        cwd=chosen.REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    found = [line for line in done.stdout.splitlines() if "::" in line]
    assert sorted(found) == sorted(chosen.tests()), done.stderr
