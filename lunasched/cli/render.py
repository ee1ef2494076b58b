"""Values for people and for programs: tables, times, durations, JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from lunasched.model import HookRun, Job, Result, Run
from lunasched.unittext import uuid

if TYPE_CHECKING:
    from lunasched.store import Start

# Not slot.to_datetime: with it, every command would load all of the schedules' code.
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


# Which limit a run was killed at.
_LIMITS = {Result.TIMEOUT: "time limit", Result.OOM_KILL: "memory"}


def print_json(value: Any) -> None:
    """JSON in UTF-8: an element of a list, or a key of an object, a line."""
    # Not indent=: it keeps json from using its C encoder, which is ten times as fast.
    if isinstance(value, list) and value:
        inner = ",\n".join(json.dumps(element, ensure_ascii=False) for element in value)
        print(f"[\n{inner}\n]")
    elif isinstance(value, dict):
        print(json.dumps(value, ensure_ascii=False, indent=2))
    else:
        print(json.dumps(value, ensure_ascii=False))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns; the header is bold on a terminal, and nothing is cut anywhere."""
    if not rows:
        return
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    bold = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for number, row in enumerate([header, *rows]):
        line = "  ".join(
            cell.ljust(width) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        print(f"\033[1m{line}\033[0m" if bold and number == 0 else line)


def execution_id(value: str) -> str:
    """An execution ID as the UUID that it is."""
    return uuid(value)


def iso(usec: int | None) -> str | None:
    """A point in time in ISO 8601, UTC, microseconds."""
    if usec is None:
        return None
    return (_EPOCH + timedelta(microseconds=usec)).replace(tzinfo=None).isoformat(
        timespec="microseconds"
    ) + "Z"


def local_time(usec: int | None) -> str:
    """A point in time on the host's own clock, with its offset."""
    if usec is None:
        return "-"
    # Through datetime and not a float of seconds, which cannot hold microseconds exactly.
    moment = datetime.fromtimestamp(usec // 1_000_000, tz=timezone.utc).astimezone()
    return moment.strftime("%Y-%m-%d %H:%M:%S %z")


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
    """How a run ended, in words as short as they can be."""
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


def waits_for(start: Start, starts: Sequence[Start], now: int) -> str:
    """What one of the starts that are to come waits for."""
    if start.claimed_at is not None:
        return "systemd"
    if start.due_at > now:
        return "its time"
    if start.exclusive:
        return "all other jobs to end"
    if any(other.exclusive and other.created_at <= start.created_at for other in starts):
        return "an Exclusive job"
    return "its turn"


def run_json(
    run: Run, hooks: Sequence[HookRun] = (), following: Start | None = None
) -> dict[str, Any]:
    """A run with the keys that stay; ``following`` is its pending retry."""
    span = None if run.ended_at is None else run.ended_at - run.started_at
    return {
        "execution_id": execution_id(run.execution_id),
        "job": run.job,
        "trigger": run.trigger.value,
        "scheduled_at": iso(run.scheduled_at),
        "started_at": iso(run.started_at),
        "ended_at": iso(run.ended_at),
        "duration_ms": None if span is None else span // 1000,
        "result": None if run.result is None else run.result.value,
        "exit_code": run.exit_code,
        "signal": run.signal,
        "attempt": run.attempt,
        "first_attempt_id": execution_id(run.first_attempt_id or run.execution_id),
        "retry_at": None if following is None else iso(following.due_at),
        "hooks": [_hook_json(hook) for hook in hooks],
        "output": run.output,
    }


def _hook_json(hook: HookRun) -> dict[str, Any]:
    return {
        "event": hook.event.value,
        "execution_id": execution_id(hook.execution_id) if hook.execution_id else None,
        "result": None if hook.result is None else hook.result.value,
        "exit_code": hook.exit_code,
        "signal": hook.signal,
    }


def job_json(
    job: Job,
    next_elapse: int | None,
    last: Run | None,
    hooks: Sequence[HookRun] = (),
    following: Start | None = None,
) -> dict[str, Any]:
    """A job with the keys of a job file, when it elapses next, and its last run."""
    return {
        **job.evolve(notifications=job.notifications.without_secrets()).to_mapping(),
        "next_elapse": iso(next_elapse),
        "last_run": None if last is None else run_json(last, hooks, following),
    }


def command_text(command: str | tuple[str, ...]) -> str:
    """A command as a shell would be given it."""
    if isinstance(command, str):
        return command
    import shlex

    return shlex.join(command)


def printable(text: str) -> str:
    """Text whose control characters cannot steer a terminal; newlines stay."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
        for char in text
    )


def one_line(text: str, width: int = 60) -> str:
    """Text for a cell of a table."""
    flat = "".join(char if char.isprintable() else " " for char in text)
    return flat if len(flat) <= width else flat[: width - 1] + "…"
