"""Times, spans, sizes and results in words, for tables, pages and notifications."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from lunasched.formats import measures

# Not slot.to_datetime: with it, every command would load all of the schedules' code.
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def local_time(usec: int | None) -> str:
    """A point in time on the host's own clock, with its offset."""
    if usec is None:
        return "-"
    try:
        # Through datetime and not a float of seconds, which cannot hold microseconds exactly.
        moment = datetime.fromtimestamp(usec // 1_000_000, tz=timezone.utc).astimezone()
    except (OverflowError, ValueError, OSError):
        # Out of range for a date; the history may hold anything.
        return f"@{usec}"
    return moment.strftime("%Y-%m-%d %H:%M:%S %z")


def zone_time(usec: int, zone: str, *, short: bool = False) -> str:
    """A point in time on the clock of a zone, with its offset and, if not ``short``, its day."""
    from lunasched.formats import tzdatabase

    rules = tzdatabase.rules_of(zone)
    if rules is None:
        raise KeyError(zone)
    moment = (_EPOCH + timedelta(microseconds=usec)).astimezone(rules)
    return moment.strftime("%H:%M:%S %z" if short else "%a %Y-%m-%d %H:%M:%S %z")


def duration(usec: int | None) -> str:
    """A span of time in the two units that matter."""
    if usec is None:
        return "-"
    if usec < 1_000_000:
        return f"{usec // 1000}ms"
    seconds = usec / 1_000_000
    if seconds < 60:
        return f"{seconds:.1f}s"
    parts = list(measures.split(int(seconds), measures.DAYS_TO_SECONDS))
    return "".join(f"{count}{unit.letter}" for count, unit in parts[:2])


def mebibytes(count: int) -> str:
    """Bytes as MiB, to one digit after the point."""
    return f"{round(count / measures.SIZES['M'], 1)} MiB"


def size(count: int | None) -> str:
    """Bytes in the unit in which they are a whole number, as systemd takes them."""
    if count is None:
        return "-"
    return measures.exact_size(count) or str(count)
