"""Where email goes, and what is said where none can be sent."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from lunasched.files import mailserver
from lunasched.files.settings import EmailSettings, Tls
from lunasched.jobs.model import Job
from lunasched.jobs.reading import job_from_mapping
from lunasched.machine import host

MAIL = {"type": "email", "to": "root"}
HOOK = {"type": "webhook", "url": "https://a.example/x"}


def job(name: str, **told: Any) -> Job:
    mapping = {"name": name, "schedule": "every 1h", "command": "true"}
    return job_from_mapping({**mapping, "notification_config": told})


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ("localhost", 25, Tls.NONE)),
        ({"smtp_port": 587}, ("localhost", 587, Tls.NONE)),
        ({"smtp_server": "::1"}, ("::1", 25, Tls.NONE)),
        ({"smtp_server": "localhost", "tls": Tls.STARTTLS}, ("localhost", 25, Tls.STARTTLS)),
        ({"smtp_server": "mx", "smtp_port": 465}, ("mx", 465, Tls.TLS)),
        ({"smtp_server": "127.0.0.2", "smtp_port": 465}, ("127.0.0.2", 465, Tls.TLS)),
        ({"smtp_server": "mail.example.org"}, ("mail.example.org", 587, None)),
        ({"smtp_server": "mail.example.org", "tls": Tls.TLS}, ("mail.example.org", 465, Tls.TLS)),
    ],
)
def test_where_email_goes(settings: dict[str, Any], expected: tuple[str, int, Tls | None]) -> None:
    assert mailserver.server_address(EmailSettings(**settings)) == expected


@pytest.mark.parametrize("server", [None, "localhost", "127.0.0.1", "::1"])
def test_a_server_of_this_machine_is_looked_for(server: str | None) -> None:
    """By what the kernel says of a real socket."""

    def said() -> str | None:
        settings = EmailSettings(smtp_server=server, smtp_port=port)
        return mailserver.mail_obstacle(settings, lambda asked: bool(host.listeners(asked)))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert said() is None
    found = said()
    assert found is not None
    assert f"nothing listens at {server or 'localhost'}:{port}" in found
    assert "notifications.email.smtp_server" in found


def test_a_server_elsewhere_is_not_asked() -> None:
    def never(port: int) -> bool:
        raise AssertionError(port)

    settings = EmailSettings(smtp_server="mail.example.org")
    assert mailserver.mail_obstacle(settings, never) is None


def test_email_that_is_turned_off() -> None:
    found = mailserver.mail_obstacle(EmailSettings(enabled=False), lambda _: True)
    assert "notifications.email.enabled" in str(found)


def test_who_mails() -> None:
    jobs = [
        job("failure", on_failure=MAIL),
        job("success", on_success=[HOOK, MAIL]),
        job("recovery", on_recovery=[MAIL], on_failure=HOOK),
        job("missed", on_missed=MAIL),
        job("hook", on_failure=HOOK, heartbeat="https://hc.example/x"),
        job("nobody"),
    ]
    assert mailserver.who_mails(jobs) == ("failure", "success", "recovery", "missed")
