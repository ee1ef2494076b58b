"""The check of the journal: it keeps what the supervisor reads from it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lunasched.dataclass import dataclass
from lunasched.doctor.facts import Unseen
from lunasched.doctor.finding import error, fine, unseen, warning
from lunasched.machine import host
from lunasched.paths import Mode

if TYPE_CHECKING:
    from lunasched.doctor.facts import Facts
    from lunasched.doctor.finding import Finding

JOURNAL_BYTES_MIN = 64 << 20
"""A journal that is smaller may have dropped a run before the supervisor has read it."""
_JOURNAL_CONF = "/etc/systemd/journald.conf.d"
# The last of journald's drop-ins by name takes precedence.
_OUR_CONF = f"{_JOURNAL_CONF}/zz-lunasched.conf"


@dataclass(frozen=True, slots=True)
class JournalFacts:
    """The settings of the journal, by journald.conf(5)."""

    storage: str
    """``persistent``, ``volatile`` or ``none``, as it is now."""
    limit: int | None
    """Bytes that it may have at most, where somebody has set that."""
    readable: bool | Unseen
    """True if the supervisor can read the records of its jobs."""


def look(mode: Mode) -> JournalFacts:
    """Return the settings of the journal, and whether we can read it."""
    uid = os.getuid()
    return JournalFacts(
        storage=host.journal_storage(),
        limit=host.journal_limit(),
        # The system's supervisor is in the group systemd-journal.
        readable=mode is Mode.SYSTEM or host.reads_journal_of(uid),
    )


def judge(facts: Facts) -> Iterator[Finding]:
    """Tell whether the journal keeps what the supervisor reads from it."""
    known = facts.journal
    if isinstance(known, Unseen):
        yield unseen("the journal", known)
        return
    found = []
    if known.storage == "none":
        found.append(
            error(
                "journald stores nothing (Storage=none)",
                "no run is ever recorded, and nothing that jobs print is kept",
                *_make_persistent(),
                as_root=True,
            )
        )
    elif known.storage == "volatile":
        own = facts.mode is Mode.USER and known.readable is not True
        severity = error if own else warning
        found.append(
            severity(
                "the journal does not outlive a reboot",
                "your runs are not recorded: you can read no file that holds their records"
                if own
                else "runs that were not recorded before one are lost, and with it all output but "
                "the last 8 KiB of each run",
                *_make_persistent(),
                as_root=True,
            )
        )
    if isinstance(known.readable, Unseen):
        found.append(unseen("what the journal holds", known.readable))
    elif not known.readable and known.storage == "persistent":
        user = "lunasched" if facts.is_system else facts.user
        found.append(
            error(
                f"{user} cannot read the journal",
                "no run is recorded",
                f"usermod --append --groups systemd-journal {user}",
                f"{facts.systemctl} restart lunasched.service",
                as_root=True,
            )
        )
    if known.limit is not None and known.limit < JOURNAL_BYTES_MIN:
        found.append(
            warning(
                f"the journal is limited to {known.limit >> 20} MiB",
                "where much is logged while the supervisor is down, runs are dropped before they "
                "are recorded",
                f"mkdir -p {_JOURNAL_CONF}",
                f"printf '[Journal]\\nSystemMaxUse=1G\\nRuntimeMaxUse=256M\\n' >>{_OUR_CONF}",
                "systemctl restart systemd-journald.service",
                as_root=True,
            )
        )
    yield from found or [fine("the journal is persistent")]


def _make_persistent() -> tuple[str, ...]:
    return (
        f"mkdir -p {_JOURNAL_CONF} /var/log/journal",
        f"printf '[Journal]\\nStorage=persistent\\n' >>{_OUR_CONF}",
        "systemd-tmpfiles --create --prefix /var/log/journal",
        "systemctl restart systemd-journald.service",
        "journalctl --flush",
    )
