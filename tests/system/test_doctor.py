"""Real machines broken in the ways that the doctor knows: found, and gone after what it says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import debian_crontabs
import pytest
from installed import INSTALL, Lunasched, boot
from machine import Machine

pytestmark = pytest.mark.machine

UNITS = "/etc/systemd/system"
SETTINGS = "/etc/lunasched/config.yaml"
JOBS = "/var/lib/lunasched/jobs.db"
DATABASE = "/var/lib/lunasched/history/history.db"
WRONG = ("warning", "error")


@pytest.fixture(scope="module")
def machine_to_break() -> Iterator[Machine]:
    """A machine of its own: what is broken here would not be the same for other tests."""
    with boot("doctor") as machine:
        machine.run(INSTALL)
        yield machine


class Patient(Lunasched):
    """The commands of that machine, and its doctor."""

    def findings(self, check: str) -> list[dict[str, Any]]:
        """What a check says that is not well."""
        printed = self("doctor", "--json", check=False).stdout
        return [
            one
            for one in json.loads(printed)["findings"]
            if one["check"] == check and one["severity"] in WRONG
        ]

    def found(self, check: str, text: str) -> dict[str, Any] | None:
        """The finding of a check with a text in it."""
        matching = [one for one in self.findings(check) if text in one["what"]]
        return matching[0] if matching else None

    def fixes(self, check: str, text: str) -> dict[str, Any]:
        """It is found; the commands that it names are run, word for word; then it is not found."""
        seen: list[dict[str, Any]] = []

        def is_found() -> bool:
            finding = self.found(check, text)
            seen[:] = [finding] if finding is not None else []
            return finding is not None

        try:
            self.machine.wait_for(is_found, what=f"{check}: {text}", interval=0.3)
        except TimeoutError:
            # Somebody may have fixed it before: who was it, and what is there?
            there = f"ls -la --time-style=full-iso {UNITS}"
            said = "journalctl -n 500 --no-pager -o short-precise | grep -v 'run-u[0-9]*.service'"
            print(self.machine.run(f"{there}; {said}").stdout)
            raise
        (finding,) = seen
        assert finding["fix"]
        for command in finding["fix"]:
            # One that asks is told yes.
            typed = f"echo y | {command}" if " --fix " in command else command
            self.machine.run(typed, user=None if finding["as_root"] else self.user)
        self.machine.wait_for(lambda: not is_found(), what=f"fixed {check}: {text}", interval=0.3)
        return finding

    def job(self, *options: str, schedule: str = "@daily") -> str:
        """Add a job; the name of its timer."""
        self("add", "--name", self.name, "--schedule", schedule, *options, "--command", "true")
        return f"lunasched-job@{self.name}.timer"


@pytest.fixture
def patient(machine_to_break: Machine) -> Iterator[Patient]:
    """The system's jobs on that machine, with everything in order."""
    command = Patient(machine_to_break)
    yield command
    machine_to_break.run("systemctl reset-failed; systemctl start lunasched.service")
    command.remove_all()
    assert errors(command) == []


@pytest.fixture
def own_patient(machine_to_break: Machine) -> Iterator[Patient]:
    """The same of the ordinary user."""
    machine_to_break.run(
        "systemctl --user daemon-reload; systemctl --user enable --now lunasched", user="luna"
    )
    command = Patient(machine_to_break, "luna")
    yield command
    command.remove_all()
    assert errors(command) == []


def errors(patient: Patient) -> list[dict[str, Any]]:
    printed = json.loads(patient("doctor", "--json", check=False).stdout)
    return [one for one in printed["findings"] if one["severity"] == "error"]


def test_a_machine_in_order(patient: Patient) -> None:
    patient.job()
    done = patient("doctor", "--verbose")
    assert done.stdout.splitlines()[-1].startswith("0 errors, ")
    assert "ok       supervisor: " in done.stdout
    assert "ok       " not in patient("doctor").stdout


def test_nothing_is_changed(patient: Patient) -> None:
    timer = patient.job()
    patient.machine.run(f"systemctl stop lunasched.service {timer}; rm {UNITS}/{timer}")
    state = (
        "find /etc /var/lib /run/lunasched -xdev -printf '%p %m %u %s %T@\\n' | sort; "
        f"sha256sum {JOBS} {DATABASE}"
    )
    before = patient.machine.run(state).stdout
    assert patient("doctor", check=False).returncode == 1
    assert patient.machine.run(state).stdout == before
    assert patient.found("units", "missing")
    patient("sync")


# The supervisor


def test_a_stopped_supervisor(patient: Patient) -> None:
    patient.job()
    patient.machine.run("systemctl disable --now lunasched.service")
    assert patient.fixes("supervisor", "does not run")["severity"] == "error"
    assert patient.found("supervisor", "") is None


def test_a_supervisor_that_will_not_start_at_boot(patient: Patient) -> None:
    patient.machine.run("systemctl disable lunasched.service")
    patient.fixes("supervisor", "will not start after the next boot")


def test_a_masked_supervisor(patient: Patient) -> None:
    patient.machine.run("systemctl disable --now lunasched.service")
    patient.machine.run("systemctl mask lunasched.service")
    patient.fixes("supervisor", "masked")


def test_a_supervisor_that_hangs(patient: Patient) -> None:
    patient.job()
    patient.machine.run("systemctl kill --signal=STOP lunasched.service")
    patient.machine.run(["systemctl", "start", f"lunasched-job@{patient.name}.service"])
    patient.machine.wait_for(
        lambda: patient.found("recording", "are not recorded") is not None, 120, interval=2
    )
    patient.fixes("recording", "are not recorded")
    patient.wait_for_runs(patient.name, 1)


# The journal


def journald(patient: Patient, settings: str) -> None:
    conf = "/etc/systemd/journald.conf.d/zz-broken.conf"
    patient.machine.write_file(conf, f"[Journal]\n{settings}\n")
    patient.machine.run("systemctl restart systemd-journald.service")


@pytest.fixture
def journald_restored(machine_to_break: Machine) -> Iterator[None]:
    yield
    machine_to_break.run(
        "rm -f /etc/systemd/journald.conf.d/zz-*; systemctl restart systemd-journald.service"
    )


@pytest.mark.usefixtures("journald_restored")
@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ("Storage=volatile", "does not outlive a reboot"),
        ("Storage=none", "stores nothing"),
        ("SystemMaxUse=16M", "limited to 16 MiB"),
    ],
)
def test_a_journal_that_forgets(patient: Patient, settings: str, text: str) -> None:
    journald(patient, settings)
    patient.fixes("journal", text)
    patient.job()
    patient("start", patient.name, "--wait")
    patient.wait_for_runs(patient.name, 1)


@pytest.mark.usefixtures("journald_restored")
def test_a_user_reads_no_journal_but_a_persistent_one(own_patient: Patient) -> None:
    journald(own_patient, "Storage=volatile")
    own_patient.machine.run("mv /var/log/journal /var/log/journal.old")
    finding = own_patient.fixes("journal", "does not outlive a reboot")
    assert finding["severity"] == "error"
    own_patient.machine.run("rm -r /var/log/journal.old")


# Units and timers


def test_a_unit_file_that_is_missing(patient: Patient) -> None:
    patient.job()
    patient.machine.run(f"rm '{UNITS}/lunasched-job@{patient.name}.service'")
    patient.fixes("units", "missing")


def test_a_unit_file_that_was_edited(patient: Patient) -> None:
    patient.job()
    patient.machine.run(f"echo Nice=5 >>'{UNITS}/lunasched-job@{patient.name}.service'")
    patient.fixes("units", "not what lunasched makes")


def test_a_file_of_somebody_else_in_the_place_of_one(patient: Patient) -> None:
    timer = patient.job()
    patient.machine.run(f"ln -sf /dev/null {UNITS}/{timer}; systemctl daemon-reload")
    patient.fixes("units", "stands where")
    assert patient.found("timers", "") is None
    patient.machine.run(f"rm {UNITS}/{timer}.saved")


def test_a_timer_that_is_not_started_at_boot(patient: Patient) -> None:
    timer = patient.job()
    patient.machine.run(f"rm {UNITS}/timers.target.wants/{timer}")
    patient.fixes("units", "started at boot")


def test_the_gates_drop_in(patient: Patient) -> None:
    patient.job("--execution-mode", "Exclusive")
    patient.machine.run(f"rm -r {UNITS}/lunasched-job@.service.d")
    patient.fixes("units", "gate")


def test_a_unit_that_systemd_has_not_read(patient: Patient) -> None:
    timer = patient.job()
    patient.machine.write_file(f"{UNITS}/{timer}.d/x.conf", "[Timer]\nAccuracySec=1s\n")
    # At once: nothing else may have made systemd look at its unit directories before.
    assert patient.found("units", "older version")
    patient.fixes("units", "older version")
    patient.machine.run(f"rm -r {UNITS}/{timer}.d; systemctl daemon-reload")


def test_a_stopped_timer(patient: Patient) -> None:
    timer = patient.job()
    patient.machine.run(["systemctl", "stop", timer])
    patient.fixes("timers", "do not run")


def test_a_timer_that_never_elapses(patient: Patient) -> None:
    timer = patient.job()
    drop_in = f"{UNITS}/{timer}.d/past.conf"
    patient.machine.write_file(drop_in, "[Timer]\nOnCalendar=\nOnCalendar=2001-01-01\n")
    patient.machine.run(
        f"systemctl daemon-reload; systemctl restart {timer}; rm -r {UNITS}/{timer}.d"
    )
    patient.fixes("timers", "never elapse again")


def test_units_without_a_job(patient: Patient) -> None:
    timer = patient.job()
    copy = (
        f"for end in timer service; do cp {UNITS}/lunasched-job@{patient.name}.$end "
        f"{UNITS}/lunasched-job@ghost.$end; done"
    )
    patient.machine.run(copy)
    patient.fixes("orphans", "ghost")
    ghost = timer.replace(patient.name, "ghost")
    patient.machine.run(f"{copy}; systemctl start {ghost}; rm {UNITS}/lunasched-job@ghost.*")
    patient.fixes("orphans", f"timers run that belong to no job: {ghost}")


def test_units_without_any_job(patient: Patient) -> None:
    timer = patient.job()
    patient.machine.run(f"cp {UNITS}/{timer} /root/")
    patient("remove", patient.name)
    patient.machine.run(f"cp /root/{timer} {UNITS}/")
    found = patient.found("orphans", "there are no jobs")
    assert found is not None
    assert found["fix"] == []
    lost = patient("list", check=False)
    assert (lost.returncode, lost.stdout) == (1, "")
    assert "has no jobs, but 1 unit files of jobs are deployed" in lost.stderr
    assert patient("list", "--json", check=False).returncode == 1
    patient("sync", "--allow-empty")
    assert patient("list").returncode == 0
    assert patient.found("orphans", "there are no jobs") is None


def test_a_user_that_is_gone(patient: Patient) -> None:
    patient.machine.run("useradd gone")
    patient.job("--run-as", "gone")
    patient.machine.run("userdel gone")
    found = patient.found("users", f"job '{patient.name}': user: there is no user 'gone'")
    assert found is not None
    assert found["fix"] == [f"lunasched --system edit {patient.name}"]
    editor = {"EDITOR": "sed -i s/gone/root/"}
    patient.machine.run(f"{found['fix'][0]}", env=editor)
    assert patient.found("users", "") is None


def test_a_program_that_is_not_executable(patient: Patient) -> None:
    patient.machine.run("printf '#!/bin/sh\\n' >/usr/local/bin/not-yet")
    said = patient(
        "add", "--name", patient.name, "--schedule", "@daily", "--", "/usr/local/bin/not-yet"
    )
    assert f"warning: {patient.name}: command: /usr/local/bin/not-yet is not exec" in said.stderr
    found = patient.fixes("files", f"job '{patient.name}': command: /usr/local/bin/not-yet is not")
    assert found["severity"] == "error"
    assert found["fix"] == ["chmod a+x /usr/local/bin/not-yet"]


# Zones


def test_an_old_zone_database(patient: Patient) -> None:
    patient.job("--timezone", "Europe/Berlin")
    database = "/usr/share/zoneinfo/tzdata.zi"
    patient.machine.run(f"cp {database} /root/; sed -i '1s/.*/# version 2019c/' {database}")
    patient.machine.wait_for(
        lambda: patient.found("zones", "is 2019c, of") is not None, what="an old database"
    )
    patient.machine.run(f"cp /root/tzdata.zi {database}")
    patient.machine.wait_for(lambda: patient.findings("zones") == [], what="the new one")


def test_units_of_another_zone(patient: Patient) -> None:
    patient.job()
    patient.machine.run("systemctl stop lunasched.service")
    patient.machine.run("ln -sf /usr/share/zoneinfo/Asia/Tokyo /etc/localtime")
    patient.fixes("zones", "Etc/UTC")
    patient.machine.run("ln -sf /usr/share/zoneinfo/Etc/UTC /etc/localtime")
    patient.machine.run(["lunasched", "sync"])


def test_what_brings_units_up_to_date_fails(patient: Patient) -> None:
    patient.job()
    drop_in = f"{UNITS}/lunasched-sync.service.d/x.conf"
    patient.machine.write_file(drop_in, "[Service]\nExecStart=\nExecStart=/bin/false\n")
    patient.machine.run("systemctl daemon-reload; ! systemctl start lunasched-sync.service")
    patient.machine.run(f"rm -r $(dirname {drop_in}); systemctl daemon-reload")
    patient.fixes("zones", "has failed")
    patient.machine.run("systemctl stop lunasched-sync.timer")
    patient.fixes("zones", "timer does not run")


# polkit


def test_without_polkit_nothing_is_missing(patient: Patient) -> None:
    patient.machine.run("systemctl mask --now polkit.service")
    assert patient.findings("polkit") == []
    patient.machine.run("systemctl unmask polkit.service; systemctl start polkit.service")


def test_a_start_socket_that_is_down(patient: Patient) -> None:
    patient.machine.run("systemctl stop lunasched-start.socket")
    patient.fixes("supervisor", "cannot start anything")


def test_a_rule_that_is_missing(patient: Patient) -> None:
    rule = "/etc/polkit-1/rules.d/00-lunasched.rules"
    patient.machine.run(f"rm {rule}; systemctl restart polkit")
    assert patient.found("polkit", "processes of its own after each boot")
    # What `make install` installs besides Python.
    patient.machine.run("/opt/lunasched/packaging/install-units; systemctl restart polkit")
    assert patient.findings("polkit") == []


def test_a_rule_that_lets_everything_pass(patient: Patient) -> None:
    rule = "/etc/polkit-1/rules.d/00-all.rules"
    patient.machine.write_file(rule, 'polkit.addRule(function() { return "yes"; });')
    patient.machine.run("systemctl restart polkit")
    assert patient.found("polkit", "that are not lunasched's")
    patient.machine.run(f"rm {rule}; systemctl restart polkit")
    assert patient.findings("polkit") == []


# Configuration, database, disk


@pytest.fixture
def settings_removed(machine_to_break: Machine) -> Iterator[None]:
    yield
    machine_to_break.run(f"rm -f {SETTINGS}; systemctl reset-failed lunasched.service")
    machine_to_break.run("systemctl restart lunasched.service")


@pytest.mark.usefixtures("settings_removed")
def test_a_configuration_that_is_not_valid(patient: Patient) -> None:
    patient.machine.write_file(SETTINGS, "retention: {history_dayz: 3}\n")
    found = patient.found("configuration", "there is no such setting")
    assert found is not None
    assert "EDITOR" in found["fix"][0]
    patient.machine.run("systemctl restart lunasched.service", check=False)
    failed: list[dict[str, Any]] = []

    def has_failed() -> bool:
        # In between it is starting, or stopping.
        found = patient.findings("supervisor")
        failed.extend(one for one in found if "has failed" in one["what"])
        return bool(failed)

    patient.machine.wait_for(has_failed, what="a failure")
    patient.machine.run("sed -i s/dayz/days/ " + SETTINGS)
    # Without a wait: systemd starts it again by itself, too.
    for command in failed[0]["fix"]:
        patient.machine.run(command)
    patient.machine.wait_for(lambda: not patient.findings("supervisor"), what="the supervisor")
    assert patient.findings("configuration") == []


@pytest.mark.usefixtures("settings_removed")
def test_a_configuration_in_the_wrong_hands(patient: Patient) -> None:
    secret = "notifications: {email: {smtp_password: hunter2}}\n"
    patient.machine.write_file(SETTINGS, secret, mode=0o644)
    patient.fixes("configuration", "secrets in it and mode 0644")
    patient.machine.write_file(SETTINGS, secret, mode=0o600)
    patient.fixes("configuration", "cannot be read by the user lunasched")


def test_a_database_in_the_wrong_hands(patient: Patient) -> None:
    patient.machine.run(f"chown root: {DATABASE}")
    patient.fixes("history", "belongs to root")
    patient.machine.run(f"systemctl stop lunasched; chown root: {DATABASE}*; userdel lunasched")
    patient.fixes("history", "belongs to root")
    patient.machine.run(f"chmod 0644 {DATABASE}; chmod 0755 $(dirname {DATABASE})")
    patient.fixes("history", "mode 0644")
    patient.machine.run(f"chown lunasched {JOBS}")
    patient.fixes("definitions", "belongs to lunasched")
    for mode in ("0660", "0644"):
        patient.machine.run(f"chmod {mode} {JOBS}")
        patient.fixes("definitions", f"has mode {mode}")
    patient.machine.run(f"chgrp root {JOBS}")
    patient.fixes("definitions", "cannot be read by the group lunasched")


@pytest.mark.parametrize(
    ("check", "path", "index"),
    [("history", DATABASE, "runs_by_age"), ("definitions", JOBS, "dependencies_of_job")],
)
def test_a_damaged_database(patient: Patient, check: str, path: str, index: str) -> None:
    timer = patient.job()
    patient("start", patient.name, "--wait")
    patient.wait_for_runs(patient.name, 1)
    patient.machine.run("systemctl stop lunasched.service")
    # The package does not need that program.
    patient.machine.run("mv /usr/bin/sqlite3 /root/ 2>/dev/null", check=False)
    # An index whose page is no page of an index: its table can be read.
    patient.machine.run(
        ["python3", "-c", _DAMAGE, path, index],
    )
    patient.machine.run("systemctl start --no-block lunasched.service")
    asked = patient("doctor", "--fix", check, check=False)
    assert (asked.returncode, asked.stdout.splitlines()[-1]) == (1, "Nothing was changed.")
    patient.fixes(check, "is damaged")
    patient.machine.run("mv /root/sqlite3 /usr/bin/ 2>/dev/null", check=False)
    assert [job["name"] for job in patient.json("list")] == [patient.name]
    assert len(patient.history(patient.name)) == 1
    assert patient.found("timers", timer) is None
    patient.machine.run(f"rm {path}.damaged*")


_DAMAGE = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
size, = database.execute("PRAGMA page_size").fetchone()
find = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
page, = database.execute(find, [sys.argv[2]]).fetchone()
database.close()
with open(sys.argv[1], "r+b") as file:
    file.seek((page - 1) * size)
    file.write(bytes(range(256)) * (size // 256))
"""


def test_a_database_of_another_program_and_of_another_version(patient: Patient) -> None:
    patient.machine.run("systemctl stop lunasched.service")
    patient.machine.run(f"mv {DATABASE} /root/saved.db")
    make = f"sqlite3 {DATABASE} 'CREATE TABLE x (y)'; chown lunasched: {DATABASE}"
    patient.machine.run(make)
    finding = patient.found("history", "not one of lunasched")
    assert finding is not None
    # Whose it is nobody here knows: no command moves it.
    assert finding["fix"] == []
    patient.machine.run(
        f"systemctl stop lunasched; rm {DATABASE}*; cp -p /root/saved.db {DATABASE}"
    )
    newer = f"sqlite3 {DATABASE} 'PRAGMA user_version = 99'"
    patient.machine.run(f"{newer}; chown lunasched: {DATABASE}*")
    assert patient.found("history", "newer version")
    patient.machine.run(f"rm {DATABASE}*; mv /root/saved.db {DATABASE}")


def test_a_disk_that_is_nearly_full(patient: Patient) -> None:
    directory = "/var/lib/lunasched"
    patient.machine.run(
        f"systemctl stop lunasched; cp -a {directory} /root/; "
        f"mount -t tmpfs -o size=32M,mode=0755 none {directory}; "
        f"cp -a /root/lunasched/. {directory}; head -c 24M /dev/zero >{directory}/x"
    )
    found = patient.found("disk", "/var/lib/lunasched has ")
    assert found is not None
    assert found["severity"] == "error"
    patient.machine.run(f"rm {directory}/x")
    assert patient.findings("disk") == []
    patient.machine.run(f"umount {directory}; rm -r /root/lunasched")


# The status page


@pytest.mark.usefixtures("settings_removed")
def test_a_port_that_is_taken(patient: Patient) -> None:
    patient.machine.run("systemctl stop lunasched.service")
    other = "systemd-run --unit other --uid nobody python3 -m http.server 8080 --bind 127.0.0.1"
    patient.machine.run(other)
    patient.machine.wait_for("grep -q ':1F90 .* 0A ' /proc/net/tcp", what="another server")
    # Nobody asked for a page.
    patient.machine.run("systemctl start lunasched.service")
    assert patient.findings("web") == []
    patient.machine.run("mkdir -p /etc/lunasched")
    patient.machine.write_file(SETTINGS, "web: {port: 8080}\n")
    assert patient.found("web", "does not turn it on")
    patient.machine.write_file(SETTINGS, "web: {port: 8080, enabled: false}\n")
    assert patient.findings("web") == []
    patient.machine.write_file(SETTINGS, "web: {enabled: true}\n")
    patient.machine.run("systemctl restart lunasched.service")
    finding = patient.found("web", "is used by a program of nobody")
    assert finding is not None
    assert finding["fix"][0] == f"${{EDITOR:-vi}} {SETTINGS}"
    patient.machine.write_file(SETTINGS, "web: {enabled: true, port: 8081}\n")
    patient.machine.run(finding["fix"][1])
    patient.machine.wait_for(lambda: patient.findings("web") == [], what="the page")
    shown = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8081/').status)"
    assert patient.machine.run(["python3", "-c", shown]).stdout == "200\n"
    patient.machine.run("systemctl stop other.service")


NOT_FOUND = """
from http.server import BaseHTTPRequestHandler, HTTPServer
class NotFound(BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_error(404)
HTTPServer(("127.0.0.1", 8099), NotFound).serve_forever()
"""
TOLD = """
jobs: [{{name: {name}, schedule: '@yearly', command: 'false', notification_config:
  {{on_failure: [{{type: webhook, url: 'http://127.0.0.1:8099/no-such-thing'}}]}}}}]
"""


def test_a_notification_that_was_given_up(patient: Patient) -> None:
    patient.machine.write_file("/root/server.py", NOT_FOUND)
    patient.machine.run("systemd-run --unit other python3 /root/server.py")
    patient.machine.write_file("/root/jobs.yaml", TOLD.format(name=patient.name))
    patient("import-config", "/root/jobs.yaml")
    patient.machine.wait_for("grep -q ':1FA3 .* 0A ' /proc/net/tcp", what="the server")
    patient("start", patient.name, "--wait", check=False)
    patient.machine.wait_for(
        lambda: patient.found("notifications", "1 notifications") is not None, what="the finding"
    )
    found = patient.found("notifications", "were given up")
    assert found is not None
    assert f"on_failure of {patient.name} by webhook: " in found["what"]
    assert "404" in found["what"]
    assert "no-such-thing" not in found["what"]
    patient.machine.run("systemctl stop other.service")


# Cron


@pytest.fixture
def cron(machine_to_break: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Debian's cron is there, and does not run; its crontabs are gone at the end."""
    root: Path = tmp_path_factory.mktemp("cron")
    debian_crontabs.extracted(debian_crontabs.debs(("cron",))["cron"], root)
    machine_to_break.run("systemctl stop cron.service; rm -rf /etc/cron.d/*", check=False)
    for path in ("usr/sbin/cron", "usr/bin/crontab", "lib/systemd/system/cron.service"):
        found = root / path if (root / path).exists() else root / "usr" / path
        machine_to_break.copy(found, f"/{path}")
    machine_to_break.run(
        "groupadd -f crontab; mkdir -p /var/spool/cron/crontabs; systemctl daemon-reload"
    )
    yield machine_to_break
    machine_to_break.run(
        "systemctl stop cron.service; rm -rf /etc/cron.d/* /var/spool/cron/crontabs/*"
    )


def test_cron_runs_what_a_job_runs(patient: Patient, cron: Machine) -> None:
    cron.write_file("/etc/cron.d/twice", "# twice\n5 4 * * * root true\n")
    cron.run("printf '0 1 * * * true\\n' | crontab -")
    patient.job()
    assert patient.findings("cron") == []
    cron.run("systemctl start cron.service")
    patient.fixes("cron", "/etc/cron.d/twice:2 runs")
    patient.fixes("cron", "the crontab of root:1 runs")


# What spoils a crontab, and what Debian's cron says of it: of a name, nothing.
SPOILT = {
    "/etc/cron.d/owned": ("chown luna {0}", "(*system*owned) WRONG FILE OWNER"),
    "/etc/cron.d/writable": ("chmod g+w {0}", "(*system*writable) INSECURE MODE"),
    "/etc/cron.d/twofold": ("ln {0} /root/twofold", "(*system*twofold) NUMBER OF HARD LINKS > 1"),
    "/etc/cron.d/linked": (
        "mv {0} /root/linked; ln -s /root/linked {0}; chown -h luna {0}",
        "(*system*linked) WRONG SYMLINK OWNER",
    ),
    "/etc/cron.d/my.job": ("true", None),
    "/var/spool/cron/crontabs/luna": ("chmod 0644 {0}", "(luna) INSECURE MODE (mode 0600"),
    "/var/spool/cron/crontabs/root": ("chown luna {0}", "(root) WRONG FILE OWNER"),
    "/var/spool/cron/crontabs/gone": ("true", "(gone) ORPHAN (no passwd entry)"),
}


def test_crontabs_that_cron_does_not_read(patient: Patient, cron: Machine) -> None:
    for path, (spoil, _) in SPOILT.items():
        of_user = path.startswith("/var")
        cron.write_file(path, "5 4 * * * " + ("" if of_user else "root ") + "/bin/spoilt\n")
        cron.run(f"chmod {'0600' if of_user else '0644'} {path}; {spoil.format(path)}")
    cron.write_file("/etc/cron.d/fine", "5 4 * * * root /bin/fine\n")
    said = cron_says(cron)
    assert [why for _, why in SPOILT.values() if why is not None and why not in said] == []
    names = {one["what"].removeprefix("cron does not read ").partition(":")[0]
             for one in patient.findings("cron")}  # fmt: skip
    assert names == set(SPOILT)
    for path in SPOILT:
        patient.fixes("cron", f"does not read {path}: ")
    assert patient.findings("cron") == []
    # And cron itself has nothing to say of them any more.
    said = cron_says(cron)
    cron.run("rm -f /root/twofold /root/linked")
    assert not re.search(r"\((\*system\*|luna|root|gone)", said)


def test_crontabs_that_lunasched_runs(patient: Patient, cron: Machine) -> None:
    units = "lunasched-crontabs.path lunasched-crontabs.service"
    assert patient.findings("crontabs") == []
    cron.write_file("/etc/cron.d/served", "5 4 * * * root /bin/served\n61 * * * * root /bin/not\n")
    cron.run(f"systemctl enable --now {units}")
    found = patient.found("crontabs", "/etc/cron.d/served:2 is not run: ")
    assert found is not None and not found["fix"]
    cron.write_file("/etc/cron.d/served", "5 4 * * * root /bin/served\n")
    cron.run("chmod 0666 /etc/cron.d/served")
    patient.fixes("crontabs", "/etc/cron.d/served is not run: others than its owner can write it")
    cron.wait_for("lunasched get cron.d-served", what="its job")
    cron.run(f"systemctl disable --now {units}")
    cron.write_file("/etc/cron.d/later", "7 4 * * * root /bin/later\n")
    patient.fixes("crontabs", "/etc/cron.d/later:1 has no job, and is not run")
    cron.run("lunasched get cron.d-later")
    cron.run("rm /etc/cron.d/later; lunasched crontabs")
    patient.fixes("crontabs", "nothing watches the crontabs")
    cron.run("systemctl stop lunasched-crontabs@etc-cron.d.path")
    patient.fixes("crontabs", "nothing watches the crontabs that jobs come from, or not all")
    cron.run("systemctl start cron.service")
    assert patient.findings("cron") == []
    patient.fixes("crontabs", "cron is running (cron.service) beside 1 job of crontabs")
    assert patient.findings("crontabs") == []
    cron.run(f"systemctl disable --now {units}; lunasched crontabs --release")


def cron_says(machine: Machine) -> str:
    """Start cron; what it says until it has read its crontabs."""
    begun = machine.run("date +%s.%N").stdout.strip()
    machine.run("systemctl restart cron.service")
    said = f"journalctl -t cron -o cat --since=@{begun}"
    # That comes after it has read them.
    machine.wait_for(f"{said} | grep -q '@reboot jobs'", what="cron to have read its crontabs")
    return machine.run(said).stdout


# Who is asking


def test_an_ordinary_user_learns_what_can_be_seen(patient: Patient) -> None:
    doctor = ["lunasched", "--system", "doctor", "--json"]
    done = patient.machine.run(doctor, user="luna", check=False)
    found = {one["check"]: one for one in json.loads(done.stdout)["findings"]}
    for check in ("definitions", "history", "polkit"):
        assert found[check]["severity"] == "unknown"
    assert found["supervisor"]["severity"] == "ok"
    assert done.stderr == ""


def test_without_a_bus(patient: Patient) -> None:
    broken = {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nowhere"}
    done = patient.machine.run(["lunasched", "doctor", "-v"], env=broken, check=False)
    assert done.returncode == 1
    assert "systemd: systemd does not answer" in done.stdout
    assert "ok       definitions: " in done.stdout


def test_no_linger(own_patient: Patient) -> None:
    machine = own_patient.machine
    machine.run("loginctl disable-linger luna")
    machine.wait_for("! systemctl is-active user@1000.service", what="the end of luna's manager")
    printed = own_patient("doctor", check=False).stdout
    assert "systemd: your own systemd manager does not answer" in printed
    assert "linger: your jobs run only while you are logged in" in printed
    found = own_patient.found("linger", "logged in")
    assert found is not None
    assert not found["as_root"]
    machine.run(found["fix"][0], user="luna", env={"XDG_RUNTIME_DIR": ""})
    machine.wait_for("systemctl is-active user@1000.service", what="luna's manager")
    machine.wait_for(lambda: own_patient.findings("systemd") == [], what="an answer")
    assert own_patient.findings("linger") == []


def test_cgroups_of_this_machine(patient: Patient) -> None:
    """What the host has, the container has; tests/vm/test_doctor_clock.py has cgroup v2."""
    unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    assert bool(patient.findings("cgroups")) is not unified
