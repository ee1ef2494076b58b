"""The virtual machine does what the other tests in here take for granted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from anymachine import PATIENCE, ProcessId
from machine import REPOSITORY
from vm import VirtualMachine, remove_leftovers, state_root
from vm_qemu import why_unavailable

pytestmark = [pytest.mark.vm, pytest.mark.slow]

OOM_MESSAGE = "fe6faa94e7774663a0da52717891d8ef"
EATER = ["/usr/bin/python3", "-c", "x = bytearray(200 << 20)"]
AUTUMN = datetime(2030, 10, 27, 1, 0, tzinfo=timezone.utc)
"""When summer time ends in Europe/Berlin: 03:00 becomes 02:00."""
SECOND = timedelta(seconds=1)


def test_boots_without_a_failed_unit_on_cgroup_v2(vm: VirtualMachine) -> None:
    assert vm.exec("systemctl list-units --state=failed --no-legend --plain").stdout == ""
    assert vm.exec("systemctl is-system-running", check=False).stdout == "running\n"
    assert vm.exec(["stat", "-fc", "%T", "/sys/fs/cgroup"]).stdout == "cgroup2fs\n"
    assert vm.run("systemctl --user is-system-running", user="luna").stdout == "running\n"
    assert vm.run("lunasched --version").stdout.startswith("lunasched ")


def test_source_tree_is_a_read_only_copy(vm: VirtualMachine) -> None:
    text = vm.read_file("/opt/lunasched/tests/vm/test_vm.py")
    assert text == Path(__file__).read_text()
    assert vm.run("touch /opt/lunasched/file", check=False).returncode != 0


def test_arguments_input_and_output_pass_unchanged(vm: VirtualMachine) -> None:
    awkward = "a $HOME ${HOME} $$ %n \\n 'q' \"d\" ;\té\n"
    for method in (vm.run, vm.exec):
        for user in (None, "luna"):
            assert method(["printf", "%s", awkward], user=user).stdout == awkward
            done = method("cat; echo $X >&2; exit 7", input=awkward, env={"X": "y z"}, check=False)
            assert (done.stdout, done.stderr, done.returncode) == (awkward, "y z\n", 7)
    large = "0123456789abcdef" * (1 << 16)
    assert vm.exec("cat", input=large).stdout == large
    with pytest.raises(subprocess.CalledProcessError):
        vm.exec("false")
    with pytest.raises(subprocess.TimeoutExpired):
        vm.exec("sleep 60", timeout=0.2)
    vm.write_file("/tmp/a b/c", "text\n", mode=0o600, owner="luna")
    assert vm.exec("cat '/tmp/a b/c'; stat -c '%a %U' '/tmp/a b/c'").stdout == "text\n600 luna\n"


@pytest.mark.long
def test_memory_limit_ends_in_an_oom_kill_that_the_journal_records(vm: VirtualMachine) -> None:
    limits = ["-p", "MemoryMax=30M", "-p", "MemorySwapMax=0"]
    vm.exec(["systemd-run", "-q", "--unit=eater", *limits, *EATER])
    vm.wait_for("systemctl is-failed --quiet eater")
    shown = vm.exec("systemctl show eater -p Result --value; systemctl reset-failed eater").stdout
    assert shown == "oom-kill\n"
    vm.exec("journalctl --sync")
    journal = "journalctl -b -o json _PID=1 UNIT=eater.service --all"
    records = [json.loads(line) for line in vm.exec(journal).stdout.splitlines()]
    assert [each["UNIT_RESULT"] for each in records if "UNIT_RESULT" in each] == ["oom-kill"]
    assert OOM_MESSAGE in [each.get("MESSAGE_ID") for each in records]
    vm.run(EATER)  # and it was the limit


def since(began: float) -> timedelta:
    """Somewhat more than what has passed since an instant of the monotonic clock."""
    return timedelta(seconds=1.1 * (time.monotonic() - began)) + SECOND


def test_clock_steps_stay_inside(vm: VirtualMachine) -> None:
    def difference() -> float:
        return time.time() - time.monotonic()

    host = difference()
    for clock in (AUTUMN, AUTUMN - timedelta(days=3000), AUTUMN + timedelta(hours=3)):
        began = time.monotonic()
        vm.set_clock(clock)
        # From there it goes on as the host's does, and not faster.
        assert timedelta(0) <= vm.now() - clock < since(began)
        shown = datetime.fromtimestamp(float(vm.exec("date +%s.%N").stdout), timezone.utc)
        assert timedelta(0) <= shown - clock < since(began)
        vm.exec("sleep 0.3", timeout=5)
    vm.step_clock(-timedelta(hours=4))
    assert timedelta(0) <= vm.now() - AUTUMN + timedelta(hours=1) < since(began)
    assert abs(difference() - host) < 60
    synchronised = vm.exec("timedatectl show -p NTP -p NTPSynchronized --value").stdout
    assert synchronised.split() == ["no", "no"]


@pytest.mark.long
def test_travel_passes_over_the_moments_alone(vm: VirtualMachine) -> None:
    vm.set_timezone("Europe/Berlin")
    assert vm.exec(["date", "--date", "2030-10-27 04:00", "+%Z"]).stdout == "CET\n"
    vm.set_clock(AUTUMN - timedelta(hours=2))
    # Both 02:30s of that night, and 03:30 once.
    vm.exec(
        "systemd-run -q --unit=night --timer-property=AccuracySec=1ms"
        " --on-calendar='*-*-* 03:30:00' --on-calendar='*-*-* 00:30:00 UTC'"
        " --on-calendar='*-*-* 01:30:00 UTC'"
        " -p StandardOutput=append:/root/night"
        """ sh -c 'date -d "$(TZ=UTC systemctl show -P LastTriggerUSec night.timer)" +%s'"""
    )
    moments = [AUTUMN + timedelta(minutes=each) for each in (-30, 30, 90)]
    began = time.monotonic()
    for number, moment in enumerate(moments, 1):
        vm.travel([moment])
        # What has not begun yet would be taken for late, once the next step has been made.
        vm.wait_for(f"[ $(wc -l </root/night) -ge {number} ]", what=f"the run at {moment}")
    # Two hours and more, of which most have not passed.
    assert time.monotonic() - began < (moments[-1] - moments[0]).total_seconds() / 2
    ran = [int(each) for each in vm.read_file("/root/night").split()]
    vm.exec("systemctl stop night.timer; rm /root/night")
    vm.set_timezone("Etc/UTC")
    assert len(ran) == 3
    for at, moment in zip(ran, moments, strict=True):
        assert 0 <= at - moment.timestamp() < 60
    with pytest.raises(ValueError, match="past"):
        vm.travel(moments)


@pytest.mark.long
def test_next_start_removes_what_a_killed_process_left() -> None:
    if reason := why_unavailable():
        pytest.skip(reason)
    prefix = f"killed{os.getpid()}"
    script = f"from vm import VirtualMachine; VirtualMachine.boot({prefix!r})"
    owner = subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY / "tests/support")
    try:
        end = time.monotonic() + 60 * PATIENCE
        qemu = None
        while not qemu:
            assert time.monotonic() < end
            time.sleep(0.05)
            for state in state_root().glob(f"{prefix}-*/state.json"):
                qemu = json.loads(state.read_text()).get("qemu")
    finally:
        owner.kill()
        owner.wait()
    assert ProcessId(*qemu).is_alive()
    remove_leftovers()
    assert not ProcessId(*qemu).is_alive()
    assert not list(state_root().glob(f"{prefix}-*"))
