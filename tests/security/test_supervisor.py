"""Somebody who has taken the supervisor over can do what is on the list, and nothing else.

The list is in lunasched-daemon(8), SECURITY: stop, start, delay or skip jobs that there are, lie in
the history, send messages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from attackers import SUITES, USER, Attacked, add, attacked

pytestmark = [pytest.mark.machine, pytest.mark.slow]

LOGIND = (
    "busctl --no-pager --allow-interactive-authorization=no call org.freedesktop.login1 "
    "/org/freedesktop/login1 org.freedesktop.login1.Manager"
)


@pytest.fixture(scope="module", params=SUITES)
def system(request: pytest.FixtureRequest) -> Iterator[Attacked]:
    """A machine with a job of root's, its supervisor running."""
    with attacked("supervisor", request.param) as found:
        add(found.machine, "told")
        yield found


def in_its_place(system: Attacked, *commands: str) -> dict[str, tuple[int, str]]:
    """Run shell commands within the supervisor's sandbox; exit status and output by command."""
    program = f"""
import json, os, socket, subprocess, sys
done = {{}}
for command in {commands!r}:
    one = subprocess.run(
        ["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=60, env=dict(os.environ, PATH="/usr/bin:/usr/sbin"),
    )
    done[command] = (one.returncode, one.stdout.decode(errors="replace"))
print("\\nDONE " + json.dumps(done), flush=True)
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.connect(os.environ["NOTIFY_SOCKET"])
notify.send(b"READY=1")
import signal
signal.pause()
"""
    with system.take_over(program):
        said = system.root(
            "journalctl -u lunasched.service --no-pager -o cat --all "
            "_SYSTEMD_INVOCATION_ID=$(systemctl show -P InvocationID lunasched.service)"
        ).stdout
    (found,) = re.findall(r"^DONE (.*)$", said, re.M)
    return {command: (status, text) for command, (status, text) in json.loads(found).items()}


OUT_OF_ITS_SANDBOX = (
    "loginctl enable-linger",
    f"loginctl enable-linger {USER}",
    f"{LOGIND} SetUserLinger ubb $(id -u) true false",
    f"{LOGIND} SetUserLinger ubb 1000 false false",
    f"XDG_RUNTIME_DIR=/run/user/$(id -u) systemd-run --user --wait touch /tmp/evil-{USER}",
    f"systemd-run --user --machine {USER}@ --wait touch /tmp/evil-{USER}",
    f"systemd-run --wait touch /tmp/evil-{USER}",
    f"systemd-run --scope touch /tmp/evil-{USER}",
    f"systemd-run --unit lunasched-job@evil touch /tmp/evil-{USER}",
    "systemctl start user@$(id -u).service",
    f"systemctl link /tmp/evil-{USER}.service",
    "systemctl daemon-reload",
    "systemctl set-environment BASH_ENV=/tmp/evil",
    "systemctl start lunasched-job@told.service",
    "systemctl stop lunasched-job@told.timer",
    "systemctl reset-failed lunasched-job@told.service",
    f"machinectl shell {USER}@",
    f"su -c 'touch /tmp/evil-{USER}' {USER}",
    f"setpriv --reuid 0 touch /tmp/evil-{USER}",
    f"unshare --user --map-root-user --mount mount -t tmpfs none /etc && touch /tmp/evil-{USER}",
)
DELAYS = (
    "systemd-inhibit --what=shutdown --mode=delay true",
    "systemd-inhibit --what=shutdown:sleep:idle --mode=block true",
    "systemd-inhibit --what=handle-power-key:handle-lid-switch --mode=block true",
    f"{LOGIND} ScheduleShutdown st reboot 99999999999999",
    f"{LOGIND} CancelScheduledShutdown",
    f"{LOGIND} PowerOff b false",
    f"{LOGIND} Reboot b false",
    f"{LOGIND} Suspend b false",
    f"{LOGIND} TerminateUser u 1000",
    f"{LOGIND} KillUser ui 1000 9",
    f"{LOGIND} SetWallMessage sb hello true",
)


def check_nothing_runs(system: Attacked) -> None:
    """Nothing with the supervisor's uid runs, or will run, outside of its services."""
    assert system.run(f"ls /var/lib/systemd/linger/{USER} /tmp/evil-{USER}").stdout == ""
    uid = system.root(f"id -u {USER}").stdout.strip()
    units = system.root("systemctl list-units --no-legend --plain --no-pager").stdout
    assert f"user@{uid}.service" not in units
    assert "evil" not in units
    environment = system.root("systemctl show-environment").stdout
    assert "BASH_ENV" not in environment


def test_it_does_not_leave_its_sandbox(system: Attacked) -> None:
    for command, (status, said) in in_its_place(system, *OUT_OF_ITS_SANDBOX).items():
        assert status != 0, (command, said)
    check_nothing_runs(system)


def test_nor_with_its_uid_alone(system: Attacked) -> None:
    """`unshare` has every user; what is in there is still that user."""
    for command in OUT_OF_ITS_SANDBOX[:-1]:
        assert system.run(f"{command} </dev/null").returncode != 0, command
    check_nothing_runs(system)


def test_it_neither_causes_nor_delays_a_shutdown(system: Attacked) -> None:
    system.root("shutdown -r +600")
    for command in DELAYS:
        assert system.run(f"{command} </dev/null").returncode != 0, command
    for command, (status, said) in in_its_place(system, *DELAYS).items():
        assert status != 0, (command, said)
    assert "shutdown" not in system.root("systemd-inhibit --list --no-legend --no-pager").stdout
    assert "reboot" in system.machine.read_file("/run/systemd/shutdown/scheduled")
    system.root("shutdown -c")


def test_polkit_lets_it_do_nothing(system: Attacked) -> None:
    """Every action that there is on the machine, with those that need no password of anybody."""
    loop = (
        "for one in $(pkaction); do pkcheck -a $one -p $$ >/dev/null 2>&1 && echo $one; done; true"
    )
    assert len(system.root("pkaction").stdout.split()) > 50
    assert system.run(loop, timeout=300).stdout == ""
    # The same of somebody else, lest the loop finds nothing at all.
    assert "login1" in system.machine.exec(loop, user="luna", timeout=300).stdout


def test_another_rule_that_permits_everything_comes_after_ours(system: Attacked) -> None:
    rule = "/etc/polkit-1/rules.d/49-all.rules"
    system.machine.write_file(rule, 'polkit.addRule(function() { return "yes"; });')
    system.root("systemctl restart polkit.service")
    assert system.run("systemctl start lunasched-job@told.service").returncode != 0
    assert system.machine.exec(["systemctl", "start", "lunasched-job@told.service"], user="luna")
    system.root(f"rm {rule}; systemctl restart polkit.service")


def test_its_user_has_no_home_and_no_shell(system: Attacked) -> None:
    entry = system.root(f"getent passwd {USER}").stdout.strip().split(":")
    assert entry[5:] == ["/nonexistent", "/usr/sbin/nologin"]
    assert system.run("mkdir -p /nonexistent").returncode != 0


def test_a_user_of_an_older_version_loses_its_home(system: Attacked) -> None:
    """While processes of it run: usermod(8) refuses that by itself."""
    system.root(
        f"systemctl stop lunasched.service; usermod --home /var/lib/lunasched {USER}; "
        f"systemctl start lunasched.service; touch /var/lib/systemd/linger/{USER}"
    )
    system.root("/opt/lunasched/packaging/maintain installed")
    test_its_user_has_no_home_and_no_shell(system)
    check_nothing_runs(system)
    assert system.root("systemctl is-active lunasched.service").stdout == "active\n"


EXPOSURE = {
    "lunasched.service": 1.5,
    "lunasched-history@.service": 1.5,
    "lunasched-start@.service": 1.0,
    "lunasched-sync.service": 1.5,
    "lunasched-over@.service": 1.5,
    "lunasched-crontabs.service": 1.6,
    "lunasched-crontabs-again@.service": 1.3,
}


def test_every_service_of_ours_is_sandboxed_and_bounded(system: Attacked) -> None:
    files = system.root(
        "ls /usr/local/lib/systemd/system/ | grep '^lunasched.*\\.service$'"
    ).stdout.split()
    assert sorted(files) == sorted(EXPOSURE)
    for unit, most in EXPOSURE.items():
        said = system.root(f"systemd-analyze security --no-pager {unit}").stdout
        found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
        assert found
        assert float(found[1]) <= most, said
        instance = unit.replace("@.", "@x.")
        shown = system.root(
            "systemctl show -p MemoryMax,TasksMax,TimeoutStopUSec,RuntimeMaxUSec,TimeoutStartUSec "
            f"{instance}"
        ).stdout
        for limit in ("MemoryMax", "TasksMax", "TimeoutStopUSec"):
            assert f"{limit}=infinity" not in shown, (unit, shown)
        if unit != "lunasched.service":
            # It answers somebody, or is waited for.
            assert shown.count("USec=infinity") < 2, (unit, shown)


def test_the_sync_works_in_its_sandbox(system: Attacked) -> None:
    machine = system.machine
    machine.run(
        "lunasched add --name nightly --schedule 'at 02:30' --run-as luna --catch-up --command true"
    )
    timer = "/etc/systemd/system/lunasched-job@nightly.timer"
    before = machine.read_file(timer)
    # The supervisor sees that and ends; what it has asked for before is done twice at most.
    system.root("ln -sf /usr/share/zoneinfo/Europe/Berlin /etc/localtime")
    system.root("systemctl start lunasched-sync.service")
    assert machine.read_file(timer) != before
    assert system.root("systemctl is-active lunasched-job@nightly.timer").stdout == "active\n"
    assert "as it should be" in machine.run(["lunasched", "sync"]).stdout
