"""The load of `make test-stress` is busy while it lasts, and is never left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import stress
from cpushare import CpuShare
from machine import cgroups_of

SUPPORT = Path(stress.__file__).parent
# Prints the IDs of its processes and waits for its end.
LOADED = """
import signal, sys, time
# A shell has what it starts in the background ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
from stress import load
with load(3) as processes:
    print(*(each.pid for each in processes), flush=True)
    time.sleep(600)
"""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_it_is_there_and_gone() -> None:
    with stress.load(3) as processes:
        assert all(is_alive(each.pid) for each in processes)
    assert {each.returncode for each in processes} == {-signal.SIGKILL}


def test_it_is_one_party_beside_the_machines() -> None:
    if os.getuid():
        return  # only root may say so
    probe = CpuShare("probe", 1)
    may = probe.group is not None
    probe.close()
    if not may:
        return  # nor may root in a container without its own cgroups
    with stress.load(3) as processes:
        groups = {Path(f"/proc/{each.pid}/cgroup").read_text() for each in processes}
        (text,) = groups
        (own,) = re.findall(r"/lunasched-share-load-\d+", text)
        assert own == f"/lunasched-share-load-{os.getpid()}"
    assert not [path for path in cgroups_of(own.removeprefix("/lunasched-")) if path.exists()]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_it_ends_with_the_tests(end: signal.Signals) -> None:
    command = [sys.executable, "-c", LOADED]
    with subprocess.Popen(
        command, cwd=SUPPORT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as loaded:
        assert loaded.stdout is not None
        pids = [int(word) for word in loaded.stdout.readline().split()]
        assert len(pids) == 3
        loaded.send_signal(end)
        loaded.wait()
    while any(is_alive(pid) for pid in pids):
        os.sched_yield()
