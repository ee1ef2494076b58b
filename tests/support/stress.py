"""Run the machine tests beside a load: what they find must not depend on a quick machine.

The load has half of the processors, as the processes of a session have beside machines on a host
with cgroup v2. Where each of them is one party beside a machine (which is one, too, whatever runs
in it), the tests take hours, and find no more.

Arguments are pytest's: files, ``-k``, … Each process of the load ends with this one, however that
ends: on Ctrl-C it is killed and waited for, and one whose parent is gone ends by itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import everything
import pytest
from cpushare import CpuShare

BUSY = 16
_MACHINES = 6
_LOOP = """
import os, sys
while os.getppid() == int(sys.argv[1]):
    for _ in range(10**6):
        pass
"""


def main() -> int:
    """Run the tests; returns the exit status, which is 0 only if each passed the first time."""
    with load():
        statuses, failed = everything.run(_parts, sys.argv[1:])
    for test in failed:
        print(f"failed beside the load: {test}")
    statuses = [status for status in statuses if status != pytest.ExitCode.NO_TESTS_COLLECTED]
    return max(statuses, default=int(pytest.ExitCode.NO_TESTS_COLLECTED))


def _parts(pool: Path) -> everything.Parts:
    # Most tests wait, for a clock or for systemd, and the more so the busier the machine is.
    return everything.pooled(pool, _MACHINES, "-m", "machine")


@contextmanager
def load(number: int = BUSY) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Keep so many processes busy; none is left afterwards.

    Together they have as much of the processors as the machines of the tests have.
    """
    processes: list[subprocess.Popen[bytes]] = []
    share = CpuShare(f"load-{os.getpid()}", _MACHINES)
    try:
        for _ in range(number):
            # In a session of their own: they end when the tests have, not by Ctrl-C.
            # They are told who their parent is: it may be gone before they could ask.
            command = [sys.executable, "-S", "-c", _LOOP, str(os.getpid())]
            processes.append(subprocess.Popen(command, start_new_session=True))
            share.give(processes[-1].pid)
        yield processes
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
        share.close()


if __name__ == "__main__":
    sys.exit(main())
