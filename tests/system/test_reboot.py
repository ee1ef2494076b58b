"""What the supervisor still has to do outlives the machine's boot."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from installed import INSTALL, Lunasched, boot

pytestmark = pytest.mark.machine


@pytest.fixture(scope="module")
def luna() -> Iterator[Lunasched]:
    """A machine of its own, which may be rebooted."""
    with boot("reboot") as machine:
        machine.run(INSTALL)
        yield Lunasched(machine)


def test_a_retry_and_a_hook_survive_a_reboot(luna: Lunasched) -> None:
    delay = 8 + 8 * luna.pace()
    luna(
        *("add", "--name", "again", "--schedule", "every 1d", "--max-retries", "1"),
        *("--retry-delay", f"{delay:.1f}", "--command", "exit 3"),
        *("--on-failure", "echo $LUNASCHED_ATTEMPT >> /var/tmp/hooked"),
    )
    luna("start", "again", "--wait", check=False)
    luna.machine.wait_for(lambda: bool(luna.json("queue")), 10, what="the retry")
    (pending,) = luna.json("queue")
    luna.machine.reboot()
    assert luna.json("queue") in ([pending], [])
    second, first = luna.wait_for_runs("again", 2, timeout=60)
    assert (first["attempt"], second["attempt"]) == (1, 2)
    assert second["first_attempt_id"] == first["execution_id"]
    assert second["started_at"] >= pending["due_at"]
    luna.machine.wait_for("[ -s /var/tmp/hooked ]", 20, what="the hook")
    luna.machine.exec("sleep 3")
    assert luna.machine.exec("cat /var/tmp/hooked").stdout == "2\n"
    assert len(luna.history("again")) == 2


# Up when the run waits for it, and not before.
SLOW_MOUNT = """
[Unit]
DefaultDependencies=no
Before=remote-fs.target
[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutStartSec=120
ExecStart=/bin/sh -c 'until systemctl list-jobs --no-legend | grep -q job@mounted.service; do \
    sleep 0.1; done; touch /run/mounted'
[Install]
WantedBy=remote-fs.target
"""


def test_at_boot_a_job_waits_for_what_cron_waits_for(luna: Lunasched) -> None:
    luna.machine.write_file("/etc/systemd/system/slow-mount.service", SLOW_MOUNT)
    luna.machine.run("systemctl daemon-reload; systemctl enable slow-mount.service")
    luna("add", "--name", "mounted", "--schedule", "@reboot", "--command", "test -e /run/mounted")
    luna.machine.reboot()
    (run,) = luna.wait_for_runs("mounted", 1, timeout=60)
    assert run["result"] == "success"


def test_what_was_to_run_once_while_the_machine_was_off(luna: Lunasched) -> None:
    delay = int(6 + 8 * luna.pace())
    luna("at", f"now + {delay}s", "--name", "missed", "--", "touch", "/var/tmp/missed")
    luna.machine.kill()
    # Its time passes, which nobody can tell of a machine that is off; a start 5 s later is on time.
    time.sleep(delay + 8)
    luna.machine.start()
    (run,) = luna.wait_for_runs("missed", 1, timeout=60)
    assert (run["trigger"], run["result"]) == ("catch-up", "success")
    luna.machine.wait_for(
        lambda: "missed" not in luna("list", "--names").stdout.split(), what="it to be removed"
    )
    assert luna.machine.exec("test -e /var/tmp/missed").returncode == 0
    assert len(luna.history("missed")) == 1
