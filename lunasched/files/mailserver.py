"""The mail server that email goes to, and whether one can be there at all."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from lunasched.files.settings import EmailSettings, Tls
from lunasched.jobs.model import Channel, ChannelType, Job, NotifyEvent

if TYPE_CHECKING:
    from collections.abc import Iterator

_PORT, _SUBMISSION_PORT, _TLS_PORT = 25, 587, 465


def server_address(settings: EmailSettings) -> tuple[str, int, Tls | None]:
    """The server's host and port, and how to encrypt; ``None``: if it offers it."""
    host, port, tls = settings.smtp_server or "localhost", settings.smtp_port, settings.tls
    own = _is_this_machine(host)
    if tls is None and port == _TLS_PORT:
        tls = Tls.TLS
    elif tls is None and own:
        # Its certificate is rarely trusted, and nobody can listen on the loopback interface.
        tls = Tls.NONE
    if port is None:
        port = _TLS_PORT if tls is Tls.TLS else _PORT if own else _SUBMISSION_PORT
    return host, port, tls


def mail_obstacle(settings: EmailSettings, listens: Callable[[int], bool]) -> str | None:
    """The reason why no email can be sent, as far as it can be told without asking anybody.

    ``listens`` tells if a program of this machine listens at a port. A server elsewhere may be
    there.
    """
    if not settings.enabled:
        return "email is turned off in the configuration (notifications.email.enabled)"
    host, port, _ = server_address(settings)
    if not _is_this_machine(host) or listens(port):
        return None
    return (
        f"there is no mail server: nothing listens at {host}:{port}, where email goes unless "
        "notifications.email.smtp_server in the configuration, or a credential of "
        "lunasched.service, names another"
    )


def who_mails(jobs: Iterable[Job]) -> tuple[str, ...]:
    """The names of the jobs that send email."""
    return tuple(
        job.name
        for job in jobs
        if any(channel.type is ChannelType.EMAIL for channel in _channels(job))
    )


def _channels(job: Job) -> Iterator[Channel]:
    for event in NotifyEvent:
        yield from job.notifications.channels(event)


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
