"""The check of the mail server, for jobs that send email."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from lunasched.doctor.diagnosis.facts import Facts, Unseen
from lunasched.doctor.diagnosis.finding import Finding, fine, unseen, warning

_NAMED = 5


def mail(facts: Facts) -> Iterator[Finding]:
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
