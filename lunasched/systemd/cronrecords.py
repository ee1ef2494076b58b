"""What the journal has about a cron that ended: until when it started what was due."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from lunasched.systemd.journal import EventKind, open_reader

_SYNC_SECONDS = 30
_MINUTE_USEC = 60_000_000
# cron wakes within the second after a minute began, and then starts what is due in it.
_LATE_USEC = 5_000_000
# As Debian's cron and cronie log the start of an entry: "(USER) CMD (COMMAND)".
_IDENTIFIERS = ("CRON", "CROND")
_STARTED = ") CMD ("


class CronEnd:
    """The end of a cron, and what it had started in its last minute, as its log says."""

    def __init__(self, at: int, started: Sequence[str], *, logs: bool) -> None:
        """``at`` is in µs UTC; ``started`` are messages of that minute, each about one start.

        Without ``logs`` it may have started what it logged nothing of.
        """
        self._at = at
        self._started = list(started)
        self._logs = logs

    def acted_until(self, is_about: Callable[[str], bool], *, alone: bool = True) -> int:
        """Until when it started an entry (µs, UTC): what is due later no cron has started.

        ``is_about`` tells whether a message is about the entry, and ``alone`` that it is then about
        no other.
        """
        minute = self._at - self._at % _MINUTE_USEC
        for message in self._started:
            if is_about(message):
                if alone:
                    self._started.remove(message)
                return self._at
        if not self._logs and self._at - minute > _LATE_USEC:
            return self._at
        return minute - 1


def cron_end(units: Sequence[str], *, since: int) -> CronEnd | None:
    """Return the end of the last of ``units`` to stop; ``None`` if none did ``since`` (µs, UTC).

    In this boot; raises ``JournalError``.
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
    started, logs = [], False
    for at, message in _starts():
        logs = True
        if at < minute:
            break
        started.append(message)
    return CronEnd(stopped, started, logs=logs)


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


def _starts() -> Iterator[tuple[int, str]]:
    """The starts that a cron has logged, the last first, each with its time (µs, UTC)."""
    with open_reader() as reader:
        reader.this_boot()
        # Nobody else can write in its name.
        reader.add_match(_UID="0")
        for identifier in _IDENTIFIERS:
            reader.add_match(SYSLOG_IDENTIFIER=identifier)
        reader.seek_tail()
        while entry := reader.get_previous():
            message = entry.get("MESSAGE", b"").decode(errors="replace")
            if _STARTED in message:
                yield entry["__REALTIME_TIMESTAMP"], message
