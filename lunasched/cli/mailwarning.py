"""The warning about jobs whose email cannot be sent."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lunasched.cli.session import Session
    from lunasched.jobs.model import Job


def warn_of_mail(session: Session, jobs: Iterable[Job]) -> None:
    """Warn on standard error if some of these jobs send email and none can be sent from here."""
    from lunasched.files import mailserver
    from lunasched.machine import host

    if not mailserver.who_mails(jobs):
        return
    obstacle = mailserver.mail_obstacle(
        session.settings.email, lambda port: bool(host.listeners(port))
    )
    if obstacle is not None:
        print(f"warning: {obstacle}", file=sys.stderr)
