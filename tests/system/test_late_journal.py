"""What happens while journald stands still, as a busy disk has it, is told all the same.

``make stalls`` has stalls of up to ten minutes.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from campaign import IS_FULL

from lunasched.systemd import journal

if TYPE_CHECKING:
    from installed import Lunasched
    from machine import Machine

pytestmark = pytest.mark.machine

SECONDS = (1, 5, 60, 600) if IS_FULL else (1, 5)
DROP_IN = "/run/systemd/system/systemd-journald.service.d/patient.conf"
LINES = 2000


class Journald:
    """journald of a machine, which can be made to stand still."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.pid = machine.run("systemctl show -P MainPID systemd-journald").stdout.strip()

    def stop(self) -> None:
        self._machine.exec(f"kill -STOP {self.pid}")

    def is_stopped(self) -> bool:
        return "\nState:\tT" in self._machine.read_file(f"/proc/{self.pid}/status")

    def go_on(self) -> None:
        self._machine.exec(f"kill -CONT {self.pid}")


@pytest.fixture
def journald(booted: Machine) -> Iterator[Journald]:
    """journald without the watchdog that would end it in three minutes."""
    booted.write_file(DROP_IN, "[Service]\nWatchdogSec=0\n")
    booted.run("systemctl daemon-reload; systemctl restart systemd-journald")
    found = Journald(booted)
    yield found
    found.go_on()
    booted.run(f"rm {DROP_IN}; systemctl daemon-reload; systemctl restart systemd-journald")


def add(luna: Lunasched, command: str) -> str:
    """Add a job with a channel that writes a file; that file's name."""
    file = f"/tmp/{luna.name}.told"
    told = {"on_failure": {"type": "exec", "command": f"cat >{file}.part; mv {file}.part {file}"}}
    job = {"name": luna.name, "schedule": "every 1d", "command": command}
    text = json.dumps({"jobs": [{**job, "notification_config": told}]})
    luna.machine.write_file(f"/tmp/{luna.name}.yaml", text)
    luna("import-config", f"/tmp/{luna.name}.yaml", "--replace")
    return file


def before_its_start(luna: Lunasched, journald: Journald, go: str) -> None:
    journald.stop()
    luna.machine.exec(f"touch {go}; systemctl start --no-block lunasched-job@{luna.name}")


def during_the_run(luna: Lunasched, journald: Journald, go: str) -> None:
    luna("start", luna.name)
    luna.machine.wait_for(lambda: bool(luna.history(luna.name)), what="a run that has begun")
    journald.stop()
    luna.machine.exec(f"touch {go}")


def at_its_end(luna: Lunasched, journald: Journald, go: str) -> None:
    luna.machine.write_file(go, f"kill -STOP {journald.pid}")
    luna.machine.exec(f"systemctl start --no-block lunasched-job@{luna.name}")


@pytest.mark.parametrize("stage", [before_its_start, during_the_run, at_its_end])
@pytest.mark.parametrize("seconds", SECONDS)
def test_a_failure_during_a_stall_is_told(
    luna: Lunasched,
    journald: Journald,
    seconds: int,
    stage: Callable[[Lunasched, Journald, str], None],
) -> None:
    machine, go, end = luna.machine, f"/tmp/{luna.name}.go", f"/tmp/{luna.name}.end"
    told = add(
        luna,
        f"while ! [ -e {go} ]; do sleep 0.05; done; seq {LINES}; echo THE REASON >&2;"
        f" . {go}; touch {end}; exit 4",
    )
    stage(luna, journald, go)
    machine.wait_for(f"[ -e {end} ]", what="the end of the run")
    assert journald.is_stopped()
    until = time.monotonic() + seconds
    machine.wait_for(lambda: time.monotonic() >= until, seconds + 30)
    assert machine.exec(f"[ -e {told} ]", check=False).returncode != 0
    journald.go_on()
    until = time.monotonic()
    machine.wait_for(f"[ -e {told} ]", 60, what="a message about the failure")
    print(f"told {time.monotonic() - until:.1f} s after a stall of {seconds} s {stage.__name__}")
    (run,) = luna.wait_for_runs(luna.name, 1)
    assert (run["result"], run["exit_code"]) == ("exit-code", 4)
    assert run["output"].endswith(f"{LINES - 1}\n{LINES}\nTHE REASON\n")
    assert f"{LINES}\n    THE REASON\n" in machine.read_file(told)


def test_what_several_runs_print_during_a_stall_is_not_told_as_the_output_of_one(
    luna: Lunasched, journald: Journald
) -> None:
    """By then their processes are gone, and journald cannot ask whose they were."""
    machine, unit = luna.machine, f"lunasched-job@{luna.name}.service"
    add(luna, "echo $INVOCATION_ID")
    over = f"systemctl show -P ActiveState {unit} | grep -qx inactive"
    luna("start", luna.name, "--wait")
    journald.stop()
    for _ in range(3):
        machine.exec(f"systemctl start --no-block {unit}")
        machine.wait_for(f"systemctl show -P Job {unit} | grep -qx 0; {over}", what="a run")
    until = time.monotonic() + 2
    machine.wait_for(lambda: time.monotonic() > until)
    journald.go_on()
    for run in luna.wait_for_runs(luna.name, 4, 60):
        own = run["execution_id"].replace("-", "")
        lines = run["output"].splitlines()
        if lines != [own]:
            assert lines[0] == journal.UNSURE_NOTE.strip()
            assert own in lines


def test_what_a_run_printed_before_is_not_the_output_of_the_one_that_goes_on(
    luna: Lunasched, journald: Journald
) -> None:
    """journald can ask of the second whose its stream is, and no more of the first."""
    machine, unit = luna.machine, f"lunasched-job@{luna.name}.service"
    go, second = f"/tmp/{luna.name}.go", f"/tmp/{luna.name}.second"
    add(
        luna,
        f"if [ -e {second} ]; then echo second; touch {second}.said;"
        f" while ! [ -e {go} ]; do sleep 0.05; done;"
        f" else echo first; touch {second}; fi",
    )
    journald.stop()
    machine.exec(f"systemctl start --no-block {unit}")
    machine.wait_for(f"[ -e {second} ]; systemctl show -P ActiveState {unit} | grep -qx inactive")
    until = time.monotonic() + 2
    machine.wait_for(lambda: time.monotonic() > until)
    machine.exec(f"systemctl start --no-block {unit}")
    machine.wait_for(f"[ -e {second}.said ]", what="a run that has printed")
    journald.go_on()
    lines = f"journalctl -o cat _SYSTEMD_UNIT={unit} | grep -cE '^(first|second)$' | grep -qx 2"
    machine.wait_for(lines, what="journald")
    machine.exec(f"touch {go}")
    after, before = luna.wait_for_runs(luna.name, 2, 60)
    assert after["output"] == "second\n"
    assert before["output"].endswith("first\n")


FLOOD = """
import socket
# One sender alone may send less than there is room for.
for _ in range(20):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as opened:
        try:
            while True:
                opened.sendto(b"MESSAGE=flood\\n", "/run/systemd/journal/socket")
        except BlockingIOError:
            pass
"""


def test_a_failure_of_which_the_journal_has_no_record_is_told(
    luna: Lunasched, journald: Journald
) -> None:
    """The manager waits 10 ms for journald, and then drops what it has to say."""
    machine = luna.machine
    told = add(luna, "echo THE REASON >&2; exit 4")
    luna("start", luna.name, "--wait", check=False)
    machine.wait_for(f"[ -e {told} ]", what="a first message")
    machine.exec(f"rm {told}")
    journald.stop()
    unit = f"lunasched-job@{luna.name}.service"
    ended = f"systemctl show -P InactiveEnterTimestampMonotonic {unit}"
    before = machine.exec(ended).stdout
    machine.exec(["python3", "-c", FLOOD])
    machine.exec(f"systemctl start --no-block {unit}")
    machine.wait_for(lambda: machine.exec(ended).stdout != before, what="the end of the run")
    journald.go_on()
    runs = luna.wait_for_runs(luna.name, 2)
    lost = machine.exec(f"journalctl -o cat UNIT={unit} _PID=1 | grep -c 'Failed with'").stdout
    assert lost == "1\n"
    assert [(run["result"], run["exit_code"]) for run in runs] == [("exit-code", 4)] * 2
    assert runs[0]["output"] == "THE REASON\n"


@pytest.mark.parametrize("lines", [2_000, 20_000, 100_000])
def test_the_last_line_is_there_however_much_there_is(luna: Lunasched, lines: int) -> None:
    """Beside somebody who writes to the journal all the time, so that it is never silent."""
    unit, noise = f"noise-{luna.name}", "while :; do echo noise; sleep 0.05; done"
    luna.machine.run(
        f"systemd-run --quiet --unit={unit} --property=TimeoutStopSec=500ms sh -c '{noise}'"
    )
    try:
        told = add(luna, f"seq {lines}; echo THE REASON >&2; exit 4")
        luna("start", luna.name)
        luna.machine.wait_for(f"[ -e {told} ]", 120, what="a message about the failure")
        (run,) = luna.history(luna.name)
    finally:
        luna.machine.run(["systemctl", "stop", unit], check=False)
    assert run["output"].endswith(f"{lines - 1}\n{lines}\nTHE REASON\n")
    assert f"{lines}\n    THE REASON\n" in luna.machine.read_file(told)


@pytest.fixture
def limited(booted: Machine) -> Iterator[None]:
    """journald with the limit that it has where nobody sets it: 10,000 lines in 30 s."""
    file = "/etc/systemd/journald.conf.d/zz-limit.conf"
    text = "[Journal]\nRateLimitIntervalSec=30s\nRateLimitBurst=10000\n"
    booted.write_file(file, text)
    booted.run("systemctl restart systemd-journald")
    yield
    booted.run(f"rm {file}; systemctl restart systemd-journald")


def test_no_limit_of_journald_takes_the_end_of_an_output(luna: Lunasched, limited: None) -> None:
    """With much room on the disk, journald multiplies its limit by six at most."""
    lines, go = 100_000, f"/tmp/{luna.name}.go"
    wait = f"until [ -e {go} ]; do sleep 0.1; done"
    told = add(luna, f"seq {lines}; {wait}; echo THE REASON >&2; exit 4")
    luna("start", luna.name)
    written = f"journalctl -q -o cat _SYSTEMD_UNIT=lunasched-job@{luna.name}.service"
    luna.machine.wait_for(
        f"{written} -n 1 | grep -qx {lines}", 120, what="the last line of many", interval=0.5
    )
    luna.machine.exec(f"touch {go}")
    luna.machine.wait_for(f"[ -e {told} ]", what="a message about the failure")
    (run,) = luna.history(luna.name)
    assert run["output"].endswith(f"{lines}\nTHE REASON\n")
    assert luna.machine.exec(f"{written} | wc -l").stdout == f"{lines + 1}\n"


@pytest.fixture(params=[1])
def strict(booted: Machine, request: pytest.FixtureRequest) -> Iterator[None]:
    """journald that takes a hundred lines a second, or some hundred where the disk has room.

    A test may have it take them in more seconds.
    """
    file = "/etc/systemd/journald.conf.d/zz-limit.conf"
    limit = f"[Journal]\nRateLimitIntervalSec={request.param}s\nRateLimitBurst=100\n"
    booted.write_file(file, limit)
    booted.run("systemctl restart systemd-journald")
    yield
    booted.run(f"rm {file}; systemctl restart systemd-journald")


INTERVAL_S = 8
"""Longer than journald takes for some thousand lines on a busy machine."""


@pytest.mark.parametrize("strict", [INTERVAL_S], indirect=True)
def test_that_journald_dropped_lines_is_said_once_it_says_so(
    luna: Lunasched, strict: None, journald: Journald
) -> None:
    """It tells when it takes the next line of the unit, and so in another run.

    Nothing else may begin to write meanwhile: for it, journald forgets whose limit is over.
    """
    machine, many = luna.machine, f"/tmp/{luna.name}.many"
    add(luna, f"if [ -e {many} ]; then rm {many}; seq 5000; else echo few; fi")
    machine.exec(f"touch {many}")
    # What it comes to when the unit has ended has its own limit and not that of the unit.
    journald.stop()
    unit = f"lunasched-job@{luna.name}.service"
    machine.exec(f"systemctl start --no-block {unit}")
    machine.wait_for(
        f"! [ -e {many} ] && [ $(systemctl show -P ActiveState {unit}) = inactive ]",
        what="the end of the run",
    )
    journald.go_on()
    first = luna.wait_for_runs(luna.name, 1)[-1]
    assert "suppressed" not in first["output"]
    assert not first["output"].endswith("\n5000\n")
    lines = first["output"].count("\n")

    over = time.monotonic() + INTERVAL_S + 1
    machine.wait_for(lambda: time.monotonic() > over, what="the end of the time of the limit")

    def said() -> bool:
        machine.exec(f"systemctl start {unit}")
        return "suppressed" in luna.history(luna.name)[-1]["output"]

    machine.wait_for(said, what="a word about what was dropped", interval=0.5)
    last = luna.history(luna.name)[-1]["output"].splitlines()[-1]
    assert last == f"[journald: suppressed {5000 - lines} messages]"
    later = luna.wait_for_runs(luna.name, 2)[:-1]
    assert {run["output"] for run in later} == {"few\n"}


def test_that_journald_dropped_lines_of_a_session_is_said(luna: Lunasched, strict: None) -> None:
    """A session that a run has opened has a limit of its own, which is not that of the unit."""
    # What has ended when journald looks is the unit's, so that the shell itself prints.
    many = "for i in $(seq 5000); do echo $i; done"
    slow = "for i in 1 2 3 4 5 6 7 8 9; do sleep 0.2; echo $i; done"
    add(luna, f"su - luna -c '{many}; {slow}; echo THE END'")
    luna("start", luna.name, "--wait", check=False)
    (run,) = luna.wait_for_runs(luna.name, 1)
    assert "THE END" in run["output"].splitlines()
    assert re.search(r"\[journald: suppressed \d+ messages\]\n", run["output"])
