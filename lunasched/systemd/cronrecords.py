"""What the journal has about a cron that ended: until when it started what was due."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import suppress

from lunasched.systemd.journal import EventKind, open_reader

_SYNC_SECONDS = 30
_MINUTE_USEC = 60_000_000
# cron wakes within the second after a minute began, and then starts what is due in it.
_LATE_USEC = 5_000_000
# As Debian's cron and cronie log the start of an entry: "(USER) CMD (COMMAND)".
_IDENTIFIERS = ("CRON", "CROND")
_STARTED = b") CMD ("


def cron_acted_until(units: Sequence[str], *, since: int) -> int | None:
    """Until when a cron started what was due (µs, UTC), if one of ``units`` has stopped ``since``.

    Entries that are due later no cron has started. ``None`` where none stopped since in this boot;
    raises ``JournalError``.
    """
    # journald may be behind; where it does not answer, what it has is all that is known.
    with suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            ["journalctl", "--sync"], check=False, capture_output=True, timeout=_SYNC_SECONDS
        )
    stopped = _last_stop(units)
    if stopped is None or stopped < since:
        return None
    minute = stopped - stopped % _MINUTE_USEC
    if stopped - minute > _LATE_USEC or _has_started_since(minute):
        return stopped
    return minute - 1


def _last_stop(units: Sequence[str]) -> int | None:
    """Return when the last of them to stop did (µs, UTC)."""
    with open_reader() as reader:
        reader.this_boot()
        reader.add_match(_PID="1", MESSAGE_ID=EventKind.STOPPED.value)
        for unit in units:
            reader.add_match(UNIT=unit)
        reader.seek_tail()
        entry = reader.get_previous()
        return entry["__REALTIME_TIMESTAMP"] if entry else None


def _has_started_since(at: int) -> bool:
    """Tell whether a cron has logged the start of an entry since then (µs, UTC)."""
    with open_reader() as reader:
        reader.this_boot()
        # Nobody else can write in its name.
        reader.add_match(_UID="0")
        for identifier in _IDENTIFIERS:
            reader.add_match(SYSLOG_IDENTIFIER=identifier)
        reader.seek_tail()
        while entry := reader.get_previous():
            if entry["__REALTIME_TIMESTAMP"] < at:
                return False
            if _STARTED in entry.get("MESSAGE", b""):
                return True
    return False
