"""Programs that change crontabs by crontab(1), as they are: with ours as with Debian's."""

from __future__ import annotations

import json
import subprocess
import zipfile
from typing import TYPE_CHECKING, Any

import debian_crontabs
import pytest
from anymachine import locked
from campaign import rounds
from crontab_machine import SPOOL, with_crontabs
from machine import cache_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from machine import Machine

pytestmark = [pytest.mark.machine, pytest.mark.slow]

CLIENTS = ("ansible-core", "python3-packaging", "python3-resolvelib", "python3-crontab")
COLLECTIONS = "ansible==7.7.0"
"""The release of Ansible's collections that belongs to Debian 12's ansible-core."""
RECORDS = """
import json
from ansible.plugins.callback import CallbackBase
class CallbackModule(CallbackBase):
    CALLBACK_TYPE, CALLBACK_NAME, CALLBACK_VERSION = "stdout", "records", 2.0
    def v2_runner_on_ok(self, result):
        print(json.dumps(result._result, default=str))
    def v2_runner_on_failed(self, result, ignore_errors=False):
        self.v2_runner_on_ok(result)
"""
"""Has Ansible print the result of each task, in a line of JSON."""
CRONVAR = "ansible_collections/community/general/plugins/modules/cronvar.py"
PROGRAMS = {"debian": "/opt/debian", "lunasched": "/opt/ours"}
"""Directories with nothing but ``crontab``."""


@pytest.fixture(scope="module")
def machine_with_clients(booted: Machine, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """The machine, with both programs and their clients."""
    root = tmp_path_factory.mktemp("clients")
    with_crontabs(booted, tmp_path_factory.mktemp("cron"))
    for deb in debian_crontabs.debs(CLIENTS).values():
        debian_crontabs.extracted(deb, root)
    booted.copy(root, "/opt/clients")
    booted.run("cp -a /opt/clients/. /; mkdir -p /opt/modules /opt/callbacks /opt/debian /opt/ours")
    booted.run("ln -s /usr/bin/crontab.debian /opt/debian/crontab")
    booted.run("ln -s /usr/local/bin/crontab /opt/ours/crontab")
    booted.write_file("/opt/modules/cronvar.py", cronvar(), mode=0o644)
    booted.write_file("/opt/callbacks/records.py", RECORDS, mode=0o644)
    return booted


@pytest.fixture
def clients(machine_with_clients: Machine) -> Iterator[Machine]:
    """The machine, whose crontabs are gone after the test."""
    yield machine_with_clients
    machine_with_clients.exec(f"rm -rf {SPOOL}/* /etc/cron.d/ansible*")


def cronvar() -> str:
    """The text of Ansible's module ``cronvar``, which its collections have."""
    directory = cache_directory() / "packages"
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory / ".lock"):
        if not list(directory.glob("ansible-*.whl")):
            pip = ["/usr/bin/python3", "-m", "pip", "download", "--no-deps", "-q", COLLECTIONS]
            subprocess.run(pip, cwd=directory, check=True, timeout=400, capture_output=True)
        (wheel,) = directory.glob("ansible-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(CRONVAR).decode()


# Ansible


TASKS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("cron", {"name": "a 'b' %", "minute": "5", "hour": "2", "job": "/bin/echo 100\\% >/dev/null"}),
    ("cron", {"name": "a 'b' %", "minute": "5", "hour": "2", "job": "/bin/echo 100\\% >/dev/null"}),
    ("cron", {"name": "a 'b' %", "minute": "6", "hour": "2", "job": "true", "_check": True}),
    ("cron", {"name": "a 'b' %", "minute": "6", "hour": "2", "job": "true"}),
    ("cron", {"name": "daily", "special_time": "daily", "job": "/bin/daily", "disabled": True}),
    ("cron", {"name": "daily", "special_time": "daily", "job": "/bin/daily"}),
    ("cron", {"name": "daily", "special_time": "reboot", "job": "/bin/daily", "backup": True}),
    ("cron", {"name": "PATH", "env": True, "job": "/opt/bin:/usr/bin"}),
    ("cron", {"name": "LEVEL", "env": True, "job": "3", "insertafter": "PATH"}),
    ("cron", {"name": "LEVEL", "env": True, "state": "absent"}),
    ("cronvar", {"name": "MAILTO", "value": "ops@example.org", "insertbefore": "PATH"}),
    ("cronvar", {"name": "MAILTO", "value": "ops@example.org"}),
    ("cronvar", {"name": "MAILTO", "value": ""}),
    ("cronvar", {"name": "MAILTO", "state": "absent"}),
    ("cron", {"name": "a 'b' %", "state": "absent", "_check": True}),
    ("cron", {"name": "a 'b' %", "state": "absent"}),
    ("cron", {"name": "gone", "state": "absent"}),
    ("cron", {"name": "wrong", "minute": "61", "job": "true"}),
)
OF_A_FILE = {"cron_file": "ansible_it", "user": "luna", "name": "of a file", "job": "/bin/x"}


def playbook(tasks: Sequence[tuple[str, dict[str, Any]]], user: str) -> str:
    """Return a playbook that carries tasks out one by one."""
    steps: list[dict[str, Any]] = []
    for module, given in tasks:
        options = {key: value for key, value in given.items() if not key.startswith("_")}
        checked = bool(given.get("_check"))
        steps.append(
            {module: {"user": user, **options}, "check_mode": checked, "ignore_errors": True}
        )
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": steps}
    return json.dumps([play])


def played(machine: Machine, program: str, text: str, user: str | None) -> list[dict[str, Any]]:
    """Carry out a playbook with a program as ``crontab``; the results of its tasks."""
    machine.write_file("/tmp/play.json", text, mode=0o644)
    done = machine.run(
        ["ansible-playbook", "--diff", "-i", "localhost,", "-M", "/opt/modules", "/tmp/play.json"],
        user=user,
        check=False,
        timeout=600,
        env={
            "ANSIBLE_CALLBACK_PLUGINS": "/opt/callbacks",
            "ANSIBLE_STDOUT_CALLBACK": "records",
            "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
            "PATH": f"{PROGRAMS[program]}:/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
        },
    )
    assert done.stdout.startswith("{"), (done.stdout, done.stderr)
    return list(map(json.loads, done.stdout.splitlines()))


def told(result: dict[str, Any]) -> tuple[Any, ...]:
    """What a user of Ansible sees of a task, with the crontab before it and after it."""
    seen = tuple(result.get(key) for key in ("changed", "failed", "jobs", "envs", "vars"))
    diff = result.get("diff") or {}
    return (*seen, diff.get("before"), diff.get("after"))


@pytest.mark.campaign
@pytest.mark.parametrize(("user", "number"), [(None, 4), ("luna", 11)], ids=["root", "user"])
def test_ansible(clients: Machine, user: str | None, number: int) -> None:
    """Its modules change, disable and remove entries and variables, and see what is there."""
    tasks = TASKS[: rounds(number, len(TASKS))]
    text = playbook(tasks, user or "luna")
    by_program, left = {}, {}
    for program in PROGRAMS:
        by_program[program] = list(map(told, played(clients, program, text, user)))
        left[program] = clients.exec("crontab -u luna -l", check=False).stdout
        clients.exec(f"rm -f {SPOOL}/*")
    assert len(by_program["debian"]) == len(tasks)
    assert "#Ansible: a 'b' %" in str(by_program["debian"])
    assert by_program["lunasched"] == by_program["debian"]
    assert left["lunasched"] == left["debian"]


def test_ansible_writes_a_file_of_cron_d(clients: Machine) -> None:
    """It is written beside `crontab`, and is run by its rules."""
    (written,) = played(clients, "lunasched", playbook([("cron", OF_A_FILE)], "luna"), None)
    assert written["changed"]
    plan = clients.run("lunasched crontabs --dry-run").stdout
    assert "cron.d-ansible_it" in plan


# python-crontab

PYTHON = """
import getpass
from crontab import CronTab

cron = CronTab(user=True)
job = cron.new(command="echo 'a b' >/dev/null", comment="first one")
job.setall("5 2 * * 1-5")
cron.env["MAILTO"] = "ops@example.org"
cron.write()
print(cron.render())
cron = CronTab(user=True)
(found,) = cron.find_comment("first one")
found.hour.every(3)
found.enable(False)
other = cron.new(command="/bin/other")
other.every_reboot()
assert found.is_valid() and other.is_valid()
cron.write()
print(CronTab(user=getpass.getuser()).render())
cron = CronTab(user=True)
cron.remove_all(command="/bin/other")
for one in cron:
    one.enable()
cron.write()
print(CronTab(user=True).render())
cron.remove_all()
cron.env.clear()
cron.write()
print(repr(CronTab(user=True).render()))
"""


@pytest.mark.parametrize("user", [None, "luna"], ids=["root", "user"])
def test_python_crontab(clients: Machine, user: str | None) -> None:
    clients.write_file("/tmp/client.py", PYTHON, mode=0o644)
    said = {}
    for program, directory in PROGRAMS.items():
        environment = {"PATH": f"{directory}:/usr/bin:/bin"}
        command = ["/usr/bin/python3", "-c", f"import crontab; crontab.CRON_COMMAND = "
                   f"'{directory}/crontab'; exec(open('/tmp/client.py').read())"]  # fmt: skip
        said[program] = clients.run(command, user=user, env=environment).stdout
        clients.exec(f"rm -f {SPOOL}/*")
    assert "first one" in said["debian"]
    assert said["lunasched"] == said["debian"]
