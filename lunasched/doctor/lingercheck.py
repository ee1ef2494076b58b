"""The check of lingering: a user's jobs run while they are logged out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lunasched.doctor.finding import fine, warning
from lunasched.machine import host
from lunasched.paths import Mode

if TYPE_CHECKING:
    from lunasched.doctor.facts import Facts
    from lunasched.doctor.finding import Finding


def look(mode: Mode, user: str) -> bool | None:
    """Tell if the user's manager stays without a session; ``None`` in system mode or not seen."""
    return None if mode is Mode.SYSTEM else host.lingers(user)


def judge(facts: Facts) -> Iterator[Finding]:
    """Tell whether a user's jobs run while they are logged out."""
    if facts.lingers is None or facts.user.isdecimal():
        return
    if facts.lingers:
        yield fine("your manager runs while you are logged out")
    else:
        yield warning(
            "your jobs run only while you are logged in",
            "your systemd manager ends with your last session, and your jobs with it",
            f"loginctl enable-linger {facts.user}",
        )
