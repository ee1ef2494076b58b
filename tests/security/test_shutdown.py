"""A shutdown, and each stop, succeeds whatever the supervisor's uid asked for before."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from attackers import JOB_MODES, MANAGER, SUITES, USER, Attacked, add, attacked
from machine import Machine

pytestmark = [pytest.mark.machine, pytest.mark.slow]

# It outlives SIGTERM; systemd kills it after --kill-after.
STUBBORN = "trap '' TERM; while :; do sleep 1; done"
UNITS = (
    "lunasched-job@depended.service",
    "lunasched-job@depended.timer",
    "lunasched-job@plain.service",
    "lunasched-job@dependent.service",
    "lunasched-job@exclusive.service",
    "lunasched-launch@parallel.service",
    "lunasched-hook@plain:on_failure.service",
    "lunasched-sync.service",
    "lunasched.service",
    "reboot.target",
)

# All that it may have asked for over the bus, in a loop, and what it may ask root's process for.
FLOOD = f"""
import itertools, os, socket, subprocess
units = {UNITS!r}
modes = {JOB_MODES!r}
def requests():
    while True:
        for unit in units:
            yield f"start {{unit}}"
            yield f"restart {{unit}}"
            yield f"start {{unit}} --job-mode=flush"
            yield f"start --job-mode=replace-irreversibly {{unit}}"
asked = requests()
for unit, mode in itertools.cycle(itertools.product(units, modes)):
    if os.path.exists("/tmp/enough"):
        break
    for method in ("StartUnit", "RestartUnit", "StopUnit"):
        subprocess.run([*"{MANAGER}".split(), method, "ss", unit, mode], capture_output=True)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect("/run/lunasched-start.socket")
            for _ in range(10):
                connection.sendall(next(asked).encode() + b"\\n")
                connection.recv(4096)
    except OSError:
        pass
"""
# In the supervisor's place: it does not end when asked to, and has its time extended.
CLINGING = """
import os, signal, socket, subprocess, sys, time
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.connect(os.environ["NOTIFY_SOCKET"])
notify.send(b"READY=1")
subprocess.Popen(
    ["systemd-inhibit", "--what=shutdown", "--mode=block", "sleep", "infinity"],
    start_new_session=True,
)
while True:
    notify.send(b"EXTEND_TIMEOUT_USEC=3600000000")
    time.sleep(0.1)
"""


@pytest.fixture(scope="module", params=SUITES)
def system(request: pytest.FixtureRequest) -> Iterator[Attacked]:
    """A machine with a job of every kind."""
    with attacked("shutdown", request.param) as found:
        machine = found.machine
        add(machine, "depended", "--kill-after", "2", command=STUBBORN)
        add(machine, "dependent", "--depends-on", "depended")
        add(machine, "plain", "--kill-after", "2", "--on-failure", "true", command=STUBBORN)
        add(machine, "parallel", "--execution-mode", "Parallel", command="sleep 60")
        add(machine, "exclusive", "--execution-mode", "Exclusive", command="sleep 2")
        yield found


EVERY_CALL = f"""
import itertools
from gi.repository import Gio, GLib
bus = Gio.bus_get_sync(Gio.BusType.SYSTEM)
def call(method, signature, *values):
    try:
        bus.call_sync(
            "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
            "org.freedesktop.systemd1.Manager", method, GLib.Variant(signature, values),
            None, 0, 60000, None,
        )
    except GLib.Error as error:
        if any(word in error.message for word in ("Interactive", "denied", "AccessDenied")):
            return
        print(method, *values, error.message)
        return
    print(method, *values, "was done")
for unit, mode in itertools.product({UNITS!r}, {JOB_MODES!r}):
    for method in ("StartUnit", "StopUnit", "RestartUnit", "TryRestartUnit"):
        call(method, "(ss)", unit, mode)
for unit in {UNITS!r}:
    for method in ("ResetFailedUnit", "RefUnit", "FreezeUnit"):
        call(method, "(s)", unit)
    call("KillUnit", "(ssi)", unit, "all", 9)
"""


def test_nothing_is_done_to_a_unit_over_the_bus(system: Attacked) -> None:
    """Mode by mode and unit by unit: a right to any of them would be a right to all modes."""
    machine = system.machine
    machine.run(["systemctl", "start", "--no-block", "lunasched-job@depended.service"])
    machine.write_file("/tmp/every-call.py", EVERY_CALL)
    said = system.run("python3 /tmp/every-call.py", timeout=300).stdout.splitlines()
    assert [line for line in said if line.endswith("was done")] == []
    # What is refused for another reason than the caller's is refused to everybody.
    reasons = ("job mode", "not found", "not loaded", "isolat", "not supported", "invalid")
    assert [line for line in said if not any(one in line.lower() for one in reasons)] == []
    # The job of who is waiting has not been cancelled either.
    jobs = machine.exec("systemctl list-jobs --no-legend --no-pager").stdout
    assert "lunasched-job@depended.service" in jobs
    machine.run("systemctl stop lunasched-job@depended.service")


def ask(system: Attacked, request: str) -> str:
    """Return the answer of root's process that starts units."""
    send = (
        "import socket, sys; c = socket.socket(socket.AF_UNIX); "
        "c.connect('/run/lunasched-start.socket'); c.sendall(sys.argv[1].encode() + b'\\n'); "
        "print(c.recv(4096).decode(), end='')"
    )
    done = system.machine.exec(["python3", "-c", send, request], user=USER)
    return done.stdout.rstrip("\n")


@pytest.mark.parametrize(
    "request_line",
    [
        "start reboot.target",
        "start lunasched.service",
        "start dbus.service",
        "stop lunasched-job@plain.service",
        "start lunasched-job@plain.timer",
        "restart lunasched-job@plain.service",
        "restart lunasched-sync.service",
        "start lunasched-job@plain.service --job-mode=flush",
        "start --job-mode=flush lunasched-job@plain.service",
        "start lunasched-job@*.service",
        "start lunasched-job@x/../../tmp/x.service",
        "start -Hlunasched-job@x.service",
        "start  lunasched-job@plain.service x",
        "start $(touch${IFS}/tmp/evil)lunasched-job@x.service",
        "start lunasched-job@x.service;reboot",
        "--force start",
        "start",
        "",
        "start " + "lunasched-job@x" * 1000,
    ],
)
def test_root_starts_nothing_but_jobs_and_hooks(system: Attacked, request_line: str) -> None:
    assert ask(system, request_line).startswith("4 "), request_line
    assert not system.run("ls /tmp/evil").stdout


def test_root_starts_jobs_and_says_what_is_wrong_otherwise(system: Attacked) -> None:
    assert ask(system, "start lunasched-job@plain.service").startswith("0")
    assert ask(system, "restart lunasched-job@plain.timer").startswith("0")
    assert "not found" in ask(system, "start lunasched-job@nothing.service")
    system.machine.wait_for("systemctl is-active lunasched-job@plain.service")
    system.root("systemctl stop lunasched-job@plain.service")


@pytest.mark.parametrize("user", ["nobody", "luna"])
def test_nobody_else_asks_root_for_starts(system: Attacked, user: str) -> None:
    connect = "import socket; socket.socket(socket.AF_UNIX).connect('/run/lunasched-start.socket')"
    done = system.machine.run(["python3", "-c", connect], user=user, check=False)
    assert "PermissionError" in done.stderr


def test_root_is_not_asked_with_its_capabilities(system: Attacked) -> None:
    found = json.loads(
        system.machine.exec(
            "systemd-analyze security --no-pager --json=short lunasched-start@x.service"
        ).stdout
    )
    capabilities = [one for one in found if one["name"].startswith("CapabilityBoundingSet")]
    assert capabilities
    assert all(one["set"] for one in capabilities)


def test_every_stop_succeeds(system: Attacked) -> None:
    flood = system.machine.popen(["python3", "-c", FLOOD], user=USER)
    try:
        for unit in UNITS[:2] + UNITS[2:6]:
            system.root(f"systemctl start --no-block {unit}")
            system.root(f"systemctl stop {unit}")
    finally:
        system.root("touch /tmp/enough")
        flood.communicate()
        system.root("rm /tmp/enough")


@pytest.mark.parametrize("verb", ["reboot", "poweroff"])
def test_the_machine_goes_down(system: Attacked, verb: str) -> None:
    """systemd's own bound, after which it forces the shutdown, is 30 minutes: this is before it."""
    machine = system.machine
    system.root("systemctl stop 'lunasched-job@*.service'")
    with system.take_over(CLINGING):
        # From here on nothing else starts jobs; the gate is open, and no Exclusive one runs.
        system.root("systemctl stop lunasched-job@exclusive.service")
        machine.wait_for("! test -e /run/lunasched-exclusive")
        for unit in ("depended", "plain"):
            assert ask(system, f"start lunasched-job@{unit}.service").startswith("0")
            machine.wait_for(
                f"systemctl show -p MainPID lunasched-job@{unit}.service | grep -v '=0$'"
            )
        flood = machine.popen(["python3", "-c", FLOOD], user=USER)
        machine.exec(["systemctl", verb], check=False)
        try:
            # With cgroup v1 systemd may not see a unit's end, and waits for DefaultTimeoutStopSec=.
            machine.wait_for(lambda: not machine.is_up(), 300, what=f"the end of a {verb}")
        except TimeoutError:
            print(machine.exec("systemctl list-jobs", check=False).stdout)
            raise
        flood.communicate()
        machine.kill()
        machine.start()
    assert Machine.attach(machine.name).is_up()
