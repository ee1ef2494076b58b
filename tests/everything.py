"""Run every test, in parts beside each other: most tests wait, for a clock or for systemd.

What the first part does is seen as it happens; what the others print follows it. All have the
same seed. The exit status is 0 if all parts passed.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import IO

PYTEST = [str(Path(sys.executable).with_name("pytest"))]
# Every test has one place: each part is what its expression says.
PARTS = {
    "on a machine": "machine and not slow",
    "in the virtual machine": "vm",
    "slow": "slow and not vm",
    "without a machine": "not machine and not slow and not vm",
}
_GRACE_S = 120


class Part:
    """One run of pytest in the background, whose output is kept."""

    def __init__(self, expression: str, output: IO[bytes] | None) -> None:
        self._output = output
        command = [*PYTEST, "-m", expression, *sys.argv[1:]]
        self._process = subprocess.Popen(command, stdout=output, stderr=output)

    def wait(self) -> int:
        """The exit status of pytest, when it is over."""
        return self._process.wait()

    def end(self) -> None:
        """If it is not over, end it as Ctrl-C does, so that it takes its machines down."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(_GRACE_S)

    def show(self, title: str) -> None:
        """Print what it said."""
        if self._output is None:
            return
        self._output.seek(0)
        print(f"\n\n{title}:", flush=True)
        sys.stdout.buffer.write(self._output.read())
        sys.stdout.flush()


def main() -> int:
    """Run all parts; returns the exit status."""
    signal.signal(signal.SIGTERM, _interrupt)
    os.environ.setdefault("LUNASCHED_SEED", str(secrets.randbits(32)))
    with ExitStack() as stack:
        parts = {}
        for number, (title, expression) in enumerate(PARTS.items()):
            output = stack.enter_context(tempfile.TemporaryFile()) if number else None
            parts[title] = Part(expression, output)
            stack.callback(parts[title].show, f"Tests {title}")
            stack.callback(parts[title].end)
        return max(abs(part.wait()) for part in parts.values())


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
