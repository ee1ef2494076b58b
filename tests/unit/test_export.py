"""`export-config` as a user has it, and `schema`."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
from pathlib import Path

import pytest
from commandline import COMMAND, Cli

from lunasched.errors import ExitCode
from lunasched.files import configfile, jsonschema
from lunasched.formats.document import Format, read_document
from lunasched.jobs.model import Job
from lunasched.jobs.reading import job_from_mapping

URL = "https://hooks.example.org/s/secret"
BACKUP = job_from_mapping({"name": "backup", "schedule": "every 1h", "command": "true"})
REPORT = job_from_mapping(
    {
        "name": "report",
        "dependencies": ["backup"],
        "command": ["/bin/echo", "ü"],
        "notification_config": {"on_failure": {"type": "slack", "webhook_url": URL}},
    }
)
TEXT = """\
# Jobs of lunasched, see lunasched.yaml(5).
jobs:

- name: backup
  schedule: every 1h
  command: 'true'
"""


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    made = Cli(tmp_path)
    made.put(REPORT, BACKUP)
    return made


def jobs(content: str, format_: Format = Format.YAML) -> list[Job]:
    document = read_document(content.encode(), "x", format_)
    return [entry.job for entry in configfile.read_config(document).entries]


def test_all_jobs(cli: Cli) -> None:
    done = cli("export-config")
    assert (done.returncode, done.stderr) == (0, "")
    assert jobs(done.stdout) == [BACKUP, REPORT]


def test_all_jobs_in_toml(cli: Cli) -> None:
    done = cli("export-config", "--format", "TOML")
    assert jobs(done.stdout, Format.TOML) == [BACKUP, REPORT]


def test_named_jobs_in_their_order(cli: Cli) -> None:
    assert cli("export-config", "backup").stdout == TEXT
    assert jobs(cli("export-config", "report", "backup", "report").stdout) == [REPORT, BACKUP]


def test_a_dependency_that_is_left_out_is_told(cli: Cli) -> None:
    done = cli("export-config", "report")
    assert done.returncode == 0
    assert done.stderr == "note: job 'report' waits for 'backup', which is not in the file\n"


def test_a_name_that_there_is_not(cli: Cli) -> None:
    said = cli.fails(ExitCode.NO_SUCH_JOB, "export-config", "backup", "x", "--output", "a.yaml")
    assert "'x'" in said
    assert not (cli.home / "a.yaml").exists()


def test_without_a_database(tmp_path: Path) -> None:
    done = Cli(tmp_path)("export-config")
    assert (done.returncode, jobs(done.stdout)) == (0, [])


@pytest.mark.parametrize("name", ["a.yaml", "a.toml"])
def test_a_file_is_for_its_owner_alone(cli: Cli, name: str) -> None:
    file = cli.home / name
    file.write_text("before")
    file.chmod(0o644)
    before = set(cli.home.iterdir())
    done = cli("export-config", "--output", name)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert jobs(file.read_text(), Format.of(name)) == [BACKUP, REPORT]
    assert set(cli.home.iterdir()) == before


def test_the_format_is_said_or_told_by_the_name(cli: Cli) -> None:
    assert "--format" in cli.fails(ExitCode.USAGE, "export-config", "-o", "jobs")
    assert "yaml nor toml" in cli.fails(ExitCode.USAGE, "export-config", "--format", "xml")
    assert cli("export-config", "-o", "jobs", "--format", "toml").returncode == 0
    assert jobs((cli.home / "jobs").read_text(), Format.TOML)


def test_only_an_ordinary_file_is_replaced(cli: Cli) -> None:
    target = cli.home / "target.yaml"
    target.write_text("x")
    (cli.home / "link.yaml").symlink_to(target)
    (cli.home / "dangling.yaml").symlink_to(cli.home / "nowhere")
    (cli.home / "directory.yaml").mkdir()
    os.mkfifo(cli.home / "fifo.yaml")
    for name in ("link", "dangling", "directory", "fifo"):
        said = cli.fails(ExitCode.USAGE, "export-config", "--output", f"{name}.yaml")
        assert "not a regular file" in said
    assert target.read_text() == "x"
    assert not (cli.home / "nowhere").exists()


def test_a_directory_that_there_is_not(cli: Cli) -> None:
    said = cli.fails(ExitCode.FAILED, "export-config", "--output", "no/a.yaml")
    assert "No such file" in said
    said = cli.fails(ExitCode.FAILED, "export-config", "--output", "lunasched.db/a.yaml")
    assert "Not a directory" in said


def test_defaults_of_the_machine_are_written_out(cli: Cli) -> None:
    (cli.home / "config" / "lunasched").mkdir(parents=True)
    config = cli.home / "config" / "lunasched" / "config.yaml"
    config.write_text("defaults: {priority: Low, timeout: 60}\n")
    done = cli("--user", "export-config", "backup")
    assert "priority: Normal" in done.stdout
    assert done.stderr == (
        f"note: job 'backup' has no defaults.timeout, and would get it from {config} "
        "when imported here\n"
    )


def on_terminal(cli: Cli, *arguments: str) -> str:
    """What a command writes to standard error whose output is a terminal."""
    master, slave = pty.openpty()
    try:
        done = subprocess.run(
            [str(COMMAND), *arguments],
            stdout=slave,
            stderr=subprocess.PIPE,
            text=True,
            env=cli.environment,
            check=True,
            timeout=60,
        )
    finally:
        os.close(slave)
        os.close(master)
    return done.stderr


def test_secrets_on_a_terminal_are_told(cli: Cli) -> None:
    assert "secrets" in on_terminal(cli, "export-config")
    assert "secrets" not in on_terminal(cli, "export-config", "backup")


def test_the_schema(cli: Cli) -> None:
    done = cli("schema")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == jsonschema.job_schema()
