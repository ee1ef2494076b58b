"""What goes to a terminal is printable, whoever wrote it, and whatever command shows it."""

from __future__ import annotations

import ast
import json
import os
import pty
import re
import select
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from lunasched.cli.app import _MODULES
from lunasched.formats.printable import json_text, printable
from lunasched.history.run import Result, Run, Trigger
from lunasched.jobs.reading import job_from_mapping
from lunasched.store import Store

PACKAGE = Path(__file__).resolve().parent.parent.parent / "lunasched"
LUNASCHED = Path(sys.executable).with_name("lunasched")
ESC = "\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\u202e\u2066\r\x08"
HOSTILE = re.compile(
    "[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
# The line discipline of the terminal makes \r\n of a newline; the header of a table is bold.
OURS = re.compile("\r\n|\x1b\\[1m|\x1b\\[0m")


@pytest.mark.parametrize(
    "text",
    [
        *map(chr, (*range(9), *range(11, 32), *range(127, 160))),
        *"\u202a\u202e\u2066\u2069\ud800\udfff",
    ],
    ids=lambda text: f"U+{ord(text):04X}",
)
def test_what_steers_is_an_escape(text: str) -> None:
    shown = printable(f"a{text}b")
    assert shown.isascii()
    assert shown.isprintable()
    written = json_text(json.dumps(f"a{text}b", ensure_ascii=False))
    assert written.isascii()
    assert json.loads(written) == f"a{text}b"


@pytest.mark.parametrize("text", ["a\tb\nc", "größe", "日本", "👩‍🔧", "a\u00a0b", '"\\'])
def test_what_is_text_stays(text: str) -> None:
    assert printable(text) == text
    assert json_text(text) == text


def test_nothing_is_printed_past_the_guard() -> None:
    """Who writes bytes to a stream, or hands it to another program, is known."""
    known = {
        "machine/terminal.py": {"sys.stdout.buffer"},
        # It serves another process, which passes its own output along.
        "cli/reader.py": {"os.dup2"},
        "cli/__init__.py": {"os.dup2"},
        # A crontab as it was written, where no terminal sees it.
        "usercrontab/program.py": {"sys.stdout.buffer"},
        # A child that reads the history has no terminal at all.
        "store/remote.py": {"os.dup2"},
        # In a pipe only: see there.
        "cli/views.py": {"os.execvp"},
    }
    ways = ("sys.stdout.buffer", "sys.stderr.buffer", "sys.__stdout__", "sys.__stderr__", "os.dup2")
    for path in PACKAGE.rglob("*.py"):
        used = {
            text
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Attribute)
            and ((text := ast.unparse(node)) in ways or text.startswith("os.exec"))
        }
        assert used <= known.get(str(path.relative_to(PACKAGE)), set()), path


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Jobs and runs in whose every text there is something that steers a terminal."""
    made = tmp_path_factory.mktemp("home")
    environment = {"HOME": str(made), "PATH": "/usr/bin:/bin"}
    subprocess.run([LUNASCHED, "--user", "list"], env=environment, check=True)
    database = next(made.rglob("*.db"))
    with Store.open(database) as store:
        job = job_from_mapping(
            {"name": "EVIL", "schedule": "every 1h", "command": "echo EVIL", "tags": ["EVIL"]}
        )
        store.jobs.put(job, 1)
        run = Run(
            execution_id="1" * 32,
            job="EVIL",
            unit="lunasched-job@EVIL.service",
            trigger=Trigger.TIMER,
            scheduled_at=None,
            started_at=1,
        )
        store.runs.begin(run, "b" * 32)
        store.runs.end(run.execution_id, Result.SUCCESS, 2)
    for path in made.rglob("*.db"):
        with closing(sqlite3.connect(path)) as raw, raw:
            spoil(raw)
    (made / "evil.yaml").write_bytes(f"jobs:\n- name: a{ESC}\n  evil{ESC}: 1\n".encode())
    (made / "evil.toml").write_bytes(f"a = '\x1b{ESC}'\n".encode())
    calendars = made / ".config/lunasched/calendars.d"
    calendars.mkdir(parents=True)
    (calendars / "evil.yaml").write_bytes(f"description: 'EVIL{ESC}'\n".encode())
    (calendars / "worse.yaml").write_bytes(f"days: ['{ESC}']\n".encode())
    (made / "crontab").write_bytes(f"* * * * * echo {ESC}\n@evil{ESC} x\n".encode())
    return made


@pytest.fixture
def home(template: Path, tmp_path: Path) -> Path:
    """A copy of that, for the commands of one test."""
    return shutil.copytree(template, tmp_path / "home")


def spoil(database: sqlite3.Connection) -> None:
    """Put something hostile into every text of every table, within JSON as JSON has it."""
    database.execute("PRAGMA foreign_keys = off")
    names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (table,) in names:
        for _, column, *_ in database.execute(f"PRAGMA table_info({table})").fetchall():
            texts = f"SELECT DISTINCT {column} FROM {table} WHERE typeof({column}) = 'text'"
            for (text,) in database.execute(texts).fetchall():
                hostile = json.dumps(f"EVIL{ESC}")[1:-1] if text[:1] in "{[" else f"EVIL{ESC}"
                database.execute(
                    f"UPDATE OR IGNORE {table} SET {column} = ? WHERE {column} = ?",
                    (text.replace("EVIL", hostile), text),
                )
            if column == "output":
                database.execute(f"UPDATE {table} SET output = ?", (f"out\n{ESC}\n",))


def on_terminal(home: Path, *arguments: str) -> str:
    """What a command shows on a terminal."""
    leader, follower = pty.openpty()
    command = subprocess.Popen(
        [LUNASCHED, "--user", *arguments],
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "EDITOR": "true"},
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
        cwd=home,
    )
    os.close(follower)
    said, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([leader], [], [], 1)[0]:
            try:
                data = os.read(leader, 65536)
            except OSError:
                break
            said += data
        elif command.poll() is not None:
            break
    os.close(leader)
    command.wait(10)
    return said.decode(errors="surrogateescape")


# What each command shows of what others wrote, or says of what is wrong with it.
COMMANDS: dict[str, list[tuple[str, ...]]] = {
    "add": [("--name", f"x{ESC}", "--schedule", "every 1h", "--command", "x")],
    "remove": [(f"x{ESC}",)], "enable": [(f"x{ESC}",)], "disable": [(f"x{ESC}",)],
    "compile": [(f"EVIL{ESC}",), (f"x{ESC}",)], "sync": [()],
    "eject": [(f"EVIL{ESC}", "--dry-run"), (f"x{ESC}",)], "adopt": [(f"x{ESC}.timer",)],
    "import-crontab": [("crontab", "--dry-run")], "crontabs": [(), ("--dry-run",)],
    "adopt-crontab": [(f"x{ESC}",)],
    "import-config": [("evil.yaml",), ("evil.toml",)],
    "apply": [("evil.yaml", "--dry-run"), ("evil.toml",)], "edit": [()], "schema": [()],
    "export-config": [(), ("--format", "toml")], "migrate": [()],
    "start": [(f"x{ESC}",)], "stop": [(f"x{ESC}",)],
    "list": [(), ("--json",), ("--names",)], "get": [(f"EVIL{ESC}",), (f"EVIL{ESC}", "--json")],
    "history": [(), ("--json",), (f"x{ESC}",)], "logs": [(f"x{ESC}",)],
    "graph": [(), ("--dot",), ("--json",)], "queue": [(), ("--json",)],
    "retry": [("cancel", f"x{ESC}")],
    "at": [(f"{ESC}", "--", "true"), ("18:00", "--name", f"x{ESC}", "--", "true")],
    "run": [("--name", f"x{ESC}", "--", "true")], "remove-over": [(f"x{ESC}",)],
    "spread": [(), ("--tag", f"x{ESC}")],
    "calendar": [("list",), ("list", "--json"), ("show", "worse"), ("next", f"x{ESC}")],
    "explain": [(f"every {ESC}",)],
    "next": [(), ("--json",), ("-n", f"1{ESC}")], "vacuum": [("--history-days", f"x{ESC}")],
    "metrics": [()], "doctor": [(), ("--json",)], "serve-reader": [(f"x{ESC}",)],
    "serve-usercrontab": [(f"x{ESC}",)],
    "notifications": [(), ("--json",), (f"x{ESC}",)], "notify-test": [(f"x{ESC}",)],
}  # fmt: skip


def test_each_command_is_tried() -> None:
    assert set(COMMANDS) == set(_MODULES)


@pytest.mark.parametrize("command", sorted(_MODULES))
def test_no_command_prints_what_steers_a_terminal(home: Path, command: str) -> None:
    shown = ""
    for arguments in COMMANDS[command]:
        said = on_terminal(home, command, *arguments)
        shown += said
        assert not HOSTILE.search(OURS.sub("", said)), (arguments, said)
        assert "\r" not in OURS.sub("", said), (arguments, said)
    if command in ("list", "get", "history", "metrics"):
        assert "EVIL" in shown


def test_errors_of_any_kind_are_printable(home: Path) -> None:
    for arguments in ((f"no-command{ESC}",), ("list", f"--{ESC}"), ("--debug", "get", f"x{ESC}")):
        said = on_terminal(home, *arguments)
        assert said
        assert not HOSTILE.search(OURS.sub("", said)), said


def test_what_the_supervisor_logs_is_printable(tmp_path: Path) -> None:
    """Its standard error is in the journal, which shows it to whoever looks."""
    done = subprocess.run(
        [LUNASCHED.with_name("lunasched-daemon"), "--user"],
        env={"HOME": f"/dev/null/{ESC}", "XDG_RUNTIME_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode != 0
    assert "owned" in done.stderr
    assert not HOSTILE.search(done.stderr)
