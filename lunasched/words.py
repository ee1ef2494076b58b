"""What jobs and runs are in words: times, spans, sizes, results, for tables, pages and messages."""

from __future__ import annotations

import errno
import re
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from lunasched.model import OVERRUN_MAX, HookRun, Result, Run

if TYPE_CHECKING:
    from lunasched.timerstate import Upcoming

# Not slot.to_datetime: with it, every command would load all of the schedules' code.
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufff9-\uffff]"
)
"""Control characters but for newline and tab, what turns the direction of text round or breaks a
line unseen (UAX #9, UAX #14), halves of pairs, and what is no character."""


# Which limit a run was killed at.
_LIMITS = {Result.TIMEOUT: "time limit", Result.OOM_KILL: "memory"}


_REASONS = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EROFS: "the file system is read-only; remount it writable",
}


def reason(error: OSError) -> str:
    """What the system says is in the way, and for what can be mended, how."""
    return _REASONS.get(error.errno or 0, error.strerror or str(error))


def local_time(usec: int | None) -> str:
    """A point in time on the host's own clock, with its offset."""
    if usec is None:
        return "-"
    try:
        # Through datetime and not a float of seconds, which cannot hold microseconds exactly.
        moment = datetime.fromtimestamp(usec // 1_000_000, tz=timezone.utc).astimezone()
    except (OverflowError, ValueError, OSError):
        # No clock shows it: the history is data, whoever wrote it.
        return f"@{usec}"
    return moment.strftime("%Y-%m-%d %H:%M:%S %z")


def next_time(upcoming: Upcoming) -> str:
    """When a job elapses next, or why its timer does not."""
    return upcoming.obstacle.words if upcoming.obstacle else local_time(upcoming.at)


def zone_time(usec: int, zone: str, *, short: bool = False) -> str:
    """A point in time on the clock of a zone, with its offset and, if not ``short``, its day."""
    from zoneinfo import ZoneInfo

    moment = (_EPOCH + timedelta(microseconds=usec)).astimezone(ZoneInfo(zone))
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
    span = timedelta(seconds=int(seconds))
    hours, rest = divmod(span.seconds, 3600)
    minutes, left = divmod(rest, 60)
    if span.days:
        return f"{span.days}d{hours}h"
    return f"{hours}h{minutes}m" if hours else f"{minutes}m{left}s"


def size(count: int | None) -> str:
    """Bytes in the unit in which they are a whole number, as systemd takes them."""
    if count is None:
        return "-"
    for suffix, factor in (("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)):
        if count >= factor and count % factor == 0:
            return f"{count // factor}{suffix}"
    return str(count)


def run_ended(run: Run) -> str:
    """How a run ended, in words as short as they can be, and how many slots passed meanwhile."""
    ended = _ended(run)
    return f"{ended}, {slots_passed(run.overrun.count)}" if run.overrun else ended


def slots_passed(count: int) -> str:
    """So many slots passed during a run."""
    if count == 1:
        return "1 slot passed"
    least = "at least " if count == OVERRUN_MAX else ""
    return f"{least}{count} slots passed"


def _ended(run: Run) -> str:
    if run.result is None:
        return "running"
    if run.result in _LIMITS:
        return f"{run.result.value} ({_LIMITS[run.result]})"
    if run.exit_code:
        return f"{run.result.value} ({run.exit_code})"
    if run.signal:
        return f"{run.result.value} ({run.signal})"
    return run.result.value


def hook_ended(hook: HookRun) -> str:
    """What became of a hook, in few words."""
    if hook.result is None:
        return "running" if hook.execution_id else "waiting"
    number = hook.exit_code or hook.signal
    return f"{hook.result.value} ({number})" if number else hook.result.value


def command_text(command: str | tuple[str, ...]) -> str:
    """A command as a shell would be given it."""
    if isinstance(command, str):
        return command
    import shlex

    return shlex.join(command)


def printable(text: str) -> str:
    """Text that cannot steer a terminal: what would is there as an escape. Lines and tabs stay."""
    return UNPRINTABLE.sub(_shown, text)


def json_text(text: str) -> str:
    """JSON of which each character can be printed, and that still says the same."""
    return UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _shown(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def one_line(text: str, width: int = 60) -> str:
    """Text for a cell of a table."""
    flat = "".join(char if char.isprintable() else " " for char in text)
    return flat if len(flat) <= width else flat[: width - 1] + "…"
