"""The configuration file: what it may say, and what is told of what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from lunasched.errors import InvalidInput
from lunasched.files.settings import (
    SURROUNDINGS,
    EmailSettings,
    MetricsSettings,
    Retention,
    Settings,
    Tls,
    WebSettings,
    of_document,
)
from lunasched.formats.document import Format, read_document
from lunasched.jobs.model import Priority
from lunasched.jobs.reading import job_from_mapping
from lunasched.paths import Mode, Paths


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def test_without_a_file_everything_has_its_default(file: Path) -> None:
    assert Settings.load(file, {}) == Settings(max_concurrent_jobs=0)


@pytest.mark.parametrize("text", ["", "# nothing\n", "global:\n", "global: {}\n"])
def test_an_empty_file_is_no_fault(file: Path, text: str) -> None:
    file.write_text(text)
    assert Settings.load(file, {}) == Settings()


def test_the_limit(file: Path) -> None:
    file.write_text("global:\n  max_concurrent_jobs: 4\n")
    assert Settings.load(file, {}).max_concurrent_jobs == 4


@pytest.mark.parametrize("value", ["-1", "true", "1.5", "many", "[]"])
def test_what_is_no_limit(file: Path, value: str) -> None:
    file.write_text(f"global:\n  max_concurrent_jobs: {value}\n")
    with pytest.raises(
        InvalidInput, match=rf"^{file}:2: global\.max_concurrent_jobs: .* is (not|out)"
    ):
        Settings.load(file, {})


def test_all_that_is_wrong_is_told_at_once(file: Path) -> None:
    file.write_text("globl: {}\nglobal:\n  max_concurrent_jbos: 1\n  max_concurrent_jobs: x\n")
    with pytest.raises(InvalidInput) as raised:
        Settings.load(file, {})
    lines = str(raised.value).splitlines()
    assert len(lines) == 3
    assert [line.rpartition("; did")[0] or line for line in lines] == [
        f"{file}:1: globl: there is no such section",
        f"{file}:3: global.max_concurrent_jbos: there is no such setting",
        f"{file}:4: global.max_concurrent_jobs: 'x' is not a whole number",
    ]


@pytest.mark.parametrize("text", ["- a\n", "global: 3\n", "a: b: c\n", "\t", "global: [1"])
def test_what_is_no_configuration(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(InvalidInput, match=str(file)):
        Settings.load(file, {})


def test_what_is_no_text(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match=r"config\.yaml: the file is UTF-16"):
        Settings.load(file, {})


@pytest.mark.parametrize("variable", ["LUNASCHED_CONFIG_PATH", "LUNASCHED_DB_PATH"])
def test_files_are_named_by_absolute_paths(variable: str) -> None:
    with pytest.raises(InvalidInput, match=f"{variable} is a/b: it must be an absolute path"):
        Paths.of(Mode.SYSTEM, {variable: "a/b"})
    paths = Paths.of(Mode.SYSTEM, {variable: "/a/b"})
    assert Path("/a/b") in (paths.settings, paths.database)


def test_both_layouts_of_lunasched_1(file: Path) -> None:
    file.write_text(
        """
server: {max_concurrent_jobs: 10, tick_interval_ms: 100, data_dir: /var/lib/x}
global: {default_timezone: Europe/Berlin, daemon_log: /var/log/lunasched/daemon.log}
logging: {level: info, format: json, output: stdout}
retention: {history_days: 30, max_history_per_job: 100}
notifications:
  email: {enabled: true, smtp_server: mail.example.org, smtp_port: 587, smtp_username: u,
          smtp_password: "1234", from_address: cron@example.org}
defaults:
  retry_policy: {max_attempts: 3}
  priority: Low
jobs:
"""
    )
    settings = Settings.load(file, {})
    assert settings.max_concurrent_jobs == 10
    assert settings.retention == Retention(30, 100)
    assert settings.email == EmailSettings(
        True, "mail.example.org", 587, "u", "1234", "cron@example.org"
    )
    job = job_from_mapping(
        {"name": "a", "schedule": "@daily", "command": "true"}, defaults=settings.defaults
    )
    assert (job.timezone, job.priority, job.retry.max_attempts) == (
        "Europe/Berlin", Priority.LOW, 3,
    )  # fmt: skip
    said = of_document(read_document(file.read_bytes(), "f", Format.YAML))
    assert [warning.split(": ")[1] for warning in said.warnings] == [
        "server.tick_interval_ms", "server.data_dir", "global.daemon_log", "logging.level",
        "logging.format", "logging.output",
    ]  # fmt: skip
    assert all("it no longer has an effect: " in warning for warning in said.warnings)
    assert "retention.history_days" in said.present
    assert "global.default_timezone" not in said.present


def test_two_names_of_a_setting_must_agree(file: Path) -> None:
    file.write_text("server: {max_concurrent_jobs: 1}\nglobal: {max_concurrent_jobs: 2}\n")
    with pytest.raises(InvalidInput, match=r":2: global\.max_concurrent_jobs: server\.max.*keep"):
        Settings.load(file, {})


def test_a_password_is_not_repeated(file: Path) -> None:
    file.write_text("notifications: {email: {smtp_password: 12345678}}\n")
    with pytest.raises(InvalidInput) as caught:
        Settings.load(file, {})
    assert "12345678" not in str(caught.value)


def test_what_else_can_be_set(file: Path) -> None:
    file.write_text(
        """
notifications: {max_per_hour: 0, email: {tls: TLS}}
web: {enabled: false, address: "0:0::1", port: 9090, hosts: [Cron.example.org.], show_output: true}
metrics: {textfile: /var/lib/prometheus/node-exporter/lunasched.prom}
"""
    )
    settings = Settings.load(file, {})
    assert settings.max_notifications_per_hour == 0
    assert settings.email.tls is Tls.TLS
    assert settings.web == WebSettings(False, "::1", 9090, ("cron.example.org",), True)
    textfile = Path("/var/lib/prometheus/node-exporter/lunasched.prom")
    assert settings.metrics == MetricsSettings(textfile)
    defaults = Settings()
    assert defaults.web == WebSettings(enabled=False, address="127.0.0.1", port=8080)
    assert defaults.metrics.textfile is None
    assert defaults.max_notifications_per_hour == 30


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("web: {address: localhost}", "'localhost' is not an IP address"),
        ("web: {port: 65536}", "65536 is out of range"),
        (
            "web: {hosts: [cron.example.org:8080]}",
            "'cron.example.org:8080' is not a name of a host",
        ),
        ("web: {hosts: cron.example.org}", "it must be a list"),
        ("metrics: {textfile: /a/b.txt}", "is not an absolute path that ends in .prom"),
        ("metrics: {textfile: b.prom}", "is not an absolute path that ends in .prom"),
        ("notifications: {email: {tls: ssl}}", "'ssl' is not a valid kind of encryption"),
        ("notifications: {max_per_hour: -1}", "-1 is out of range"),
    ],
)
def test_what_is_no_setting(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(InvalidInput, match=message):
        Settings.load(file, {})


def test_how_email_is_sent_comes_from_the_environment_then_credentials_then_the_file(
    file: Path, tmp_path: Path
) -> None:
    file.write_text(
        "notifications: {email: {smtp_server: a, smtp_port: 1, smtp_username: a, "
        'smtp_password: "a", from_address: a@a}}\n'
    )
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    for name, text in (("smtp-server", "b"), ("smtp-port", "2\n"), ("smtp-password", " b b \n")):
        (credentials / name).write_text(text)
    environ = {
        "CREDENTIALS_DIRECTORY": str(credentials),
        "LUNASCHED_SMTP_SERVER": "c",
        "LUNASCHED_EMAIL_FROM": "c@c",
        "LUNASCHED_SMTP_USERNAME": "",
    }
    expected = EmailSettings(True, "c", 2, "a", " b b ", "c@c")
    assert Settings.load(file, environ).email == expected
    file.unlink()
    without = EmailSettings(True, "c", 2, None, " b b ", "c@c")
    assert Settings.load(file, environ).email == without


def test_every_setting_of_the_surroundings_exists() -> None:
    for _, name in SURROUNDINGS.values():
        assert hasattr(EmailSettings(), name)


def test_what_is_wrong_in_the_surroundings_is_told_without_a_secret(
    file: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match=r"^LUNASCHED_SMTP_PORT: 'x' is not a whole number$"):
        Settings.load(file, {"LUNASCHED_SMTP_PORT": "x"})
    (tmp_path / "smtp-password").write_text("SECRET\nSECRET")
    with pytest.raises(InvalidInput, match=r"^credential smtp-password: it must be") as caught:
        Settings.load(file, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert "SECRET" not in str(caught.value)
    (tmp_path / "smtp-password").write_bytes(b"\xff")
    with pytest.raises(InvalidInput, match=r"cannot be read: it is not UTF-8$"):
        Settings.load(file, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
