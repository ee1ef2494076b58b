"""The check of what runs: runs that go on while the slots of their jobs pass."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from lunasched.doctor.diagnosis.facts import Facts, Unseen
from lunasched.doctor.diagnosis.finding import Finding, fine, unseen, warning
from lunasched.formats import quantities
from lunasched.history import phrases


def runs(facts: Facts) -> Iterator[Finding]:
    """Look for runs that may hang: their jobs do not run as long as they go on."""
    known = facts.overruns
    if isinstance(known, Unseen):
        yield unseen("runs in progress", known)
        return
    for one in known:
        if one.waits:
            yield warning(
                f"the job {one.job!r} has been waiting for its turn for "
                f"{quantities.duration(facts.now - one.since)}: {phrases.slots_passed(one.slots)}",
                f"it does not run meanwhile; '{facts.lunasched} queue' shows what it waits for",
            )
            continue
        stop, edit = (
            f"{facts.lunasched} {verb} {shlex.quote(one.job)}" for verb in ("stop", "edit")
        )
        limit = "" if one.has_limit else f", and '{edit}' gives the job a timeout"
        # No command to fix it: systemd cannot tell if it hangs or has a lot to do.
        yield warning(
            f"the job {one.job!r} has been running for "
            f"{quantities.duration(facts.now - one.since)}: {phrases.slots_passed(one.slots)}",
            f"it does not run again before this run is over; if it hangs, '{stop}' ends it{limit}",
        )
    if not known:
        yield fine("no run is in progress that should be over")
