"""The command line as a user has it: exit codes, what goes where, and what it does not load."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commandline import COMMAND, RUN, START, Cli

from lunasched import __version__
from lunasched.errors import ExitCode
from lunasched.jobs.model import Job
from lunasched.jobs.reading import job_from_mapping
from lunasched.store import Store

HEAVY = {"gi", "pydbus", "requests", "jinja2", "croniter", "prometheus_client", "systemd"}
ANSI = re.compile(r"\x1b\[")


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture
def filled(cli: Cli) -> Cli:
    cli.put(
        job_from_mapping(
            {"name": "backup", "schedule": "every 1h", "command": "true", "tags": ["db", "night"]}
        ),
        job_from_mapping({"name": "zzz", "schedule": "@daily", "command": ["/bin/echo", "a b"]}),
    )
    cli.put_run()
    return cli


def files(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


ADD = ("add", "--name", "backup", "--schedule", "every 1h", "--command", "true")


# What is loaded


def loaded(cli: Cli, *arguments: str) -> set[str]:
    """The top-level modules and those of typer's kind that a command imports."""
    return {name.partition(".")[0] for name in imported(cli, *arguments)}


def imported(cli: Cli, *arguments: str) -> set[str]:
    """Every module that a command imports."""
    done = cli.run([sys.executable, "-X", "importtime", str(COMMAND), *arguments])
    assert done.returncode == 0, done.stderr
    names = re.findall(r"^import time:.*\|\s+(\S+)$", done.stderr, re.MULTILINE)
    assert "lunasched" in names
    return set(names)


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_version_loads_next_to_nothing(option: str, cli: Cli) -> None:
    assert not loaded(cli, option) & (HEAVY | {"typer", "click", "sqlite3", "yaml"})


@pytest.mark.parametrize(
    "command",
    [
        ("list", "--json"),
        ("get", "backup"),
        ("history", "backup", "--all"),
    ],
    ids=" ".join,
)
def test_looking_loads_nothing_heavy(command: tuple[str, ...], filled: Cli) -> None:
    assert not loaded(filled, *command) & HEAVY


# What a list of jobs has no use for: each is milliseconds of every `list`.
UNUSED_BY_LIST = {
    "lunasched.cli.reader",
    "lunasched.history.alerting",
    "lunasched.history.missed",
    "lunasched.history.report",
    "lunasched.store.hooktable",
    "lunasched.store.inspection",
    "lunasched.store.outbox",
    "lunasched.store.pruning",
    "lunasched.store.repair",
    "lunasched.store.slottable",
    "lunasched.units.summary",
}


def test_a_list_loads_what_it_shows(filled: Cli) -> None:
    assert not imported(filled, "list") & UNUSED_BY_LIST


# What only a change or a compilation of a job has a use for.
COMPILING = {
    "lunasched.files.settings",
    "lunasched.formats.template",
    "lunasched.formats.unitfile",
    "lunasched.jobs.channels",
    "lunasched.jobs.dependencies",
    "lunasched.jobs.directives",
    "lunasched.jobs.keys",
    "lunasched.jobs.reading",
    "lunasched.jobs.sandbox",
    "lunasched.jobs.values",
    "lunasched.state.slotfile",
    "lunasched.units.compiler",
    "lunasched.units.confinement",
    "lunasched.units.guards",
    "lunasched.units.versions",
}
# A definition is shown by the table of its keys, which has their readers and their lines.
KEYS = {"channels", "keys", "sandbox", "template", "unitfile", "values"}


@pytest.mark.parametrize(
    "command",
    ["list", "list --json", "list --names", "get backup", "history", "history backup", "queue"],
)
def test_reading_compiles_nothing(command: str, filled: Cli) -> None:
    unwanted = COMPILING
    if command.startswith("get"):
        unwanted = {one for one in COMPILING if one.rpartition(".")[2] not in KEYS}
    assert not imported(filled, *command.split()) & unwanted


@pytest.mark.parametrize("command", ["list", "history", "queue"])
def test_reading_where_there_are_no_jobs_compiles_nothing(command: str, cli: Cli) -> None:
    """It looks for units of jobs that are lost, and needs no more of the compiler than a mark."""
    assert not imported(cli, command) & COMPILING


def test_a_start_of_a_job_as_it_is_compiles_nothing() -> None:
    code = (
        "import sys, lunasched.cli.startstop, lunasched.deploy.manualstart, "
        "lunasched.jobs.userswitch, lunasched.systemd.journal; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert not modules & COMPILING
    assert not {one for one in modules if one.startswith("lunasched.schedule")}


@pytest.mark.parametrize("command", ["list", "history"])
def test_no_schedules_are_read_where_there_are_no_jobs(command: str, cli: Cli) -> None:
    assert not {one for one in imported(cli, command) if one.startswith("lunasched.schedule")}


def test_zones_are_read_where_a_job_has_one() -> None:
    """Python's module for them is slow to load, and in UTC no job needs it."""
    code = "import sys, lunasched.schedule; print('zoneinfo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


ENDING = """
import atexit, os, sys
from lunasched.cli import program
class Seen:
    def __del__(self):
        os.write(1, b"freed\\n")
seen = Seen()
if "kept" in sys.argv:
    sys.modules["lunasched.cli"].main = lambda: sys.exit(7)
sys.argv[1:] = ["--user", "get", "no-such-job"]
status = program()
atexit.register(print, "closed")
sys.exit(status)
"""


def test_a_command_ends_without_taking_python_down(cli: Cli) -> None:
    """What is to be done at the end is done; Python does not free each object of each module."""
    done = cli.run([sys.executable, "-c", ENDING])
    assert (done.returncode, done.stdout) == (3, "closed\n")
    assert "no-such-job" in done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_outputs_are_no_error(cli: Cli, closed: str) -> None:
    script = f'"$@" {closed}; echo "$?" >status'
    command = [sys.executable, "-c", "from lunasched.cli import program; import sys;"
               "sys.argv[1:] = ['--user', 'get', 'no-such-job']; sys.exit(program())"]  # fmt: skip
    done = cli.run(["sh", "-c", f"{script}; cat status", "sh", *command])
    assert done.stdout == "3\n"
    assert "Traceback" not in done.stderr and "unexpected" not in done.stderr


def test_a_command_that_ends_otherwise_takes_python_down(cli: Cli) -> None:
    done = cli.run([sys.executable, "-c", ENDING, "kept"])
    assert (done.returncode, done.stdout) == (7, "freed\n")


@pytest.mark.parametrize(
    ("command", "most"),
    [("list", 56), ("list --json", 57), ("get backup", 70), ("history", 38)],
)
def test_few_modules_of_ours_are_loaded_to_read(command: str, most: int, filled: Cli) -> None:
    modules = imported(filled, *command.split())
    assert len([one for one in modules if one.startswith("lunasched.")]) <= most


def test_a_change_of_a_job_loads_nothing_of_handing_over() -> None:
    code = "import sys, lunasched.deploy.deployer; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    handing_over = {"lunasched.deploy.adopt", "lunasched.deploy.eject", "lunasched.transfer"}
    assert not set(done.stdout.split()) & handing_over


@pytest.mark.parametrize("command", [("list",), ("doctor",)], ids=" ".join)
def test_the_databases_are_closed_at_the_end(command: tuple[str, ...], filled: Cli) -> None:
    """From Python 3.13 on, one that is not is warned of."""
    warned = [sys.executable, "-X", "dev", str(COMMAND), *command]
    assert "unclosed database" not in filled.run(warned).stderr


# Exit codes and errors


def test_the_version(cli: Cli) -> None:
    for arguments in (["--version"], ["--user", "--version"]):
        done = cli(*arguments)
        assert (done.returncode, done.stdout) == (0, f"lunasched {__version__}\n")


def test_help_is_no_error(cli: Cli) -> None:
    for arguments in (["--help"], ["add", "-h"]):
        done = cli(*arguments)
        assert done.returncode == 0
        assert done.stderr == ""
        assert "Usage: lunasched" in done.stdout
        assert not ANSI.search(done.stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("add",),
        ("history", "-n", "many"),
        ("history", "--all", "-n", "3"),
        ("logs", "backup", "--execution", "xyz"),
        (*ADD, "--env", "NOVALUE"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_meant_is_a_usage_error(arguments: tuple[str, ...], filled: Cli) -> None:
    filled.fails(ExitCode.USAGE, *arguments)


def test_every_problem_of_a_job_is_listed_by_its_option(cli: Cli) -> None:
    told = cli.fails(
        ExitCode.USAGE,
        *("add", "--name", "-a", "--schedule", "every 1x", "--command", ""),
        *("--run-as", "no body", "--timezone", "Europe/Nowhere", "--timeout", "0"),
        *("--max-memory", "1", "--cpu-quota", "0", "--jitter", "x", "--env", "1=2"),
        *("--working-directory", "here", "--priority", "Urgent", "--tags", ","),
    )
    for option in (
        "name", "schedule", "command", "run-as", "timezone", "timeout", "max-memory", "cpu-quota",
        "jitter", "env", "working-directory", "priority", "tags",
    ):  # fmt: skip
        assert re.search(rf"^(lunasched: )?--{option}: ", told, re.MULTILINE), option
    assert files(cli.home) == set()


def test_a_caret_points_at_what_is_wrong_in_a_schedule(cli: Cli) -> None:
    told = cli.fails(
        ExitCode.USAGE, "add", "--name", "a", "--schedule", "at 25:00", "--command", "true"
    )
    _, text, caret, further = told.splitlines()
    assert text.strip() == "at 25:00"
    assert caret.strip() == "^"
    assert caret.index("^") == text.index("25")
    assert "lunasched-schedule(5)" in further


@pytest.mark.parametrize("command", ["get", "history", "remove", "start", "logs"])
def test_a_job_that_is_not_there(command: str, filled: Cli) -> None:
    code = ExitCode.NO_SYSTEMD if command == "remove" else ExitCode.NO_SUCH_JOB
    told = filled.fails(code, command, "nobody")
    if code is ExitCode.NO_SUCH_JOB:
        assert "there is no job 'nobody'" in told
        assert "lunasched list" in told


@pytest.fixture(scope="module")
def units_of_backup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unit files of a job, which `compile` has written."""
    cli = Cli(tmp_path_factory.mktemp("compiled"))
    cli.put(job_from_mapping({"name": "backup", "schedule": "every 1h", "command": "true"}))
    units = cli.home / "units"
    assert cli("compile", "backup", "--user", "-o", str(units)).returncode == 0
    return units


@pytest.mark.parametrize(
    "command",
    [
        "list", "list --json", "list --names", "next", "export-config", "graph", "queue", "metrics",
        "history", "notifications", "get backup", "history backup", "logs backup", "next backup",
        "export-config backup", "graph backup", "notify-test backup", "compile backup",
        "start backup", "stop backup", "retry cancel backup",
    ],
)  # fmt: skip
def test_a_lost_database_is_an_error_of_whoever_needs_it(
    command: str, filled: Cli, units_of_backup: Path
) -> None:
    shutil.copytree(units_of_backup, filled.home / "config/systemd/user")
    for file in filled.database.parent.glob(f"{filled.database.name}*"):
        file.unlink()
    for file in (filled.database.parent / "history").glob("*"):
        file.unlink()
    told = filled.fails(ExitCode.FAILED, "--user", *command.split())
    assert "has no jobs, but 2 unit files of jobs are deployed" in told


@pytest.mark.parametrize("mode", ["--system", "--user"])
@pytest.mark.parametrize(
    "command", [ADD, ("start", "zzz")],
    ids=lambda command: str(command[0]),
)  # fmt: skip
def test_without_systemd_nothing_is_changed(
    mode: str, command: tuple[str, ...], filled: Cli
) -> None:
    with Store.open(filled.database) as store:
        before = store.jobs.all()
    there = files(filled.home)
    told = filled.fails(ExitCode.NO_SYSTEMD, *command, mode)
    assert len(told.splitlines()) <= 2
    with Store.open(filled.database) as store:
        assert store.jobs.all() == before
    assert files(filled.home) - there <= {"lunasched.db-wal", "lunasched.db-shm"}


def test_a_traceback_is_for_who_asks_for_it(cli: Cli) -> None:
    assert "Traceback" not in cli("get", "nobody").stderr
    done = cli("--debug", "get", "nobody")
    assert done.returncode != 0
    assert "Traceback" in done.stderr
    assert "NoSuchJob" in done.stderr


def test_a_damaged_database_is_one_message(cli: Cli) -> None:
    cli.database.write_bytes(b"no database " * 1000)
    told = cli.fails(ExitCode.FAILED, "list")
    assert told.startswith(f"lunasched: {cli.database} is damaged")
    assert told.splitlines()[1:] == ["see: lunasched doctor"]


def test_a_database_path_has_to_be_absolute(cli: Cli) -> None:
    told = cli.fails(ExitCode.USAGE, "list", LUNASCHED_DB_PATH="here.db")
    assert "LUNASCHED_DB_PATH" in told


# A dry run


@pytest.mark.parametrize("mode", ["--system", "--user"])
def test_a_dry_run_prints_the_units_and_changes_nothing(mode: str, cli: Cli) -> None:
    done = cli(*ADD, "--dry-run", mode)
    assert (done.returncode, done.stderr) == (0, "")
    service, timer = done.stdout.split("# lunasched-job@backup.timer\n")
    assert service.startswith("# lunasched-job@backup.service\n# Generated by lunasched")
    assert "ExecStart=/bin/sh -c true\n" in service
    assert ("User=root\n" in service) == (mode == "--system")
    assert "OnUnitActiveSec=3600s\n" in timer
    assert files(cli.home) == set()


def test_a_dry_run_of_a_name_that_is_taken(filled: Cli) -> None:
    assert "--replace" in filled.fails(ExitCode.USAGE, *ADD, "--dry-run")
    assert filled(*ADD, "--dry-run", "--replace").returncode == 0


def test_arguments_after_the_dashes_run_without_a_shell(cli: Cli) -> None:
    done = cli(
        "add", "--name", "a", "--schedule", "@daily", "--dry-run", "--", "/bin/echo", "--x", "$Y"
    )
    assert done.returncode == 0, done.stderr
    assert 'ExecStart=/bin/echo --x "$$Y"\n' in done.stdout


def test_whom_to_tell_of_a_job_that_is_added(cli: Cli) -> None:
    told = cli.fails(
        ExitCode.USAGE, *ADD, "--dry-run", "--notify-email", "a@b,c d", "--notify-email", "e"
    )
    assert "--notify-email: 'c d' is not an email address" in told
    (cli.home / "url").write_text("htp://SECRET\n")
    told = cli.fails(ExitCode.USAGE, *ADD, "--heartbeat-from", str(cli.home / "url"))
    assert "--heartbeat-from: it is not a URL" in told
    assert "SECRET" not in told
    told = cli.fails(ExitCode.USAGE, *ADD, "--heartbeat-from", str(cli.home / "none"))
    assert "none cannot be read: No such file" in told
    (cli.home / "url").write_text("https://hc.example.org/SECRET\n")
    done = cli(
        *ADD, "--dry-run", "--notify-email", "a@b", "--heartbeat-from", str(cli.home / "url")
    )
    assert done.returncode == 0, done.stderr
    assert "SECRET" not in done.stdout


def test_compiling_writes_what_a_dry_run_prints(filled: Cli) -> None:
    printed = filled("compile", "backup").stdout
    done = filled("compile", "backup", "--output", "out")
    assert done.returncode == 0
    assert done.stdout.split() == [
        "out/lunasched-job@backup.service",
        "out/lunasched-job@backup.timer",
    ]
    written = "\n".join(
        f"# {name}\n" + (filled.home / "out" / name).read_text()
        for name in ("lunasched-job@backup.service", "lunasched-job@backup.timer")
    )
    assert printed == written


# What is shown


def test_json_is_what_it_says_it_is(filled: Cli) -> None:
    [run] = json.loads(filled("history", "--json").stdout)
    assert run == {
        "execution_id": "01234567-89ab-cdef-0123-456789abcdef",
        "job": "backup",
        "trigger": "timer",
        "scheduled_at": "2026-02-10T12:00:00.000000Z",
        "started_at": "2026-02-10T12:00:00.020000Z",
        "ended_at": "2026-02-10T12:00:01.520000Z",
        "duration_ms": 1500,
        "result": "exit-code",
        "exit_code": 3,
        "signal": None,
        "attempt": 1,
        "first_attempt_id": "01234567-89ab-cdef-0123-456789abcdef",
        "retry_at": None,
        "hooks": [],
        "overrun": None,
        "output": "first\nlast line\n",
    }
    backup, other = json.loads(filled("list", "--json").stdout)
    assert (backup["name"], backup["tags"], other["name"]) == ("backup", ["db", "night"], "zzz")
    assert json.loads(filled("get", "backup", "--json").stdout)["schedule"] == "every 1h"
    assert backup["last_run"]["execution_id"] == run["execution_id"]


def test_json_of_nothing_is_an_empty_list(cli: Cli) -> None:
    for command in ("list", "history"):
        assert json.loads(cli(command, "--json").stdout) == []


def test_a_tag_chooses(filled: Cli) -> None:
    assert [job["name"] for job in json.loads(filled("list", "--tag", "db", "--json").stdout)] == [
        "backup"
    ]


def test_history_is_as_long_as_asked_and_newest_first(filled: Cli) -> None:
    for number in range(1, 8):
        filled.put_run(execution_id=f"{number:032x}", started_at=START + number * 60_000_000)

    def started(*options: str) -> list[str]:
        runs = json.loads(filled("history", *options, "--json").stdout)
        return [run["started_at"][14:16] for run in runs]

    assert started() == ["07", "06", "05", "04", "03"]
    assert started("-n", "2") == ["07", "06"]
    assert started("backup", "--all") == ["07", "06", "05", "04", "03", "02", "01", "00"]


@pytest.mark.parametrize("command", [("list",), ("history",), ("get", "backup")], ids=" ".join)
def test_tables_are_plain_where_there_is_no_terminal(command: tuple[str, ...], filled: Cli) -> None:
    done = filled(*command)
    assert done.returncode == 0
    assert "backup" in done.stdout
    assert not ANSI.search(done.stdout + done.stderr)
    assert "supervisor is not running" in done.stderr


def on_terminal(cli: Cli, *arguments: str, **environment: str) -> Iterator[str]:
    """The lines that a command shows on a terminal."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [str(COMMAND), *arguments],
        stdin=follower,
        stdout=follower,
        stderr=subprocess.DEVNULL,
        env={**cli.environment, "TERM": "xterm", **environment},
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:
            # How Linux says that the other side is closed.
            break
        if not piece:
            break
        shown += piece
    os.close(leader)
    assert process.wait(timeout=30) == 0
    yield from shown.decode().splitlines()


def test_the_header_is_bold_on_a_terminal(filled: Cli) -> None:
    header, *rows = on_terminal(filled, "list")
    assert header.startswith("\x1b[1mNAME")
    assert header.endswith("\x1b[0m")
    assert rows
    assert not ANSI.search("".join(rows))


def test_no_color_is_heeded(filled: Cli) -> None:
    assert not ANSI.search("".join(on_terminal(filled, "list", NO_COLOR="1")))


def test_text_of_a_job_cannot_steer_the_terminal(filled: Cli) -> None:
    filled.put(
        Job(name="evil", schedule="every 1h", command="printf '\x1b[2J\x1b]0;x\x07'", tags=("t",))
    )
    with Store.open(filled.database) as store:
        store.runs.set_output(RUN, "\x1b[2J\x1b[31mred\n")
    for command in (["get", "evil"], ["history"]):
        shown = "".join(on_terminal(filled, *command, NO_COLOR="1"))
        assert "\x1b" not in shown
        assert "\x07" not in shown


def test_text_of_a_file_that_is_wrong_cannot_steer_the_terminal(cli: Cli) -> None:
    for name in ("tab", "tab\x1b[31m"):
        (cli.home / name).write_text("PATH=/bin\x1b[31m\n* * * * * true\n@x\x9b31m y\n")
        done = cli("import-crontab", name)
        assert done.returncode == 2
        assert f"{name}:1: PATH=/bin".replace("\x1b", "\\x1b") in done.stderr
        assert done.stderr.isascii() and done.stderr.replace("\n", "").isprintable()
        refused = cli("import-config", name)
        assert refused.returncode == 2
        assert refused.stderr.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("command", "count"), [(("history",), 0), (("list", "--json"), 1), (("list",), 1000)]
)
def test_a_reader_that_has_had_enough_is_no_error_to_talk_of(
    count: int, command: tuple[str, ...], filled: Cli
) -> None:
    with Store.open(filled.database) as store, store.transaction():
        for number in range(count):
            name = f"job-{number}"
            store.jobs.put(Job(name=name, schedule="every 1h", command="true"), START)
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen(
        [str(COMMAND), *command], stdout=writer, stderr=subprocess.PIPE, env=filled.environment
    )
    os.close(writer)
    _, told = process.communicate(timeout=60)
    assert b"Traceback" not in told
    assert b"BrokenPipe" not in told
    assert b"unexpected error" not in told
    assert process.returncode in (0, 1)


@pytest.mark.parametrize("command", ["serve-reader", "serve-usercrontab"])
def test_what_systemd_starts_for_a_connection_is_of_no_use_without(cli: Cli, command: str) -> None:
    done = cli("--system", command)
    assert done.returncode == 2
    assert "standard input is no connection: only a unit of systemd runs this" in done.stderr
