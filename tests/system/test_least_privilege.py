"""What the supervisor's user, the readers of the history and everybody else can do, and cannot."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from installed import INSTALL, Lunasched, boot
from machine import Machine

pytestmark = pytest.mark.machine

JOBS = "/var/lib/lunasched/jobs.db"
DATABASE = "/var/lib/lunasched/history/history.db"
KEPT = "/var/lib/lunasched/history/kept"
MANAGER = (
    "busctl --no-pager call org.freedesktop.systemd1 /org/freedesktop/systemd1 "
    "org.freedesktop.systemd1.Manager"
)
SECRET = "hunter2-and-more"
VICTIM = "victim.service"
UNIT = """[Service]
ExecStart=/bin/sleep infinity
ExecReload=/bin/true
[Install]
WantedBy=multi-user.target
"""


@pytest.fixture(scope="module")
def guarded() -> Iterator[Machine]:
    """A machine with a job that has secrets, a victim, a reader, and nobody special."""
    with boot("guarded") as machine:
        machine.run(INSTALL)
        machine.write_file(f"/etc/systemd/system/{VICTIM}", UNIT)
        machine.run(
            f"systemctl daemon-reload; systemctl start {VICTIM}; useradd --uid 1001 reader; "
            "usermod --append --groups lunasched-history reader"
        )
        machine.write_file(
            "/etc/lunasched/config.yaml",
            f"notifications: {{email: {{smtp_server: localhost, smtp_password: {SECRET}}}}}\n",
            mode=0o640,
        )
        machine.write_file(
            "/etc/lunasched/jobs.d/jobs.yaml",
            "jobs: [{name: told, schedule: '@yearly', command: 'echo from-the-job', "
            "notification_config: {on_success: "
            f"[{{type: webhook, url: 'http://127.0.0.1:1/{SECRET}'}}]}}}}]\n",
            mode=0o600,
        )
        machine.run("chgrp lunasched /etc/lunasched/config.yaml; systemctl restart lunasched")
        machine.run(["lunasched", "apply"])
        command = Lunasched(machine)
        command("start", "told", "--wait")
        command.wait_for_runs("told", 1)
        yield machine


def tried(machine: Machine, command: str, user: str = "lunasched") -> str:
    """What a command that has to be refused says."""
    done = machine.run(f"{command} </dev/null", user=user, check=False)
    assert done.returncode != 0, command
    return done.stdout + done.stderr


# The supervisor's user


@pytest.mark.parametrize(
    "command",
    [
        f"systemctl start {VICTIM}",
        f"systemctl stop {VICTIM}",
        f"systemctl restart {VICTIM}",
        f"systemctl try-restart {VICTIM}",
        f"systemctl reload {VICTIM}",
        f"systemctl kill {VICTIM}",
        f"systemctl reset-failed {VICTIM}",
        f"systemctl freeze {VICTIM}",
        f"systemctl set-property {VICTIM} CPUWeight=1",
        f"systemctl enable {VICTIM}",
        f"systemctl mask {VICTIM}",
        "systemctl enable lunasched-job@told.timer",
        "systemctl mask --runtime lunasched-job@told.timer",
        "systemctl daemon-reload",
        "systemctl daemon-reexec",
        "systemctl set-environment A=b",
        "systemctl log-level debug",
        "systemctl isolate rescue.target",
        "systemctl reboot",
        "systemctl stop lunasched.service",
        "systemctl stop lunasched-sync.service",
        "systemctl kill lunasched-job@told.service",
        "systemctl set-property lunasched-job@told.service CPUWeight=1",
        "systemctl reload lunasched-job@told.service",
        "systemctl isolate lunasched-job@told.service",
        "systemctl start lunasched-job@told.socket",
        "systemctl start lunasched-job@told.mount",
        "systemctl start lunasched-jobs@told.service",
        "systemctl start xlunasched-job@told.service",
        f"systemctl start 'lunasched-job@/../{VICTIM}'",
        f"{MANAGER} StartUnit ss 'lunasched-job@x.service\n{VICTIM}' replace",
        f"{MANAGER} StartUnit ss '{VICTIM}#lunasched-job@x.service' replace",
        f"{MANAGER} StartUnitReplace sss {VICTIM} lunasched-job@told.service replace",
        f"{MANAGER} StopUnit ss {VICTIM} replace",
        f"{MANAGER} Reload",
        f"{MANAGER} KillUnit ssi {VICTIM} all 9",
        f"{MANAGER} SetUnitProperties 'sba(sv)' {VICTIM} true 1 CPUWeight t 1",
        f"{MANAGER} EnableUnitFiles asbb 1 {VICTIM} false true",
        f"{MANAGER} LinkUnitFiles asbb 1 /tmp/x.service true true",
        f"{MANAGER} AttachProcessesToUnit 'ssau' {VICTIM} '' 0",
        f"{MANAGER} SetEnvironment as 1 A=b",
        f"{MANAGER} StartTransientUnit 'ssa(sv)a(sa(sv))' lunasched-job@evil.service replace "
        "1 ExecStart 'a(sasb)' 1 /bin/sh 3 sh -c 'id >/tmp/evil' false 0",
        f"{MANAGER} StartTransientUnit 'ssa(sv)a(sa(sv))' lunasched-hook@evil.timer replace "
        f"2 OnActiveSec s 0 Unit s {VICTIM} 0",
        "systemd-run --unit lunasched-job@evil /bin/true",
        "pkexec /bin/true",
    ],
)
def test_the_supervisor_may_start_no_unit_but_lunascheds(guarded: Machine, command: str) -> None:
    if command.startswith("pkexec"):
        command = f"! command -v pkexec >/dev/null && exit 1; {command}"
    said = tried(guarded, command)
    assert not re.search(r"^(Warning: The unit file|Job for)", said, re.M), said
    assert guarded.run(["systemctl", "is-active", VICTIM]).stdout == "active\n"
    assert not guarded.run("ls /tmp/evil", check=False).stdout


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_a_transient_unit_by_the_name_of_a_job(suite: str) -> None:
    """systemd 257 asks polkit for it as for a start, 252 does not name the unit."""
    with Machine.boot("transient", suite=suite) as machine:
        machine.run(INSTALL)
        machine.run(["lunasched", "add", "--name", "told", "--schedule", "@yearly", "--", "true"])
        for options in ("", "--on-active=1h", "--timer-property=AccuracySec=1s --on-active=1s"):
            for unit in ("lunasched-job@evil", "lunasched-hook@evil", "lunasched-launch@told"):
                tried(machine, f"systemd-run --unit {unit} {options} /bin/touch /tmp/evil")
        tried(machine, "systemd-run --scope --unit lunasched-job@evil /bin/touch /tmp/evil")
        for command in ("start", "restart", "stop", "reset-failed"):
            tried(machine, f"systemctl {command} lunasched-job@told.service")
        found = machine.run(["lunasched", "doctor", "--json"], check=False).stdout
        (polkit,) = [one for one in json.loads(found)["findings"] if one["check"] == "polkit"]
        assert polkit["severity"] == "ok"


ASK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect("/run/lunasched-start.socket")
    connection.sendall(sys.argv[1].encode() + b"\\n")
    sys.exit(connection.recv(4096).partition(b" ")[0].decode() != "0")
"""


def test_the_supervisor_may_have_jobs_started(guarded: Machine) -> None:
    for request in (
        "start lunasched-job@told.service",
        "restart lunasched-job@told.timer",
        "start lunasched-sync.service",
    ):
        guarded.run(["python3", "-c", ASK, request], user="lunasched")


HANG_UP = """
import socket, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect("/run/lunasched-start.socket")
    connection.sendall(sys.argv[1].encode() + b"\\n")
"""


def test_a_supervisor_that_ends_before_the_answer_leaves_no_failure(guarded: Machine) -> None:
    """As where the host's zone changes: it asks for a sync, and begins anew."""
    ran = "journalctl -b -o cat -u lunasched-sync.service | grep -c Finished"
    before = guarded.exec(ran, check=False).stdout
    guarded.run(["python3", "-c", HANG_UP, "start lunasched-sync.service"], user="lunasched")
    guarded.wait_for(
        lambda: guarded.exec(ran, check=False).stdout != before, what="what it asked for"
    )
    guarded.wait_for("! systemctl list-units --no-legend 'lunasched-start@*' | grep .")
    guarded.exec("journalctl --sync")
    failed = "journalctl -b -o cat -u 'lunasched-start@*' | grep -i fail"
    assert guarded.exec(failed, check=False).stdout == ""


@pytest.mark.parametrize(
    "path",
    [
        "/etc/systemd/system/x.service",
        "/etc/systemd/system/lunasched-job@x.service",
        "/run/systemd/system/lunasched-job@x.service",
        "/etc/lunasched/config.yaml",
        "/etc/lunasched/jobs.d/x.yaml",
        "/var/lib/lunasched/slots/x",
        "/etc/cron.d/x",
    ],
)
def test_the_supervisor_writes_nothing_that_root_runs(guarded: Machine, path: str) -> None:
    assert "denied" in tried(guarded, f"sh -c 'mkdir -p $(dirname {path}); echo x >>{path}'")


def test_definitions_cannot_be_written_by_the_supervisor(guarded: Machine) -> None:
    """The way to root of whoever takes the supervisor over would be the next sync."""
    forge = "UPDATE jobs SET definition = replace(definition, 'echo from-the-job', 'touch /owned')"
    said = tried(guarded, f'sqlite3 {JOBS} "{forge}"')
    assert re.search("readonly|unable to open", said), said
    for command in (
        f"mv {JOBS} {JOBS}.old",
        f"touch {JOBS}-journal {JOBS}-wal",
        "mv /var/lib/lunasched/history /var/lib/lunasched/other",
        "rm -rf /var/lib/lunasched/slots",
        f"sh -c ': >>{JOBS}.deploy-lock'",
        f"sh -c ': <{JOBS}.deploy-lock'",
        f"sh -c 'printf + >>{JOBS}.deploy-lock.word'",
    ):
        tried(guarded, command)
    guarded.run("systemctl start lunasched-sync.service")
    assert "Everything is as it should be" in guarded.run(["lunasched", "sync"]).stdout


def test_what_was_written_into_the_history_is_not_run_by_root(guarded: Machine) -> None:
    """Nor taken for jobs, whatever tables it has."""
    guarded.run("systemctl stop lunasched.service")
    asked = ["sqlite3", DATABASE, "PRAGMA user_version"]
    version = guarded.run(asked, user="lunasched").stdout.strip()
    forge = (
        "CREATE TABLE jobs (name TEXT, definition TEXT, created_at INTEGER, updated_at INTEGER);"
        'INSERT INTO jobs VALUES (\'new\', \'{"name": "new", "schedule": "every 1s", '
        '"command": "touch /owned"}\', 1, 1); PRAGMA user_version = 6'
    )
    guarded.run(["sqlite3", DATABASE, forge], user="lunasched")
    for command in ("list", "sync", "doctor", "history", "start told"):
        guarded.run(f"lunasched {command}", check=False)
    guarded.run("systemctl start lunasched-sync.service")
    assert "nothing to take over" in guarded.run(["lunasched", "migrate"]).stdout
    assert "new" not in guarded.run(["lunasched", "list", "--names"]).stdout
    assert not guarded.run("ls /owned /etc/systemd/system/lunasched-job@new*", check=False).stdout
    undo = f"DROP TABLE jobs; PRAGMA user_version = {version}"
    guarded.run(["sqlite3", DATABASE, undo], user="lunasched")
    guarded.run("systemctl start lunasched.service")
    assert json.loads(guarded.run(["lunasched", "doctor", "--json"]).stdout)["errors"] == 0


def test_no_link_leads_root_elsewhere(guarded: Machine) -> None:
    guarded.run("systemctl stop lunasched.service")
    guarded.run(
        f"mkdir {KEPT}; mv {DATABASE}* {KEPT}; ln -s /etc/nologin {DATABASE}; "
        f"ln -s /etc/cron.d/x {DATABASE}-wal",
        user="lunasched",
    )
    guarded.run(["lunasched", "disable", "told"])
    guarded.run(["lunasched", "enable", "told"])
    assert guarded.run(["lunasched", "history"], check=False).returncode != 0
    assert not guarded.run("ls /etc/nologin /etc/cron.d/x", check=False).stdout
    guarded.run(
        f"rm {DATABASE} {DATABASE}-wal; mv {DATABASE}.kept {DATABASE}",
        user="lunasched",
        check=False,
    )
    guarded.run("systemctl start lunasched.service")


@pytest.mark.parametrize("unit", ["lunasched.service", "lunasched-history@.service"])
def test_exposure(guarded: Machine, unit: str) -> None:
    said = guarded.run(f"systemd-analyze security --no-pager {unit}").stdout
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert found
    assert float(found[1]) <= 1.5, said


# Everybody else


@pytest.mark.parametrize("user", ["nobody", "luna", "reader"])
def test_no_file_tells_secrets(guarded: Machine, user: str) -> None:
    """Everything that a user can read on the whole machine."""
    # The command itself is in a unit file, too.
    secret = f"{SECRET[:5]}''{SECRET[5:]}"
    walk = (
        "find / -xdev \\( -path /proc -o -path /sys -o -path /usr -o -path /opt \\) -prune -o "
        f"-type f -readable -print0 2>/dev/null | xargs -0r grep -l {secret} 2>/dev/null; "
        f"grep -rl {secret} /run /tmp /dev/shm 2>/dev/null; true"
    )
    assert guarded.run(walk, user=user, timeout=300).stdout == ""
    for path in (JOBS, DATABASE, "/etc/lunasched/config.yaml", "/etc/lunasched/jobs.d/jobs.yaml"):
        assert "denied" in tried(guarded, f"cat {path}", user)
    assert "denied" in tried(guarded, "ls /var/lib/lunasched/history", user)


@pytest.mark.parametrize("user", ["nobody", "luna", "reader"])
def test_no_interface_tells_secrets(guarded: Machine, user: str) -> None:
    for command in (
        "systemctl show '*'",
        "systemctl cat 'lunasched*'",
        "journalctl --no-pager",
        "ps axeww",
        "lunasched --system list",
        "lunasched --system get told",
        "lunasched --system get told --json",
        "lunasched --system doctor --json",
    ):
        done = guarded.run(command, user=user, check=False)
        assert SECRET not in done.stdout + done.stderr, command


@pytest.mark.parametrize("user", ["nobody", "luna"])
@pytest.mark.parametrize("command", ["list", "get told", "history", "logs told", "queue"])
def test_others_do_not_read_the_history(guarded: Machine, user: str, command: str) -> None:
    said = tried(guarded, f"lunasched --system {command}", user)
    assert "lunasched-history" in said
    assert "from-the-job" not in said


@pytest.mark.parametrize(
    "command",
    [
        "start told",
        "stop told",
        "remove told",
        "disable told",
        "sync",
        "vacuum",
        "add --name x --schedule @daily -- true",
        "export-config",
        "retry cancel told",
    ],
)
@pytest.mark.parametrize("user", ["luna", "reader"])
def test_only_root_changes_anything(guarded: Machine, user: str, command: str) -> None:
    before = guarded.run("lunasched list --json; ls -l /etc/systemd/system").stdout
    done = guarded.run(f"lunasched --system {command}", user=user, check=False)
    assert done.returncode == 4
    assert "root" in done.stderr
    assert guarded.run("lunasched list --json; ls -l /etc/systemd/system").stdout == before


def test_what_everybody_can_see(guarded: Machine) -> None:
    """lunasched-concepts(7), "SECURITY", lists it."""
    shown = guarded.run(["systemctl", "cat", "lunasched-job@told.service"], user="nobody").stdout
    assert "from-the-job" in shown
    guarded.run(["systemctl", "list-timers", "lunasched-job@told.timer"], user="nobody")
    assert (
        "from-the-job"
        not in guarded.run(
            "journalctl --no-pager -u lunasched-job@told", user="nobody", check=False
        ).stdout
    )
    guarded.run("ls /run/lunasched /var/lib/lunasched/slots", user="nobody")


# Readers


def test_readers_see_what_root_sees(guarded: Machine) -> None:
    for command in (
        "list", "list --json", "get told", "get told --json", "history", "history told --json",
        "logs told", "graph", "queue --json",
    ):  # fmt: skip
        as_root = guarded.run(f"lunasched --system {command}").stdout
        done = guarded.run(f"lunasched --system {command}", user="reader")
        assert done.stdout == as_root
    assert "from-the-job" in guarded.run("lunasched --system logs told", user="reader").stdout
    assert guarded.run("lunasched --system next", user="reader", check=False).returncode == 0


def test_readers_see_errors_and_exit_codes(guarded: Machine) -> None:
    done = guarded.run(["lunasched", "--system", "get", "nothing"], user="reader", check=False)
    assert done.returncode == 3
    assert "there is no job 'nothing'" in done.stderr


def test_readers_read_without_the_supervisor(guarded: Machine) -> None:
    guarded.run("systemctl stop lunasched.service")
    listed = guarded.run(["lunasched", "--system", "list"], user="reader")
    assert "told" in listed.stdout
    assert "the supervisor is not running" in listed.stderr
    guarded.run("systemctl start lunasched.service")


def test_the_time_zone_of_a_reader_counts(guarded: Machine) -> None:
    shown = guarded.run(
        ["lunasched", "--system", "list"], user="reader", env={"TZ": "Asia/Tokyo"}
    ).stdout
    assert "+0900" in shown


def test_what_a_reader_follows_ends_with_them(guarded: Machine) -> None:
    following = guarded.popen(["lunasched", "--system", "logs", "told", "--follow"], user="reader")
    running = "pgrep -u lunasched journalctl"
    guarded.wait_for(running, what="journalctl")
    guarded.run("pkill -KILL -u reader")
    guarded.wait_for(f"! {running}", what="its end")
    following.communicate()


FORGE = """
import json, socket, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect("/run/lunasched-history.socket")
    request = json.dumps({"arguments": sys.argv[1:], "environment": {"TZ": "/etc/shadow"}})
    socket.send_fds(connection, [request.encode() + b"\\n"], [1, 2])
    print("status", connection.recv(16).decode(), flush=True)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--system", "export-config", "--output", "/var/lib/lunasched/x"],
        ["--system", "sync"],
        ["--system", "get", "told", "--show-secrets"],
        ["--user", "list"],
        ["list"],
        ["--system", "serve-reader", "list"],
        ["--system", "vacuum"],
        [],
    ],
)
def test_no_other_command_gets_through_the_socket(guarded: Machine, arguments: list[str]) -> None:
    done = guarded.run(["python3", "-c", FORGE, *arguments], user="reader", check=False)
    assert "status 4" in done.stdout
    assert SECRET not in done.stdout + done.stderr
    refused = guarded.run(["python3", "-c", FORGE, *arguments], user="luna", check=False)
    assert "PermissionError" in refused.stderr


def test_nonsense_on_the_socket_does_no_harm(guarded: Machine) -> None:
    send = (
        "import socket; c = socket.socket(socket.AF_UNIX); "
        "c.connect('/run/lunasched-history.socket'); c.sendall(b'[1, 2\\n'); print(c.recv(9))"
    )
    assert "status" not in guarded.run(["python3", "-c", send], user="reader").stdout
    assert "told" in guarded.run(["lunasched", "--system", "list"], user="reader").stdout
