"""Units, tmpfiles.d(5) and scripts name the paths of ``lunasched/paths.py``, and no others.

What may not be looked at is not taken for absent.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import lunasched
from lunasched import paths
from lunasched.paths import Mode, Paths, user_name

TREE = Path(lunasched.__file__).resolve().parent.parent
PACKAGING = TREE / "packaging"
SYSTEM = Paths.of(Mode.SYSTEM, {})
SUPERVISOR = paths.RUNTIME / paths.SUPERVISOR_DIRECTORY
PARTS = (paths.STARTS_DIRECTORY, paths.PASSES_DIRECTORY, paths.HOOKS_DIRECTORY)
OURS = {
    paths.CALENDARS,
    paths.STATE,
    SYSTEM.database,
    SYSTEM.slots,
    SYSTEM.history.parent,
    SYSTEM.history,
    paths.RUNTIME,
    paths.RUNTIME / paths.BY_HAND_DIRECTORY,
    paths.RUNTIME / paths.CRONTABS_SEEN,
    SUPERVISOR,
    SUPERVISOR / paths.GATE_FILE,
    *(SUPERVISOR / part for part in PARTS),
    paths.RUNTIME.parent / paths.EXCLUSIVE_DIRECTORY,
    paths.RUNTIME.parent / paths.READERS_DIRECTORY,
    Path(paths.START_SOCKET),
    Path(paths.HISTORY_SOCKET),
    Path(paths.CRONTAB_SOCKET),
    paths.CONFIGURATION,
    SYSTEM.settings,
    SYSTEM.job_files,
}
NAMED = re.compile(r"(?:/run|%t|/var/lib|%S|/etc|%\{_sysconfdir\})/lunasched(?!\d)[\w./-]*")
ROOTS = {"%t": "/run", "%S": "/var/lib", "%{_sysconfdir}": "/etc"}
TEXTS = sorted(
    path
    for path in (*PACKAGING.rglob("*"), *(TREE / "unit-templates").iterdir())
    if path.is_file() and path.suffix not in (".json", ".pyc")
)


def named(text: str) -> set[Path]:
    found = set()
    for name in NAMED.findall(text):
        root = next((root for root in ROOTS if name.startswith(root)), "")
        found.add(Path(ROOTS.get(root, "") + name.removeprefix(root).rstrip(".")))
    return found


def values(unit: Path, directive: str) -> list[str]:
    text = unit.read_text()
    found = re.findall(rf"^{directive}=(.*)$", text, re.MULTILINE)
    return [word for line in found for word in line.split()]


def test_system_mode_has_the_paths_of_the_table() -> None:
    assert SYSTEM.database.parent == paths.STATE
    assert SYSTEM.history.parent == paths.STATE / paths.HISTORY_DIRECTORY
    assert SYSTEM.slots == paths.STATE / paths.SLOTS_DIRECTORY
    assert SYSTEM.runtime == paths.RUNTIME
    assert {SYSTEM.settings.parent, SYSTEM.job_files.parent} == {paths.CONFIGURATION}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(TREE)))
def test_a_text_names_paths_of_the_table(path: Path) -> None:
    assert named(path.read_text()) <= OURS


def test_enough_is_found() -> None:
    assert named("x %t/lunasched/supervisor/gate, /etc/lunasched.") == {
        SUPERVISOR / "gate", Path("/etc/lunasched"),
    }  # fmt: skip
    assert len(set().union(*(named(path.read_text()) for path in TEXTS))) > 10


@pytest.mark.parametrize("unit", ["lunasched.service", "user/lunasched.service"])
def test_directories_of_the_supervisor(unit: str) -> None:
    file = PACKAGING / "systemd" / unit
    top = SUPERVISOR.relative_to("/run")
    assert values(file, "RuntimeDirectory") == [str(top), *(str(top / part) for part in PARTS)]
    left = [word for word in values(file, "ExecStopPost") if word.startswith("%t")]
    gone = [SUPERVISOR / paths.GATE_FILE, SUPERVISOR / paths.PASSES_DIRECTORY]
    assert left == [f"%t/{path.relative_to('/run')}" for path in gone]


def test_directories_of_the_history() -> None:
    state = str(SYSTEM.history.parent.relative_to("/var/lib"))
    for unit in ("lunasched.service", "lunasched-history@.service"):
        assert values(PACKAGING / "systemd" / unit, "StateDirectory") == [state]
    readers = PACKAGING / "systemd" / "lunasched-history@.service"
    assert values(readers, "RuntimeDirectory") == [paths.READERS_DIRECTORY]


def test_sockets() -> None:
    for name, socket in (("start", paths.START_SOCKET), ("history", paths.HISTORY_SOCKET)):
        unit = PACKAGING / "systemd" / f"lunasched-{name}.socket"
        assert values(unit, "ListenStream") == [socket.replace("/run/", "%t/")]


def test_directories_that_are_there_before_the_first_job() -> None:
    text = (PACKAGING / "tmpfiles.d" / "lunasched.conf").read_text()
    made = dict(re.findall(r"^d (\S+) \d+ (\S+) ", text, re.MULTILINE))
    assert made == {
        str(paths.STATE): "root",
        str(SYSTEM.slots): "root",
        str(SYSTEM.history.parent): paths.SUPERVISOR_USER,
        str(paths.RUNTIME): "root",
        str(paths.RUNTIME / paths.BY_HAND_DIRECTORY): "root",
    }


def test_a_purge_removes_all_of_it() -> None:
    text = (PACKAGING / "debian" / "lunasched.postrm").read_text()
    for top in (paths.CONFIGURATION, paths.STATE, paths.RUNTIME):
        assert re.search(rf"rm -rf .*{top}\b", text)


def test_nothing_else_of_the_program_spells_them_out() -> None:
    for path in (TREE / "lunasched").rglob("*.py"):
        if path.name != "paths.py":
            # In docstrings and messages paths may stand, between other words.
            spelt = re.findall(r'"(/(?:run|var/lib|etc)/lunasched[\w./-]*)"', path.read_text())
            assert not spelt, path


# What may not be looked at

LOOK = """
import json, os, sys
from pathlib import Path
from lunasched import paths
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
def said(look, name):
    try:
        return look(Path(sys.argv[1], name))
    except OSError as error:
        return type(error).__name__
names = sys.argv[2:]
print(json.dumps({
    look.__name__: [said(look, name) for name in names]
    for look in (paths.is_there, paths.is_directory, paths.is_link)
}))
"""
"""What an ordinary user is told of some paths."""


def test_what_may_not_be_looked_at_is_not_taken_for_absent() -> None:
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        top.chmod(0o755)
        (top / "file").write_text("")
        (top / "link").symlink_to("file")
        (top / "loop").symlink_to("loop")
        (top / "closed/inner").mkdir(parents=True)
        (top / "closed").chmod(0)
        names = ["file", "link", "closed", "absent", "file/below", "loop", "closed/inner"]
        done = subprocess.run(
            [sys.executable, "-c", LOOK, name, *names], capture_output=True, text=True, check=False
        )
        (top / "closed").chmod(0o700)
    assert done.stderr == ""
    assert json.loads(done.stdout) == {
        "is_there": [True, True, True, False, False, False, "PermissionError"],
        "is_directory": [False, False, True, False, False, False, "PermissionError"],
        "is_link": [False, True, False, False, False, True, "PermissionError"],
    }


def test_a_user_without_a_name_is_a_number() -> None:
    assert user_name(0) == "root"
    assert user_name() == pwd.getpwuid(os.getuid()).pw_name
    assert user_name(987_654) == "987654"
