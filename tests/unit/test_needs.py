"""What a job needs and a machine has not: found where it is known, and nothing said otherwise."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from samples import job

from lunasched.machine.surroundings import Surroundings
from lunasched.paths import Mode
from lunasched.units.needs import Absence, Account, FileKind, Lack, Seen, lacking

ROOT = Account("root", 0, frozenset({0}), "/root", "/bin/bash")
WEB = Account("web", 1001, frozenset({1001, 33}), "/home/web", "/bin/bash")
DIRECTORY = Seen(FileKind.DIRECTORY, 0o755, 0, 0)
PROGRAM = Seen(FileKind.FILE, 0o755, 0, 0)
TEXT = Seen(FileKind.FILE, 0o644, 0, 0)
ELF = b"\x7fELF\x02\x01\x01\0"

PRESENT: dict[str, Seen | Absence] = {
    **dict.fromkeys(("/", "/bin", "/usr/bin", "/opt", "/srv", "/home", "/tmp", "/etc"), DIRECTORY),
    **dict.fromkeys(
        ("/usr/bin/true", "/bin/sh", "/bin/bash", "/usr/bin/env", "/bin/gzip", "/usr/bin/nice"),
        PROGRAM,
    ),
    "/root": Seen(FileKind.DIRECTORY, 0o700, 0, 0),
    "/home/web": Seen(FileKind.DIRECTORY, 0o750, 1001, 1001),
    "/home/web/run": Seen(FileKind.FILE, 0o700, 1001, 1001),
    "/usr/bin/python3": PROGRAM,
    "/opt/data": TEXT,
    "/opt/script": TEXT,
    "/opt/zsh-script": PROGRAM,
    "/opt/dos": PROGRAM,
    "/opt/dos-env": PROGRAM,
    "/opt/env": PROGRAM,
    "/opt/plain": PROGRAM,
    "/opt/fine": PROGRAM,
    "/opt/of-group": Seen(FileKind.FILE, 0o750, 0, 33),
    "/opt/of-root": Seen(FileKind.FILE, 0o700, 0, 0),
    "/opt/acl": Seen(FileKind.FILE, 0o700, 0, 0, has_acl=True),
    "/opt/noexec": Seen(FileKind.FILE, 0o755, 0, 0, no_exec=True),
    "/dev/null": Seen(FileKind.OTHER, 0o666, 0, 0),
    "/nfs": Absence.FORBIDDEN,
    "/root/bin/tool": PROGRAM,
}
BEGINNINGS = {
    "/opt/zsh-script": b"#!/bin/zsh -f\ntrue\n",
    "/opt/dos": b"#!/bin/sh\r\ntrue\r\n",
    "/opt/dos-env": b"#!/usr/bin/env python3\r\npass\r\n",
    "/opt/env": b"#!/usr/bin/env -S ruby -w\n",
    "/opt/plain": b"true\n",
    "/opt/fine": b"#! /bin/sh -e\ntrue\n",
}


_NOTHING = Absence.NOTHING


@dataclass
class Told:
    """A machine as it is told."""

    path: tuple[str, ...] | None = ("/usr/bin", "/bin")
    callers_path: tuple[str, ...] = ("/root/bin", "/usr/bin")
    seen: dict[str, Seen | Absence] = field(default_factory=lambda: PRESENT)
    owner: Account = ROOT

    def account(self, user: str | None) -> Account | None:
        return self.owner if user is None else {"web": WEB, "root": ROOT}.get(user)

    def group(self, name: str) -> int | None:
        return {"staff": 50, "web": 1001}.get(name)

    def examine(self, path: str) -> Seen | Absence:
        return Absence.FORBIDDEN if path.startswith("/nfs/") else self.seen.get(path, _NOTHING)

    def resolved(self, path: str) -> str:
        return path

    def beginning(self, path: str) -> bytes:
        return BEGINNINGS.get(path, ELF)


def lacks(machine: Told | None = None, **keys: Any) -> list[Lack]:
    if "ExecStart" in keys.get("systemd", {}):
        keys["command"] = None
    return lacking([job(**{"name": "a", "schedule": "@daily", **keys})], machine or Told())


# What systemd itself would refuse: the key, words of what is said, the exit status

CERTAIN: list[tuple[dict[str, Any], str, str, str]] = [
    ({"user": "nosuch"}, "user", "there is no user 'nosuch'", "(217)"),
    ({"user": "4711"}, "user", "there is no user '4711'", "(217)"),
    ({"systemd": {"Group": "gone"}}, "systemd.Group", "there is no group 'gone'", "(216)"),
    (
        {"systemd": {"SupplementaryGroups": ["staff", "web gone"]}},
        "systemd.SupplementaryGroups",
        "there is no group 'gone'",
        "(216)",
    ),
    ({"working_directory": "/gone"}, "working_directory", "/gone is not there now", "(200)"),
    ({"working_directory": "/opt/data"}, "working_directory", "is not a directory", "(200)"),
    (
        {"working_directory": "/root", "user": "web"},
        "working_directory",
        "web may not enter /root",
        "(200)",
    ),
    (
        {"working_directory": "/home/web", "sandbox": {"protect_home": True}},
        "working_directory",
        "sandbox.protect_home hides /home/web",
        "(200)",
    ),
    ({"command": ["/opt/gone", "x"]}, "command", "/opt/gone is not there now", "(203)"),
    ({"command": ["gone"]}, "command", "no program 'gone' in /usr/local/sbin:", "(203)"),
    ({"command": ["/opt"]}, "command", "/opt is a directory", "(203)"),
    ({"command": ["/opt/script"]}, "command", "/opt/script is not executable", "(203)"),
    ({"command": ["/opt/noexec"]}, "command", "mounted with noexec", "(203)"),
    (
        {"command": ["/opt/of-root"], "user": "web"},
        "command",
        "web may not execute /opt/of-root",
        "(203)",
    ),
    ({"command": ["/root/bin/tool"], "user": "web"}, "command", "may not enter /root", "(203)"),
    (
        {"command": ["/home/web/run"], "sandbox": {"protect_home": True}},
        "command",
        "sandbox.protect_home hides /home/web/run",
        "(203)",
    ),
    (
        {"command": ["/opt/fine"], "sandbox": {"inaccessible_paths": ["/opt"]}},
        "command",
        "sandbox.inaccessible_paths hides /opt/fine",
        "(203)",
    ),
    (
        {
            "command": ["/opt/fine"],
            "sandbox": {"no_exec_paths": "/", "exec_paths": ["/usr/bin", "/bin"]},
        },
        "command",
        "sandbox.no_exec_paths forbids to execute /opt/fine",
        "(203)",
    ),
    ({"command": ["/opt/zsh-script"]}, "command", "wants the interpreter /bin/zsh", "(203)"),
    ({"command": ["/opt/dos"]}, "command", "ends with a carriage return", "(203)"),
    ({"command": ["/opt/plain"]}, "command", "a script that names no interpreter", "(203)"),
    ({"command": ["/bin/zsh", "-c", "true"]}, "command", "/bin/zsh is not there now", "(203)"),
    (
        {"systemd": {"ExecStart": "/opt/gone now", "ExecStartPost": "-/opt/gone"}},
        "systemd.ExecStart",
        "/opt/gone is not there now",
        "(203)",
    ),
    (
        {"systemd": {"EnvironmentFile": "/etc/gone"}},
        "systemd.EnvironmentFile",
        "/etc/gone is not there now",
        "without a process",
    ),
    (
        {"sandbox": {"read_write_paths": ["/srv", "/srv/gone"]}},
        "sandbox.read_write_paths",
        "/srv/gone is not there now",
        "(226)",
    ),
    (
        {"systemd": {"BindReadOnlyPaths": "/gone:/opt"}},
        "systemd.BindReadOnlyPaths",
        "/gone is not there now",
        "(226)",
    ),
    (
        {"systemd": {"LoadCredential": "key:/etc/gone"}},
        "systemd.LoadCredential",
        "/etc/gone is not there now",
        "(243)",
    ),
]


@pytest.mark.parametrize(("keys", "key", "said", "status"), CERTAIN)
def test_what_systemd_would_refuse(keys: dict[str, Any], key: str, said: str, status: str) -> None:
    (lack,) = lacks(**keys)
    assert (lack.key, lack.is_certain) == (key, True)
    assert said in lack.what
    assert status in lack.effect
    assert lack.remedy
    assert str(lack).startswith(f"a: {key}: ")


# What is the shell's, or another program's, to find

LIKELY: list[tuple[dict[str, Any], str, str]] = [
    ({"command": "/opt/gone --now"}, "command", "/opt/gone is not there now"),
    ({"command": "gone --now"}, "command", "no program 'gone' in /usr/bin:/bin"),
    ({"command": "LANG=C X='a b' gone"}, "command", "no program 'gone'"),
    ({"command": "true; gone | gzip"}, "command", "no program 'gone'"),
    ({"command": "true | gone"}, "command", "no program 'gone'"),
    ({"command": "exec nice gone"}, "command", "no program 'gone'"),
    ({"command": "cd /opt/gone && ./run"}, "command", "/opt/gone is not there now"),
    ({"command": "cd /opt && ./gone"}, "command", "/opt/gone is not there now"),
    ({"command": "./gone", "working_directory": "/opt"}, "command", "/opt/gone is not there"),
    ({"command": "./gone", "user": "web"}, "command", "/home/web/gone is not there now"),
    ({"command": "python3 /opt/gone.py -v"}, "command", "/opt/gone.py is not there now"),
    ({"command": ["/usr/bin/python3", "/opt/gone.py"]}, "command", "/opt/gone.py is not there"),
    ({"command": "sh /opt/of-root", "user": "web"}, "command", "web may not read /opt/of-root"),
    ({"command": ["/bin/bash", "-c", "gone"]}, "command", "no program 'gone'"),
    ({"command": "'/opt/zsh-script'"}, "command", "wants the interpreter /bin/zsh"),
    ({"command": ["/opt/env"]}, "command", "/opt/env wants ruby, which is not in /usr/bin:/bin"),
    ({"command": ["/opt/dos-env"]}, "command", "ends with a carriage return"),
    ({"command": "tool"}, "command", "no program 'tool'"),
    ({"command": "gzip x", "env": {"PATH": "/opt"}}, "command", "no program 'gzip' in /opt"),
    ({"hooks": {"on_failure": "/opt/gone"}}, "hooks.on_failure", "/opt/gone is not there now"),
    ({"hooks": {"on_success": ["gone"]}}, "hooks.on_success", "no program 'gone'"),
    (
        {"notification_config": {"on_failure": [{"type": "exec", "command": ["/opt/gone"]}]}},
        "notification_config",
        "/opt/gone is not there now",
    ),
]


@pytest.mark.parametrize(("keys", "key", "said"), LIKELY)
def test_what_a_command_would_not_find(keys: dict[str, Any], key: str, said: str) -> None:
    (lack,) = lacks(**keys)
    assert (lack.key, lack.is_certain) == (key, False)
    assert said in lack.what


def test_a_program_in_the_path_of_who_asks_alone_is_named_in_full() -> None:
    for command in ("tool -x", ["tool", "-x"]):
        (lack,) = lacks(command=command)
        assert lack.remedy == "it is /root/bin/tool: write that"


def test_what_is_mended_by_a_command_names_it() -> None:
    (lack,) = lacks(command=["/opt/script"])
    assert lack.fix == "chmod a+x /opt/script"
    (lack,) = lacks(command=["/opt/dos"])
    assert lack.fix == r"sed -i 's/\r$//' /opt/dos"


# What is not known, or is there

NOTHING: list[dict[str, Any]] = [
    {},
    {"user": "web", "command": "true"},
    {"user": "web", "command": ["/opt/of-group"]},
    {"user": "web", "command": ["/opt/acl"]},
    {"user": "web", "working_directory": "/home/web"},
    {"command": ["/opt/of-root"]},
    {"command": ["/opt/fine"]},
    {"command": "/opt/plain"},
    {"command": "[ -x /opt/gone ] && /opt/gone"},
    {"command": "test -e /opt/gone || exit 0; /opt/gone"},
    {"command": "command -v gone >/dev/null && gone"},
    {"command": "which gone && gone"},
    {"command": "if true; then gone; fi"},
    {"command": "gone() { true; }; gone"},
    {"command": "( cd /gone && gone )"},
    {"command": "true || gone"},
    {"command": ". /opt/data; gone"},
    {"command": "alias gone=true; gone"},
    {"command": "PATH=/opt/x:$PATH gone"},
    {"command": "export PATH=/opt/x; gone"},
    {"command": "$PROGRAM now"},
    {"command": "`echo gone`"},
    {"command": "/opt/*/gone"},
    {"command": "~/gone"},
    {"command": "echo gone '| gone' # gone"},
    {"command": "sh -s <<END\ngone\nEND"},
    {"command": "cd $HOME && ./gone"},
    {"command": "cd - && ./gone"},
    {"command": "\\\n/opt/fine \\\n gone"},
    {"command": ["/bin/bash", "-c", "function gone { true; }; gone"]},
    {"command": ["/bin/bash", "-lc", "gone"]},
    {"command": "cd /opt/../opt && ./fine"},
    {"command": "exit 0; gone"},
    {"command": "gone", "systemd": {"PassEnvironment": "PATH"}},
    {"command": "gone", "systemd": {"EnvironmentFile": "-/etc/gone"}},
    {"command": ["gone"], "systemd": {"ExecSearchPath": "/nfs"}},
    {"command": ["/nfs"]},
    {"command": ["/dev/null"]},
    {"working_directory": "/nfs"},
    {"working_directory": "/mnt/x", "systemd": {"RequiresMountsFor": "/mnt"}},
    {"command": ["/mnt/x/run"], "systemd": {"RequiresMountsFor": "/opt /mnt/x"}},
    {"command": ["/gone"], "systemd": {"RootDirectory": "/srv"}},
    {"command": ["/gone/x"], "systemd": {"BindReadOnlyPaths": "/opt:/gone"}},
    {"working_directory": "/run/mine", "systemd": {"RuntimeDirectory": "mine"}},
    {"systemd": {"EnvironmentFile": ["-/etc/gone", "/etc/%i", "/etc/conf.d/*"]}},
    {"systemd": {"Group": "%i"}},
    {"systemd": {"Group": "4711"}},
    {"sandbox": {"read_write_paths": ["-/srv/gone"]}},
    {"systemd": {"LoadCredential": "key"}},
]  # fmt: skip


@pytest.mark.parametrize("keys", NOTHING)
def test_what_is_there_or_not_known_is_no_lack(keys: dict[str, Any]) -> None:
    assert lacks(**keys) == []


def test_where_path_is_not_known_no_name_is_looked_for() -> None:
    assert lacks(Told(path=None), command="gone") == []
    assert lacks(Told(path=None), command="/opt/gone") != []


def test_groups_that_a_job_adds_count() -> None:
    seen = {**PRESENT, "/opt/staff": Seen(FileKind.FILE, 0o750, 0, 50)}
    alone = {"user": "web", "command": ["/opt/staff"]}
    assert lacks(Told(seen=seen), **alone) != []
    assert lacks(Told(seen=seen), **alone, systemd={"SupplementaryGroups": "staff"}) == []


def test_a_home_and_a_shell_that_are_not_there() -> None:
    seen = {path: each for path, each in PRESENT.items() if path not in ("/home/web", "/bin/bash")}
    home, shell = lacks(Told(seen=seen), user="web")
    assert "the home of web, /home/web, is not there now" in home.what
    assert "runs begin in /" in home.effect
    assert "the shell of web, /bin/bash, is not there" in shell.what
    assert not home.is_certain
    assert not shell.is_certain


def test_a_job_that_is_disabled_or_has_conditions_is_not_certain_to_fail() -> None:
    for keys in ({"enabled": False}, {"systemd": {"ConditionPathExists": "/opt/gone"}}):
        (lack,) = lacks(command=["/opt/gone"], **keys)
        assert not lack.is_certain


# This machine itself


@pytest.fixture
def here() -> Surroundings:
    return Surroundings(Mode.USER, ("/usr/bin", "/bin"))


def test_this_machine_is_looked_at(here: Surroundings, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/nosuch\n")
    script.chmod(0o755)
    (tmp_path / "link").symlink_to(script)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe")
    seen = here.examine(str(tmp_path / "link"))
    assert isinstance(seen, Seen)
    assert (seen.kind, seen.mode, seen.uid) == (FileKind.FILE, 0o755, os.getuid())
    assert here.resolved(str(tmp_path / "link")) == str(script.resolve())
    assert here.beginning(str(tmp_path / "link")) == b"#!/bin/nosuch\n"
    assert here.beginning(str(tmp_path / "pipe")) == b""
    assert here.examine(str(tmp_path / "dangling")) is Absence.NOTHING
    assert here.examine(str(script / "below")) is Absence.NOTHING
    assert here.examine(str(tmp_path / "loop")) is Absence.FORBIDDEN
    directory = here.examine(str(tmp_path))
    assert isinstance(directory, Seen)
    assert directory.kind is FileKind.DIRECTORY


def test_the_users_of_this_machine(here: Surroundings) -> None:
    own = here.account(None)
    assert own is not None
    assert own.uid == os.getuid()
    root = Surroundings(Mode.SYSTEM, None).account(None)
    assert root is not None
    assert (root.name, root.uid) == ("root", 0)
    assert here.account("0") == root
    for name in ("no-such-user", "99999999999999999999", "4000000000", "a\0b"):
        assert here.account(name) is None
    assert here.group("root") == 0
    assert here.group("no-such-group") is None
