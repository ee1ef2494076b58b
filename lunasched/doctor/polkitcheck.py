"""The check of polkit(8): it permits the supervisor's user nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lunasched.dataclass import dataclass
from lunasched.doctor.facts import Unseen, seen
from lunasched.doctor.finding import error, fine, unseen
from lunasched.machine import host
from lunasched.paths import SUPERVISOR_USER, Mode

if TYPE_CHECKING:
    from lunasched.doctor.facts import Facts
    from lunasched.doctor.finding import Finding


@dataclass(frozen=True, slots=True)
class PolkitFacts:
    """The rights that polkit(8) gives the supervisor."""

    unit: str
    """The load state of ``polkit.service``."""
    permitted: tuple[str, ...] | Unseen
    """The verbs that it permits the supervisor and should not: empty where all is well."""


def look() -> PolkitFacts:
    """Ask polkit what it permits the supervisor; only root may ask."""
    from lunasched.systemd.manager import Manager
    from lunasched.systemd.polkit import may_do

    load = Manager.connect(Mode.SYSTEM).facts("polkit.service").load
    uid = host.user_id(SUPERVISOR_USER)
    if os.geteuid() != 0:
        return PolkitFacts(load, Unseen("only root can ask polkit"))
    if uid is None or load != "loaded":
        return PolkitFacts(load, Unseen(f"there is no user {SUPERVISOR_USER}"))
    return PolkitFacts(load, seen(lambda: tuple(may_do(uid))))


def judge(facts: Facts) -> Iterator[Finding]:
    """Polkit permits the supervisor's user nothing: it has units started by a socket of ours."""
    known = facts.polkit
    if known is None:
        return
    if isinstance(known, Unseen):
        yield unseen("polkit", known)
    elif known.unit != "loaded":
        yield fine("polkit is not installed, and so permits the supervisor nothing")
    elif isinstance(known.permitted, Unseen):
        yield unseen("what polkit lets the supervisor do", known.permitted)
    elif known.permitted:
        yield error(
            f"polkit lets the supervisor {' and '.join(known.permitted)}",
            "whoever takes the supervisor over can do that, too; the rule 00-lunasched.rules is "
            "missing, or an earlier rule permits it",
            *facts.reinstall,
            as_root=True,
        )
    else:
        yield fine("polkit lets the supervisor do nothing")
