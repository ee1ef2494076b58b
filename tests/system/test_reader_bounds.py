"""Members of lunasched-history cannot exhaust the machine, nor keep one another from reading."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from installed import INSTALL, SUITE
from machine import Machine

pytestmark = pytest.mark.machine

UNITS = "systemctl list-units --no-legend --state=active 'lunasched-history@*'"
PER_USER = 4
SILENT = """
import socket, sys, time
held = []
for _ in range(int(sys.argv[1])):
    held.append(socket.socket(socket.AF_UNIX))
    held[-1].connect("/run/lunasched-history.socket")
print("held", flush=True)
sys.stdin.read()
"""
# It asks, and never takes what is answered.
STALLED = """
import json, os, socket, sys
read, write = os.pipe()
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect("/run/lunasched-history.socket")
    request = {"arguments": ["--system", "next", "-n", "10000"], "environment": {}}
    socket.send_fds(connection, [json.dumps(request).encode() + b"\\n"], [write, 2])
    print("asked", flush=True)
    print("answer", connection.recv(9), flush=True)
"""


@pytest.fixture(scope="module")
def read() -> Iterator[Machine]:
    with Machine.boot("wtbounds", suite=SUITE) as machine:
        machine.run(INSTALL)
        for name in ("reader", "other"):
            machine.run(f"useradd -m {name}; usermod --append --groups lunasched-history {name}")
        machine.run("lunasched add --name often --schedule 'every 1s' --command true")
        yield machine


def test_too_many_are_refused_with_the_bound(read: Machine) -> None:
    for arguments in (("next", "-n", "100000000"), ("history", "-n", "100000000")):
        for user in ("reader", None):
            done = read.run(["lunasched", "--system", *arguments], user=user, check=False)
            assert done.returncode == 2
            assert "<=" in done.stderr


def test_the_most_that_can_be_asked_for_is_answered(read: Machine) -> None:
    done = read.run(["lunasched", "--system", "next", "-n", "10000"], user="reader")
    assert done.stdout.count("often") == 10_000


def test_silent_connections_keep_nobody_from_reading(read: Machine) -> None:
    holder = read.popen(["python3", "-c", SILENT, "40"], user="reader")
    assert holder.stdout is not None
    assert b"held" in bytes(holder.stdout.readline())
    assert "often" in read.run(["lunasched", "--system", "list"], user="other").stdout
    read.wait_for(lambda: not read.run(UNITS).stdout.strip(), what="the end of silent readers")
    holder.communicate(b"")
    assert "often" in read.run(["lunasched", "--system", "list"], user="reader").stdout


def test_a_user_has_a_few_answers_at_a_time(read: Machine) -> None:
    stalled = [read.popen(["python3", "-c", STALLED], user="reader") for _ in range(PER_USER)]
    # Each has taken its place, and made the process that answers.
    answering = "pgrep -u lunasched -f serve-reader"
    read.wait_for(
        lambda: len(read.run(answering, check=False).stdout.split()) == 2 * PER_USER,
        what="all of them",
    )
    said = read.run(["lunasched", "--system", "list"], user="reader", check=False).stderr
    assert "4 of your commands are running" in said
    assert "often" in read.run(["lunasched", "--system", "list"], user="other").stdout
    read.run("until systemctl stop 'lunasched-history@*.service'; do sleep 0.1; done")
    for one in stalled:
        one.communicate()
    assert "often" in read.run(["lunasched", "--system", "list"], user="reader").stdout


def test_output_that_nobody_takes_holds_a_process_for_a_time_only(read: Machine) -> None:
    read.write_file(
        "/run/systemd/system/lunasched-history@.service.d/short.conf",
        "[Service]\nRuntimeMaxSec=3s\n",
    )
    read.run("systemctl daemon-reload")
    done = read.run(["python3", "-c", STALLED], user="reader")
    assert "answer b''" in done.stdout
    read.wait_for(lambda: not read.run(UNITS).stdout.strip(), what="the end of the reader")
    read.run("rm -r /run/systemd/system/lunasched-history@.service.d; systemctl daemon-reload")


@pytest.mark.parametrize("name", ["MemoryMax", "TasksMax", "RuntimeMaxUSec", "MemorySwapMax"])
def test_the_service_has_bounds(read: Machine, name: str) -> None:
    held = read.run(f"systemctl show -P {name} lunasched-history@x.service").stdout.strip()
    assert held not in ("", "infinity")
