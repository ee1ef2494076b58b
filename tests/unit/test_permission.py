"""An ordinary user who asks for the system's jobs is told what is in the way, and nothing untrue.

It is tried in each state of the files: Python 3.14 takes for absent what may not be looked at.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lunasched.errors import ExitCode
from lunasched.jobs.reading import job_from_mapping
from lunasched.store import Store

# Everything is imported before: the tree may be where such a user cannot read it. The commands are
# children, each with its output in files.
AS_ORDINARY_USER = """
import importlib, json, os, pkgutil, sys, tempfile
import lunasched
from lunasched.cli import main
from lunasched.cli.app import load_commands
load_commands()
for found in pkgutil.walk_packages(lunasched.__path__, "lunasched."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
uid = int(sys.argv[1])
if os.getuid() == 0:
    os.setgroups([]); os.setgid(uid); os.setuid(uid)
answers = []
for arguments in json.loads(sys.argv[2]):
    files = [tempfile.TemporaryFile("w+") for _ in range(2)]
    child = os.fork()
    if not child:
        try:
            for number, file in enumerate(files, 1):
                os.dup2(file.fileno(), number)
            sys.argv[1:] = arguments
            status = main()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        finally:
            os._exit(111)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for file in files:
        file.seek(0)
    answers.append([status, *(file.read() for file in files)])
print(json.dumps(answers))
"""
NAMELESS = 987_654
"""A user that passwd(5) does not know."""

ADD = ("add", "--name", "new", "--schedule", "@daily", "--command", "true", "--dry-run")
APPLY = ("apply", "--dry-run", "{jobs}")
OF_THE_DATABASE = (
    ADD,
    APPLY,
    ("apply", "--dry-run", "--prune", "{jobs}"),
    ("import-config", "--dry-run", "{jobs}"),
    ("import-crontab", "--dry-run", "--system-format", "{crontab}"),
    ("crontabs", "--dry-run"),
    ("compile", "told"),
    ("disable", "told"),
    ("export-config",),
    ("get", "told"),
    ("graph",),
    ("history",),
    ("list",),
    ("logs", "told"),
    ("metrics",),
    ("metrics", "--textfile", "{top}/metrics"),
    ("next",),
    ("notifications",),
    ("notify-test", "told"),
    ("queue",),
    ("start", "told"),
    ("stop", "told"),
    ("vacuum",),
)
"""The commands that need the system's database before they need systemd."""


class Machine:
    """The files of the system's jobs, and who asks for them."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.state = top / "state"
        self.database = self.state / "jobs.db"
        self.configuration = top / "etc"
        self.home = top / "home"
        self.configuration.mkdir()
        self.home.mkdir(mode=0o777)
        self.home.chmod(0o777)
        (self.configuration / "config.yaml").write_text("web: {enabled: false}\n")
        (top / "jobs.yaml").write_text("jobs: [{name: new, schedule: '@daily', command: 'true'}]\n")
        (top / "crontab").write_text("0 5 * * * root true\n")
        with Store.open(self.database) as store:
            store.jobs.put(
                job_from_mapping({"name": "told", "schedule": "@daily", "command": "true"}), 1
            )

    def asked(
        self, *commands: tuple[str, ...], uid: int = 65534, mode: str = "--system"
    ) -> list[tuple[int, str, str]]:
        """Return what commands of an ordinary user end with and print."""
        places = {"top": self.top, "jobs": self.top / "jobs.yaml", "crontab": self.top / "crontab"}
        filled = [[mode, *(word.format(**places) for word in command)] for command in commands]
        environment = {
            "PATH": "/usr/bin:/bin",
            "LC_ALL": "C.UTF-8",
            "HOME": str(self.home),
            "XDG_RUNTIME_DIR": str(self.top / "none"),
            "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent",
            "DBUS_SESSION_BUS_ADDRESS": "unix:path=/nonexistent",
        }
        if mode == "--system":
            environment["LUNASCHED_DB_PATH"] = str(self.database)
            environment["LUNASCHED_CONFIG_PATH"] = str(self.configuration / "config.yaml")
        done = subprocess.run(
            [sys.executable, "-c", AS_ORDINARY_USER, str(uid), json.dumps(filled)],
            capture_output=True,
            text=True,
            env=environment,
            cwd=self.top,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [tuple(answer) for answer in json.loads(done.stdout)]


@pytest.fixture
def machine() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory(prefix="lunasched-test-") as name:
        top = Path(name)
        top.chmod(0o755)
        yield Machine(top)
        for path in (top / "state", top / "state/history", top / "etc"):
            if path.is_dir():
                path.chmod(0o700)


def close(machine: Machine, state: str) -> None:
    """Have the files as an installation has them, or as earlier releases and root may."""
    history = machine.state / "history"
    if state == "installed":
        machine.database.chmod(0o640 if machine.database.stat().st_uid == 0 else 0)
        history.chmod(0)
    elif state == "closed":
        machine.state.chmod(0)
    elif state == "configuration closed":
        machine.database.chmod(0)
        machine.configuration.chmod(0)


@pytest.mark.parametrize(
    ("state", "uid"),
    [
        ("installed", 65534),
        ("installed", NAMELESS),
        ("closed", 65534),
        ("configuration closed", 65534),
    ],
)
def test_the_systems_jobs_are_denied(state: str, uid: int, machine: Machine) -> None:
    close(machine, state)
    for command, answer in zip(
        OF_THE_DATABASE, machine.asked(*OF_THE_DATABASE, uid=uid), strict=True
    ):
        code, printed, told = answer
        assert code == ExitCode.PERMISSION, (command, answer)
        assert printed == "", command
        assert "unexpected" not in told and "Traceback" not in told, (command, told)
        assert str(machine.top) in told or "lunasched-history" in told, (command, told)
        assert "root" in told and "--user" in told, (command, told)
    assert not (machine.top / "metrics").exists()


def test_files_that_may_not_be_read_are_named(machine: Machine) -> None:
    (machine.top / "etc/jobs.d").mkdir()
    machine.configuration.chmod(0)
    inside = str(machine.configuration / "jobs.yaml")
    answers = machine.asked(
        ("apply", "--dry-run", inside),
        ("import-config", "--dry-run", inside),
        ("apply", "--dry-run", str(machine.configuration)),
        mode="--user",
    )
    for code, printed, told in answers:
        assert (code, printed) == (ExitCode.PERMISSION, "")
        assert f"{machine.configuration}" in told and "run as root" in told


def test_the_doctor_says_what_it_cannot_see(machine: Machine) -> None:
    close(machine, "installed")
    for uid in (65534, NAMELESS):
        ((code, printed, told),) = machine.asked(("doctor", "--json"), uid=uid)
        assert told == "", told
        assert code == ExitCode.FAILED  # there is no bus
        findings = json.loads(printed)["findings"]
        unknown = {one["check"] for one in findings if one["severity"] == "unknown"}
        assert {"definitions", "history", "recording"} <= unknown
        assert not any("supervisor is not running" in one["what"] for one in findings)


def test_the_doctor_of_a_user_without_a_name(machine: Machine) -> None:
    ((code, printed, told),) = machine.asked(("doctor", "--json"), uid=NAMELESS, mode="--user")
    assert (code, told) == (ExitCode.FAILED, "")
    findings = json.loads(printed)["findings"]
    (manager,) = [one for one in findings if one["check"] == "systemd"]
    assert f"the user {NAMELESS} has no name" in manager["what"]
    # Nobody can have a manager run for such a user.
    assert not any("enable-linger" in command for one in findings for command in one["fix"])
