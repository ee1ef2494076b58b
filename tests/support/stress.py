"""Run the machine tests beside a load: what they find must not depend on a quick machine.

Arguments are pytest's: files, ``-k``, … Each process of the load ends with this one, however that
ends: on Ctrl-C it is killed and waited for, and one whose parent is gone ends by itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

BUSY = 16
PYTEST = Path(sys.executable).with_name("pytest")
_GRACE_S = 120
_LOOP = """
import os, sys
while os.getppid() == int(sys.argv[1]):
    for _ in range(10**6):
        pass
"""


def main() -> int:
    """Run the tests; returns the exit status of pytest."""
    signal.signal(signal.SIGTERM, _interrupt)
    with load():
        tests = subprocess.Popen([PYTEST, "-m", "machine", *sys.argv[1:]])
        try:
            return tests.wait()
        except KeyboardInterrupt:
            # A terminal has sent it to pytest as well, which takes its machines down.
            if tests.poll() is None:
                tests.send_signal(signal.SIGINT)
            return abs(tests.wait(_GRACE_S))


@contextmanager
def load(number: int = BUSY) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Keep so many processes busy; none is left afterwards."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(number):
            # In a session of their own: they end when the tests have, not by Ctrl-C.
            # They are told who their parent is: it may be gone before they could ask.
            command = [sys.executable, "-S", "-c", _LOOP, str(os.getpid())]
            processes.append(subprocess.Popen(command, start_new_session=True))
        yield processes
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
