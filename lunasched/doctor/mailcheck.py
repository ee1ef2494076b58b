"""The check of the mail server, for jobs that notify somebody by email."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lunasched.dataclass import dataclass
from lunasched.doctor.facts import Unseen
from lunasched.doctor.finding import fine, unseen, warning
from lunasched.errors import InvalidInput
from lunasched.files import mailserver
from lunasched.files.settings import EmailSettings, Settings
from lunasched.machine import host

if TYPE_CHECKING:
    from lunasched.doctor.facts import Facts
    from lunasched.doctor.finding import Finding
    from lunasched.jobs.model import Job

_NAMED = 5


@dataclass(frozen=True, slots=True)
class MailFacts:
    """Email of jobs."""

    jobs: tuple[str, ...]
    """The jobs that send some."""
    obstacle: str | None
    """The reason why none can be sent, where that is known."""


def look(path: Path, jobs: Sequence[Job]) -> MailFacts:
    """Return the jobs that send email, and the obstacle to it."""
    try:
        settings = Settings.load(path, os.environ).email
    except InvalidInput:
        settings = EmailSettings()
    obstacle = mailserver.mail_obstacle(settings, lambda port: bool(host.listeners(port)))
    return MailFacts(mailserver.who_mails(jobs), obstacle)


def judge(facts: Facts) -> Iterator[Finding]:
    """Find jobs that send email where none can be sent."""
    known = facts.mail
    if isinstance(known, Unseen):
        yield unseen("the mail server", known)
    elif not known.jobs:
        yield fine("no job sends email")
    elif known.obstacle is None:
        yield fine("a mail server listens here, or one elsewhere is configured")
    else:
        more = len(known.jobs) - _NAMED
        named = ", ".join(known.jobs[:_NAMED]) + (f" and {more} more" if more > 0 else "")
        yield warning(
            known.obstacle,
            f"no email is sent for these jobs: {named}; 'lunasched notify-test' tests it",
            f"${{EDITOR:-vi}} {shlex.quote(str(facts.paths.settings))}",
            f"{facts.systemctl} restart lunasched.service",
            as_root=facts.is_system,
        )
