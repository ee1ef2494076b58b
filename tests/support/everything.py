"""Run every test, in parts beside each other: most tests wait, for a clock or for systemd.

What the first part does is seen as it happens; what the others print follows it. All have the
same seed. A test that failed runs once more, alone, when all the others are over: if it passes
then, it is unsteady, which is said at the end, and both outputs are kept in build/unsteady. Such a
test is to be fixed next: one that fails only beside others has more often found a fault than not.

The exit status is 0 if all parts passed, but for unsteady tests.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

import chosen
import pytest
from machine import OLDEST

PYTEST = [str(Path(sys.executable).with_name("pytest"))]
Parts = dict[str, list[str]]
"""By title, the options of pytest."""
_GRACE_S = 120

UNSTEADY = Path(__file__).parent.parent.parent / "build/unsteady"
_AGAIN_MAX = 10
"""With more failures than these, the code is at fault and not a test."""
_TESTS_FAILED = int(pytest.ExitCode.TESTS_FAILED)


@dataclass(frozen=True, slots=True)
class Test:
    """A test, and the Debian release of its machines."""

    name: str
    suite: str

    def __str__(self) -> str:
        return " ".join(self.arguments)

    @property
    def arguments(self) -> list[str]:
        """What pytest has to be given to run it."""
        return [*([] if self.suite == OLDEST else ["--suite", self.suite]), self.name]


class Part:
    """One run of pytest in the background, whose output is kept."""

    def __init__(self, options: list[str], output: IO[bytes] | None, failures: Path) -> None:
        self._output = output
        self._failures = failures
        command = [*PYTEST, *options]
        environment = {**os.environ, "LUNASCHED_FAILURES": os.fspath(failures)}
        self._process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)

    def wait(self) -> int:
        """The exit status of pytest, when it is over."""
        return abs(self._process.wait())

    def failed(self) -> dict[Test, str]:
        """The tests that failed, and what was printed of each; see conftest.py."""
        if not self._failures.exists():
            return {}
        lines = map(json.loads, self._failures.read_text().splitlines())
        found: dict[Test, str] = {}
        for line in lines:
            test = Test(line["test"], line["suite"])
            found[test] = found.get(test, "") + line["text"]
        return found

    def interrupt(self) -> None:
        """If it is not over, have it end as on Ctrl-C, so that it takes its machines down.

        By SIGTERM, which conftest.py takes for Ctrl-C: a shell has what it starts in the
        background ignore SIGINT.
        """
        if self._process.poll() is None:
            self._process.terminate()

    def end(self) -> None:
        """Wait for one that was interrupted; what does not end is killed."""
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def show(self, title: str) -> None:
        """Print what it said."""
        if self._output is None:
            return
        self._output.seek(0)
        print(f"\n\n{title}:", flush=True)
        sys.stdout.buffer.write(self._output.read())
        sys.stdout.flush()


def parts(pool: Path) -> Parts:
    """Every test, each in one place: those that need no virtual machine are divided by file."""
    return {
        **pooled(pool, 6, "-m", "not vm"),
        "in the virtual machine": ["-m", "vm", "tests/vm"],
        "of each feature, on the next Debian": ["--suite", "trixie", *chosen.tests()],
    }


def quick(pool: Path) -> Parts:
    """Those of `make test-fast`: they keep two cores busy, though each waits now and then."""
    return pooled(pool, 3, "-m", "not slow and not machine")


def pooled(pool: Path, number: int, *options: str) -> Parts:
    """So many runs, each of which takes the next file when it is done with one; see conftest.py."""
    return {f"{n} of {number}": [*options, f"--pool={pool}"] for n in range(1, number + 1)}


def main() -> int:
    """Run all parts, and what failed once more; returns the exit status."""
    if sys.argv[1:2] == ["--quick"]:
        statuses, failed = run(quick, sys.argv[2:])
        return max(statuses)
    statuses, failed = run(parts, sys.argv[1:])
    if set(statuses) <= {0, _TESTS_FAILED} and 0 < len(failed) <= _AGAIN_MAX:
        return max([_again(test, text) for test, text in failed.items()])
    return max(statuses)


def run(every: Callable[[Path], Parts], more: list[str]) -> tuple[list[int], dict[Test, str]]:
    """Run parts beside each other: what they are, for a new pool; and more options for each.

    Returns the exit status of each, and of the tests that failed what was printed.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    os.environ.setdefault("LUNASCHED_SEED", str(secrets.randbits(32)))
    shutil.rmtree(UNSTEADY, ignore_errors=True)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pool = directory / "pool"
        pool.mkdir()
        running = []
        for number, (title, options) in enumerate(every(pool).items()):
            output = stack.enter_context(tempfile.TemporaryFile()) if number else None
            part = Part([*options, *more], output, directory / str(number))
            running.append(part)
            stack.callback(part.show, f"Tests {title}")
            stack.callback(part.end)
        try:
            statuses = [part.wait() for part in running]
        finally:
            for part in running:  # all at once, and then each is waited for
                part.interrupt()
        failed = {test: text for part in running for test, text in part.failed().items()}
    return statuses, failed


def _again(test: Test, first: str) -> int:
    """Run a test that failed once more, alone; the exit status of that."""
    done = subprocess.run(
        [*PYTEST, *test.arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        print(f"\n\n{test}, alone:\n{done.stdout.decode(errors='replace')}", flush=True)
        return abs(done.returncode)
    UNSTEADY.mkdir(parents=True, exist_ok=True)
    kept = UNSTEADY / re.sub(r"[^A-Za-z0-9_.-]+", "-", str(test))[-200:]
    kept.with_name(f"{kept.name}.failed").write_text(first)
    kept.with_name(f"{kept.name}.passed").write_bytes(done.stdout)
    print(f"unsteady: {test} (passes alone; both outputs: {kept}.*)", flush=True)
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
