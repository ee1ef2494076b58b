"""The test machine does what the other tests take for granted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from machine import REPOSITORY, STATE_ROOT, Machine, cgroups_of, is_cgroup_v2

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.machine

EATER = ["/usr/bin/python3", "-c", "x = bytearray(200 << 20)"]
SPINNER = ["sh", "-c", "while :; do :; done"]


@pytest.fixture
def own() -> Iterator[Machine]:
    """A machine that the test has to itself."""
    with Machine.boot("own") as booted:
        yield booted


def test_boots_without_a_failed_unit(own: Machine) -> None:
    assert own.exec(["systemctl", "is-system-running"]).stdout == "running\n"
    assert own.run("cat /etc/debian_version").stdout.startswith("12")


def test_has_debians_versions_of_the_dependencies(machine: Machine) -> None:
    machine.run(
        ["python3", "-c", "import croniter, gi, jinja2, pydbus, requests, systemd.journal, typer"]
    )


def test_memory_limit_kills(machine: Machine) -> None:
    limits = ["-p", "MemoryMax=30M", "-p", "MemorySwapMax=0"]
    machine.exec(["systemd-run", "-q", "--unit=eater", *limits, *EATER])
    machine.wait_for("! systemctl is-active --quiet eater")
    shown = machine.exec("systemctl show eater -p Result -p ExecMainStatus").stdout
    machine.exec("systemctl reset-failed eater")
    # systemd learns from memory.events that it was the kernel; cgroup v1 has no such file.
    result = "oom-kill" if is_cgroup_v2() else "signal"
    assert sorted(shown.split()) == ["ExecMainStatus=9", f"Result={result}"]
    machine.run(EATER)  # and it was the limit


def test_cpu_quota_is_enforced(machine: Machine) -> None:
    """A measurement, not a promise of speed: the ratio is systemd's to keep under any load."""
    machine.exec(["systemd-run", "-q", "--unit=spin", "-p", "CPUQuota=20%", *SPINNER])
    pid = machine.exec("systemctl show spin -p MainPID --value").stdout.strip()

    def ticks() -> int:
        fields = machine.read_file(f"/proc/{pid}/stat").rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    began, before = time.monotonic(), ticks()
    enough = os.sysconf("SC_CLK_TCK") // 3
    machine.wait_for(lambda: ticks() > before + enough, what="a third of a second of the processor")
    # All of that time is between the two looks at the clock, however late they are.
    used, elapsed = ticks() - before, time.monotonic() - began
    machine.exec("systemctl stop spin")
    assert used / os.sysconf("SC_CLK_TCK") < 0.35 * elapsed


def test_ordinary_user_has_a_manager_and_their_own_journal(own: Machine) -> None:
    machine = own
    state = machine.run("systemctl --user is-system-running", user="luna").stdout
    assert state == "running\n"
    # It stays alive: journald asks /proc which user unit a line is from, and of a process that
    # ended meanwhile it does not learn it.
    script = "echo to the journal; exec sleep 60"
    machine.run(["systemd-run", "--user", "-q", "--unit=mine", "sh", "-c", script], user="luna")
    machine.wait_for(
        "journalctl --user -u mine -o cat | grep -qx 'to the journal'", user="luna", timeout=10
    )
    machine.run("systemctl --user stop mine", user="luna")


def test_arguments_input_and_output_pass_unchanged(machine: Machine) -> None:
    awkward = "a $HOME ${HOME} $$ %n \\n 'q' \"d\" ;\té\n"
    for method in (machine.run, machine.exec):
        for user in (None, "luna"):
            done = method(["printf", "%s", awkward], user=user)
            assert done.stdout == awkward
            done = method("cat; echo $X >&2; exit 7", input=awkward, env={"X": "y z"}, check=False)
            assert (done.stdout, done.stderr, done.returncode) == (awkward, "y z\n", 7)
    raw = bytes(range(256)) * 300
    assert machine.run_bytes("cat", input=raw).stdout == raw
    with pytest.raises(subprocess.CalledProcessError):
        machine.run("false")


def test_files_are_written_read_and_copied(machine: Machine, tmp_path: Path) -> None:
    machine.write_file("/tmp/a b/c", "text\n", mode=0o600, owner="luna")
    assert machine.read_file("/tmp/a b/c") == "text\n"
    assert machine.run("stat -c '%a %U %G' '/tmp/a b/c'").stdout == "600 luna luna\n"
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "file").write_text("copied")
    machine.copy(tmp_path, "/srv/copy")
    assert machine.read_file("/srv/copy/below/file") == "copied"


def test_cannot_set_the_hosts_clock(machine: Machine) -> None:
    # To the time that it is: no harm is done if this should ever be allowed.
    setting = 'date --set="@$(date +%s.%N)"'
    assert machine.run(setting, check=False).returncode != 0
    assert machine.exec(setting, check=False).returncode != 0


def test_sees_the_source_tree_and_cannot_write_it(machine: Machine) -> None:
    assert "def main" in machine.read_file("/opt/lunasched/tests/support/machine.py")
    assert machine.run("touch /opt/lunasched/file", check=False).returncode != 0


def test_files_survive_a_reboot_and_a_power_cut(own: Machine) -> None:
    own.write_file("/etc/kept", "kept\n")

    def power_cut() -> None:
        own.kill()
        own.start()

    boot_ids = [own.read_file("/proc/sys/kernel/random/boot_id")]
    for restart in (own.reboot, power_cut):
        restart()
        assert own.read_file("/etc/kept") == "kept\n"
        boot_ids.append(own.read_file("/proc/sys/kernel/random/boot_id"))
        # A limit still holds, and so does the user's manager.
        assert own.run(EATER).returncode == 0
        limited = ["systemd-run", "-q", "--wait", "-p", "MemoryMax=30M", *EATER]
        assert own.exec(limited, check=False).returncode != 0
        own.run("systemctl --user is-system-running", user="luna")
    assert len(set(boot_ids)) == 3
    listed = own.run("journalctl --list-boots").stdout
    assert all(each.strip().replace("-", "") in listed for each in boot_ids)


def test_two_machines_do_not_share_the_limits_of_a_unit(machine: Machine, own: Machine) -> None:
    assert machine.name != own.name
    for each, limit in ((machine, "30M"), (own, "infinity")):
        each.exec(["systemd-run", "-q", "--unit=same", "-p", f"MemoryMax={limit}", "sleep", "60"])
    try:
        limits = [each.exec("systemctl show same -p MemoryMax").stdout for each in (machine, own)]
        assert limits == [f"MemoryMax={30 << 20}\n", "MemoryMax=infinity\n"]
        own.exec(["systemctl", "stop", "same"])
        assert machine.exec(["systemctl", "is-active", "same"]).stdout == "active\n"
    finally:
        machine.exec(["systemctl", "stop", "same"])


def test_next_start_removes_what_a_killed_process_left() -> None:
    script = (
        "import sys, time; from machine import Machine\n"
        "print(Machine.boot('killed').name, flush=True); time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=REPOSITORY / "tests/support",
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    name = process.stdout.readline().strip()
    left = Machine.attach(name)
    assert left.is_up()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert left.is_up()

    with Machine.boot("next"):
        assert not left.is_up()
        assert not (STATE_ROOT / name).exists()
        assert name not in Path("/proc/self/mountinfo").read_text()
        assert not any(cgroup.exists() for cgroup in cgroups_of(name))
