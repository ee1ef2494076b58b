"""The check of jobs that become another user in a session, out of their unit."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lunasched.doctor.facts import Unseen
from lunasched.doctor.finding import fine, unseen, warning
from lunasched.jobs import userswitch

if TYPE_CHECKING:
    from lunasched.doctor.facts import Facts
    from lunasched.doctor.finding import Finding


def judge(facts: Facts) -> Iterator[Finding]:
    """Find jobs whose command is moved out of their unit by ``su`` and the like."""
    known = facts.deployed
    if isinstance(known, Unseen):
        yield unseen("the commands of jobs", known)
        return
    found = [
        warning(
            f"the job {job.name!r} leaves its unit",
            said,
            f"{facts.lunasched} edit {shlex.quote(job.name)}",
            as_root=True,
        )
        for job in known.jobs
        if facts.is_system and (said := userswitch.switch_warning(job)) is not None
    ]
    yield from found or [fine("no job leaves its unit for a session")]
